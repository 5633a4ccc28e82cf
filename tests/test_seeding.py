"""Where k-means starts, against the probabilities of its papers, scikit-learn's k-means++ and SciPy's distances."""

from itertools import product
from unittest import mock

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy.spatial.distance import cdist
from scipy.stats import chi2
from sklearn.cluster import kmeans_plusplus
from test_kmeans import DIGITS, FLAT_DIGITS, PyBatches, stream

import zoo
from zoo import seeding


class SeedingTest(tf.test.TestCase, parameterized.TestCase):
    POINTS = np.array([[0.0], [1.0], [3.0], [3.5], [7.0]])
    WEIGHTS = np.array([1.0, 2.0, 1.0, 3.0, 1.0])

    def assertNotUnlikely(self, observed, probabilities):
        """A chi-square test at one in ten thousand; the seeds are fixed."""
        expected = np.sum(observed) * np.asarray(probabilities)
        self.assertEqual(np.sum(np.asarray(observed)[expected == 0]), 0)
        observed, expected = np.asarray(observed)[expected > 0], expected[expected > 0]
        statistic = np.sum((observed - expected) ** 2 / expected)
        self.assertGreater(chi2.sf(statistic, len(expected) - 1), 1e-4)

    def test_greedy_k_means_plus_plus_draws_by_weight_and_squared_distance(self):
        # 2 + log 2 rounded down is two draws for the second centroid, of which the better one is taken.
        squared = (self.POINTS - self.POINTS.T) ** 2
        expected = np.zeros((5, 5))
        for first in range(5):
            share = self.WEIGHTS * squared[first]
            share = share / share.sum()
            for one, other in product(range(5), repeat=2):
                potentials = [self.WEIGHTS @ np.minimum(squared[first], squared[each]) for each in (one, other)]
                better = (one, other)[int(np.argmin(potentials))]
                expected[first, better] += self.WEIGHTS[first] / self.WEIGHTS.sum() * share[one] * share[other]
        self.assertAllClose(expected.sum(), 1.0)
        observed = np.zeros((5, 5))
        for seed in range(6000):
            chosen = seeding.k_means_plus_plus(self.POINTS, self.WEIGHTS, 2, np.random.default_rng(seed))
            observed[tuple(np.searchsorted(self.POINTS[:, 0], chosen[:, 0]))] += 1
        self.assertNotUnlikely(observed, expected)

    def test_k_means_parallel_draws_by_squared_distance(self):
        chosen = self.POINTS[[1, 3]]
        share = np.min((self.POINTS - chosen.T) ** 2, axis=1)
        observed = np.zeros(5)
        for seed in range(4000):
            drawn = seeding.drawn_by_distance(self.POINTS, chosen, 1, np.random.default_rng(seed))
            observed[np.searchsorted(self.POINTS[:, 0], drawn[0, 0])] += 1
        self.assertNotUnlikely(observed, share / share.sum())

    @parameterized.parameters("array", "stream")
    def test_a_uniform_sample_of_blocks_is_uniform(self, kind):
        x = np.arange(12.0)[:, None]
        data = x if kind == "array" else PyBatches(x, 5)
        observed = np.zeros(12)
        with mock.patch("zoo.inputs.BLOCK_ROWS", 4):
            for seed in range(3000):
                sample = seeding.uniform_sample(data, 3, np.random.default_rng(seed), at_least=3)
                self.assertLen(np.unique(sample), 3)  # without replacement
                observed[sample[:, 0].astype(int)] += 1
        # Without replacement counts vary less than a chi-square supposes, by 9 / 11.
        statistic = np.sum((observed - 750) ** 2 / 750) * 11 / 9
        self.assertBetween(chi2.sf(statistic, 11), 1e-4, 1 - 1e-4)

    @parameterized.parameters("k-means++", "k-means||", "random")
    def test_initial_centroids_are_distinct_examples_from_arrays_and_streams(self, initialization):
        examples = {row.tobytes() for row in FLAT_DIGITS}
        potentials = []
        for data in (DIGITS, stream(DIGITS), PyBatches(DIGITS, 500)):
            for seed in range(3):
                generator = np.random.default_rng(seed)
                centroids = seeding.initial_centroids(data, 30, initialization, generator)
                self.assertEqual(centroids.shape, (30, 64))
                self.assertLen({row.tobytes() for row in centroids} & examples, 30)
                potentials.append(cdist(FLAT_DIGITS, centroids, "sqeuclidean").min(axis=1).sum())
        reference = np.mean([self.scikit_potential(seed) for seed in range(9)])
        # Means of nine draws, each within some percent of each other; uniform draws are a fifth worse.
        limits = (1.1, 1.4) if initialization == "random" else (0.95, 1.05)
        self.assertBetween(np.mean(potentials) / reference, *limits)

    @staticmethod
    def scikit_potential(seed):
        centroids, _ = kmeans_plusplus(FLAT_DIGITS, 30, random_state=seed)
        return cdist(FLAT_DIGITS, centroids, "sqeuclidean").min(axis=1).sum()

    def test_a_stream_is_represented_by_a_sample(self):
        with mock.patch("zoo.seeding.SAMPLE_ROWS", 100), mock.patch("zoo.seeding.SAMPLE_PER_CLUSTER", 1):
            sizes = []
            original = seeding.k_means_plus_plus
            with mock.patch("zoo.seeding.k_means_plus_plus", lambda x, *a: sizes.append(len(x)) or original(x, *a)):
                for data in (DIGITS, stream(DIGITS)):
                    seeding.initial_centroids(data, 10, "k-means++", np.random.default_rng(0))
        self.assertEqual(sizes, [1797, 100])

    @parameterized.parameters("float32", "float64")
    def test_distances_from_another_centre_keep_their_digits(self, dtype):
        """Two clouds far from each other and from 0: in float32 their squares are a million times what counts."""
        generator = np.random.default_rng(0)
        for far, mean in ((2e3, 0.0), (0.0, 1e4)):
            x = np.concatenate([generator.standard_normal((50, 2)), generator.standard_normal((50, 2)) + far]) + mean
            x = np.repeat(x, 2, axis=0).astype(dtype)  # each twice
            found = seeding.SquaredDistances(x)(x[:150:10])
            expected = cdist(x[:150:10].astype("float64"), x.astype("float64"), "sqeuclidean")
            self.assertAllEqual(found == 0.0, expected == 0.0)
            # What is not taken from the differences has at least a sixteenth of its value to itself.
            self.assertAllClose(found, expected, rtol=0.1, atol=0.0)
            for initialization in ("k-means++", "k-means||"):
                centroids = seeding.initial_centroids(x, 60, initialization, generator)
                self.assertLen(np.unique(centroids, axis=0), 60)

    def test_the_same_seed_gives_the_same_centroids(self):
        models = [zoo.KMeans((64,), 10, num_initializations=2, seed=seed) for seed in (1, 1, 2)]
        for model in models:
            model.adapt(FLAT_DIGITS)
        runs = [model.run_centroids.numpy() for model in models]
        self.assertAllEqual(runs[0], runs[1])
        self.assertNotAllEqual(runs[0], runs[2])
        self.assertNotAllEqual(runs[0][0], runs[0][1])
