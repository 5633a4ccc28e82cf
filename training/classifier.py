"""python -m training.classifier NAME: train the classifier of MNIST or Fashion-MNIST that comes with this project.

It writes FOLDER/NAME.onnx, from images float32 [N, 28, 28, 1] in [0, 1] to features [N, 128], what the last layer sees,
and probabilities [N, 10]; its card NAME.json; and FOLDER/README.md, the cards of all classifiers there.
"""

import argparse
import hashlib
import sys
import time
from pathlib import Path

import numpy as np

from training.command_line import command

EPOCHS, BATCH_SIZE, LEARNING_RATE, SEED = 15, 128, 2e-3, 0
FILTERS, WIDTH, CLASSES = (32, 64, 96), 128, 10
REACH = 2  # pixels that an image is moved by, at most
MIRRORED = ("fashion_mnist",)  # images that are as likely the other way round; no digits
PACKAGES = ("tensorflow", "keras", "numpy", "tf2onnx", "onnx")


def write_classifier(data, folder):
    """Train a classifier of `data`, a `training.data.Data`; write it and its card, which is returned."""
    from export.onnx_graph import convert, serialize
    from training.files import replacing, write_json, write_text
    from zoo.version import __version__, versions

    started = time.monotonic()
    classifier = trained_classifier(data)
    minutes = (time.monotonic() - started) / 60
    description = description_of(data.event_shape)
    content = serialize(convert("classify", function_of(classifier), description, {"zoo_version": __version__}))
    card = {
        "data": data.identity("train", "none"),
        "test_data": data.identity("test", "none"),
        "settings": {"epochs": EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "seed": SEED},
        "parameters": classifier.count_params(),
        **test_measures(classifier, data),
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "minutes": round(minutes, 2),
        "versions": versions(*PACKAGES),
    }
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / f"{data.name}.onnx") as temporary:
        temporary.write_bytes(content)
    write_json(folder / f"{data.name}.json", card)
    write_text(folder / "README.md", cards(folder))
    return card


def trained_classifier(data):
    import keras

    keras.utils.set_random_seed(SEED)
    classifier = new_classifier(data.event_shape)
    trained = keras.Model(classifier.input, classifier.output["probabilities"])
    images, labels = data.gray("train"), data.labels["train"]
    steps = EPOCHS * -(-len(images) // BATCH_SIZE)
    trained.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, steps)),
        loss="sparse_categorical_crossentropy",
        jit_compile=False,  # on a CPU, XLA's convolutions are slower
    )
    for epoch in range(EPOCHS):
        seen = moved(images, epoch, flip=data.name in MIRRORED)
        trained.fit(seen, labels, batch_size=BATCH_SIZE, initial_epoch=epoch, epochs=epoch + 1, verbose=2)
    return classifier


def moved(images, epoch, flip):
    """Each of `images` [N, height, width, channels] up to 2 pixels away; with `flip`, half mirrored, by chance."""
    from training.data import generator

    draws = generator("moved", epoch)
    count, height, width, _ = images.shape
    down, right = draws.integers(0, 2 * REACH + 1, (2, count, 1, 1))
    columns = np.broadcast_to(np.arange(width), (count, 1, width))
    if flip:
        columns = np.where(draws.random((count, 1, 1)) < 0.5, columns[..., ::-1], columns)
    padded = np.pad(images, ((0, 0), (REACH, REACH), (REACH, REACH), (0, 0)))
    return padded[np.arange(count)[:, None, None], down + np.arange(height)[:, None], right + columns]


def new_classifier(event_shape):
    """Three convolutions with batch normalization and pooling, a dense layer, dropout."""
    import keras
    from keras import layers

    images = keras.Input(event_shape, name="images")
    hidden = images
    for filters in FILTERS:
        hidden = layers.Conv2D(filters, 3, padding="same", use_bias=False)(hidden)
        hidden = layers.BatchNormalization(momentum=0.9)(hidden)
        hidden = layers.MaxPooling2D(padding="same")(layers.ReLU()(hidden))
    features = layers.Dense(WIDTH, "relu", name="features")(layers.Flatten()(hidden))
    probabilities = layers.Dense(CLASSES, "softmax", name="probabilities")(layers.Dropout(0.4, seed=SEED)(features))
    return keras.Model(images, {"features": features, "probabilities": probabilities}, name="classifier")


def function_of(classifier):
    return lambda images: classifier(images, training=False)


def description_of(event_shape):
    """Of the ONNX graph, as `export.manifest.describe` gives it for an endpoint."""
    outputs = {"features": WIDTH, "probabilities": CLASSES}
    return {
        "summary": "what a classifier's last layer sees of an image, and the probabilities of the classes",
        "inputs": {"images": {"shape": ["batch", *event_shape], "dtype": "float32", "values": "unit_interval"}},
        "outputs": {name: {"shape": ["batch", width], "dtype": "float32"} for name, width in outputs.items()},
    }


def test_measures(classifier, data):
    probabilities = classifier.predict(data.gray("test"), batch_size=500, verbose=0)["probabilities"]
    return {
        "test_accuracy": float(np.mean(probabilities.argmax(axis=1) == data.labels["test"])),
        "test_confidence": float(probabilities.max(axis=1).mean()),
    }


def cards(folder):
    """Markdown: a row for each classifier whose card is in `folder`."""
    from training.files import read_json

    lines = [
        "# Classifiers whose features the distances are measured on",
        "",
        "Each is an ONNX graph from `images` float32 [N, 28, 28, 1] in [0, 1] to `features` [N, 128], which its last",
        "layer sees, and `probabilities` [N, 10]: convolutions of 32, 64 and 96 filters with batch normalization and",
        "pooling, a dense layer. `python -m training.classifier NAME` made it, and makes it again. It knows the ten",
        "classes of its data set and nothing else; what is no such image gets a class all the same.",
        "",
        "| file | test accuracy | parameters | bytes | trained on | SHA-256 |",
        "|---|---|---|---|---|---|",
    ]
    for path in sorted(folder.glob("*.json")):
        card = read_json(path)
        data = card["data"]
        lines.append(
            f"| {path.with_suffix('.onnx').name} | {100 * card['test_accuracy']:.2f} % | {card['parameters']:,} | "
            f"{card['bytes']:,} | {data['num_examples']:,} training images of {data['name']} | `{card['sha256']}` |"
        )
    return "\n".join(lines) + "\n"


@command
def main(argv=None):
    from training.data import load_data
    from training.evaluation.features import CLASSIFIED, CLASSIFIERS

    parser = argparse.ArgumentParser(
        prog="python -m training.classifier", description="Train a classifier whose features the distances use."
    )
    parser.add_argument("name", choices=CLASSIFIED, help="the data set")
    parser.add_argument("--out", type=Path, default=CLASSIFIERS, metavar="FOLDER", help=f"default: {CLASSIFIERS}")
    arguments = parser.parse_args(argv)
    card = write_classifier(load_data(arguments.name), arguments.out)
    path = arguments.out / f"{arguments.name}.onnx"
    print(f"{path}: test accuracy {100 * card['test_accuracy']:.2f} %, {card['bytes']:,} bytes, {card['sha256']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
