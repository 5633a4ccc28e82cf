"""Distances between samples and data, on features: against closed forms, brute force and constructed cases."""

import doctest
import math

import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from scipy.spatial.distance import cdist

from training.evaluation import birthday, classifier_score, features, frechet, kernel_distance, neighbours

REAL = np.array([[0.0], [10], [20], [30], [100]])  # whole numbers, around a mean of 32: every distance is exact
FAKE = np.array([[1.0], [2], [3], [4], [95]])


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


class FrechetTest(tf.test.TestCase):
    def test_is_that_of_the_gaussians_with_these_moments(self):
        x, y = normal(0, 40, 5) @ normal(1, 5, 5), 2.0 * normal(2, 30, 5) + 1.0
        covariances = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
        root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
        wanted = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(covariances[0] + covariances[1] - 2.0 * root)
        self.assertAllClose(frechet.frechet_distance(x, y), wanted, rtol=1e-10)
        self.assertAllClose(frechet.frechet_distance(y, x), wanted, rtol=1e-10)

    def test_of_a_shift_and_a_scale(self):
        """N(0, I) moved by m and scaled by s: ||m||^2 + d (1 - s)^2 where the sample's own covariance is I."""
        x = normal(0, 50, 4)
        x = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
        self.assertAllClose(frechet.frechet_distance(3.0 * x + [1.0, 2, 0, 0], x), 5.0 + 4 * (1 - 3.0) ** 2, rtol=1e-10)

    def test_of_singular_covariances(self):
        few = normal(0, 6, 20)  # 6 rows of 20 features
        self.assertAllClose(frechet.frechet_distance(few, few), 0.0, atol=1e-12)
        self.assertAllClose(frechet.frechet_distance(few, few[:, :] + 1.0), 20.0, rtol=1e-12)
        constant = np.ones((5, 3))
        self.assertAllClose(frechet.frechet_distance(constant, constant + 2.0), 12.0, rtol=1e-12)
        self.assertAllClose(
            frechet.frechet_distance(2.0 * few, few),
            np.trace(np.cov(few, rowvar=False)) + np.sum(few.mean(0) ** 2),
            rtol=1e-10,
        )


class KernelDistanceTest(tf.test.TestCase):
    def test_is_the_sum_over_pairs(self):
        x, y = normal(0, 7, 3), normal(1, 7, 3)

        def k(a, b):
            return (a @ b / 3 + 1) ** 3

        pairs = [(i, j) for i in range(7) for j in range(7)]
        within = sum(k(each[i], each[j]) for each in (x, y) for i, j in pairs if i != j) / 42
        wanted = within - 2 * sum(k(x[i], y[j]) for i, j in pairs) / 49
        found = kernel_distance.kernel_distance(x, y, num_subsets=1, subset_size=7)
        self.assertAllClose(found["kernel_distance"], wanted, rtol=1e-12)
        self.assertEqual(found["kernel_distance_standard_error"], 0.0)

    def test_has_mean_0_for_one_distribution_however_small_the_subsets(self):
        found = kernel_distance.kernel_distance(normal(0, 4000, 4), normal(1, 4000, 4), 400, 20)
        self.assertLess(abs(found["kernel_distance"]), 4 * found["kernel_distance_standard_error"])
        apart = kernel_distance.kernel_distance(normal(0, 4000, 4), normal(1, 4000, 4) + 0.5, 400, 20)
        self.assertGreater(apart["kernel_distance"], 4 * apart["kernel_distance_standard_error"])


class ClassifierScoreTest(tf.test.TestCase):
    def test_extremes(self):
        sure = np.eye(6)[np.arange(60) % 6]
        self.assertAllClose(classifier_score.classifier_score(sure, 1)["classifier_score"], 6.0, rtol=1e-12)
        self.assertAllClose(classifier_score.classifier_score(np.full((10, 5), 0.2), 2)["classifier_score"], 1.0)
        self.assertAllClose(classifier_score.classifier_score(sure[:1].repeat(9, 0), 3)["classifier_score"], 1.0)

    def test_is_the_exponential_of_mutual_information(self):
        p = np.random.default_rng(0).dirichlet(np.ones(4), 50)
        entropy = scipy.stats.entropy
        wanted = math.exp(entropy(p.mean(0)) - entropy(p, axis=1).mean())
        self.assertAllClose(classifier_score.classifier_score(p, 1)["classifier_score"], wanted, rtol=1e-12)


