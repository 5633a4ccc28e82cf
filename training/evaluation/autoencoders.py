"""An adversarial autoencoder measured: its losses, its codes beside the prior, its samples, its classes."""

import numpy as np

from training.evaluation import classification, features, latent, recognition

BATCH = 500
NAMES = {  # of metrics that would not say of what they are
    "accuracy": "discriminator_accuracy",
    "categorical_d_accuracy": "categorical_discriminator_accuracy",
    "style_d_accuracy": "style_discriminator_accuracy",
}


def autoencoder_metrics(model, data, binarization):
    """A dict of numbers, of the test split.

    The losses of `model.evaluate`, discriminator_accuracy among them, which is 1/2 where it cannot tell codes from the
    prior; `latent.latent_metrics`. Of a model that classifies, classification_error, or without labels
    `classification.clustering_errors`. Of one that draws classes of MNIST or Fashion-MNIST, how often its samples are
    recognized (training/evaluation/recognition.py).
    """
    test = data.examples("test", binarization).astype("float32")
    labels = None if model.labels is None else data.labels_of("test")
    losses = model.evaluate(test, labels, batch_size=BATCH, verbose=0, return_dict=True)
    metrics = {NAMES.get(name, name): float(each) for name, each in losses.items()}
    metrics |= latent.latent_metrics(model, data, binarization)
    validation = data.examples("validation", binarization).astype("float32")
    if hasattr(model, "classify"):
        metrics |= class_metrics(model, data, validation, test)
    if model.labels is not None and data.name in features.CLASSIFIED:
        metrics |= recognition.recognition_metrics(model, data)
    return metrics


def class_metrics(model, data, validation, test):
    """How the classes of a model that classifies agree with the labels; {} where there are none."""
    if not data.labels:
        return {}
    test_probabilities = probabilities(model, test)
    if model.labels is not None:
        return {"classification_error": classification.classification_error(test_probabilities, data.labels_of("test"))}
    return classification.clustering_errors(
        probabilities(model, validation), data.labels_of("validation"), test_probabilities, data.labels_of("test")
    )


def probabilities(model, images):
    """q(y|x): [N, num_classes]."""
    return np.asarray(model.in_batches(model.classify, images))
