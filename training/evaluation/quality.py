"""Samples of images beside the data: how near, how varied, and whether they are copies.

Distances are between features (training/evaluation/features.py) of 10,000 samples and those of the test images. Each
stands beside its floor, `..._of_train`: the same number with as many training images in the place of the samples. Real
images of another draw reach no more, and of a biased distance no less.

Samples that are binary are compared with the data made binary by the run's protocol, all others with the gray images.
"""

import logging

import numpy as np

from training.data import generator
from training.evaluation import (
    birthday,
    classes,
    classifier_score,
    features,
    frechet,
    kernel_distance,
    latent,
    neighbours,
    parzen,
)

log = logging.getLogger(__name__)
NUM_IMAGES, SAMPLE_SEED = 10_000, 0
CLASSIFIER_OF = {"binarized_mnist": "mnist"}  # a data set whose images another's classifier knows
DUPLICATES = 0.01  # share of the test images whose nearest neighbour among them is near enough to be a duplicate


def network_for(data, path=None):
    """The `features.Network` at `path`, or that which comes with this project for `data`; None where there is none."""
    if path:
        return features.Network(path)
    name = CLASSIFIER_OF.get(data.name, data.name)
    return features.classifier_of(name) if name in features.CLASSIFIED else None


def seen(network, samples, data, binarization):
    """What `network`, a `features.Network`, sees: "samples", "train" and "test" -> its `see`.

    Args:
        samples: float [N, height, width, channels], values outside [0, 1] cut off.
        data: a `training.data.Data` of images; binarization: of the run.
    """
    real = {split: real_images(data, split, binarization, samples) for split in ("train", "test")}
    return {name: network.see(images) for name, images in {"samples": np.clip(samples, 0.0, 1.0), **real}.items()}


def sample_metrics(samples, data, binarization, seen=None):
    """All that is measured of `samples` of images, [N, height, width, channels]: a dict of numbers and lists.

    `parzen_metrics`; of what a network has `seen`, `quality_metrics`; of MNIST and Fashion-MNIST,
    `classes.class_metrics`.
    """
    metrics = {"num_samples": len(samples), **parzen_metrics(samples, data, binarization)}
    if seen is not None:
        metrics |= quality_metrics(seen)
    if data.name in features.CLASSIFIED:
        metrics |= classes.class_metrics(np.clip(samples, 0.0, 1.0), data)
    return metrics


def parzen_metrics(samples, data, binarization):
    """parzen_log_likelihood of the test images, nats of the legacy metric of training/evaluation/parzen.py: a dict.

    With parzen_standard_error, and parzen_sigma, which the validation images choose. All are None where there is none:
    of a single test image, or where ever narrower windows are ever better.
    """
    validation, test = (real_images(data, split, binarization, samples) for split in ("validation", "test"))
    try:
        score = parzen.parzen(samples, validation, test)
    except ValueError as error:
        log.info("No Parzen-window log-likelihood: %s", error)
        score = dict.fromkeys(("log_likelihood", "standard_error", "sigma"))
    return {
        "parzen_log_likelihood": score["log_likelihood"],
        "parzen_standard_error": score["standard_error"],
        "parzen_sigma": score["sigma"],
    }


def quality_metrics(seen):
    """Of what a network has `seen` of samples, of the training and of the test images: a dict of numbers.

    frechet_distance; kernel_distance, with its standard error; mmd_squared_of_features, under Gaussian kernels;
    precision, recall, density, coverage: each against the test images; with `_of_train`, of as many training images.
    classifier_score, where the network has probabilities; classifier_score_of_test.
    What `neighbours.data_copying` and `birthday.birthday_support` give; `..._of_test` beside the latter, as many test
    images. Duplicates are pairs nearer than 1 % of the test images have a neighbour among them.
    """
    of_samples, of_train, of_test = (seen[name]["features"] for name in ("samples", "train", "test"))
    chosen = generator("quality", 0).permutation(len(of_train))[: len(of_samples)]
    found, floor = distances(of_samples, of_test), distances(of_train[chosen], of_test)
    metrics = {}
    for name, value in found.items():
        metrics |= {name: value, f"{name}_of_train": floor[name]}
    for name, images in (("classifier_score", "samples"), ("classifier_score_of_test", "test")):
        if "probabilities" in seen[images]:
            metrics[name] = classifier_score.classifier_score(seen[images]["probabilities"])["classifier_score"]
    metrics |= neighbours.data_copying(of_samples, of_train, of_test)
    return metrics | birthdays(of_samples, of_test)


def real_images(data, split, binarization, samples):
    are_binary = np.all((samples == 0.0) | (samples == 1.0))
    return data.examples(split, binarization).astype("float32") if are_binary else data.gray(split)


def distances(samples, reference):
    """Of features [N, width] and [M, width]: a dict."""
    size = min(kernel_distance.SUBSET_SIZE, len(samples), len(reference))
    return {
        "frechet_distance": frechet.frechet_distance(samples, reference),
        **kernel_distance.kernel_distance(samples, reference, subset_size=size),
        "mmd_squared_of_features": latent.mmd(samples, reference)["mmd_squared"],
        **neighbours.precision_recall(samples, reference),
        **neighbours.density_coverage(samples, reference),
    }


def birthdays(samples, test):
    """`birthday.birthday_support` of samples and of test images under one threshold: a dict."""
    threshold = float(
        np.quantile(np.sqrt(neighbours.reach(neighbours.float32(test - test.mean(axis=0)), 1)), DUPLICATES)
    )
    metrics = birthday.birthday_support(samples, threshold)
    return metrics | {
        f"{name}_of_test": value for name, value in birthday.birthday_support(test[: len(samples)], threshold).items()
    }
