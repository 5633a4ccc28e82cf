"""The classifier score: samples that are sure of a class each, and of every class alike.

    score = exp( E_x KL(p(y|x) || p(y)) ),    p(y) = E_x p(y|x)

is 1 where the classifier learns nothing from a sample, and the number of classes at most. With an Inception network it
is the Inception score (Salimans et al. 2016, Improved Techniques for Training GANs, section 4). It sees neither what a
class lacks inside nor the data: it stands beside the score of real images.
"""

import math

import numpy as np

from training.data import generator

NUM_SPLITS = 10
SUM_TOLERANCE = 1e-3


def classifier_score(probabilities, num_splits=NUM_SPLITS, seed=0):
    """Of p(y|x) [N, num_classes]: a dict of floats.

    classifier_score: mean over `num_splits` parts of the samples, shuffled, with p(y) of the part.
    classifier_score_standard_error: of that mean; 0 for a single part.

    >>> classifier_score(np.eye(4), num_splits=1)["classifier_score"]
    4.0

    Raises:
        ValueError: one sentence, for what are no probabilities, or fewer samples than parts.
    """
    probabilities = np.asarray(probabilities, "float64")
    if probabilities.ndim != 2 or not (
        np.all(probabilities >= 0.0) and np.all(np.abs(probabilities.sum(axis=-1) - 1.0) < SUM_TOLERANCE)
    ):
        raise ValueError(
            f"probabilities has shape {list(probabilities.shape)}; [N, num_classes] is wanted, each row a distribution "
            "over the classes that sums to 1."
        )
    if not 1 <= num_splits <= len(probabilities):
        raise ValueError(f"num_splits is {num_splits}; 1 to {len(probabilities)}, the number of samples, is wanted.")
    shuffled = probabilities[generator("splits", seed).permutation(len(probabilities))]
    scores = [score_of(part) for part in np.array_split(shuffled, num_splits)]
    return {
        "classifier_score": float(np.mean(scores)),
        "classifier_score_standard_error": float(np.std(scores, ddof=1) / math.sqrt(num_splits))
        if num_splits > 1
        else 0.0,
    }


def score_of(probabilities):
    """exp of the mean KL [N, num_classes]; 0 log 0 is 0."""
    marginal = probabilities.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(probabilities > 0.0, probabilities * np.log(probabilities / marginal), 0.0)
    return math.exp(terms.sum(axis=1).mean())
