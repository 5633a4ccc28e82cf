"""Data sets, and the protocols that make gray pixels binary: a protocol is part of a data set's identity.

    none        gray values in [0, 1] as they are, for models of real numbers; the only one for points
    static      drawn once, for every split (or binary in the files themselves, as the fixed binarized MNIST)
    dynamic     the training split is drawn anew for every epoch, validation and test once
    threshold   gray >= 0.5

A draw depends on (seed, epoch, index of the example) and the order of the batches on (seed, epoch), so a resumed run
sees what the uninterrupted one would have seen, whatever the size of its batches.

Training may keep a few of the labels, as many of each class; which ones depends on a seed of its own alone. Every other
training example then has the label -1.
"""

import difflib
import hashlib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from zoo.inputs import UNLABELLED

BINARIZATIONS = ("none", "dynamic", "static", "threshold")
SPLITS = ("train", "validation", "test")
NAMES = ("digits", "mnist", "fashion_mnist", "binarized_mnist", "ring", "grid", "unit_grid")
FIXED_SEED = 0  # of every draw that is made once: results of runs with other seeds stay comparable
BLOCK = 1000  # examples that share one generator: bounds the memory of a draw
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Data:
    """Three splits of images, or of points, and, where there are any, labels.

    images: split -> [N, height, width, channels]; gray value = images / levels, in [0, 1]. Or split -> points
        float32 [N, features], any real numbers, with levels = 1.
    labels: split -> [N], or empty.
    """

    name: str
    images: dict
    labels: dict
    levels: int

    @property
    def event_shape(self):
        return self.images["train"].shape[1:]

    @property
    def num_classes(self):
        """Labels are 0 ... num_classes - 1; None where there are none."""
        return 1 + int(max(labels.max() for labels in self.labels.values())) if self.labels else None

    def labels_of(self, split):
        """int64 [N]."""
        if not self.labels:
            raise ValueError(f"{self.name} has no labels; choose data that have some, such as digits or mnist.")
        return self.labels[split].astype("int64")

    def kept_labels(self, num_labels, label_seed):
        """The training labels, int64 [N], with -1 in place of all but `num_labels`, as many of each class; 0: all.

        A function of (num_labels, label_seed) in which the fewer are among the more.

        Raises:
            ValueError: where there are not so many, or classes cannot have equal shares of them.
        """
        labels, num_classes = self.labels_of("train"), self.num_classes
        if not num_labels:
            return labels
        each, rest = divmod(num_labels, num_classes)
        if rest:
            raise ValueError(
                f"num_labels is {num_labels}, of which {num_classes} classes cannot have equal shares; ask for a "
                f"multiple of {num_classes}, or for 0, which keeps all."
            )
        counts = np.bincount(labels, minlength=num_classes)
        if each > counts.min():
            raise ValueError(
                f"num_labels is {num_labels}, {each} of each class, but class {counts.argmin()} has {counts.min()} of "
                f"the {len(labels)} labels; ask for fewer, or for 0, which keeps all."
            )
        order = generator("labels", label_seed).permutation(len(labels))
        kept = np.full_like(labels, UNLABELLED)
        for label in range(num_classes):
            kept[order[labels[order] == label][:each]] = label
        return kept

    @property
    def is_binary(self):
        """Whether the pixels are 0 and 1 in the files themselves, with nothing left to draw."""
        return self.levels == 1 and self.images["train"].dtype == np.uint8

    @property
    def is_points(self):
        """Whether the examples are points, which have no pixels to make binary."""
        return len(self.event_shape) == 1

    def gray(self, split):
        """float32 images in [0, 1], or points as they are."""
        return gray(self.images[split], self.levels)

    def examples(self, split, binarization, seed=FIXED_SEED, epoch=0):
        """Images by the protocol, in the order of the split: uint8 0 and 1, or float32 in [0, 1] with "none"."""
        self.check_binarization(binarization)
        return binarize(self.images[split], self.levels, binarization, seed, epoch)

    def check_binarization(self, binarization):
        if self.is_points and binarization != "none":
            raise ValueError(f"{self.name} are points; binarization is {binarization!r}, none is wanted.")

    def identity(self, split, binarization):
        """What must be equal for two results to be comparable: a dict for recipe.json and results/."""
        self.check_binarization(binarization)
        if self.is_binary and binarization != "static":
            raise ValueError(f"{self.name} is binary already; binarization is {binarization!r}, static is wanted.")
        drawn_once = binarization == "static" or (binarization == "dynamic" and split != "train")
        return {
            "name": self.name,
            "split": split,
            "num_examples": len(self.images[split]),
            "binarization": binarization,
            "binarization_seed": FIXED_SEED if drawn_once and not self.is_binary else None,
            "sha256": sha256_of(self.images[split]),
        }

    def identity_of_labels(self, num_labels, label_seed):
        """Which of the training labels are kept, besides `identity`."""
        kept = self.kept_labels(num_labels, label_seed)
        return {"count": int(np.sum(kept != UNLABELLED)), "sha256": sha256_of(kept)}


