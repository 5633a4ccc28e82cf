"""What happens in a run besides Keras' own loop: stop at a loss that is not finite; end each epoch safely."""

import math
import time

import keras

from training.pictures import draw_by_class, save_reconstructions, save_samples
from training.run_folder import best_epoch, out_of_patience

PICTURES = 64  # samples in a grid
RECONSTRUCTIONS = 32
SAMPLE_SEED = 0  # the same codes at every epoch


class StopAtNotFiniteLoss(keras.callbacks.Callback):
    """Raise FloatingPointError that names what is not finite, a loss, a part of one or the norm of a gradient.

    With epoch and step, or the steps run at once; the checkpoint is of the epoch before.
    """

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        bad = {name: float(value) for name, value in (logs or {}).items() if not math.isfinite(value)}
        if bad:
            first, last = batch + 2 - self.model.steps_per_execution, batch + 1
            steps = f"step {last}" if first == last else f"steps {first} to {last}"
            raise FloatingPointError(
                f"{', '.join(f'{name} is {value}' for name, value in bad.items())} at epoch {self.epoch}, {steps}; "
                "the last finished epoch is kept. Lower the learning rate, or look at the data."
            )


class SamplesAtFirst(keras.callbacks.Callback):
    """An IWAE's bound of `few` codes in the first `epochs`, of as many as the model was built with from then on.

    L_k rises with k, so that a lower bound comes first: what it teaches holds for the next one, at a part of its price.
    The number is a constant of the compiled steps, which are made anew where it changes.
    """

    def __init__(self, few, epochs, many):
        super().__init__()
        self.few, self.epochs, self.many = few, epochs, many

    def on_epoch_begin(self, epoch, logs=None):
        wanted = self.few if epoch < self.epochs else self.many
        if self.model.num_training_samples != wanted:
            self.model.take_samples(wanted)
            self.model.make_train_function(force=True)
            self.model.make_test_function(force=True)


class FinishEpoch(keras.callbacks.Callback):
    """At the end of each epoch: pictures, the model if it is the best, the checkpoint, the history; then patience.

    Args:
        run: the `RunFolder`.
        recipe: the `Recipe`.
        history: the rows of the epochs so far; grows.
        seconds: that these epochs took.
        identity: one line that names the data, for each row.
        held_out: the validation examples: images, the first of which are reconstructed, or points.
        labels: theirs, [N], of a model that learns from labels.
    """

    def __init__(self, run, recipe, history, seconds, identity, held_out, labels=None):
        super().__init__()
        self.run, self.recipe, self.history, self.seconds = run, recipe, history, seconds
        self.identity, self.held_out, self.labels = identity, held_out, labels

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        metrics = {name: float(value) for name, value in sorted(logs.items())}
        self.history.append({"epoch": epoch + 1, **metrics, "data": self.identity})
        self.draw_pictures(epoch + 1)
        if self.is_best(epoch):
            self.run.write_model(self.model)
        self.seconds += time.monotonic() - self.started
        self.run.save_checkpoint(self.model, self.history, self.seconds, self.model.stop_training)
        if out_of_patience(self.history, self.recipe.warm_up_epochs, self.recipe.patience):
            self.model.stop_training = True

    def is_best(self, epoch):
        if not self.recipe.patience:
            return True
        return best_epoch(self.history, self.recipe.warm_up_epochs) in (None, epoch)

    def draw_pictures(self, epoch):
        are_images = self.held_out.ndim == 4
        samples, columns = draw_by_class(self.model, PICTURES if are_images else len(self.held_out), SAMPLE_SEED)
        save_samples(samples, self.held_out, self.run.samples_path / f"epoch_{epoch:04d}.png", columns)
        if are_images and hasattr(self.model, "reconstruct"):
            originals = self.held_out[:RECONSTRUCTIONS].astype("float32")
            needs_labels = self.model.labels is not None and not self.model.labels.some
            labels = (self.labels[:RECONSTRUCTIONS],) if needs_labels else ()
            reconstructions = self.model.reconstruct(originals, *labels)
            save_reconstructions(originals, reconstructions, self.run.samples_path / "reconstructions.png")
