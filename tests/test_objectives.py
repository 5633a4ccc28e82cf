"""The objectives and penalties of adversarial training against closed forms in NumPy, in float64."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy.special import expit
from scipy.stats import kstest

from zoo.objectives import OBJECTIVES, around, between, gradient_penalty, with_squared_slope

GENERATOR = np.random.default_rng(3)
LOG_2 = np.log(2.0)
REAL = np.array([-100.0, -100.0, 100.0, 100.0, -3.0, -0.5, 0.25, 2.0, 30.0])
FAKE = np.array([-100.0, 100.0, -100.0, 100.0, 1.5, -4.0, 0.75, -0.125, -31.0])


def softplus(t):
    return np.logaddexp(0.0, t)


# Of logits r of real and f of generated examples: the two losses, and their derivatives (d/dr, d/df).
CLOSED_FORMS = {
    "minimax": (
        lambda r, f: softplus(-r) + softplus(f),
        lambda r, f: (-expit(-r), expit(f)),
        lambda r, f: -softplus(f),
        lambda r, f: (0 * r, -expit(f)),
    ),
    "non_saturating": (
        lambda r, f: softplus(-r) + softplus(f),
        lambda r, f: (-expit(-r), expit(f)),
        lambda r, f: softplus(-f),
        lambda r, f: (0 * r, -expit(-f)),
    ),
    "least_squares": (
        lambda r, f: (r - 1) ** 2 / 2 + f**2 / 2,
        lambda r, f: (r - 1, f),
        lambda r, f: (f - 1) ** 2 / 2,
        lambda r, f: (0 * r, f - 1),
    ),
    "hinge": (
        lambda r, f: np.maximum(0, 1 - r) + np.maximum(0, 1 + f),
        lambda r, f: (-1.0 * (r < 1), 1.0 * (f > -1)),
        lambda r, f: -f,
        lambda r, f: (0 * r, -np.ones_like(f)),
    ),
    "relativistic": (
        lambda r, f: softplus(f - r),
        lambda r, f: (-expit(f - r), expit(f - r)),
        lambda r, f: softplus(r - f),
        lambda r, f: (expit(r - f), -expit(r - f)),
    ),
}
CLOSED_FORMS["wasserstein"] = CLOSED_FORMS["wasserstein_gp"] = (
    lambda r, f: f - r,
    lambda r, f: (-np.ones_like(r), np.ones_like(f)),
    lambda r, f: -f,
    lambda r, f: (0 * r, -np.ones_like(f)),
)

# At D = 0, where nothing is known: the two losses and the diagnostic.
AT_CHANCE = {
    "minimax": (2 * LOG_2, -LOG_2, 0.5),
    "non_saturating": (2 * LOG_2, LOG_2, 0.5),
    "least_squares": (0.5, 0.5, 0.5),
    "hinge": (2.0, 0.0, 0.5),
    "wasserstein": (0.0, 0.0, 0.0),
    "wasserstein_gp": (0.0, 0.0, 0.0),
    "relativistic": (LOG_2, LOG_2, 0.0),
}


class ObjectiveTest(tf.test.TestCase, parameterized.TestCase):
    def test_every_objective_has_a_closed_form(self):
        self.assertEqual(set(CLOSED_FORMS), set(OBJECTIVES))
        self.assertEqual(set(AT_CHANCE), set(OBJECTIVES))

    @parameterized.named_parameters((name, name) for name in OBJECTIVES)
    def test_losses_and_gradients_by_the_logits(self, name):
        d_loss, d_gradient, g_loss, g_gradient = CLOSED_FORMS[name]
        objective = OBJECTIVES[name]
        for loss, value, gradient in (
            (objective.discriminator, d_loss, d_gradient),
            (objective.generator, g_loss, g_gradient),
        ):
            real, fake = tf.constant(REAL, tf.float32), tf.constant(FAKE, tf.float32)
            with tf.GradientTape() as tape:
                tape.watch([real, fake])
                found = loss(real, fake)
            gradients = tape.gradient(found, [real, fake], unconnected_gradients="zero")
            self.assertEqual(found.shape, REAL.shape)
            # float32 against float64; exp(-100) = 4e-44 is below its smallest normal number.
            self.assertAllClose(found, value(REAL, FAKE), rtol=1e-6, atol=1e-37)
            for one, wanted in zip(gradients, gradient(REAL, FAKE), strict=True):
                self.assertAllClose(one, wanted, rtol=1e-5, atol=1e-37)

    @parameterized.named_parameters((name, name) for name in OBJECTIVES)
    def test_gradients_by_the_weights_of_a_linear_discriminator(self, name):
        """D(x) = w.x + b: the mean over the batch of dL/dr x + dL/df x' for w, and of dL/dr + dL/df for b."""
        real, fake = 2 * GENERATOR.standard_normal((40, 3)), 2 * GENERATOR.standard_normal((40, 3)) + 1
        w, b = np.array([0.5, -2.0, 1.0]), 0.3
        _, d_gradient, _, g_gradient = CLOSED_FORMS[name]
        for loss, gradient in (
            (OBJECTIVES[name].discriminator, d_gradient),
            (OBJECTIVES[name].generator, g_gradient),
        ):
            weights, bias = tf.Variable(w, dtype=tf.float32), tf.Variable(b, dtype=tf.float32)
            with tf.GradientTape() as tape:
                logits = [tf.linalg.matvec(tf.constant(x, tf.float32), weights) + bias for x in (real, fake)]
                value = tf.reduce_mean(loss(*logits))
            by_real, by_fake = gradient(real @ w + b, fake @ w + b)
            by_weights = np.mean(by_real[:, None] * real + by_fake[:, None] * fake, axis=0)
            # Means of 40 float32 products of order 1, some of which cancel.
            found = tape.gradient(value, [weights, bias], unconnected_gradients="zero")
            self.assertAllClose(found[0], by_weights, rtol=1e-5, atol=1e-6)
            self.assertAllClose(found[1], np.mean(by_real + by_fake), rtol=1e-5, atol=1e-6)

    @parameterized.named_parameters((name, name) for name in OBJECTIVES)
    def test_losses_at_chance_and_the_diagnostic(self, name):
        objective, zeros = OBJECTIVES[name], tf.zeros(4)
        found = [f(zeros, zeros) for f in (objective.discriminator, objective.generator, objective.diagnose)]
        self.assertAllClose(found, np.repeat(np.array(AT_CHANCE[name])[:, None], 4, axis=1), rtol=1e-6)
        told_apart = objective.diagnose(tf.constant([3.0]), tf.constant([-2.0]))
        confused = objective.diagnose(tf.constant([-2.0]), tf.constant([3.0]))
        self.assertAllEqual([told_apart, confused], [[5.0], [-5.0]] if "wasserstein" in name else [[1.0], [0.0]])


