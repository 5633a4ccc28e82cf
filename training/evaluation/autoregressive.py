"""The exact likelihood of a model that draws pixel by pixel, and whether its samples are the class asked for."""

import math

import numpy as np

from training.evaluation import features, recognition

BATCH = 500


def autoregressive_metrics(model, data, binarization, history):
    """log_prob, a mean over the test split in nats, exact; bits_per_dimension; its standard deviation over the images.

    validation_nll: of each epoch, in nats. Of a model with labels, log p(x|y), and how often its samples are recognized
    where there is a classifier.
    """
    images = data.examples("test", binarization).astype("float32")
    labels = data.labels_of("test") if model.num_classes else None
    parts = [slice(start, start + BATCH) for start in range(0, len(images), BATCH)]
    log_prob = np.concatenate(
        [model.log_prob(images[part], None if labels is None else labels[part]) for part in parts]
    ).astype("float64")
    metrics = {
        "log_prob": float(log_prob.mean()),
        "log_prob_standard_deviation": float(log_prob.std()),
        "bits_per_dimension": float(-log_prob.mean() / (math.prod(model.event_shape) * math.log(2))),
        "validation_nll": [row["val_nll"] for row in history],
    }
    if model.num_classes and data.name in features.CLASSIFIED:
        metrics |= recognition.recognition_metrics(model, data)
    return metrics
