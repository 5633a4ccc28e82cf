"""Entropies and divergences against scipy, closed forms and golden numbers."""

import doctest
import itertools
import sys

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy import integrate, stats
from scipy.spatial.distance import jensenshannon
from tensorflow_probability import distributions as tfd

from zoo.divergences import (
    F_DIVERGENCES,
    cross_entropy,
    entropy,
    f_divergence,
    jensen_shannon,
    kl,
    monte_carlo,
    optimal_logits,
    optimal_value,
    total_variation,
)

INF = float("inf")
ROUNDING = 1e-12  # float64 against float64, of sums of some terms near 1
PAIRS = np.random.default_rng(0).dirichlet(np.full(6, 0.5), size=(2, 40))  # p and q, some entries near 0

# u -> f(u), each as in Nowozin et al. 2016, table 1, or in the definition of the divergence.
GENERATORS = {
    "kl_forward": lambda u: u * np.log(u),
    "kl_reverse": lambda u: -np.log(u),
    "jeffreys": lambda u: 0.5 * (u - 1) * np.log(u),
    "jensen_shannon": lambda u: u * np.log(u) - (1 + u) * np.log((1 + u) / 2),
    "total_variation": lambda u: 0.5 * np.abs(u - 1),
    "squared_hellinger": lambda u: (np.sqrt(u) - 1) ** 2,
    "triangular": lambda u: (u - 1) ** 2 / (u + 1),
    "pearson": lambda u: (u - 1) ** 2,
    "neyman": lambda u: (u - 1) ** 2 / u,
}


def normal(loc, scale=1.0):
    return tfd.Normal(np.float64(loc), np.float64(scale))


def mixture():
    parts = tfd.Normal(np.array([-1.0, 3.0]), np.array([0.5, 1.5]))
    return tfd.MixtureSameFamily(tfd.Categorical(probs=np.array([0.3, 0.7])), parts)


def by_scipy(integrand, low=-40.0, high=40.0):
    """The integral of a smooth function of x, in pieces that no narrow peak hides in."""
    edges = np.linspace(low, high, 81)
    return sum(integrate.quad(integrand, *ends, epsabs=1e-14)[0] for ends in itertools.pairwise(edges))