class PenaltyTest(tf.test.TestCase):
    def test_on_a_linear_critic_they_are_functions_of_its_weights(self):
        for shape in ((3,), (2, 3, 1)):
            x = tf.constant(GENERATOR.standard_normal((6, *shape)), tf.float32)
            w = GENERATOR.standard_normal(shape)
            norm = np.linalg.norm(w)
            for penalty, value, gradient in (
                (lambda d, x: with_squared_slope(d, x)[1], norm**2, 2 * w),
                (gradient_penalty, (norm - 1) ** 2, 2 * (norm - 1) * w / norm),
            ):
                weights = tf.Variable(w, dtype=tf.float32)
                with tf.GradientTape() as tape:
                    found = penalty(lambda x, w=weights: tf.reduce_sum(x * w, axis=range(1, len(x.shape))) + 7.0, x)
                    mean = tf.reduce_mean(found)
                self.assertAllClose(found, np.full(6, value), rtol=1e-5)  # float32
                self.assertAllClose(tape.gradient(mean, weights), gradient, rtol=1e-5, atol=1e-6)

    def test_squared_slope_of_a_quadratic_is_that_at_each_example(self):
        """D(x) = x.Ax / 2 + w.x: grad D = Ax + w, of which the squared norm has the gradient 2 (Ax + w) by w."""
        a, w, x = (GENERATOR.standard_normal(shape) for shape in ((3, 3), (3,), (8, 3)))
        a = a + a.T
        matrix, weights = tf.constant(a, tf.float32), tf.Variable(w, dtype=tf.float32)

        def discriminate(x):
            return tf.reduce_sum(x * (tf.matmul(x, matrix) / 2 + weights), axis=1)

        with tf.GradientTape() as tape:
            logits, squared_slope = with_squared_slope(discriminate, tf.constant(x, tf.float32))
            mean = tf.reduce_mean(squared_slope)
        slope = x @ a + w
        # Sums of some ten float32 products of order 1.
        self.assertAllClose(logits, np.sum(x * (x @ a / 2 + w), axis=1), rtol=1e-5, atol=1e-5)
        self.assertAllClose(squared_slope, np.sum(slope**2, axis=1), rtol=1e-5, atol=1e-5)
        self.assertAllClose(tape.gradient(mean, weights), 2 * slope.mean(axis=0), rtol=1e-5, atol=1e-5)

    def test_where_the_slope_is_zero_the_gradient_is_zero(self):
        """d||w|| / dw is 0 / 0 at w = 0; one such example must not turn a step into NaN."""
        weights = tf.Variable(tf.zeros(3))
        with tf.GradientTape() as tape:
            penalty = gradient_penalty(lambda x: tf.linalg.matvec(x, weights), tf.ones((5, 3)))
        self.assertAllClose(penalty, np.ones(5), atol=1e-5)  # (0 - 1)^2, to the 1e-6 that stands for a norm of 0
        self.assertAllEqual(tape.gradient(penalty, weights), np.zeros(3))


