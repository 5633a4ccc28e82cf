"""What is measured of codes and classes, against double loops, closed forms and constructed cases."""

from unittest import mock

import numpy as np
import tensorflow as tf

import zoo
from training.data import load_data
from training.evaluation import latent
from training.evaluation.classification import classification_error, clustering_errors
from training.evaluation.latent import class_from_code, class_from_few_labels, mmd, mmd_of_classes
from training.evaluation.recognition import recognized


def normal(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def double_loop(codes, reference):
    """MMD^2 by the sums of the definition, pair by pair."""
    pairs = [(i, j) for i in range(len(reference)) for j in range(i + 1, len(reference))]
    median = np.median([np.linalg.norm(reference[i] - reference[j]) for i, j in pairs])

    def k(z, w):
        return np.mean([np.exp(-np.sum((z - w) ** 2) / (2 * (s * median) ** 2)) for s in (0.25, 0.5, 1.0, 2.0, 4.0)])

    m, n = len(codes), len(reference)
    within_codes = sum(k(codes[i], codes[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    within_reference = sum(k(reference[i], reference[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    between = sum(k(z, w) for z in codes for w in reference) / (m * n)
    return within_codes + within_reference - 2 * between


class MMDTest(tf.test.TestCase):
    def test_equals_a_double_loop(self):
        for seed, m, n in ((0, 2, 3), (1, 12, 9), (2, 9, 12)):
            codes, reference = 1.0 + 2.0 * normal(seed, m, 3), normal(seed + 10, n, 3)
            # float64 sums of some hundred numbers below 1, distances by ||z||^2 - 2 z w + ||w||^2
            self.assertAllClose(mmd(codes, reference)["mmd_squared"], double_loop(codes, reference), rtol=0, atol=1e-12)

    def test_of_two_gaussians_has_its_closed_form(self):
        """Of z - w ~ N(mean, v I): E k = (s^2 / (s^2 + v))^(d/2) exp(-||mean||^2 / 2 (s^2 + v)), here d = 2."""
        codes, reference = normal(0, 1000, 2) * 2.0 + [1.0, 0.0], normal(1, 1000, 2)
        median = latent.median_distance(reference)

        def expected(mean_squared, variance):
            squared = (np.array(latent.WIDTHS) * median) ** 2
            return np.mean(squared / (squared + variance) * np.exp(-mean_squared / (2 * (squared + variance))))

        wanted = expected(0.0, 8.0) + expected(0.0, 2.0) - 2 * expected(1.0, 5.0)
        found = mmd(codes, reference)
        self.assertGreater(wanted, 0.05)
        # The standard deviation of the estimate, over draws of the codes, is about 0.005: four of them.
        self.assertAllClose(found["mmd_squared"], wanted, rtol=0, atol=0.02)
        self.assertLess(found["mmd_squared_floor"], 0.004)

    def test_is_without_bias_and_below_its_floor_where_distributions_are_equal(self):
        found = [mmd(normal(seed, 40, 3), normal(1000 + seed, 50, 3)) for seed in range(150)]
        estimates = np.array([each["mmd_squared"] for each in found])
        self.assertLess(abs(estimates.mean()), 4 * estimates.std() / np.sqrt(150))
        below = np.mean([each["mmd_squared"] < each["mmd_squared_floor"] for each in found])
        # 95 % with a standard error of 1.8 % over 150 cases, and 1.5 % from 200 permutations in each.
        self.assertBetween(below, 0.88, 0.999)

    def test_grows_to_that_of_distributions_far_apart(self):
        reference = normal(0, 300, 2)
        shifted = [mmd(normal(1, 300, 2) + shift, reference)["mmd_squared"] for shift in (0.0, 0.5, 2.0, 1e4)]
        self.assertAllEqual(np.argsort(shifted), [0, 1, 2, 3])
        # Far apart no kernel sees both, and what remains is E k(z, z') + E k(w, w'): about equal here.
        self.assertAllClose(shifted[3], 2 * within(reference), rtol=0.05)

    def test_codes_at_one_point(self):
        reference = normal(0, 200, 2)
        collapsed = mmd(np.zeros((200, 2)), reference)
        self.assertGreater(collapsed["mmd_squared"], 0.2)
        with self.assertRaisesRegex(ValueError, "codes that vary are wanted"):
            mmd(reference, np.zeros((200, 2)))

    def test_only_so_many_are_compared_and_they_are_no_prefix(self):
        codes = np.concatenate([normal(0, 3000, 1), 5.0 + normal(1, 3000, 1)])
        reference = np.concatenate([5.0 + normal(2, 1500, 1), normal(3, 1500, 1)])
        with mock.patch.object(latent, "NUM_CODES", 300):
            found, again = mmd(codes, reference), mmd(codes, reference)
        self.assertLess(found["mmd_squared"], 2 * found["mmd_squared_floor"])  # of prefixes it would be about 1
        self.assertEqual(found, again)

    def test_bad_codes_are_refused_in_a_sentence(self):
        good = normal(0, 5, 2)
        for codes, sentence in (
            (good[:1], "codes has shape .1, 2.; at least 2 finite codes"),
            (good[:, 0], "codes has shape .5,."),
            (np.full((5, 2), np.nan), "finite"),
            (normal(0, 5, 3), "codes have 3 dimensions, but reference 2"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                mmd(codes, good)

    def test_by_class_sees_what_the_whole_hides(self):
        """Two classes, each half of a normal distribution: together they are the prior, apart they are not."""
        codes, reference = normal(0, 1000, 1), normal(1, 1000, 1)
        halves, mixed = (codes[:, 0] > 0).astype(int), np.arange(1000) % 2
        whole, by_class = mmd(codes, reference), mmd_of_classes(codes, halves, reference)
        self.assertLess(whole["mmd_squared"], whole["mmd_squared_floor"])
        self.assertGreater(by_class["class_mmd_squared"], 0.1)
        self.assertGreater(by_class["largest_class_mmd_squared"], by_class["class_mmd_squared"])
        independent = mmd_of_classes(codes, mixed, reference)
        self.assertLess(independent["class_mmd_squared"], 2 * independent["class_mmd_squared_floor"])


def within(codes):
    kernel = latent.kernel_matrix(codes, latent.median_distance(codes))
    return (kernel.sum() - len(codes)) / (len(codes) * (len(codes) - 1))


class CodesTest(tf.test.TestCase):
    def test_an_importance_weighted_model_has_one_code_for_each_image(self):
        data = load_data("digits")
        iwae = zoo.IWAE((8, 8, 1), latent_dim=2, hidden=(4,), num_training_samples=3)
        iwae.compile("adam")
        codes = latent.codes_of(iwae, data, "test", "dynamic")
        self.assertEqual(codes.shape, (300, 2))
        self.assertAllEqual(codes, latent.codes_of(iwae, data, "test", "dynamic"))


class ClassFromCodeTest(tf.test.TestCase):
    def split(self, codes, labels):
        half = len(codes) // 2
        return codes[:half], labels[:half], codes[half:], labels[half:]

    def test_reads_what_is_there_and_nothing_else(self):
        labels = np.arange(2000) % 10
        independent = class_from_code(*self.split(normal(0, 2000, 2), labels))
        # 1,000 guesses at 10 %: a standard error of 1 %.
        for name in ("linear_class_accuracy", "neighbours_class_accuracy", "chance"):
            self.assertBetween(independent[name], 0.06, 0.14)
        angles = 2 * np.pi * labels / 10
        places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        apart = class_from_code(*self.split(1e3 * places + normal(0, 2000, 2), labels))
        self.assertEqual((apart["linear_class_accuracy"], apart["neighbours_class_accuracy"]), (1.0, 1.0))

    def test_neighbours_see_a_ring_that_no_line_cuts(self):
        codes = normal(0, 4000, 2)
        labels = (np.linalg.norm(codes, axis=1) > np.sqrt(2 * np.log(2))).astype(int)  # the median radius
        found = class_from_code(*self.split(codes, labels))
        self.assertLess(found["linear_class_accuracy"], 0.6)
        self.assertGreater(found["neighbours_class_accuracy"], 0.95)

    def test_few_labels(self):
        labels = np.arange(200) % 2
        codes = labels[:, None] * 100.0 + normal(0, 200, 3)
        kept = np.where(np.arange(200) < 12, labels, -1)
        self.assertEqual(class_from_few_labels(codes, kept, codes, labels), 1.0)
        wrong = np.where(np.arange(200) < 12, 1 - labels, -1)
        self.assertEqual(class_from_few_labels(codes, wrong, codes, labels), 0.0)


class ClassificationTest(tf.test.TestCase):
    def test_error(self):
        probabilities = np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4], [0.1, 0.9]])
        self.assertEqual(classification_error(probabilities, np.array([0, 1, 1, 0])), 0.5)

    def test_a_cluster_has_the_label_of_its_likeliest_image_or_of_most(self):
        validation = np.array([[0.6, 0.4, 0.0], [0.7, 0.3, 0.0], [0.99, 0.01, 0.0], [0.1, 0.8, 0.1], [0.2, 0.5, 0.3]])
        labels = np.array([4, 4, 7, 2, 9])
        test = np.eye(3)[[0, 0, 1, 1, 2]]
        # Likeliest: cluster 0 is 7, cluster 1 is 2, cluster 2 (of no image) is 9. Most: cluster 0 is 4.
        found = clustering_errors(validation, labels, test, np.array([7, 4, 2, 5, 9]))
        self.assertEqual(found, {"clustering_error": 0.4, "majority_clustering_error": 0.4, "used_clusters": 3})
        found = clustering_errors(validation, labels, test, np.array([4, 4, 2, 2, 9]))
        self.assertEqual(found, {"clustering_error": 0.4, "majority_clustering_error": 0.0, "used_clusters": 3})
        found = clustering_errors(validation, labels, test[:4], np.array([7, 7, 2, 2]))
        self.assertEqual(found, {"clustering_error": 0.0, "majority_clustering_error": 0.5, "used_clusters": 2})

    def test_recognized_of_all_and_of_the_worst_class(self):
        labels = np.arange(12) % 3
        seen = labels.copy()
        seen[[1, 4, 2]] = 0  # two of class 1, one of class 2
        self.assertEqual(
            recognized(seen, labels), {"recognized": 0.75, "smallest_class_recognized": 0.5, "num_samples": 12}
        )
