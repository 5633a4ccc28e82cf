"""`train(recipe, workdir)`: the only door to a run folder."""

import inspect
import logging
import sys

import keras

import zoo
from training.callbacks import FinishEpoch, SamplesAtFirst, StopAtNotFiniteLoss
from training.data import evaluation_batches, load_data, steps_per_epoch, training_batches
from training.files import locked
from training.pictures import save_figures
from training.recipe import AT_ONCE
from training.run_folder import RunFolder, is_finished

logger = logging.getLogger(__name__)
VALIDATION_BATCH = 500


def train(recipe, workdir, verbose="auto"):
    """Train `recipe` in `workdir`, or go on where a run of the same recipe stopped there; return the `RunFolder`.

    An interrupted run loses at most the epoch it was in, and on a CPU ends bit-identical to an uninterrupted one.

    Args:
        recipe: a `Recipe`; a run of another one in `workdir` is refused by the names of what differs.
        workdir: a new or empty folder, or a run of this recipe.
        verbose: of `fit`; "auto" is a bar on a terminal and a line an epoch elsewhere.

    Raises:
        ValueError: for bad settings or data, or a `workdir` that cannot be used; no finished epoch there is changed.
        FloatingPointError: if the loss is no longer finite; the last finished epoch is kept.
    """
    data = load_data(recipe.data, recipe.data_path)
    identity = one_line(data.identity("train", recipe.binarization))
    keras.utils.set_random_seed(recipe.seed)
    if recipe.takes_labels:
        data.kept_labels(recipe.num_labels, recipe.label_seed)  # a ValueError where there are not so many
    steps = 0 if without_gradient(recipe) else steps_in_epoch(recipe, data)
    model = build(recipe, data.event_shape, steps, data.num_classes)
    check_protocol(recipe, model, data)
    check_labels(recipe, model)

    run = RunFolder(workdir)
    run.create()
    with locked(run.path):
        run.stamp(recipe, data)
        history, seconds, stopped = run.restore_checkpoint(model)
        if history:
            logger.info("%s: going on after epoch %d", run.path, len(history))
        held_out = data.examples("validation", recipe.binarization)
        labels = None if model.labels is None else data.labels_of("validation")
        try:
            if not is_finished(recipe, history, stopped):
                fit(
                    model,
                    recipe,
                    data,
                    initial_epoch=len(history),
                    epochs=1 if recipe.model in AT_ONCE else recipe.epochs,
                    validation_data=evaluation_batches(held_out, validation_batch(recipe), labels),
                    callbacks=[
                        *samples_at_first(recipe),
                        StopAtNotFiniteLoss(),
                        FinishEpoch(run, recipe, history, seconds, identity, held_out, labels),
                    ],
                    shuffle=False,
                    verbose=(1 if sys.stdout.isatty() else 2) if verbose == "auto" else verbose,
                )
        finally:
            if history:
                save_figures(run.model(), history, run.path, f"{recipe.name}, seed {recipe.seed}")
    return run


def fit(model, recipe, data, initial_epoch, **arguments):
    """`model.fit` from `initial_epoch` on: to batches without end, or, without a gradient, to passes over the array."""
    if without_gradient(recipe):
        examples = data.examples("train", recipe.binarization, recipe.seed).astype("float32", copy=False)
        batch_size = recipe.batch_size if recipe.minibatch else None
        model.fit(examples, batch_size=batch_size, initial_epoch=initial_epoch, **arguments)
        return
    if not initial_epoch:
        model.adapt_to(data.gray("train"))
    labels = None if model.labels is None else data.kept_labels(recipe.num_labels, recipe.label_seed)
    how = (recipe.binarization, recipe.examples_per_step, recipe.seed, initial_epoch)
    model.fit(
        training_batches(data, *how, labels, recipe.labels_per_batch),
        steps_per_epoch=steps_in_epoch(recipe, data),
        initial_epoch=initial_epoch,
        **arguments,
    )


def steps_in_epoch(recipe, data):
    return steps_per_epoch(data, recipe.examples_per_step, recipe.labels_per_batch)


