"""Nearest neighbours among features: fidelity and diversity of samples, and whether they are copies of training data.

The ball of an example reaches to its k-th nearest neighbour within its own set, itself not counted.

    precision: share of the samples inside the ball of some reference example                     k = 3, distance <=
    recall:    share of the reference inside the ball of some sample
    density:   balls of the reference that a sample lies in, mean over the samples, over k        k = 5, distance <
    coverage:  share of the balls of the reference with a sample inside

Precision and recall: Kynkaanniemi et al. 2019, Improved Precision and Recall Metric, section 3 (the ball with its
boundary). Density and coverage: Naeem et al. 2020, Reliable Fidelity and Diversity Metrics, section 3 (without). Where
samples and reference are of one distribution, density is near 1 and coverage has a known mean (`expected_coverage`).

Distances are squared differences in float32, ||x||^2 - 2 x'y + ||y||^2 of centred rows, in blocks of rows: beside the
features, memory is that of `BLOCK` numbers a thread.
"""

import math
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from training.evaluation.features import checked_pair

BLOCK = 2**22  # distances held at a time by each thread: 16 MiB


def precision_recall(samples, reference, k=3):
    """Of features [N, width] and [M, width], more than k of each: a dict of shares, precision and recall.

    Raises:
        ValueError: one sentence, for arrays that do not fit together, or with fewer rows.
    """
    samples, reference = centred_pair(samples, reference, k)
    reach_of_samples, reach_of_reference = reach(samples, k), reach(reference, k)

    def inside(rows, distances):
        of_reference = (distances <= reach_of_reference[rows, None]).any(axis=0)
        return of_reference, (distances <= reach_of_samples).any(axis=1)

    of_reference, of_samples = zip(*in_blocks(inside, reference, samples), strict=True)
    return {
        "precision": float(np.mean(np.any(of_reference, axis=0))),
        "recall": float(np.mean(np.concatenate(of_samples))),
    }


def density_coverage(samples, reference, k=5):
    """Of features [N, width] and [M, width], more than k of each: a dict of numbers, density and coverage.

    Raises:
        ValueError: one sentence, for arrays that do not fit together, or with fewer rows.
    """
    samples, reference = centred_pair(samples, reference, k)
    reach_of_reference = reach(reference, k)
    counts = np.concatenate(
        in_blocks(
            lambda rows, distances: np.count_nonzero(distances < reach_of_reference[rows, None], axis=1),
            reference,
            samples,
        )
    )
    return {"density": float(counts.sum() / (k * len(samples))), "coverage": float(np.mean(counts > 0))}


def expected_coverage(num_samples, num_reference, k=5):
    """Mean of the coverage where samples and reference are of one distribution: a float.

    A ball is empty if the k nearest of all the others are reference examples:
        1 - prod_{i=1..k} (num_reference - i) / (num_samples + num_reference - i).

    >>> round(expected_coverage(1000, 1000), 6)
    0.968984
    """
    return 1.0 - math.prod((num_reference - i) / (num_samples + num_reference - i) for i in range(1, k + 1))


def nearest(samples, reference):
    """(index [N], distance float64 [N]) of the row of `reference` that is nearest to each of `samples`."""
    samples, reference = checked_pair(samples, reference, at_least=1)
    center = reference.mean(axis=0)
    indices = np.concatenate(
        in_blocks(
            lambda rows, distances: distances.argmin(axis=1), float32(samples - center), float32(reference - center)
        )
    )
    return indices, np.linalg.norm(samples - reference[indices], axis=1)


def nearest_of_each(samples, reference, k):
    """Indices [N, k] of the k rows of `reference` that are nearest to each of `samples`, the nearest first."""
    samples, reference = checked_pair(samples, reference, at_least=1)
    center = reference.mean(axis=0)

    def order(rows, distances):
        near = np.argpartition(distances, k - 1, axis=1)[:, :k]
        return np.take_along_axis(near, np.take_along_axis(distances, near, axis=1).argsort(axis=1), axis=1)

    return np.concatenate(in_blocks(order, float32(samples - center), float32(reference - center)))


def data_copying(samples, train, test):
    """Whether samples lie nearer to the training data than unseen data do: features [N, width] each, a dict.

    nearest_train_distance, and nearest_train_distance_of_test: medians of the distance to the nearest training example.
    nearer_than_test: how often a sample is nearer to its nearest training example than a test example is to its own,
        over all pairs, ties half: near 1 for copies, 0.5 for other draws of the distribution, below for samples off the
        data. It is the U statistic of Meehan, Chaudhuri and Dasgupta 2020, A Non-Parametric Test to Detect
        Data-Copying in Generative Models, section 3, divided by the number of pairs.
    """
    of_samples, of_test = nearest(samples, train)[1], np.sort(nearest(test, train)[1])
    farther = len(of_test) - np.searchsorted(of_test, of_samples, "right")
    equal = len(of_test) - farther - np.searchsorted(of_test, of_samples, "left")
    return {
        "nearest_train_distance": float(np.median(of_samples)),
        "nearest_train_distance_of_test": float(np.median(of_test)),
        "nearer_than_test": float(np.mean(farther + 0.5 * equal) / len(of_test)),
    }


# Distances in blocks.


def reach(features, k):
    """Squared distance of each row to its k-th nearest neighbour among the others: [N]."""

    def of_block(rows, distances):
        return np.partition(distances, k, axis=1)[:, k].copy()  # a view would keep the whole block

    return np.concatenate(in_blocks(of_block, features, features, itself=0.0))


def in_blocks(function, rows, columns, itself=None):
    """[function(slice, squared distances [slice, all columns])] over slices of `rows`, in order, on all cores.

    Args:
        itself: what stands for the distance of a row to itself, where `rows` are `columns`.
    """
    size = max(1, BLOCK // len(columns))
    norms_of_rows, norms_of_columns = (np.einsum("nd,nd->n", each, each) for each in (rows, columns))

    def of_block(start):
        block = slice(start, min(start + size, len(rows)))
        distances = (-2.0 * rows[block]) @ columns.T
        distances += norms_of_rows[block, None]
        distances += norms_of_columns
        np.maximum(distances, 0.0, out=distances)  # rounding may leave the distance of equal rows below 0
        if itself is not None:
            places = np.arange(block.start, block.stop)
            distances[places - start, places] = itself
        return function(block, distances)

    # Each thread multiplies its own block: threads of BLAS beside them would wait for each other.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(of_block, range(0, len(rows), size)))


def centred_pair(samples, reference, k):
    """Both as float32 around the mean of the reference, with more than k rows each."""
    if k < 1:
        raise ValueError(f"k is {k}; the rank of a neighbour, at least 1, is wanted.")
    samples, reference = checked_pair(samples, reference, at_least=k + 1)
    center = reference.mean(axis=0)
    return float32(samples - center), float32(reference - center)


def float32(array):
    return np.ascontiguousarray(array, "float32")