class DrawTest(tf.test.TestCase):
    def test_between_is_uniform_on_the_segment(self):
        real, fake = GENERATOR.standard_normal((5000, 2, 3, 1)), GENERATOR.standard_normal((5000, 2, 3, 1)) + 5
        x = between(tf.constant(real, tf.float32), tf.constant(fake, tf.float32), (1, 2)).numpy()
        share = ((x - real) / (fake - real)).reshape(5000, 6)
        one = np.median(share, axis=1)
        # One number an example, so that x lies on the segment: to the float32 rounding of numbers of order 5.
        self.assertAllClose(x, real + one.reshape(-1, 1, 1, 1) * (fake - real), atol=5e-6)
        self.assertAllInRange(one, -1e-6, 1.0 + 1e-6)
        self.assertGreater(kstest(one, "uniform").pvalue, 1e-3)  # a seed is fixed: this does not fail by chance
        self.assertLess(abs(np.corrcoef(one[:-1], one[1:])[0, 1]), 4 / np.sqrt(5000))  # from example to example

    def test_around_adds_up_to_half_the_spread_to_each_number(self):
        real = 3 * GENERATOR.standard_normal((2000, 4)) + 2
        x = around(tf.constant(real, tf.float32), (1, 2)).numpy()
        share = (x - real) / (0.5 * real.std())
        self.assertAllInRange(share, -1e-5, 1.0 + 1e-5)  # the rounding of numbers of order 10 by 1.5
        self.assertGreater(kstest(share.reshape(-1), "uniform").pvalue, 1e-3)
        correlations = np.corrcoef(share.T)[np.triu_indices(4, 1)]
        self.assertAllInRange(correlations, -4 / np.sqrt(2000), 4 / np.sqrt(2000))  # each number moves on its own

    def test_the_same_seed_draws_the_same(self):
        real, fake = (tf.constant(GENERATOR.standard_normal((20, 3)), tf.float32) for _ in range(2))
        for draw in (lambda seed: between(real, fake, seed), lambda seed: around(real, seed)):
            self.assertAllEqual(draw((1, 2)), draw((1, 2)))
            self.assertNotAllClose(draw((1, 2)), draw((1, 3)))