class NeighboursTest(tf.test.TestCase):
    def test_on_five_points(self):
        """Counted by hand. The real 0 lies on the boundary of the ball of the fake 1: with `<`, recall would be 0.8."""
        for k, wanted in ((1, (1.0, 1.0, 1.8, 0.6)), (2, (1.0, 1.0, 0.9, 0.6))):
            found = neighbours.precision_recall(FAKE, REAL, k) | neighbours.density_coverage(FAKE, REAL, k)
            self.assertAllClose(list(found.values()), wanted)

    def test_boundary_belongs_to_the_ball_of_precision_alone(self):
        real, fake = np.array([[0.0], [2.0], [4.0]]), np.array([[-2.0], [6.0], [100.0], [200.0]])
        self.assertAllClose(neighbours.precision_recall(fake, real, 1)["precision"], 0.5)
        self.assertEqual(neighbours.density_coverage(fake, real, 1), {"density": 0.0, "coverage": 0.0})

    def test_blocks_give_what_all_pairs_give(self):
        x, y = normal(0, 400, 6), 1.1 * normal(1, 300, 6)
        radius = {name: np.sort(cdist(each, each))[:, 3] for name, each in (("x", x), ("y", y))}
        distances = cdist(y, x)  # reference, samples
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(neighbours, "BLOCK", 7 * 300)
            found = neighbours.precision_recall(x, y, 3) | neighbours.density_coverage(x, y, 3)
            index, nearest = neighbours.nearest(x, y)
        self.assertAllClose(
            list(found.values()),
            [
                np.mean((distances <= radius["y"][:, None]).any(0)),
                np.mean((distances <= radius["x"]).any(1)),
                np.sum(distances < radius["y"][:, None]) / (3 * 400),
                np.mean((distances < radius["y"][:, None]).any(1)),
            ],
            rtol=1e-12,
        )
        self.assertAllEqual(index, distances.argmin(0))
        self.assertAllClose(nearest, distances.min(0), rtol=1e-12)

    def test_collapse_is_precise_and_recalls_nothing(self):
        real = normal(0, 500, 8)
        collapsed = neighbours.precision_recall(real[:1] + 1e-3 * normal(1, 500, 8), real)
        self.assertEqual(collapsed["precision"], 1.0)
        self.assertLess(collapsed["recall"], 0.01)

    def test_coverage_of_the_same_distribution_is_as_expected(self):
        self.assertAllClose(neighbours.expected_coverage(10_000, 10_000), 0.968773, atol=5e-7)
        found = [
            neighbours.density_coverage(normal(2 * seed, 200, 3), normal(2 * seed + 1, 150, 3))["coverage"]
            for seed in range(40)
        ]
        # 40 coverages of 150 balls; the standard deviation of one is about 0.02, of their mean 0.003.
        self.assertAllClose(np.mean(found), neighbours.expected_coverage(200, 150), atol=0.012)

    def test_copies_are_nearer_to_training_data_than_test_data_are(self):
        train, test, others = normal(0, 300, 5), normal(1, 300, 5), normal(2, 300, 5)
        copies = neighbours.data_copying(train, train, test)
        self.assertEqual((copies["nearest_train_distance"], copies["nearer_than_test"]), (0.0, 1.0))
        # The U statistic of 300 and 300 has a standard deviation of 0.024.
        self.assertAllClose(neighbours.data_copying(others, train, test)["nearer_than_test"], 0.5, atol=0.1)
        self.assertEqual(neighbours.data_copying(test, train, test)["nearer_than_test"], 0.5)
        self.assertEqual(neighbours.data_copying(others + 50, train, test)["nearer_than_test"], 0.0)


class BirthdayTest(tf.test.TestCase):
    def test_of_365_days(self):
        """Among 23 draws of 365 equally likely ones two are alike with probability 0.507, among 22 with 0.476."""
        batches = []
        for seed in range(20):
            days = np.random.default_rng(seed).integers(0, 365, 2000)
            batches.append(birthday.birthday_support(np.eye(365)[days], 0.0)["birthday_batch"])
        self.assertAllClose(np.mean(batches), 23, atol=1.5)

    def test_few_pairs_and_many_are_found_alike(self):
        days = np.eye(365)[np.random.default_rng(0).integers(0, 365, 2000)]
        few = birthday.birthday_support(days, 0.0)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(birthday, "MANY", 10)
            self.assertEqual(birthday.birthday_support(days, 0.0), few)

    def test_where_the_samples_are_too_few_or_all_alike(self):
        self.assertIsNone(birthday.birthday_support(normal(0, 50, 3), 1e-3)["birthday_support"])
        self.assertEqual(birthday.birthday_support(np.ones((50, 3)), 0.0)["birthday_support"], 4)


class BadInputTest(tf.test.TestCase):
    def test_one_sentence_each(self):
        broken = FAKE.copy()
        broken[2] = np.nan
        for call, sentence in (
            (lambda: neighbours.precision_recall(FAKE, REAL, 5), "samples holds 5 rows; at least 6"),
            (lambda: neighbours.density_coverage(FAKE, REAL, 0), "k is 0"),
            (lambda: neighbours.nearest(broken, REAL), "samples holds NaN"),
            (lambda: frechet.frechet_distance(np.ones((3, 2)), REAL), "2 features, but reference 1"),
            (lambda: frechet.frechet_distance(REAL[:, 0], REAL), r"shape \[5\]"),
            (lambda: frechet.frechet_distance(REAL[:1], REAL), "at least 2"),
            (lambda: kernel_distance.kernel_distance(FAKE, REAL), "at least 1000 are wanted"),
            (lambda: kernel_distance.kernel_distance(FAKE, REAL, 0), "0 subsets"),
            (lambda: classifier_score.classifier_score(FAKE), "sums to 1"),
            (lambda: classifier_score.classifier_score(np.eye(3), 4), "num_splits is 4; 1 to 3"),
            (lambda: birthday.birthday_support(FAKE, -1.0), "threshold of -1.0"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                call()

    def test_examples_in_docstrings(self):
        for module in (classifier_score, features, frechet, neighbours):
            self.assertEqual(doctest.testmod(module).failed, 0)
