"""The run folder: what a training leaves, and what it goes on from.

    recipe.json      the recipe, the identity of the data and the versions
    checkpoints/     last.npz: weights, optimizers, random state and history after the last finished epoch
    history.csv      one row an epoch
    model.keras      the best epoch's model where the recipe has patience, else the last epoch's
    samples/         epoch_0001.png ..., the same codes each time; reconstructions.png, originals beside, of images
    curves.png       losses and their parts over the epochs, and the other figures of the family (training/pictures.py)
    evaluation.json  written by training.evaluate

A checkpoint is the commit point of an epoch: everything else can be made again from it.
"""

import csv
import io
from dataclasses import fields
from pathlib import Path

import zoo
from training import checkpoints
from training.data import SPLITS
from training.files import read_json, replacing, write_json, write_text
from training.recipe import AT_ONCE, Recipe
from zoo.version import versions

PACKAGES = ("tensorflow", "keras", "tensorflow-probability", "numpy")  # what decides the numbers


class RunFolder:
    """The paths and the state of one run."""

    def __init__(self, workdir):
        self.path = Path(workdir)
        self.recipe_path = self.path / "recipe.json"
        self.checkpoint_path = self.path / "checkpoints" / "last.npz"
        self.history_path = self.path / "history.csv"
        self.model_path = self.path / "model.keras"
        self.samples_path = self.path / "samples"
        self.curves_path = self.path / "curves.png"
        self.evaluation_path = self.path / "evaluation.json"

    # Opening.

    def create(self):
        """Make the folders; a ValueError if that is not possible or the folder holds something else."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            foreign = [path.name for path in self.path.iterdir() if not path.name.startswith(".")]
            if foreign and not self.recipe_path.exists():
                raise ValueError(f"{self.path} holds {foreign[0]} and no run; choose another --workdir.")
            self.checkpoint_path.parent.mkdir(exist_ok=True)
            self.samples_path.mkdir(exist_ok=True)
        except OSError as error:
            raise ValueError(f"{self.path} is not writable ({error.strerror}); choose another --workdir.") from None

    def stamp(self, recipe, data):
        """Write recipe.json, or see that the one of the finished epochs is of the same recipe and data."""
        data = identities(data, recipe)
        if self.checkpoint_path.exists():
            refuse_other("recipe", self.path, self.recipe().settings(), recipe.settings())
            refuse_other("data", self.path, self.stamped()["data"], data)
        else:
            write_json(self.recipe_path, {"recipe": recipe.settings(), "data": data, "versions": versions(*PACKAGES)})

    def stamped(self):
        """The content of recipe.json."""
        if not self.recipe_path.exists():
            raise ValueError(f"{self.path} is no run folder: it has no recipe.json; train into it first.")
        return read_json(self.recipe_path)

    def recipe(self):
        """The `Recipe`; a field that is not in recipe.json does not matter to its model, or came later: its default."""
        stored = self.stamped()["recipe"]
        known = {field.name for field in fields(Recipe)}
        if not known >= set(stored):
            raise ValueError(f"{self.recipe_path} has settings unknown here: {sorted(set(stored) - known)}.")
        return Recipe(**{key: tuple(value) if isinstance(value, list) else value for key, value in stored.items()})

    def model(self):
        """The trained model; a ValueError if no epoch is finished."""
        self.stamped()
        if not self.model_path.exists():
            raise ValueError(f"{self.path} has no finished epoch; train it first.")
        return zoo.load(self.model_path)

    def figures(self):
        """The paths of the figures there are, besides the samples."""
        return sorted(self.path.glob("*.png"))

    # Checkpoints.

    def save_checkpoint(self, model, history, seconds, stopped):
        """Everything that the next epoch depends on, atomically; then history.csv, which is made from it.

        stopped: whether the model itself ended the training, as k-means does where no assignment has changed.
        """
        checkpoints.save(self.checkpoint_path, model, {"history": history, "seconds": seconds, "stopped": stopped})
        self.write_history(history)

    def progress(self):
        """(history, seconds, stopped) of the finished epochs: rows of metrics, their time, and as it was saved."""
        checkpoint = checkpoints.read(self.checkpoint_path)
        if checkpoint is None:
            raise ValueError(f"{self.path} has no finished epoch; train it first.")
        _, progress = checkpoint
        return progress["history"], progress["seconds"], progress.get("stopped", False)

    def is_finished(self):
        """Whether nothing is left to train."""
        history, _, stopped = self.progress()
        return is_finished(self.recipe(), history, stopped)

    def restore_checkpoint(self, model):
        """Set the model's state; (history, seconds, stopped) of the last finished epoch, ([], 0.0, False) if none."""
        progress = checkpoints.restore(self.checkpoint_path, model)
        if progress is None:
            return [], 0.0, False
        self.write_history(progress["history"])
        return progress["history"], progress["seconds"], progress.get("stopped", False)

    def write_history(self, history):
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        write_text(self.history_path, text.getvalue())

    def write_model(self, model):
        with replacing(self.model_path) as temporary:
            model.save(temporary)


def identities(data, recipe):
    found = {split: data.identity(split, recipe.binarization) for split in SPLITS}
    if recipe.takes_labels:
        found["train"]["labels"] = data.identity_of_labels(recipe.num_labels, recipe.label_seed)
    return found


def refuse_other(what, path, found, wanted):
    different = [key for key in sorted(set(found) | set(wanted)) if found.get(key) != wanted.get(key)]
    if different:
        listed = "; ".join(f"{key} was {found.get(key)!r}, now {wanted.get(key)!r}" for key in different)
        raise ValueError(f"{path} holds a run of another {what} ({listed}); choose another --workdir.")


# Early stopping, as a function of the history: nothing else to save.


def best_epoch(history, first_epoch):
    """Index of the smallest val_loss from `first_epoch` on: before the warm-up ends, losses are of another objective.

    None if there is no such epoch yet.
    """
    candidates = range(first_epoch, len(history))
    return min(candidates, key=lambda index: (history[index]["val_loss"], index), default=None)


def is_finished(recipe, history, stopped):
    """Whether all epochs are done, the model itself has ended the training, or it has been in vain for too long."""
    epochs = 1 if recipe.model in AT_ONCE else recipe.epochs
    return stopped or len(history) >= epochs or out_of_patience(history, recipe.warm_up_epochs, recipe.patience)


def out_of_patience(history, first_epoch, patience):
    best = best_epoch(history, first_epoch) if patience else None
    return best is not None and len(history) - 1 - best >= patience
