"""The contract that every model of the zoo keeps, whatever its family.

    model.compile(...); model.fit(images); model.evaluate(images)     Keras' own loop; images are checked on the way in
    model.sample(num_samples, seed)                                   a pure function of its arguments
    model.save("model.keras"); zoo.load("model.keras")                with optimizer state and random state
    model.endpoints()                                                 what leaves this repository

`Endpoint`, `Input` and `Output` describe what leaves; `Generative` is the base class, `WithoutGradient` that of the
models which follow no gradient, `Adversarial` that of those whose parts are trained against each other.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from zoo.distributions import stateless_seed
from zoo.inputs import checked, checked_labels, refusals_as_value_errors
from zoo.networks import end_of

EVALUATION = 2**40  # evaluation draws from counts that no training reaches
SAMPLES_AT_A_TIME = 1000
KERAS_BATCH_SIZE = 32  # where none is given


@dataclass(frozen=True)
class Input:
    """One input of an endpoint.

    shape: a tuple whose first entry is "batch"; another string names another dynamic axis, an int is a fixed size.
    values: what it holds: float32 "standard_normal" (noise and codes), "binary" or "unit_interval" (images), "uniform"
        (noise in [0, 1)) or "real" (any finite numbers); int64 "label", 0 ... num_classes - 1.
    num_classes: of labels.
    """

    shape: tuple
    values: str
    num_classes: int | None = None

    @property
    def dtype(self):
        return "int64" if self.values == "label" else "float32"


@dataclass(frozen=True)
class Output:
    """One output of an endpoint.

    shape: as in `Input`.
    dtype: "float32" or "int64"; "uint8" of images of 8 bits.
    smallest_of: of an int64 output, the name of a float32 output with one more axis, along which this one is the index
        of the smallest entry. Where two entries are equal to rounding, either index is right in every runtime.
    """

    shape: tuple
    dtype: str = "float32"
    smallest_of: str | None = None


@dataclass(frozen=True)
class Endpoint:
    """One function of a model that leaves the repository, by name: this is a file format.

    function: takes tensors by the names in `inputs`, returns a dict with the keys of `outputs`. It draws
        nothing: noise is an input, so that Keras, SavedModel and ONNX give the same output for the same noise.
    inputs: name -> `Input`.
    outputs: name -> `Output`.
    summary: one line for the artifact's card.
    """

    function: Callable
    inputs: dict
    outputs: dict
    summary: str


def never_empty(function):
    """`function` of an endpoint, to whose networks no batch is empty.

    One example of zeros goes through in the place of an empty batch and is cut off again; others pass as they are.
    """

    def padded(**tensors):
        batch = tf.shape(next(iter(tensors.values())))[0]
        fillers, inputs = tf.cast(tf.equal(batch, 0), tf.int32), {}
        for name, tensor in tensors.items():
            inputs[name] = tf.pad(tensor, [[0, fillers], *[[0, 0]] * (tensor.shape.rank - 1)])
            inputs[name].set_shape([None, *tensor.shape[1:]])
        return {name: output[:batch] for name, output in function(**inputs).items()}

    return padded


class Generative(keras.Model):
    """A generative model of examples of `event_shape`.

    A subclass builds its networks in its constructor, writes `get_config`, `sample` and `endpoints`, and trains by
    `compute_loss` (one objective) or `train_step` (several).

    Args:
        event_shape: shape of one example: (height, width, channels), or (features,).
        seed: of all noise drawn in training and evaluation; draw n of a model is a function of (seed, n, replica), and
            n is saved with the weights, so that an interrupted training continues with the noise it would have drawn.
    """

    values = "unit_interval"  # what an example holds, a key of zoo.inputs.RANGES
    precision = "float32"  # of the arrays that Keras' loop hands on
    labels = (
        None  # the zoo.inputs.Labels that `fit` and `evaluate` take with the examples; None: they are not looked at
    )

    def __init__(self, event_shape, seed=0, **kwargs):
        super().__init__(**kwargs)
        self.event_shape = shape_of_events(event_shape)
        self.seed = at_least("seed", seed, 0)
        self.autocast = False  # images keep their precision; each network casts its own input
        self.draws = self.add_weight(
            shape=(),
            dtype="int64",
            initializer="zeros",
            trainable=False,
            name="draws",
            aggregation="only_first_replica",
        )

    # Keras' own loop, with the examples checked.

    def fit(self, x=None, y=None, *args, callbacks=None, validation_split=0.0, validation_data=None, **kwargs):
        """`keras.Model.fit`; `x` as in `zoo.inputs.checked`; `y`: the labels [N] of an array, if the model has any.

        `validation_data` may be images alone where there are no labels.
        """
        x, y = self.checked_pair(x, y)
        if isinstance(validation_data, tuple):
            validation_data = (*self.checked_pair(*validation_data[:2]), *validation_data[2:])
        elif validation_data is not None:
            validation_data = self.checked_pair(validation_data, None)[0]
        trained_on = x[: int(len(x) * (1.0 - validation_split))] if validation_split else x  # as Keras splits it
        with self.refusals(), self.input_precision():
            self.adapt_to(trained_on)
            return super().fit(
                self.feed(x, kwargs.get("batch_size")),
                y,
                *args,
                callbacks=with_callbacks(self.own_callbacks(trained_on), callbacks),
                validation_split=validation_split,
                validation_data=validation_data,
                **kwargs,
            )

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """`keras.Model.evaluate`: the model's objective. The same noise each time: a function of weights and data."""
        self.check_ready()
        x, y = self.checked_pair(x, y)
        with self.refusals(), self.input_precision(), self.repeatable_draws():
            return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """`keras.Model.predict`: the outputs of `call`, as NumPy arrays. The same noise each time."""
        self.check_ready()
        x = self.checked(x)
        with self.refusals(), self.input_precision(), self.repeatable_draws():
            return super().predict(x, *args, **kwargs)

    def checked_pair(self, x, y):
        """Examples and their labels, checked; labels that the model does not look at are handed on as they came."""
        if self.labels is None:
            return self.checked(x), y
        x = checked(x, self.event_shape, self.values, self.labels)
        return x, checked_labels(y, len(x), self.labels) if isinstance(x, np.ndarray) else y

    def checked(self, x):
        return checked(x, self.event_shape, self.values)

    def refusals(self):
        return refusals_as_value_errors(self.event_shape, self.values, self.labels)

    def adapt(self, x):
        """Take from the examples what the model starts from, or all that it learns; `fit` does it too, with its `x`."""
        x = self.checked(x)
        with self.refusals():
            self.adapt_to(x)

    def adapt_to(self, x):
        """`adapt` to checked examples; nothing unless overridden."""

    def feed(self, x, batch_size):
        """What Keras' loop goes through in place of checked `x`: `x` itself, unless overridden."""
        return x

    def own_callbacks(self, x):
        """Callbacks that every `fit` to checked examples needs, before those of the user; none unless overridden."""
        return []

    def check_ready(self):
        """Raise a ValueError if the model cannot be used before it has seen data; nothing unless overridden."""

    @contextlib.contextmanager
    def input_precision(self):
        """Within, Keras casts arrays to `precision` and not to its `floatx`."""
        floatx = keras.config.floatx()
        keras.config.set_floatx(self.precision)
        try:
            yield
        finally:
            keras.config.set_floatx(floatx)

    # Randomness.

    def draw_seed(self):
        """int32[2], another one at each call: the seed of one draw in training or evaluation."""
        count = tf.convert_to_tensor(self.draws.value)
        self.draws.assign_add(1)
        context = tf.distribute.get_replica_context()
        replica = context.replica_id_in_sync_group if context is not None else 0
        return stateless_seed(self.seed, count, replica)

    @contextlib.contextmanager
    def repeatable_draws(self):
        """Within, draws start from a fixed count; afterwards training goes on as if nothing had been drawn."""
        count = int(self.draws.numpy())
        self.draws.assign(EVALUATION)
        try:
            yield
        finally:
            self.draws.assign(count)

    # Helpers for subclasses.

    def mean_over_batch(self, loss, sample_weight=None):
        """Mean of the per-example `loss`; divided by the replicas, whose gradients TensorFlow sums."""
        if sample_weight is not None:
            loss = loss * tf.cast(sample_weight, loss.dtype)
        # A replica for which the last batch has left nothing has no mean; Keras weighs it by its 0 examples.
        mean = tf.math.multiply_no_nan(tf.reduce_mean(loss), tf.cast(tf.size(loss) > 0, loss.dtype))
        return mean / tf.distribute.get_strategy().num_replicas_in_sync

    def in_batches(self, function, *arrays):
        """`function` over `arrays`, a thousand rows at a time, as one NumPy array: the memory stays flat."""
        parts = [
            np.asarray(function(*(array[start : start + SAMPLES_AT_A_TIME] for array in arrays)))
            for start in range(0, len(arrays[0]), SAMPLES_AT_A_TIME)
        ]
        return np.concatenate(parts)

    def get_config(self):
        return {**super().get_config(), "event_shape": self.event_shape, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def sample(self, num_samples, seed=0, labels=None):
        """`num_samples` examples, float32 [num_samples, *event_shape]: a pure function of its arguments.

        labels: of a model that draws a class asked for; refused by the others.
        """
        raise NotImplementedError

    def refuse_labels(self, labels):
        """Raise a ValueError for labels asked of a model that draws without them."""
        if labels is not None:
            raise ValueError(f"labels came, but this {type(self).__name__} draws without any: leave them out.")

    def endpoints(self):
        """name -> `Endpoint`. The first one becomes the SavedModel's `serving_default`."""
        raise NotImplementedError


class Conditional(Generative):
    """A model that cannot do without labels: `call` takes the pair (x, labels), and `predict` takes them as well."""

    def predict(self, x, y=None, batch_size=None, **kwargs):
        """`keras.Model.predict` of examples `x` and their labels `y`, or of a stream of pairs."""
        x, y = self.checked_pair(x, y)
        with self.refusals(), self.input_precision(), self.repeatable_draws():
            if isinstance(x, np.ndarray):
                x, batch_size = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size or KERAS_BATCH_SIZE), None
            return keras.Model.predict(self, x, batch_size=batch_size, **kwargs)

    def train_step(self, data):
        return super().train_step(with_labels(data))

    def test_step(self, data):
        return super().test_step(with_labels(data))

    def predict_step(self, data):
        return super().predict_step(with_labels(data))


