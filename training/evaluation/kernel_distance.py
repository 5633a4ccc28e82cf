"""The kernel distance of two sets of features: MMD^2 under a cubic polynomial kernel, without bias.

    k(x, y) = (x'y / width + 1)^3
    MMD^2 = 1/(m(m-1)) sum_{i != j} k(x_i, x_j) + 1/(m(m-1)) sum_{i != j} k(y_i, y_j) - 2/m^2 sum_{i, j} k(x_i, y_j)

On Inception's features it is the KID (Binkowski et al. 2018, Demystifying MMD GANs, section 4 and appendix D). It has
mean 0 where both distributions are equal, whatever m is, and may come out below 0.
"""

import math

import numpy as np

from training.data import generator
from training.evaluation.features import checked_pair

NUM_SUBSETS, SUBSET_SIZE = 100, 1000  # those of the KID


def kernel_distance(samples, reference, num_subsets=NUM_SUBSETS, subset_size=SUBSET_SIZE, seed=0):
    """Mean of MMD^2 over subsets of two arrays of features [N, width] and [M, width]: a dict of floats.

    kernel_distance: the mean over `num_subsets` pairs of subsets of `subset_size` rows each, drawn without replacement.
    kernel_distance_standard_error: of that mean, as if the subsets were independent; 0 for a single one.

    Raises:
        ValueError: one sentence, for arrays that do not fit together or have fewer rows than a subset.
    """
    if num_subsets < 1 or subset_size < 2:
        raise ValueError(f"{num_subsets} subsets of {subset_size} were asked for; at least 1 of at least 2 is wanted.")
    samples, reference = checked_pair(samples, reference, at_least=subset_size)
    draws = generator("subsets", seed)
    found = []
    for _ in range(num_subsets):
        x, y = (each[draws.permutation(len(each))[:subset_size]] for each in (samples, reference))
        found.append(mmd_squared(x, y))
    return {
        "kernel_distance": float(np.mean(found)),
        "kernel_distance_standard_error": float(np.std(found, ddof=1) / math.sqrt(num_subsets))
        if num_subsets > 1
        else 0.0,
    }


def mmd_squared(x, y):
    """Of as many rows each, [m, width]."""
    m = len(x)
    within = [(pairs.sum() - np.trace(pairs)) / (m * (m - 1)) for pairs in (kernel(x, x), kernel(y, y))]
    return float(sum(within) - 2.0 * kernel(x, y).mean())


def kernel(x, y):
    return (x @ y.T / x.shape[1] + 1.0) ** 3