def validation_batch(recipe):
    """About `VALIDATION_BATCH`, and a whole number of packs for each step of the discriminator."""
    share = recipe.discriminator_steps * recipe.pack
    return max(1, VALIDATION_BATCH // share) * share


def samples_at_first(recipe):
    """The callback of a recipe whose first epochs take fewer codes, in a list; [] of others."""
    if not recipe.samples_at_first:
        return []
    return [SamplesAtFirst(recipe.samples_at_first, recipe.epochs_at_first, recipe.num_training_samples)]


def without_gradient(recipe):
    return issubclass(zoo.MODELS[recipe.model], zoo.WithoutGradient)


def check_protocol(recipe, model, data):
    """Raise a ValueError if the model cannot learn from what the binarization, or the last batch, gives.

    Models of real numbers take binary pixels too. What is drawn anew for every epoch is no data set for k-means; PCA,
    which needs one pass, learns from one draw.
    """
    if model.values == "binary" and recipe.binarization == "none":
        raise ValueError(
            "binarization is none, which leaves pixels gray, but a Bernoulli likelihood is of binary ones; ask for "
            "dynamic, static or threshold, or for a likelihood of gray pixels (--likelihood gaussian, or --num-levels)."
        )
    if recipe.binarization == "dynamic" and without_gradient(recipe) and recipe.model not in AT_ONCE:
        raise ValueError(
            f"binarization is dynamic, which draws other pixels for every epoch, but {recipe.model} goes over the same "
            "examples again; ask for none, static or threshold."
        )
    count, share = len(data.images["train"]), recipe.discriminator_steps * recipe.pack
    if 0 < count % recipe.examples_per_step < share:
        raise ValueError(
            f"Of {count} training examples the last batch would hold {count % recipe.examples_per_step}, too few for "
            f"{recipe.discriminator_steps} steps on packs of {recipe.pack}; choose another batch_size than "
            f"{recipe.batch_size}."
        )


def check_labels(recipe, model):
    """Raise a ValueError if the recipe leaves examples without a label that the model needs, or has none to leave."""
    settings = {"num_labels": recipe.num_labels, "labels_per_batch": recipe.labels_per_batch}
    asked = next((f"{name} is {value}" for name, value in settings.items() if value), None)
    if asked and model.labels is None:
        raise ValueError(f"{asked}, but this {recipe.model} is built without labels; leave it 0.")
    if asked and not model.labels.some:
        raise ValueError(f"{asked}, but this {recipe.model} needs the label of each example; leave it 0.")


def build(recipe, event_shape, steps_per_epoch, num_classes=None):
    """The compiled model of a recipe: each setting that the model's constructor names, by that name, unless empty.

    num_classes: of the data, None if it has no labels.
    """
    constructor = zoo.MODELS[recipe.model]
    offered = {
        **recipe.settings(),
        "event_shape": event_shape,
        "warm_up_steps": recipe.warm_up_epochs * steps_per_epoch,
        "binarization": None,  # the pipeline has done it
    }
    taken = inspect.signature(constructor.__init__).parameters
    if recipe.clusters:
        offered["num_classes"] = recipe.num_clusters
    elif num_classes is not None:
        offered["num_classes"] = num_classes if recipe.takes_labels or "conditional" not in recipe.settings() else 0
    arguments = {name: value for name, value in offered.items() if name in taken and name != "name" and value != ""}
    if without_gradient(recipe):
        model = constructor(**arguments)
        model.compile()
        return model
    model = constructor(dtype=recipe.precision, **arguments)
    how = {"jit_compile": recipe.jit, "steps_per_execution": steps_per_execution(steps_per_epoch)}
    if isinstance(model, zoo.Adversarial):
        model.compile({player: adam_of(player, recipe, steps_per_epoch) for player in model.players}, **how)
    else:
        rate, settings = learning_rate(recipe.learning_rate, recipe, steps_per_epoch), recipe.settings()
        own = {name: settings[name] for name in ("beta_1", "epsilon") if name in settings}
        clip = settings.get("clip_norm") or None
        model.compile(keras.optimizers.Adam(rate, global_clipnorm=clip, **own), **how)
        model.optimizer.build(model.trainable_variables)
    return model


def adam_of(player, recipe, steps_per_epoch):
    """The Adam of one player; the discriminator's counts each of its steps."""
    own = {"discriminator": recipe.discriminator_learning_rate, "generator": recipe.generator_learning_rate}
    rate = own.get(player) or recipe.learning_rate
    steps = steps_per_epoch * (recipe.discriminator_steps if player == "discriminator" else 1)
    return keras.optimizers.Adam(learning_rate(rate, recipe, steps), recipe.beta_1, recipe.beta_2)


def learning_rate(start, recipe, steps_per_epoch):
    if recipe.stages:
        return in_stages(start, steps_per_epoch)
    return keras.optimizers.schedules.CosineDecay(start, recipe.epochs * steps_per_epoch) if recipe.decay else start


def in_stages(start, steps_per_epoch):
    """Stages i = 1 ... 8 of 3^(i - 1) epochs, at start * 10^(-(i - 1) / 7) each (Burda et al. 2015)."""
    last_steps = [(3**stage - 1) // 2 * steps_per_epoch - 1 for stage in range(1, 8)]
    return keras.optimizers.schedules.PiecewiseConstantDecay(last_steps, [start * 10 ** (-i / 7) for i in range(8)])


def steps_per_execution(steps_per_epoch):
    """The largest divisor of the steps of an epoch up to 32: small models else spend half their time between steps.

    It must divide, because Keras would run the rest of a last execution into the next epoch. The numbers are the same.
    """
    return max(steps for steps in range(1, 33) if steps_per_epoch % steps == 0)


def one_line(identity):
    """An identity in a word: mnist/train/dynamic/1a2b3c4d."""
    return f"{identity['name']}/{identity['split']}/{identity['binarization']}/{identity['sha256'][:8]}"
