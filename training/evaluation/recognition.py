"""Whether images drawn of a class are seen as of that class, by the classifier that knows them."""

import numpy as np

from training.evaluation.features import classifier_of

NUM_IMAGES, SAMPLE_SEED = 10_000, 0


def recognition_metrics(model, data):
    """Of 10,000 samples, of each class as many: a dict.

    recognized: the share that the classifier gives the label that was asked for; smallest_class_recognized: of the
        class where it is least. classifier_accuracy: the classifier's own, on the test images.

    Args:
        model: its `sample` takes labels.
        data: a `training.data.Data` of a name in `features.CLASSIFIED`.
    """
    classifier = classifier_of(data.name)
    labels = np.arange(NUM_IMAGES) % data.num_classes
    samples = model.sample(NUM_IMAGES, labels=labels, seed=SAMPLE_SEED)
    seen = classifier.probabilities(samples).argmax(axis=1)
    return {**recognized(seen, labels), "classifier_accuracy": classifier.card["test_accuracy"]}


def recognized(seen, labels):
    """Of the classes seen in samples and the labels these were drawn of, each [N]: a dict of shares."""
    by_class = [float(np.mean(seen[labels == label] == label)) for label in np.unique(labels)]
    return {
        "recognized": float(np.mean(seen == labels)),
        "smallest_class_recognized": min(by_class),
        "num_samples": len(labels),
    }
