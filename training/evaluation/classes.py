"""Which classes a model of labelled images draws, as the classifier of those images sees its samples.

A mode that a generator has lost shows as a class that it draws too seldom. Beside what the classifier says of samples
stands how often it is right about the test images, and how sure it is of them.
"""

import numpy as np

from training.evaluation.features import classifier_of

CLASSES = 10


def class_metrics(samples, data):
    """How the classifier of `data` sees `samples` [N, height, width, channels], in [0, 1]: a dict.

    class_frequencies: the share of each class among the samples, a list; smallest_class_frequency and
        largest_class_frequency: its extremes.
    classifier_confidence: mean probability that the classifier gives to the class it chooses;
        classifier_test_confidence: the same of the test images. classifier_accuracy: on these.

    Args:
        data: a `training.data.Data` of a name in `features.CLASSIFIED`.
    """
    classifier = classifier_of(data.name)
    probabilities = classifier.probabilities(samples)
    frequencies = np.bincount(probabilities.argmax(axis=1), minlength=CLASSES) / len(samples)
    return {
        "class_frequencies": frequencies.tolist(),
        "smallest_class_frequency": float(frequencies.min()),
        "largest_class_frequency": float(frequencies.max()),
        "classifier_confidence": float(probabilities.max(axis=1).mean()),
        "classifier_test_confidence": classifier.card["test_confidence"],
        "classifier_accuracy": classifier.card["test_accuracy"],
    }
