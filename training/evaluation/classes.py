"""Which classes a model of labelled images draws, as a classifier of those images sees its samples.

A mode that a generator has lost shows as a class that it draws too seldom. The classifier is a small convolutional
network, trained once for a data set on its training images and kept; beside what it says of samples stands how often it
is right about the test images, and how sure it is of them.
"""

import logging
from pathlib import Path

import keras
import numpy as np
from keras import layers

from training.files import locked, read_json, replacing, write_json
from zoo.version import versions

logger = logging.getLogger(__name__)
CLASSIFIED = ("mnist", "fashion_mnist")
CLASSES = 10
EPOCHS, BATCH_SIZE, LEARNING_RATE, SEED = 12, 128, 2e-3, 0
PACKAGES = ("tensorflow", "keras", "numpy")


def class_metrics(samples, data, folder=None):
    """How the classifier of `data` sees `samples` [N, height, width, channels], in [0, 1]: a dict.

    class_frequencies: the share of each class among the samples, a list; smallest_class_frequency and
        largest_class_frequency: its extremes. num_samples: N.
    classifier_confidence: mean probability that the classifier gives to the class it chooses;
        classifier_test_confidence: the same of the test images. classifier_accuracy: on these.

    Args:
        data: a `training.data.Data` called mnist or fashion_mnist.
        folder: where the classifier is kept, or was; runs/classifier_NAME if None.
    """
    classifier, measured = classifier_of(data, Path(folder or Path("runs") / f"classifier_{data.name}"))
    probabilities = classifier.predict(samples, batch_size=500, verbose=0)
    frequencies = np.bincount(probabilities.argmax(axis=1), minlength=CLASSES) / len(samples)
    return {
        "class_frequencies": frequencies.tolist(),
        "smallest_class_frequency": float(frequencies.min()),
        "largest_class_frequency": float(frequencies.max()),
        "num_samples": len(samples),
        "classifier_confidence": float(probabilities.max(axis=1).mean()),
        "classifier_test_confidence": measured["test_confidence"],
        "classifier_accuracy": measured["test_accuracy"],
    }


def classifier_of(data, folder):
    """(the trained classifier, what its classifier.json holds), from `folder`, or trained now and kept there.

    classifier.json is written last, so a classifier that has one is whole; it names the data and the settings, and of
    others a classifier is trained anew.
    """
    settings = {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "seed": SEED}
    wanted = {"data": data.identity("train", "none"), "settings": settings}
    model_path, measured_path = folder / "classifier.keras", folder / "classifier.json"
    if measured_path.exists():
        measured = read_json(measured_path)
        if all(measured.get(name) == value for name, value in wanted.items()):
            return keras.saving.load_model(model_path), measured
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        logger.info("%s: training the classifier of %s, some minutes", folder, data.name)
        measured_path.unlink(missing_ok=True)
        classifier = trained_classifier(data)
        with replacing(model_path) as temporary:
            classifier.save(temporary)
        measured = {**wanted, **test_measures(classifier, data), "versions": versions(*PACKAGES)}
        write_json(measured_path, measured)
    return classifier, measured


def trained_classifier(data):
    keras.utils.set_random_seed(SEED)
    classifier = new_classifier(data.event_shape)
    images, labels = data.gray("train"), data.labels["train"]
    steps = EPOCHS * -(-len(images) // BATCH_SIZE)
    classifier.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)),
        loss="sparse_categorical_crossentropy",
        jit_compile=False,  # on a CPU, XLA's convolutions are slower
    )
    classifier.fit(images, labels, batch_size=BATCH_SIZE, epochs=EPOCHS, verbose=0)
    return classifier


def new_classifier(event_shape):
    """Two convolutions with batch normalization and pooling, a dense layer, dropout: images -> probabilities."""
    images = keras.Input(event_shape, name="images")
    hidden = images
    for filters in (32, 64):
        hidden = layers.Conv2D(filters, 3, use_bias=False)(hidden)
        hidden = layers.BatchNormalization(momentum=0.9)(hidden)
        hidden = layers.MaxPooling2D()(layers.ReLU()(hidden))
    hidden = layers.Dense(128, "relu")(layers.Flatten()(hidden))
    hidden = layers.Dropout(0.4, seed=SEED)(hidden)
    return keras.Model(images, layers.Dense(CLASSES, "softmax")(hidden), name="classifier")


def test_measures(classifier, data):
    probabilities = classifier.predict(data.gray("test"), batch_size=500, verbose=0)
    return {
        "test_accuracy": float(np.mean(probabilities.argmax(axis=1) == data.labels["test"])),
        "test_confidence": float(probabilities.max(axis=1).mean()),
    }
