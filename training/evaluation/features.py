"""Features of images: the networks that give them, and the checks of arrays that hold them.

Inception's features are of photographs; digits and clothes want others. The networks in classifiers/ come with this
project: small classifiers of MNIST and of Fashion-MNIST (`python -m training.classifier`), each with a card of the size
and SHA-256 of its file, its accuracy and the data that it was trained on. The features are what its last layer sees.
Distances under different networks cannot be compared: the SHA-256 stands beside every distance.
"""

import functools
import hashlib
from pathlib import Path

import numpy as np

from training.files import read_json

CLASSIFIERS = Path(__file__).with_name("classifiers")
CLASSIFIED = ("mnist", "fashion_mnist")
BATCH = 500


class Network:
    """An ONNX model of images: float32 [N, height, width, channels] in [0, 1] -> features [N, width].

    Of its outputs, `features`, or else the first, are the features; `probabilities` [N, num_classes] are those of
    classes, where there are any.

        network = classifier_of("mnist")
        network.features(images)          # float32 [N, 128]
        network.probabilities(images)     # float32 [N, 10]
        network.sha256, network.card

    Raises:
        ValueError: one sentence, for a file that is no ONNX model with one such input.
    """

    def __init__(self, path):
        import onnxruntime

        self.path = Path(path)
        content = self.path.read_bytes()
        self.sha256 = hashlib.sha256(content).hexdigest()
        try:
            self.session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            raise ValueError(f"{path} is not a model that ONNX Runtime loads ({error}).") from None
        inputs, self.outputs = self.session.get_inputs(), [each.name for each in self.session.get_outputs()]
        if [(each.type, len(each.shape)) for each in inputs] != [("tensor(float)", 4)]:
            raise ValueError(
                f"{path} takes {tensors_text(inputs)}; one input float [N, height, width, channels] is wanted."
            )
        self.input = inputs[0]

    @functools.cached_property
    def card(self):
        """What the .json beside the model says of it, or nothing."""
        path = self.path.with_suffix(".json")
        return read_json(path) if path.exists() else {}

    @property
    def feature_output(self):
        return "features" if "features" in self.outputs else self.outputs[0]

    @property
    def is_classifier(self):
        return "probabilities" in self.outputs

    def features(self, images):
        return self.run(images, [self.feature_output])["features"]

    def probabilities(self, images):
        if not self.is_classifier:
            raise ValueError(f"{self.path} has no output probabilities; its outputs are {', '.join(self.outputs)}.")
        return self.run(images, ["probabilities"])["probabilities"]

    def see(self, images):
        """What one pass gives: a dict, "features" and, where there are any, "probabilities"."""
        return self.run(images, [self.feature_output, *(["probabilities"] if self.is_classifier else [])])

    def run(self, images, outputs):
        """The `outputs`, in batches: name -> [N, width], "features" for those that are the features."""
        images = self.checked(images)
        parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        found = zip(*(self.session.run(outputs, {self.input.name: part}) for part in parts), strict=True)
        names = ("features" if name == self.feature_output else name for name in outputs)
        return {
            name: np.concatenate([each.reshape(len(each), -1) for each in batches])
            for name, batches in zip(names, found, strict=True)
        }

    def checked(self, images):
        images = np.asarray(images)
        wanted = self.input.shape[1:]
        fits = images.ndim == 4 and all(
            isinstance(size, str | None) or size == found for size, found in zip(wanted, images.shape[1:], strict=True)
        )
        if not fits or not len(images):
            raise ValueError(
                f"images of shape {list(images.shape)} came; {self.path.name} takes [N, {', '.join(map(str, wanted))}]."
            )
        if not (images.min() >= 0.0 and images.max() <= 1.0):
            raise ValueError(f"images hold values from {images.min()} to {images.max()}; 0 to 1 are wanted.")
        return images.astype("float32")


def tensors_text(tensors):
    return ", ".join(f"{each.name} {each.type} {each.shape}" for each in tensors)


@functools.cache
def classifier_of(name):
    """The `Network` that comes with this project for the data set called `name`; a ValueError where there is none."""
    if name not in CLASSIFIED:
        raise ValueError(f"No classifier of {name} comes with this project; those of {', '.join(CLASSIFIED)} do.")
    return Network(CLASSIFIERS / f"{name}.onnx")


# Arrays.


def checked(features, name, at_least=2):
    """`features` as float64 [N, width].

    Raises:
        ValueError: one sentence, for an array of another kind, of fewer rows than `at_least`, or of values that are not
            finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not features.shape[1] or features.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} came as {features.dtype} of shape {list(features.shape)}; numbers [N, width] are wanted, a row of "
            "features for each example."
        )
    if len(features) < at_least:
        raise ValueError(f"{name} holds {len(features)} rows; at least {at_least} are wanted.")
    if not np.all(np.isfinite(features)):
        raise ValueError(f"{name} holds NaN or infinite values; finite ones are wanted.")
    return features.astype("float64")


def checked_pair(samples, reference, at_least=2):
    """(samples, reference), each `checked`, of one width."""
    samples, reference = checked(samples, "samples", at_least), checked(reference, "reference", at_least)
    if samples.shape[1] != reference.shape[1]:
        raise ValueError(
            f"samples have {samples.shape[1]} features, but reference {reference.shape[1]}; take both from one network."
        )
    return samples, reference
