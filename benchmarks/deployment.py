"""What leaves against what stayed: exported PCA and k-means on real images, against Keras and NumPy in float64."""

import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
import tensorflow as tf

import zoo
from export import export_model

LATENT_DIM = 50
CLUSTERS = (10, 100)
SEED = 0


def compare_deployment(train, test):
    """A row for each comparison: title, found and asked; the models are fitted to `train` and used on `test`."""
    for clusters in CLUSTERS:
        yield labels_row(train, test, clusters)
    yield from code_rows(train, test)


def labels_row(train, test, clusters):
    """How many labels of Keras, SavedModel and ONNX differ from float64, and which images they are of."""
    model = zoo.KMeans(train.shape[1:], clusters, seed=SEED)
    model.compile()
    model.fit(train, epochs=100, verbose=0)
    centroids = model.centroids.reshape(clusters, -1)
    flat = test.reshape(len(test), -1).astype("float64")
    distances = np.stack([np.sqrt(np.square(flat - centroid).sum(axis=1)) for centroid in centroids], axis=1)
    wanted = np.argmin(distances, axis=1)
    found = {
        "Keras": model.predict(test, batch_size=1000, verbose=0)["labels"],
        **deployed(model, "assign", test, "labels"),
    }
    ties = []
    for runtime, labels in found.items():
        for index in np.flatnonzero(labels != wanted):
            gap = distances[index, labels[index]] - distances[index, wanted[index]]
            ties.append(f"{runtime}, image {index}: labels {wanted[index]} and {labels[index]}, {gap:.1e} apart")
    return {
        "title": f"k-means, {clusters} clusters: labels of {len(test):,} test images that differ from NumPy in float64",
        "found": {runtime: int(np.sum(labels != wanted)) for runtime, labels in found.items()},
        "asked": 0,
        "ties": ties,
    }


def code_rows(train, test):
    """The largest errors of codes and of decoded images against float64."""
    model = zoo.PCA(train.shape[1:], LATENT_DIM)
    model.adapt(train)
    code = model.encode(test).numpy()
    images = model.decode(code).numpy()
    for endpoint, given, wanted, output in (("encode", test, code, "code"), ("decode", code, images, "images")):
        found = deployed(model, endpoint, given.astype("float32"), output)
        errors = {runtime: float(np.abs(array - wanted).max()) for runtime, array in found.items()}
        title = f"PCA, {endpoint}: largest error on {len(test):,} test images against float64"
        yield {"title": title, "found": errors, "asked": 1e-5, "ties": []}


def deployed(model, endpoint, given, output):
    """runtime -> what the exported `endpoint` of `model` gives for the array `given`, under the name `output`."""
    with tempfile.TemporaryDirectory() as folder:
        out = export_model(model, Path(folder) / "artifact")
        session = onnxruntime.InferenceSession(out / "onnx" / f"{endpoint}.onnx", providers=["CPUExecutionProvider"])
        signature = tf.saved_model.load(str(out / "saved_model" / "1")).signatures[endpoint]
        (name,) = (each.name for each in session.get_inputs())
        return {
            "SavedModel": signature(**{name: tf.constant(given)})[output].numpy(),
            "ONNX": session.run([output], {name: given})[0],
        }