class DiscreteTest(parameterized.TestCase, tf.test.TestCase):
    def test_entropies_agree_with_scipy(self):
        p, q = PAIRS
        self.assertAllClose(entropy(p), stats.entropy(p, axis=-1), atol=ROUNDING)
        self.assertAllClose(kl(p, q), stats.entropy(p, q, axis=-1), rtol=1e-12, atol=ROUNDING)
        self.assertAllClose(cross_entropy(p, q), -np.sum(p * np.log(q), axis=-1), rtol=1e-12, atol=ROUNDING)
        self.assertAllClose(jensen_shannon(p, q), jensenshannon(p, q, axis=-1) ** 2, atol=ROUNDING)
        self.assertAllClose(total_variation(p, q), 0.5 * np.abs(p - q).sum(axis=-1), atol=ROUNDING)
        self.assertAllClose(optimal_value(p, q), 2 * jensenshannon(p, q, axis=-1) ** 2 - np.log(4), atol=ROUNDING)

    @parameterized.parameters(*F_DIVERGENCES)
    def test_f_divergences_are_their_definitions(self, name):
        p, q = PAIRS
        expected = np.sum(q * GENERATORS[name](p / q), axis=-1)
        self.assertAllClose(f_divergence(name, p, q), expected, rtol=1e-9, atol=ROUNDING)
        self.assertAllClose(f_divergence(F_DIVERGENCES[name].dual, q, p), expected, rtol=1e-9, atol=ROUNDING)
        self.assertAllEqual(f_divergence(name, p, p), np.zeros(40))

    def test_zero_probabilities(self):
        p, q = [0.5, 0.5, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0]
        half_log_2 = 0.5 * np.log(2.0)
        self.assertAllClose(entropy(p), np.log(2.0), atol=ROUNDING)
        self.assertEqual(entropy([0.0, 1.0, 0.0]), 0.0)
        self.assertEqual(kl(p, q), INF)
        self.assertEqual(cross_entropy(p, q), INF)
        self.assertAllClose(kl([0.0, 1.0, 0.0, 0.0], p), np.log(2.0), atol=ROUNDING)  # q reaches beyond p: finite
        self.assertAllClose(cross_entropy([0.0, 1.0, 0.0, 0.0], p), np.log(2.0), atol=ROUNDING)
        self.assertAllClose(jensen_shannon(p, q), half_log_2, atol=ROUNDING)
        self.assertAllClose(total_variation(p, q), 0.5, atol=ROUNDING)
        expected = {  # sums by hand over the outcomes (1/2, 0), (1/2, 1/2), (0, 1/2), (0, 0)
            "kl_forward": INF,
            "kl_reverse": INF,
            "jeffreys": INF,
            "jensen_shannon": 2 * half_log_2,
            "total_variation": 0.5,
            "squared_hellinger": 1.0,
            "triangular": 1.0,
            "pearson": INF,
            "neyman": INF,
        }
        for name, value in expected.items():
            self.assertAllClose(f_divergence(name, p, q), value, atol=ROUNDING, msg=name)
        self.assertEqual(f_divergence("pearson", [0.0, 1.0], [0.5, 0.5]), 1.0)
        self.assertEqual(f_divergence("neyman", [0.5, 0.5], [0.0, 1.0]), 1.0)

    def test_disjoint_and_equal_are_the_ends_of_the_range(self):
        p, q = [1.0, 0.0], [0.0, 1.0]
        self.assertEqual(jensen_shannon(p, q), np.log(2.0))
        self.assertEqual(total_variation(p, q), 1.0)
        self.assertEqual(jensen_shannon(p, p), 0.0)
        self.assertAllClose(optimal_value(p, q), 0.0, atol=ROUNDING)  # a perfect discriminator
        self.assertAllClose(optimal_value(p, p), -1.386294, atol=5e-7)  # the generator has won
        tiny = [1.0 - 1e-12, 1e-12]
        self.assertLessEqual(jensen_shannon(tiny, tiny[::-1]), np.log(2.0))

    def test_ratios_beyond_the_range_of_floats_do_not_overflow(self):
        """(p/q)^2 is above the largest float64, and KL = 1e-8 log 1e292 and so on, not NaN."""
        p, q = [1e-8, 1.0 - 1e-8], [1e-300, 1.0]
        self.assertAllClose(kl(p, q), 1e-8 * np.log(1e292) - 1e-8, rtol=1e-6)
        self.assertAllClose(kl(q, p), 1e-8, rtol=1e-6)
        self.assertAllClose(jensen_shannon(p, q), 0.5e-8 * np.log(2), rtol=1e-6)

    def test_categorical_distributions_are_arrays(self):
        p, q = PAIRS[:, 0]
        for kind in (tfd.Categorical, tfd.OneHotCategorical):
            self.assertAllClose(kl(kind(probs=p), kind(probs=q)), stats.entropy(p, q), atol=ROUNDING)
            self.assertAllClose(jensen_shannon(kind(probs=p), kind(probs=q)), jensenshannon(p, q) ** 2, atol=ROUNDING)

    def test_precision_is_that_of_the_input(self):
        p, q = PAIRS
        self.assertEqual(kl(p, q).dtype, tf.float64)
        self.assertEqual(kl(tf.constant([0.5, 0.5]), tf.constant([0.5, 0.5])).dtype, tf.float32)
        self.assertEqual(kl([1, 0], [0.5, 0.5]), np.log(2.0))
        inside = tf.function(jensen_shannon)(tf.constant(p), tf.constant(q))
        self.assertAllClose(inside, jensen_shannon(p, q), atol=ROUNDING)

    def test_what_is_no_distribution_is_refused(self):
        good = [0.25, 0.75]
        for p, q, sentence in (
            ([0.5, 0.6], good, r"p sums to 1\.1 along its last axis; 1 is wanted"),
            (good, [1.5, -0.5], r"q holds -0\.5; probabilities are numbers >= 0"),
            ([np.nan, 1.0], good, "p holds nan"),
            ([INF, 0.0], good, "p sums to inf"),
            (good, [0.2, 0.3, 0.5], "p has 2 outcomes and q has 3"),
            (1.0, good, r"p has shape \(\); probabilities \[..., outcomes\]"),
            (np.zeros((3, 0)), good, r"p has shape \(3, 0\)"),
            ([[0.5, 0.5], [0.5, 0.4]], good, r"p sums to 0\.9"),
            (good, normal(0.0), "p came as .* and q as Normal; two arrays"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                jensen_shannon(p, q)
        with self.assertRaisesRegex(ValueError, "no f-divergence 'jensen'; kl_forward,"):
            f_divergence("jensen", good, good)


class ContinuousTest(parameterized.TestCase, tf.test.TestCase):
    def test_the_pair_of_golden_numbers(self):
        """p = N(1, 1), q = N(0, 2^2), to the printed digits."""
        p, q = normal(1.0), normal(0.0, 2.0)
        self.assertAllClose(kl(p, q), 0.443147, atol=5e-7)
        self.assertAllClose(kl(q, p), 1.306853, atol=5e-7)
        self.assertAllClose(jensen_shannon(p, q), 0.128175, atol=5e-7)
        self.assertAllClose(optimal_value(p, q), -1.129944, atol=5e-7)

    def test_closed_forms(self):
        p, q = normal(1.0), normal(0.0, 2.0)
        self.assertAllClose(kl(p, q), np.log(2.0) + (1 + 1) / 8 - 0.5, atol=ROUNDING)
        self.assertAllClose(entropy(p), 0.5 * np.log(2 * np.pi * np.e), atol=ROUNDING)
        self.assertAllClose(cross_entropy(p, q), entropy(p) + kl(p, q), atol=ROUNDING)
        # TV of equal scales: P(|z| < theta / 2)
        expected = 2 * stats.norm.cdf(1.5) - 1
        self.assertAllClose(total_variation(normal(0.0), normal(3.0)), expected, atol=1e-5)  # the integrand has a kink

    @parameterized.parameters(*F_DIVERGENCES)
    def test_quadrature_agrees_with_scipy(self, name):
        p, q = normal(0.3, 1.2), normal(-0.5, 1.4)

        def integrand(x):
            density_p, density_q = stats.norm.pdf(x, 0.3, 1.2), stats.norm.pdf(x, -0.5, 1.4)
            return density_q * GENERATORS[name](density_p / density_q)

        # Farther out the densities underflow. TV has a kink, inside of which no rule converges fast.
        self.assertAllClose(
            f_divergence(name, p, q), by_scipy(integrand, -15, 15), atol=1e-5 if name == "total_variation" else 1e-9
        )

    def test_mixtures_go_by_quadrature(self):
        p, q = mixture(), normal(1.0, 2.0)

        def log_p(x):
            return np.log(0.3 * stats.norm.pdf(x, -1.0, 0.5) + 0.7 * stats.norm.pdf(x, 3.0, 1.5))

        def log_q(x):
            return stats.norm.logpdf(x, 1.0, 2.0)

        self.assertAllClose(kl(p, q), by_scipy(lambda x: np.exp(log_p(x)) * (log_p(x) - log_q(x))), atol=1e-9)
        self.assertAllClose(entropy(p), by_scipy(lambda x: -np.exp(log_p(x)) * log_p(x)), atol=1e-9)
        self.assertAllClose(cross_entropy(p, q), by_scipy(lambda x: -np.exp(log_p(x)) * log_q(x)), atol=1e-9)

    def test_bounded_support(self):
        """Uniform on [0, 1] and on [1/2, 3/2]: half of each lies where the other is 0."""
        p, q = (tfd.Uniform(np.float64(low), np.float64(low + 1)) for low in (0.0, 0.5))
        self.assertAllClose(jensen_shannon(p, q), 0.5 * np.log(2.0), atol=ROUNDING)
        self.assertAllClose(total_variation(p, q), 0.5, atol=ROUNDING)
        self.assertEqual(kl(p, q), INF)
        gamma, log_normal = tfd.Gamma(np.float64(3.0), np.float64(2.0)), tfd.LogNormal(np.float64(0.0), np.float64(0.5))

        def integrand(x):
            density_p, density_q = stats.gamma.pdf(x, 3.0, scale=0.5), stats.lognorm.pdf(x, 0.5)
            return 0.5 * density_q * GENERATORS["jensen_shannon"](density_p / density_q)

        self.assertAllClose(jensen_shannon(gamma, log_normal), by_scipy(integrand, 1e-2, 15), atol=1e-6)

    def test_batches_of_distributions(self):
        locations = np.array([[0.0, 1.0, 2.0], [4.0, 6.0, 8.0]])
        batch = jensen_shannon(normal(0.0), normal(locations))
        self.assertEqual(batch.shape, (2, 3))
        for index, location in np.ndenumerate(locations):
            self.assertAllClose(batch[index], jensen_shannon(normal(0.0), normal(location)), atol=ROUNDING)

    def test_gradient_is_that_of_finite_differences(self):
        for divergence in (jensen_shannon, total_variation, lambda p, q: f_divergence("neyman", p, q)):
            theta = tf.constant(1.3, tf.float64)
            with tf.GradientTape() as tape:
                tape.watch(theta)
                value = divergence(normal(0.0), tfd.Normal(theta, np.float64(1.0)))
            step = 1e-4
            ahead, behind = (divergence(normal(0.0), normal(1.3 + sign * step)) for sign in (1, -1))
            # Third derivatives leave 1e-8; the kink of TV moves through a node's weight of 1e-3.
            self.assertAllClose(tape.gradient(value, theta), (ahead - behind) / (2 * step), atol=2e-3)

    def test_far_apart_stays_finite(self):
        p, q = normal(0.0), normal(100.0)
        self.assertAllClose(jensen_shannon(p, q), np.log(2.0), atol=1e-9)
        self.assertAllClose(total_variation(p, q), 1.0, atol=1e-9)
        self.assertAllClose(f_divergence("kl_reverse", p, q), 5000.0, rtol=1e-9)

    def test_optimal_logits_are_the_log_ratio(self):
        x = np.linspace(-3, 3, 7)
        expected = stats.norm.logpdf(x, 1, 1) - stats.norm.logpdf(x, 0, 2)
        self.assertAllClose(optimal_logits(normal(1.0), normal(0.0, 2.0))(x), expected, atol=ROUNDING)

    def test_what_quadrature_cannot_do_is_refused(self):
        plane = tfd.MultivariateNormalDiag(np.zeros(2), np.ones(2))
        for p, q, sentence in (
            (plane, plane, r"quadrature is for scalar events, not float64 ones of shape \(2,\); pass num_samples"),
            (tfd.Cauchy(0.0, 1.0), tfd.Cauchy(1.0, 1.0), "finite mean and standard deviation; pass num_samples"),
            (tfd.Beta(0.1, 0.1), tfd.Beta(0.1, 0.1), r"a mass of 0\.\d+ in place of 1 for p; pass num_samples"),
            (tfd.Bernoulli(probs=0.5), tfd.Bernoulli(probs=0.5), "not int32 ones"),
            (plane, normal(0.0), r"events of shape \(2,\) and q over float64 events of shape \(\)"),
            (tfd.Normal(0.0, 1.0), normal(0.0), "p is over float32 events"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                jensen_shannon(p, q)


class MonteCarloTest(parameterized.TestCase, tf.test.TestCase):
    """Within 4 standard errors of the truth, under fixed seeds; the standard error is about what it says."""

    @parameterized.parameters("kl_forward", "jensen_shannon", "total_variation", "squared_hellinger", "triangular")
    def test_estimates_meet_quadrature(self, name):
        p, q = normal(1.0), normal(0.0, 2.0)
        estimates = [monte_carlo(name, p, q, 4000, seed) for seed in range(30)]
        errors = np.array([float((each.value - f_divergence(name, p, q)) / each.standard_error) for each in estimates])
        self.assertAllInRange(errors, -4.0, 4.0)
        # The standard deviation of 30 standard normals lies in [0.5, 1.6] but for one case in 10,000.
        self.assertBetween(errors.std(), 0.5, 1.6)

    def test_many_dimensions(self):
        """KL between N(0, I) and N(m, I) in 200 dimensions is ||m||^2 / 2; the densities themselves underflow."""
        p, q = (tfd.MultivariateNormalDiag(np.full(200, loc), np.full(200, 4.0)) for loc in (0.0, 0.5))
        truth = 200 * 0.5**2 / (2 * 4.0**2)
        self.assertAllClose(kl(p, q), truth, rtol=1e-9)
        estimate = monte_carlo("kl_forward", p, q, 20_000)
        self.assertLess(abs(estimate.value - truth), 4 * estimate.standard_error)
        # Along the line through both means lies all of the difference: they are 1-D Gaussians at that distance.
        estimate = monte_carlo("jensen_shannon", p, q, 20_000)
        truth = 2 * jensen_shannon(normal(0.0), normal(np.sqrt(200) * 0.5 / 4.0))
        self.assertLess(abs(estimate.value - truth), 4 * estimate.standard_error)

    def test_same_seed_same_number(self):
        p, q = mixture(), normal(1.0, 2.0)
        first = kl(p, q, num_samples=1000, seed=3)
        self.assertEqual(kl(p, q, num_samples=1000, seed=3), first)
        self.assertNotEqual(kl(p, q, num_samples=1000, seed=4), first)
        self.assertAllClose(kl(p, q, num_samples=100_000), kl(p, q), atol=0.02)  # 4 standard errors
        self.assertAllClose(entropy(p, num_samples=100_000), entropy(p), atol=0.02)

    def test_where_one_is_impossible(self):
        p, q = (tfd.Uniform(np.float64(low), np.float64(low + 1)) for low in (0.0, 0.5))
        self.assertEqual(monte_carlo("kl_forward", p, q, 1000).value, INF)
        estimate = monte_carlo("jensen_shannon", p, q, 10_000)
        self.assertLess(abs(estimate.value - np.log(2.0)), 4 * estimate.standard_error)  # 2 JSD

    def test_counts_are_checked(self):
        with self.assertRaisesRegex(ValueError, "num_samples is 1; a whole number >= 4"):
            jensen_shannon(normal(0.0), normal(1.0), num_samples=1)


class ExamplesTest(tf.test.TestCase):
    def test_examples_in_the_docstrings_run(self):
        outcome = doctest.testmod(sys.modules["zoo.divergences"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 7))
