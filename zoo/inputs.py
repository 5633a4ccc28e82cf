"""What `fit`, `evaluate` and `predict` accept: examples of the declared shape and range, or one clear sentence.

Arrays are checked whole, once, before training. A `tf.data.Dataset` and a `PyDataset` are checked as they stream.
"""

import contextlib
import re
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

RANGES = {
    "real": "finite numbers",
    "unit_interval": "numbers in [0, 1]",
    "binary": "0 and 1 only",
}
ROWS_AT_A_TIME = 10_000  # bounds the memory of a check by a block, not by the data
BLOCK_NUMBERS = 2**22  # in a block: 32 MiB of float64, so that the memory of a pass does not grow with the data
BLOCK_ROWS = 4096
# These mark what was refused inside a longer TensorFlow message.
REFUSED_VALUES = ("<<values: ", " :values>>")
REFUSED_SHAPE = ("<<shape: ", " :shape>>")
REFUSED_LABELS = ("<<labels: ", " :labels>>")
UNLABELLED = -1
ROUNDING_OF_LEVELS = 1e-3  # of a level's number: above what k / 255 loses in float16


class Labels(NamedTuple):
    """The labels that a model takes with its examples: 0 ... num_classes - 1, and where `some` carry none, -1."""

    num_classes: int
    some: bool = False


class Levels(NamedTuple):
    """The values of intensities: k / (num_levels - 1), k = 0 ... num_levels - 1; a range beside those of `RANGES`."""

    num_levels: int


def checked(x, event_shape, values, labels=None):
    """Return `x` with a trailing channel where it was left out, after (or while) checking shape and values.

    Args:
        x: array [N, *event_shape], or [N, height, width] where there is one channel; a batched `tf.data.Dataset` or a
            `keras.utils.PyDataset` of such arrays or of tuples that start with one.
        event_shape: shape of one example.
        values: a key of `RANGES`, or `Levels`.
        labels: the `Labels` that a stream must yield beside the examples; None if they are not looked at. Those of an
            array are checked by `checked_labels`.

    Raises:
        ValueError: naming what came, what was wanted and what to do.
    """
    if isinstance(x, tf.data.Dataset):
        return checked_dataset(x, event_shape, values, labels)
    if isinstance(x, keras.utils.PyDataset):
        return CheckedPyDataset(x, event_shape, values, labels)
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


def checked_labels(y, count, labels):
    """Return `y` as an array [count] of the `Labels` wanted.

    Raises:
        ValueError: where they are missing, of another length or type, or out of range.
    """
    if y is None:
        raise ValueError(missing_labels(labels))
    y = np.asarray(y)
    check_label_type(y.dtype.name, y.dtype.kind in "iu")
    if y.shape != (count,):
        raise ValueError(f"Labels came with shape [{text(y.shape)}] for {count} examples; [{count}] is wanted.")
    if count and not (smallest_label(labels) <= y.min() and y.max() < labels.num_classes):
        raise ValueError(label_sentence(labels, y.min(), y.max()))
    return y


def check_label_type(name, is_integer):
    if not is_integer:
        raise ValueError(f'Labels came as {name}; whole numbers are wanted: cast them with .astype("int64").')


def missing_labels(labels):
    return f"Labels are missing; {label_range(labels)} is wanted for each example: pass them as fit(x, y)."


def label_sentence(labels, low, high):
    return f"Labels are in [{low}, {high}]; {label_range(labels)} is wanted for each example."


def label_range(labels):
    unlabelled = f", or {UNLABELLED} where there is none," if labels.some else ""
    return f"a number from 0 to {labels.num_classes - 1}{unlabelled}"


def smallest_label(labels):
    return UNLABELLED if labels.some else 0


def in_range(x, values, numpy):
    """Elementwise, whether `x` is in the range called `values`; `numpy` is the namespace of its kind of array."""
    if isinstance(values, Levels):
        steps = x * (values.num_levels - 1)
        return (x >= 0) & (x <= 1) & (numpy.abs(steps - numpy.floor(steps + 0.5)) <= ROUNDING_OF_LEVELS)
    if values == "binary":
        return (x == 0) | (x == 1)
    if values == "unit_interval":
        return (x >= 0) & (x <= 1)
    return numpy.isfinite(x)


