"""How many different examples a generator can draw, from how soon it draws one twice.

Of s draws from N equally likely ones, two are alike with probability about 1 - exp(-s^2 / 2N): among 23 people two have
one birthday with probability 1/2. If s draws hold a duplicate with probability 1/2, the support is of the order of s^2
(Arora and Zhang 2017, Do GANs actually learn the distribution? An empirical study, section 2, who say s^2; the uniform
distribution has N = s^2 / (2 log 2)). Distributions that prefer some of their examples repeat themselves sooner, so
this is where most of the probability lies, not the support itself.
"""

import math

import numpy as np

from training.data import generator
from training.evaluation.features import checked
from training.evaluation.neighbours import float32, in_blocks

NUM_ORDERS = 200
MOST = 20_000  # samples whose pairs fit in 400 MB
MANY = 1_000_000  # duplicates, counted both ways


def birthday_support(features, threshold, num_orders=NUM_ORDERS, seed=0):
    """Of samples with features [N, width], those at a distance of at most `threshold` being duplicates: a dict.

    birthday_batch: s, the smallest number of draws that hold a duplicate with probability 1/2 or more: the median place
        of the first duplicate over `num_orders` orders of the samples.
    birthday_support: s^2, the scale of the support. Both are None where half of the orders have no duplicate: the
        support is larger than N samples can show, N^2 or more.

    Raises:
        ValueError: one sentence, for features that are none, or more than 20,000 of them, or a threshold below 0.
    """
    features = checked(features, "features")
    if threshold < 0 or len(features) > MOST:
        raise ValueError(
            f"{len(features)} samples and a threshold of {threshold} came; at most {MOST} and at least 0 are wanted."
        )
    centred = float32(features - features.mean(axis=0))
    # The float32 distance of equal rows is off by rounding of their norms.
    slack = 1e-6 * float(np.einsum("nd,nd->n", centred, centred).max())
    blocks = in_blocks(lambda rows, distances: distances <= threshold**2 + slack, centred, centred, itself=math.inf)
    alike = np.concatenate(blocks)
    draws = generator("orders", seed)
    orders = (draws.permutation(len(alike)) for _ in range(num_orders))
    if np.count_nonzero(alike) > MANY:
        first = [place_by_prefixes(alike, order) for order in orders]
    else:
        pairs = np.nonzero(np.triu(alike, 1))
        first = [place_by_pairs(pairs, order) for order in orders]
    batch = sorted(first)[(num_orders - 1) // 2]  # at least half of the orders have one by then
    found = math.isfinite(batch)
    return {"birthday_batch": batch if found else None, "birthday_support": batch**2 if found else None}


def place_by_pairs(pairs, order):
    """How many draws in `order` [N] it takes to hold one of `pairs` ([P], [P]); infinity where there are none."""
    if not len(pairs[0]):
        return math.inf
    places = np.argsort(order)
    return 1 + int(np.maximum(places[pairs[0]], places[pairs[1]]).min())


def place_by_prefixes(alike, order):
    """The same of a matrix `alike` [N, N], with many pairs, of which the first comes soon."""
    size = min(32, len(order))
    while True:
        pairs = alike[np.ix_(order[:size], order[:size])]
        if pairs.any():
            return 1 + int(np.min(np.maximum(*np.nonzero(pairs))))
        size = min(2 * size, len(order))