def sha256_of(images):
    """Of shape, type and bytes."""
    header = f"{images.dtype.name} {images.shape} ".encode()
    return hashlib.sha256(header + np.ascontiguousarray(images).tobytes()).hexdigest()


# Binarization and batches.


def gray(images, levels):
    return images.astype("float32") / np.float32(levels)


def binarize(images, levels, binarization, seed, epoch, purpose="binarization"):
    """uint8 0 and 1, or with "none" the gray values. Example i depends on (purpose, seed, epoch, i) alone."""
    if binarization == "none":
        return gray(images, levels)
    if binarization == "threshold":
        return (2 * images.astype("float32") >= levels).astype("uint8")
    if binarization == "static":
        seed, epoch = FIXED_SEED, 0
    binary = np.empty(images.shape, "uint8")
    for block, start in enumerate(range(0, len(images), BLOCK)):
        probabilities = gray(images[start : start + BLOCK], levels)
        uniform = generator(purpose, seed, epoch, block).random(probabilities.shape, dtype="float32")
        binary[start : start + BLOCK] = uniform < probabilities
    return binary


def generator(purpose, *key):
    """A NumPy generator that is a function of the purpose and the key."""
    return np.random.default_rng([zlib.crc32(purpose.encode()), *key])


def epoch_of_images(images, levels, binarization, seed, epoch):
    """One epoch's images in one epoch's order: [N, height, width, channels], of the type that `binarize` gives."""
    return binarize(images, levels, binarization, seed, epoch)[order_of(len(images), seed, epoch)]


def order_of(count, seed, epoch):
    return generator("order", seed, epoch).permutation(count)