def checked_dataset(dataset, event_shape, values, labels=None):
    spec = dataset.element_spec
    first = spec[0] if isinstance(spec, tuple) else spec
    if not isinstance(first, tf.TensorSpec):
        raise ValueError(f"The dataset yields {type(first).__name__}; it must yield image batches, or tuples of them.")
    check_type(first.dtype.name, first.dtype.is_floating)
    if first.shape.rank is not None:
        check_shape(tuple(first.shape), event_shape)
    if labels:
        if not isinstance(spec, tuple) or len(spec) < 2:
            raise ValueError(missing_labels(labels))
        check_label_type(spec[1].dtype.name, spec[1].dtype.is_integer)

    def check(*element):
        images = element[0]
        low, high = tf.reduce_min(images), tf.reduce_max(images)
        good = tf.reduce_all(in_range(images, values, tf.experimental.numpy))
        right = tf.reduce_any([has_shape(images, shape) for shape in accepted_shapes(event_shape)])
        refusals = [
            tf.debugging.Assert(right, [REFUSED_SHAPE[0], tf.shape(images), REFUSED_SHAPE[1]], summarize=10),
            tf.debugging.Assert(good, [REFUSED_VALUES[0], low, high, REFUSED_VALUES[1]]),
        ]
        if labels:
            smallest, largest = tf.reduce_min(element[1]), tf.reduce_max(element[1])
            known = (smallest >= smallest_label(labels)) & (largest < labels.num_classes)
            refusals.append(tf.debugging.Assert(known, [REFUSED_LABELS[0], smallest, largest, REFUSED_LABELS[1]]))
        with tf.control_dependencies(refusals):
            images = tf.reshape(images, (-1, *event_shape))
        return (images, *element[1:]) if isinstance(spec, tuple) else images

    return dataset.map(check, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def has_shape(images, event_shape):
    """bool scalar: whether `images` is a batch of `event_shape`, where only its run shows the size of an axis."""
    return tf.reduce_all(
        tf.raw_ops.Equal(x=tf.shape(images)[1:], y=tf.constant(event_shape, tf.int32), incompatible_shape_error=False)
    )


class CheckedPyDataset(keras.utils.PyDataset):
    """A PyDataset whose batches pass through `checked_array` and `checked_labels`."""

    def __init__(self, dataset, event_shape, values, labels=None):
        super().__init__(dataset.workers, dataset.use_multiprocessing, dataset.max_queue_size)
        self.dataset, self.event_shape, self.values, self.labels = dataset, event_shape, values, labels

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        batch = self.dataset[index]
        if not isinstance(batch, tuple):
            batch = (batch,)
        x = checked_array(batch[0], self.event_shape, self.values)
        if self.labels:
            y = checked_labels(batch[1] if len(batch) > 1 else None, len(x), self.labels)
            return (x, y, *batch[2:])
        return (x, *batch[1:]) if len(batch) > 1 else x

    def on_epoch_begin(self):
        self.dataset.on_epoch_begin()

    def on_epoch_end(self):
        self.dataset.on_epoch_end()


@contextlib.contextmanager
def refusals_as_value_errors(event_shape, values, labels=None):
    """Turn a refusal inside a `tf.data` pipeline or a `PyDataset` into the ValueError that an array raises."""
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        raised_in_python = re.search(r"ValueError: (Examples .*|Labels .*|There are 0 examples.*)", str(error))
        if raised_in_python:  # by a PyDataset, whose batches TensorFlow asks for
            raise ValueError(raised_in_python[1]) from None
        marks = (REFUSED_VALUES, REFUSED_SHAPE, REFUSED_LABELS)
        low_and_high, shape, label = (numbers_between(each, str(error)) for each in marks)
        if not low_and_high and not shape and not label:
            raise
        if label:
            raise ValueError(label_sentence(labels, *label)) from None
        if low_and_high:
            raise ValueError(value_sentence(values, *map(float, low_and_high))) from None
        raise ValueError(shape_sentence(tuple(map(int, shape)), event_shape)) from None


def numbers_between(marks, message):
    """The numbers between the two marks in `message`, as text; [] if they are not there."""
    if marks[0] not in message:
        return []
    return re.findall(r"[\w.+-]+", message.split(marks[0], 1)[1].split(marks[1], 1)[0])


def accepted_shapes(event_shape):
    """One channel may be left out."""
    return [event_shape, event_shape[:-1]] if len(event_shape) > 1 and event_shape[-1] == 1 else [event_shape]


def check_shape(shape, event_shape):
    """Raise unless `shape`, with its batch axis first, is a batch of events; an unknown size is taken."""
    for accepted in accepted_shapes(event_shape):
        pairs = zip(shape[1:], accepted, strict=False)
        if len(shape) == 1 + len(accepted) and all(came in (None, wanted) for came, wanted in pairs):
            return
    raise ValueError(shape_sentence(shape, event_shape))


def shape_sentence(shape, event_shape):
    accepted = accepted_shapes(event_shape)
    hint = " The batch axis is missing: call .batch(n) first." if tuple(shape) in accepted else ""
    wanted = " or ".join(f"[N, {text(each)}]" for each in accepted)
    return f"Examples came with shape [{text(shape)}]; {wanted} is wanted.{hint}"


def check_type(name, is_floating):
    if not is_floating:
        raise ValueError(
            f"Examples came as {name}; floating-point values are wanted: divide pixels 0..255 by 255.0, or cast "
            'values that are 0 and 1 already with .astype("float32").'
        )


def value_sentence(values, low, high):
    if isinstance(values, Levels):
        last = values.num_levels - 1
        return (
            f"Examples must hold the {values.num_levels} levels 0, 1/{last}, ..., 1 only, but some in [{low:.6g}, "
            f"{high:.6g}] lie between or outside; round them first, x = np.round(x * {last}) / {last} of x in [0, 1], "
            "remove NaN, or build the model with the num_levels of the data."
        )
    advice = {
        "real": "Remove NaN and infinity.",
        "unit_interval": "Scale the pixels, for example x / 255.0, and remove NaN.",
        "binary": "Binarize the images first, or build the model with a binarization.",
    }[values]
    return f"Examples must hold {RANGES[values]}, but some hold values in [{low:.6g}, {high:.6g}]. {advice}"


def text(shape):
    return ", ".join("N" if size is None else str(size) for size in shape)


# Reading checked examples outside of Keras' loop.


def batches(x):
    """The batches of examples in a checked stream, without labels and weights, as NumPy arrays, in their order."""
    elements = x.as_numpy_iterator() if isinstance(x, tf.data.Dataset) else (x[index] for index in range(len(x)))
    yield from (np.asarray(each[0] if isinstance(each, tuple) else each) for each in elements)


def blocks(x):
    """The examples in checked `x` as arrays [rows, features], the last one with the rest.

    The same blocks for an array and for a stream of it, whatever the size of its batches.
    """
    if isinstance(x, np.ndarray):
        x = x.reshape(len(x), -1)
        rows = block_rows(x.shape[1])
        yield from (x[start : start + rows] for start in range(0, len(x), rows))
        return
    check_ends(x)
    waiting, count = [], 0
    for batch in batches(x):
        batch = batch.reshape(len(batch), -1)
        rows = block_rows(batch.shape[1])
        waiting, count = [*waiting, batch], count + len(batch)
        if count >= rows:
            together = np.concatenate(waiting)
            whole = count - count % rows
            yield from (together[start : start + rows] for start in range(0, whole, rows))
            waiting, count = [together[whole:]], count - whole
    if count:
        yield np.concatenate(waiting)


def check_ends(x):
    if isinstance(x, tf.data.Dataset) and x.cardinality() == tf.data.INFINITE_CARDINALITY:
        raise ValueError("The dataset never ends, and all of it is wanted: end it, for example with .take(n).")


def block_rows(features):
    return max(1, min(BLOCK_ROWS, BLOCK_NUMBERS // features))
