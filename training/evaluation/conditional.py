"""A VAE with labels measured: its likelihood, its classes, and whether its samples are of the class asked for."""

from training.evaluation import features, latent, likelihood, recognition
from training.evaluation.autoencoders import class_metrics


def conditional_metrics(model, data, binarization, num_importance_samples):
    """A dict of numbers, of the test split.

    `likelihood.likelihood`, of log p(x|y) where the model needs labels, else of log p(x); `latent.latent_metrics`;
    classification_error of a model that classifies; of MNIST and Fashion-MNIST `recognition.recognition_metrics`.
    """
    test = data.examples("test", binarization).astype("float32")
    labels = None if model.labels.some else data.labels_of("test")
    metrics = likelihood.likelihood(model, test, num_importance_samples, labels=labels)
    metrics |= latent.latent_metrics(model, data, binarization)
    if hasattr(model, "classify"):
        metrics |= class_metrics(model, data, data.examples("validation", binarization).astype("float32"), test)
    if data.name in features.CLASSIFIED:
        metrics |= recognition.recognition_metrics(model, data)
    return metrics