def with_labels(data):
    """A batch (x, y, sample_weight) as Keras hands it to `call`: its examples are the pairs (x, y)."""
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    return keras.utils.pack_x_y_sample_weight((x, y), y, sample_weight)


PLAIN_COMPILE_ARGUMENTS = ("jit_compile", "run_eagerly", "steps_per_execution")  # as JSON, beside the optimizers


class WithoutGradient(Generative):
    """A model that learns without an optimizer: from `adapt`, or from a `train_step` that accumulates."""

    def compile(self, optimizer=None, jit_compile="auto", **kwargs):
        """`keras.Model.compile` without an optimizer; one that is given is refused."""
        if optimizer is not None:
            raise ValueError(
                f"{type(self).__name__} follows no gradient, so it takes no optimizer: call compile() without one."
            )
        self.compile_config = {"jit_compile": jit_compile, **kwargs}
        super().compile(optimizer=None, jit_compile=jit_compile, **kwargs)

    def get_compile_config(self):
        return {name: value for name, value in self.compile_config.items() if name in PLAIN_COMPILE_ARGUMENTS}

    def compile_from_config(self, config):
        self.compile(**config)


class Adversarial(Generative):
    """A model of several players, each with its own variables, loss and optimizer.

        model.compile({"generator": "adam", "discriminator": keras.optimizers.Adam(1e-4, beta_1=0.5)})

    A subclass names its `players`, says in `trained_by` what each one trains, and writes a `train_step` of calls to
    `minimize` and a `test_step`. The progress bar shows, beside its metrics, the norm of each player's gradient: where
    it vanishes nothing is learned, and where it is not finite the losses soon follow.

    Keras' callbacks that set one learning rate (`LearningRateScheduler`, `ReduceLROnPlateau`) cannot serve several
    optimizers; hand each a `keras.optimizers.schedules.LearningRateSchedule` instead.
    """

    players = ()

    def __init__(self, event_shape, seed=0, **kwargs):
        super().__init__(event_shape=event_shape, seed=seed, **kwargs)
        self.optimizers = {}
        self.gradient_norms = {player: keras.metrics.Mean(name=f"{player}_gradient") for player in self.players}

    @property
    def values(self):
        return "unit_interval" if self.end == "images" else "real"

    @property
    def end(self):
        """What a generator gives and a discriminator of examples takes: "images" or "points"."""
        return end_of(self.event_shape)

    def compile(self, optimizer=None, jit_compile="auto", **kwargs):
        """`keras.Model.compile` with an optimizer for each player.

        Args:
            optimizer: player -> a Keras optimizer, its name or its config. Under mixed_float16 each is wrapped in a
                `LossScaleOptimizer`.
            jit_compile, kwargs: of `keras.Model.compile`.

        Raises:
            ValueError: for a player without an optimizer, one that there is not, or one optimizer for two.
        """
        self.check_optimizers(optimizer)
        self.compile_config = {"jit_compile": jit_compile, **kwargs}
        super().compile(optimizer=None, jit_compile=jit_compile, **kwargs)
        self.optimizers = {player: self.prepared(player, optimizer[player]) for player in self.players}

    def check_optimizers(self, optimizer):
        wanted = "{" + ", ".join(f'"{player}": "adam"' for player in self.players) + "}"
        if not isinstance(optimizer, dict):
            raise ValueError(f"optimizer is {optimizer!r}; an optimizer for each player is wanted, such as {wanted}.")
        unknown = [player for player in optimizer if player not in self.players]
        missing = [player for player in self.players if optimizer.get(player) is None]
        if unknown:
            raise ValueError(f"There is no player {unknown[0]!r} to optimize; compile with {wanted}.")
        if missing:
            raise ValueError(f"There is no optimizer for {' and '.join(missing)}; compile with {wanted}.")
        instances = [each for each in optimizer.values() if isinstance(each, keras.optimizers.Optimizer)]
        if len({id(each) for each in instances}) < len(instances):
            raise ValueError("Two players share one optimizer object; give each player an optimizer of its own.")

    def prepared(self, player, optimizer):
        """The optimizer built on the player's variables, so that a file can restore its state."""
        optimizer = keras.optimizers.get(optimizer)
        scaled = isinstance(optimizer, keras.optimizers.LossScaleOptimizer)
        if self.dtype_policy.name == "mixed_float16" and not scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(self.trained_by(player))
        return optimizer

    def get_compile_config(self):
        if not self.compiled:
            return {}
        plain = {name: value for name, value in self.compile_config.items() if name in PLAIN_COMPILE_ARGUMENTS}
        optimizers = {
            player: keras.saving.serialize_keras_object(optimizer) for player, optimizer in self.optimizers.items()
        }
        return {"optimizer": optimizers, **plain}

    def compile_from_config(self, config):
        optimizers = {
            player: keras.saving.deserialize_keras_object(optimizer)
            for player, optimizer in config["optimizer"].items()
        }
        self.compile(**{**config, "optimizer": optimizers})

    @property
    def metrics(self):
        return [metric for metric in super().metrics if metric.name != "loss"]  # Keras' own: there is no one loss

    def trained_by(self, player):
        """The variables that `player` trains: those of the network of that name, unless overridden."""
        return getattr(self, player).trainable_variables

    def minimize(self, player, loss_fn):
        """One step of the player's optimizer down `loss_fn()`; no variable of another player moves.

        Args:
            player: one of `players`.
            loss_fn: returns a scalar such as `mean_over_batch` gives: divided by the replicas.
        """
        optimizer, variables = self.optimizers[player], self.trained_by(player)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([variable.value for variable in variables])
            loss = optimizer.scale_loss(loss_fn())
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        # Of the mean over this replica's examples: `loss_fn` has divided it by the replicas.
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        norm = replicas * tf.linalg.global_norm(gradients) / optimizer.scale_loss(1.0)
        if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):  # it skips a step whose gradient overflows
            taken = tf.math.is_finite(norm)
            self.gradient_norms[player].update_state(tf.where(taken, norm, 0.0), sample_weight=taken)
        else:
            self.gradient_norms[player].update_state(norm)
        optimizer.apply(gradients, variables)

    def assign(self, variables, values):
        """Set variables that no optimizer moves, within a training step: on each replica, to the same values."""
        if tf.distribute.get_strategy().num_replicas_in_sync == 1:
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
            return

        def update(strategy, values):
            for variable, value in zip(variables, values, strict=True):
                strategy.extended.update(variable.value, lambda copy, new: copy.assign(new), args=(value,))

        tf.distribute.get_replica_context().merge_call(update, args=(values,))


def with_callbacks(own, callbacks):
    """The model's own callbacks and then those of the user, which may be one, a list, or Keras' `CallbackList`."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        callbacks = callbacks.callbacks
    return [*own, *(callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else [])]


def shape_of_events(event_shape):
    shape = sizes("event_shape", event_shape)
    if len(shape) not in (1, 3):
        raise ValueError(f"event_shape is {event_shape}; (height, width, channels) or (features,) is wanted.")
    return shape


def sizes(name, numbers):
    """`numbers` as a tuple of whole numbers >= 1, else a ValueError that names the argument."""
    if not isinstance(numbers, (tuple, list)):
        raise ValueError(f"{name} is {numbers!r}; a tuple of whole numbers is wanted.")
    return tuple(at_least(f"each entry of {name}", number, 1) for number in numbers)


def at_least(name, number, smallest):
    """`number` if it is a whole number >= `smallest`, else a ValueError that names the argument."""
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < smallest:
        raise ValueError(f"{name} is {number!r}; a whole number >= {smallest} is wanted.")
    return int(number)
