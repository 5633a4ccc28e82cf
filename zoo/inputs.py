"""What `fit`, `evaluate` and `predict` accept: examples of the declared shape and range, or one clear sentence.

Arrays are checked whole, once, before training. A `tf.data.Dataset` and a `PyDataset` are checked as they stream.
"""

import contextlib
import re

import keras
import numpy as np
import tensorflow as tf

RANGES = {
    "real": "finite numbers",
    "unit_interval": "numbers in [0, 1]",
    "binary": "0 and 1 only",
}
ROWS_AT_A_TIME = 10_000  # bounds the memory of a check by a block, not by the data
REFUSED = ("<<refused: ", " :refused>>")  # mark our sentence inside a longer TensorFlow message


def checked(x, event_shape, values):
    """Return `x` with a trailing channel where it was left out, after (or while) checking shape and values.

    Args:
        x: array [N, *event_shape], or [N, height, width] where there is one channel; a batched `tf.data.Dataset` or a
            `keras.utils.PyDataset` of such arrays or of tuples that start with one.
        event_shape: shape of one example.
        values: a key of `RANGES`.

    Raises:
        ValueError: naming what came, what was wanted and what to do.
    """
    if isinstance(x, tf.data.Dataset):
        return checked_dataset(x, event_shape, values)
    if isinstance(x, keras.utils.PyDataset):
        return CheckedPyDataset(x, event_shape, values)
    if isinstance(x, (list, tuple, dict, str)) or not hasattr(x, "__array__"):
        raise ValueError(
            f"Examples came as {type(x).__name__}; pass an array [N, {text(event_shape)}], a batched tf.data.Dataset "
            "or a keras.utils.PyDataset."
        )
    return checked_array(x, event_shape, values)


def checked_array(x, event_shape, values):
    x = np.asarray(x)
    check_type(x.dtype.name, x.dtype.kind == "f")
    check_shape(x.shape, event_shape)
    if len(x) == 0:
        raise ValueError("There are 0 examples; at least 1 is needed.")
    for start in range(0, len(x), ROWS_AT_A_TIME):
        block = x[start : start + ROWS_AT_A_TIME]
        if not np.all(in_range(block, values, np)):
            raise ValueError(value_sentence(values, block.min(), block.max()))
    return x.reshape(len(x), *event_shape)


def in_range(x, values, numpy):
    """Elementwise, whether `x` is in the range called `values`; `numpy` is the namespace of its kind of array."""
    if values == "binary":
        return (x == 0) | (x == 1)
    if values == "unit_interval":
        return (x >= 0) & (x <= 1)
    return numpy.isfinite(x)


def checked_dataset(dataset, event_shape, values):
    spec = dataset.element_spec
    first = spec[0] if isinstance(spec, tuple) else spec
    if not isinstance(first, tf.TensorSpec):
        raise ValueError(f"The dataset yields {type(first).__name__}; it must yield image batches, or tuples of them.")
    check_type(first.dtype.name, first.dtype.is_floating)
    if first.shape.rank is not None:
        check_shape(tuple(first.shape), event_shape)

    def check(*element):
        images = element[0]
        low, high = tf.reduce_min(images), tf.reduce_max(images)
        good = tf.reduce_all(in_range(images, values, tf.experimental.numpy))
        tf.debugging.Assert(good, [REFUSED[0], low, high, REFUSED[1]])
        images = tf.reshape(images, (-1, *event_shape))
        return (images, *element[1:]) if isinstance(spec, tuple) else images

    return dataset.map(check, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


class CheckedPyDataset(keras.utils.PyDataset):
    """A PyDataset whose batches pass through `checked_array`."""

    def __init__(self, dataset, event_shape, values):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self.dataset, self.event_shape, self.values = dataset, event_shape, values

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        batch = self.dataset[index]
        if isinstance(batch, tuple):
            return (checked_array(batch[0], self.event_shape, self.values), *batch[1:])
        return checked_array(batch, self.event_shape, self.values)

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


@contextlib.contextmanager
def refusals_as_value_errors(values):
    """Turn a refusal inside a `tf.data` pipeline into the ValueError that an array would have raised."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        message = str(error)
        if REFUSED[0] not in message:
            raise
        low, high = re.findall(r"[\w.+-]+", message.split(REFUSED[0], 1)[1].split(REFUSED[1], 1)[0])
        raise ValueError(value_sentence(values, float(low), float(high))) from None


def check_shape(shape, event_shape):
    """Raise unless `shape`, with its batch axis first, is a batch of events; one channel may be left out."""
    accepted = [event_shape, event_shape[:-1]] if len(event_shape) > 1 and event_shape[-1] == 1 else [event_shape]
    for accepted_shape in accepted:
        pairs = zip(shape[1:], accepted_shape, strict=False)
        if len(shape) == 1 + len(accepted_shape) and all(came in (None, wanted) for came, wanted in pairs):
            return
    hint = " The batch axis is missing: call .batch(n) first." if tuple(shape) in accepted else ""
    wanted = " or ".join(f"[N, {text(accepted_shape)}]" for accepted_shape in accepted)
    raise ValueError(f"Examples came with shape [{text(shape)}]; {wanted} is wanted.{hint}")


def check_type(name, is_floating):
    if not is_floating:
        raise ValueError(
            f"Examples came as {name}; floating-point values are wanted: divide pixels 0..255 by 255.0, or cast "
            'values that are 0 and 1 already with .astype("float32").'
        )


def value_sentence(values, low, high):
    advice = {
        "real": "Remove NaN and infinity.",
        "unit_interval": "Scale the pixels, for example x / 255.0, and remove NaN.",
        "binary": "Binarize the images first, or build the model with a binarization.",
    }[values]
    return f"Examples must hold {RANGES[values]}, but some hold values in [{low:.6g}, {high:.6g}]. {advice}"


def text(shape):
    return ", ".join("N" if size is None else str(size) for size in shape)