def steps_per_epoch(data, batch_size, labels_per_batch=0):
    """Batches in an epoch, which shows each example once besides the labelled rows; the last one holds the rest."""
    count = len(data.images["train"])
    if batch_size > count:
        raise ValueError(f"batch_size is {batch_size}, but there are {count} training images; ask for fewer.")
    if labels_per_batch >= batch_size:
        raise ValueError(
            f"labels_per_batch is {labels_per_batch}, which leaves no row for unlabelled examples in a batch of "
            f"{batch_size}; ask for fewer."
        )
    return -(-count // (batch_size - labels_per_batch))


def training_batches(data, binarization, batch_size, seed, first_epoch=0, labels=None, labels_per_batch=0):
    """Training batches of epoch `first_epoch`, then of the next, without end: float32 [batch, ...].

    Hand it to `fit` with `steps_per_epoch`: Keras then keeps one iterator over all epochs. The next epoch is drawn
    while the present one trains.

    Args:
        labels: int64 [N], -1 where there is none; the batches are then pairs (x, y), y int64 [batch].
        labels_per_batch: so many rows of each batch are labelled examples, taken in turn; the others go through all
            examples as in every epoch, and their labels are hidden. 0: labels lie where they lie.
    """
    data.check_binarization(binarization)
    steps = steps_per_epoch(data, batch_size, labels_per_batch)
    rows = len(data.images["train"]) + steps * labels_per_batch
    kind = tf.float32 if binarization == "none" else tf.uint8

    def draw(epoch):
        examples = epoch_of_images(data.images["train"], data.levels, binarization, seed, int(epoch))
        if labels is None:
            return examples
        if not labels_per_batch:
            return examples, labels[order_of(len(labels), seed, int(epoch))]
        count = steps * labels_per_batch
        chosen, chosen_labels = labelled_rows(data, binarization, labels, seed, int(epoch) * count, count)
        is_chosen = np.arange(rows) % batch_size < labels_per_batch
        together, targets = np.empty((rows, *data.event_shape), examples.dtype), np.full(rows, UNLABELLED)
        together[is_chosen], together[~is_chosen] = chosen, examples
        targets[is_chosen] = chosen_labels
        return together, targets

    def epoch_of_batches(examples, *targets):
        examples = tf.ensure_shape(examples, (rows, *data.event_shape))
        targets = [tf.ensure_shape(each, (rows,)) for each in targets]

        def batch(step):
            part = slice(step * batch_size, (step + 1) * batch_size)
            images = tf.cast(examples[part], tf.float32)
            return (images, *(each[part] for each in targets)) if targets else images

        return tf.data.Dataset.range(steps).map(batch)

    epochs = tf.data.Dataset.range(first_epoch, np.iinfo("int64").max)
    if labels is None:
        drawn = epochs.map(lambda epoch: tf.numpy_function(draw, [epoch], kind))
    else:
        drawn = epochs.map(lambda epoch: tuple(tf.numpy_function(draw, [epoch], (kind, tf.int64))))
    return drawn.prefetch(1).flat_map(epoch_of_batches).prefetch(tf.data.AUTOTUNE)


def labelled_rows(data, binarization, labels, seed, start, count):
    """(examples, labels) of rows `start` ... `start + count - 1` of the endless sequence of labelled examples.

    It goes through all of them, each time in an order and with a binarization of its own: functions of (seed, pass).
    """
    images, levels = data.images["train"], data.levels
    if binarization == "static":  # drawn once, by the place in the split
        images, levels, binarization = binarize(images, levels, binarization, seed, 0), 1, "threshold"
    kept = np.flatnonzero(labels != UNLABELLED)
    images, kept_labels = images[kept], labels[kept]
    parts = []
    for turn in range(start // len(kept), -(-(start + count) // len(kept))):
        order = generator("labelled order", seed, turn).permutation(len(kept))
        order = order[max(0, start - turn * len(kept)) : start + count - turn * len(kept)]
        examples = binarize(images, levels, binarization, seed, turn, "labelled binarization")
        parts.append((examples[order], kept_labels[order]))
    return tuple(map(np.concatenate, zip(*parts, strict=True)))


def evaluation_batches(examples, batch_size=500, labels=None):
    """Batches of the same examples each time, in their order: float32; with `labels` [N] pairs (x, y), y int64."""
    if labels is None:
        batches = tf.data.Dataset.from_tensor_slices(examples).batch(batch_size)
        return batches.map(lambda images: tf.cast(images, tf.float32)).prefetch(tf.data.AUTOTUNE)
    batches = tf.data.Dataset.from_tensor_slices((examples, labels)).batch(batch_size)
    return batches.map(lambda images, y: (tf.cast(images, tf.float32), tf.cast(y, tf.int64))).prefetch(tf.data.AUTOTUNE)


# Where the images come from.


def load_data(name, path=""):
    """The `Data` called `name`, or of the user's own .npz file or folder of images.

    digits: scikit-learn's 1,797 images of 8x8, split 1,297 / 200 / 300 by a fixed permutation.
    mnist, fashion_mnist: Keras' loaders; the first 5,000 of the 60,000 training images are the validation split, as in
        the reader of TensorFlow's tutorials, through which Davidson et al. 2018 and others of that time read MNIST.
    binarized_mnist: Larochelle's fixed binarization, 50,000 / 10,000 / 10,000, from `path`.
    ring, grid, unit_grid: points in the plane, 100,000 / 10,000 / 10,000 draws of a mixture (training/mixtures.py).
    An .npz holds `x_train` and `x_test` (and `x_validation`, else a tenth of x_train), or `images`; a folder holds
    images of one size, in any depth. `images` and folders are split 80 / 10 / 10 by a fixed permutation. Integers are
    read as 0..255, floating-point numbers as gray values in [0, 1].

    Raises:
        ValueError: one sentence, for a name or file that does not give images.
    """
    if name == "digits":
        return digits()
    if name in ("mnist", "fashion_mnist"):
        return from_keras(name)
    if name == "binarized_mnist":
        return binarized_mnist(path)
    if name in ("ring", "grid", "unit_grid"):
        return points(name)
    if Path(name).is_dir():
        return from_folder(Path(name))
    if Path(name).suffix == ".npz":
        return from_npz(Path(name))
    raise ValueError(
        f"There is no data set {name!r}{near(name, NAMES)}; {', '.join(NAMES)}, an .npz file or a folder of images is "
        "wanted."
    )


def near(name, names):
    """The hint " (did you mean ...?)" with the near names, or nothing."""
    matches = difflib.get_close_matches(name, names)
    return f" (did you mean {' or '.join(matches)}?)" if matches else ""


def digits():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = generator("digits", FIXED_SEED).permutation(len(bunch.images))
    images = bunch.images.astype("uint8")[order][..., None]
    return cut("digits", images, (1297, 200, 300), 16, bunch.target[order])


def from_keras(name):
    try:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, name).load_data()
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise ValueError(f"{name} is not in Keras' cache and cannot be fetched: {error}.") from None
    held_out = 5000
    images = {"train": x_train[held_out:], "validation": x_train[:held_out], "test": x_test}
    labels = {"train": y_train[held_out:], "validation": y_train[:held_out], "test": y_test}
    return Data(name, {split: array[..., None] for split, array in images.items()}, labels, levels=255)


def binarized_mnist(path):
    keras_home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    path = Path(path or keras_home / "datasets" / "binarized_mnist_larochelle.npz")
    if path.is_dir():
        splits = {"train": "train", "validation": "valid", "test": "test"}
        images = {split: read_amat(path / f"binarized_mnist_{file}.amat") for split, file in splits.items()}
    else:
        arrays = read_npz(
            path,
            missing=(
                f"There is no {path}; pass --data-path with binarized_mnist_larochelle.npz, or with the folder of "
                "binarized_mnist_train.amat, _valid.amat and _test.amat from www.cs.toronto.edu/~larocheh."
            ),
        )
        keys = {"train": "train_packed", "validation": "valid_packed", "test": "test_packed"}
        if not set(keys.values()) <= set(arrays):
            raise ValueError(f"{path} holds {sorted(arrays)}; {sorted(keys.values())} are wanted.")
        images = {split: np.unpackbits(arrays[key], axis=1).reshape(-1, 28, 28, 1) for split, key in keys.items()}
    return Data("binarized_mnist", images, {}, levels=1)


def points(name):
    """Points of the mixture called `name`: each split is a draw of its own, the same on every call."""
    from training.mixtures import MIXTURES

    sizes = {"train": 100_000, "validation": 10_000, "test": 10_000}
    draws = {split: MIXTURES[name].sample(size, seed) for seed, (split, size) in enumerate(sizes.items(), FIXED_SEED)}
    return Data(name, draws, {}, levels=1)


def read_amat(path):
    """Larochelle's text files: one image a line, 784 digits 0 or 1."""
    try:
        characters = np.fromfile(path, "uint8")
    except OSError:
        raise ValueError(f"There is no readable {path}; the three .amat files are wanted in one folder.") from None
    pixels = characters[(characters == ord("0")) | (characters == ord("1"))] - ord("0")
    if not len(pixels) or len(pixels) % 784:
        raise ValueError(f"{path} holds {len(pixels)} binary digits; 784 to an image are wanted: is it truncated?")
    return pixels.reshape(-1, 28, 28, 1)


def from_npz(path):
    arrays = read_npz(path, missing=f"There is no file {path}.")
    if "images" in arrays:
        images, levels = as_images(arrays["images"], f"'images' in {path}")
        return cut(path.stem, images, eighty_ten_ten(len(images), path), levels, shuffle=True)
    if not {"x_train", "x_test"} <= set(arrays):
        raise ValueError(f"{path} holds {sorted(arrays)}; 'images', or 'x_train' and 'x_test', are wanted.")
    read = {key: as_images(arrays[key], f"'{key}' in {path}") for key in sorted(arrays) if key.startswith("x_")}
    if len({(images.shape[1:], levels) for images, levels in read.values()}) > 1:
        shapes = {key: images.shape for key, (images, _) in read.items()}
        raise ValueError(f"The splits in {path} differ in image size or type: {shapes}; make them alike.")
    (train, levels), (test, _) = read["x_train"], read["x_test"]
    if "x_validation" in read:
        images = {"train": train, "validation": read["x_validation"][0], "test": test}
        return Data(path.stem, images, {}, levels)
    if len(train) < 2:
        raise ValueError(f"'x_train' in {path} holds 1 image; at least 2 are wanted, one of them for validation.")
    held_out = max(1, len(train) // 10)
    together = np.concatenate([train, test])
    return cut(path.stem, together, (len(train) - held_out, held_out, len(test)), levels)


def read_npz(path, missing):
    """The arrays of an .npz file; pickled objects are never read."""
    if not path.exists():
        raise ValueError(missing)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        reason = "it holds pickled objects" if "pickle" in str(error).lower() else "it is damaged or no .npz at all"
        raise ValueError(f"{path} cannot be read: {reason}; save plain arrays with numpy.savez.") from None
    if not arrays:
        raise ValueError(f"{path} is empty; save the images in it with numpy.savez(path, images=images).")
    return arrays


def as_images(array, name):
    """[N, height, width, channels] and the number of levels, from integers 0..255 or gray values in [0, 1]."""
    if array.ndim == 3:
        array = array[..., None]
    if array.ndim != 4 or array.shape[-1] not in (1, 3) or not array.size:
        raise ValueError(f"{name} has shape {array.shape}; [N, height, width] or [N, height, width, 1 or 3] is wanted.")
    if array.dtype.kind == "b":
        return array.astype("uint8"), 1
    if array.dtype.kind not in "uif":
        raise ValueError(f"{name} has type {array.dtype}; integers 0..255 or numbers in [0, 1] are wanted.")
    highest = 255 if array.dtype.kind in "ui" else 1
    low, high = array.min(), array.max()
    if not 0 <= low <= high <= highest:
        raise ValueError(
            f"{name} holds values in [{low}, {high}]; for {array.dtype}, 0 to {highest} is wanted, no NaN."
        )
    return array.astype("uint8" if highest == 255 else "float32"), highest


def from_folder(folder):
    from PIL import Image, UnidentifiedImageError

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise ValueError(f"There are no images in {folder}; files that end in {sorted(IMAGE_SUFFIXES)} are wanted.")
    pictures = []
    for path in paths:
        try:
            with Image.open(path) as image:
                gray = image.mode in ("1", "L", "LA")
                pictures.append((path, np.asarray(image.convert("L" if gray else "RGB"))))
        except (UnidentifiedImageError, OSError):
            raise ValueError(f"{path} cannot be read as an image; remove or replace it.") from None
        if pictures[-1][1].shape != pictures[0][1].shape:
            (first, one), (other, another) = pictures[0], pictures[-1]
            raise ValueError(f"{first} has shape {one.shape}, but {other} has {another.shape}; one shape is wanted.")
    images, levels = as_images(np.stack([pixels for _, pixels in pictures]), str(folder))
    return cut(folder.name, images, eighty_ten_ten(len(images), folder), levels, shuffle=True)


def eighty_ten_ten(count, source):
    if count < 3:
        raise ValueError(f"{source} holds {count} images; at least 3 are wanted, one for each split.")
    tenth = max(1, count // 10)
    return count - 2 * tenth, tenth, tenth


def cut(name, images, sizes, levels, labels=None, shuffle=False):
    """Consecutive splits of the given sizes, after a fixed permutation where the order may mean something."""
    if shuffle:
        images = images[generator("split", FIXED_SEED).permutation(len(images))]
    ends = np.cumsum(sizes)
    slices = {split: slice(end - size, end) for split, size, end in zip(SPLITS, sizes, ends, strict=True)}
    by_split = {split: images[part] for split, part in slices.items()}
    return Data(name, by_split, {} if labels is None else {s: labels[part] for s, part in slices.items()}, levels)
