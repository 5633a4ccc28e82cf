"""`train(recipe, workdir)`: the only door to a run folder."""

import inspect
import logging
import sys

import keras

import zoo
from training.callbacks import FinishEpoch, StopAtNotFiniteLoss, state_of
from training.data import evaluation_batches, load_data, steps_per_epoch, training_batches
from training.files import locked
from training.pictures import save_curves
from training.run_folder import RunFolder, out_of_patience

logger = logging.getLogger(__name__)
RECONSTRUCTIONS = 32


def train(recipe, workdir, verbose="auto"):
    """Train `recipe` in `workdir`, or go on where a run of the same recipe stopped there; return the `RunFolder`.

    An interrupted run loses at most the epoch it was in, and on a CPU ends bit-identical to an uninterrupted one.

    Args:
        recipe: a `Recipe`; a run of another one in `workdir` is refused by the names of what differs.
        workdir: a new or empty folder, or a run of this recipe.
        verbose: of `fit`; "auto" is a bar on a terminal and a line an epoch elsewhere.

    Raises:
        ValueError: for bad settings or data, or a `workdir` that cannot be used; nothing there is changed.
        FloatingPointError: if the loss is no longer finite; the last finished epoch is kept.
    """
    data = load_data(recipe.data, recipe.data_path)
    identity = one_line(data.identity("train", recipe.binarization))
    keras.utils.set_random_seed(recipe.seed)
    steps = steps_per_epoch(data, recipe.batch_size)
    model = build(recipe, data.event_shape, steps)

    run = RunFolder(workdir)
    run.create()
    with locked(run.path):
        run.stamp(recipe, data)
        model.adapt(data.gray("train"))
        history, seconds = run.restore_checkpoint(state_of(model))
        if history:
            logger.info("%s: going on after epoch %d", run.path, len(history))
        held_out = data.binary("validation", recipe.binarization)
        pictured = held_out[:RECONSTRUCTIONS].astype("float32")
        finish_epoch = FinishEpoch(run, recipe, history, seconds, identity, pictured)
        finished = len(history) >= recipe.epochs or out_of_patience(history, recipe.warm_up_epochs, recipe.patience)
        try:
            if not finished:
                model.fit(
                    training_batches(data, recipe.binarization, recipe.batch_size, recipe.seed, len(history)),
                    steps_per_epoch=steps,
                    initial_epoch=len(history),
                    epochs=recipe.epochs,
                    validation_data=evaluation_batches(held_out),
                    callbacks=[StopAtNotFiniteLoss(), finish_epoch],
                    shuffle=False,
                    verbose=(1 if sys.stdout.isatty() else 2) if verbose == "auto" else verbose,
                )
        finally:
            if history:
                save_curves(history, run.curves_path, f"{recipe.name}, seed {recipe.seed}")
    return run


def build(recipe, event_shape, steps_per_epoch):
    """The compiled model of a recipe: each setting that the model's constructor names, by that name."""
    constructor = zoo.MODELS[recipe.model]
    offered = {
        **vars(recipe),
        "event_shape": event_shape,
        "warm_up_steps": recipe.warm_up_epochs * steps_per_epoch,
        "binarization": None,  # the pipeline has done it
    }
    taken = inspect.signature(constructor.__init__).parameters
    model = constructor(
        dtype=recipe.precision, **{name: value for name, value in offered.items() if name in taken and name != "name"}
    )
    model.compile(
        keras.optimizers.Adam(recipe.learning_rate),
        jit_compile=recipe.jit,
        steps_per_execution=steps_per_execution(steps_per_epoch),
    )
    model.optimizer.build(model.trainable_variables)
    return model


def steps_per_execution(steps_per_epoch):
    """The largest divisor of the steps of an epoch up to 32: small models else spend half their time between steps.

    It must divide, because Keras would run the rest of a last execution into the next epoch. The numbers are the same.
    """
    return max(steps for steps in range(1, 33) if steps_per_epoch % steps == 0)


def one_line(identity):
    """An identity in a word: mnist/train/dynamic/1a2b3c4d."""
    return f"{identity['name']}/{identity['split']}/{identity['binarization']}/{identity['sha256'][:8]}"
