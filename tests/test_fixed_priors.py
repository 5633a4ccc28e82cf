"""The fixed priors against scikit-learn, their moments and their geometry."""

import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from sklearn.mixture import GaussianMixture
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky

from zoo.distributions import stateless_seed
from zoo.fixed_priors import PRIORS

COUNT = 20_000
SCALE = 1.5


def prior(name, latent_dim=2, num_components=10):
    return PRIORS[name](latent_dim, SCALE, num_components)


def draws(name, labels=None, seed=3, **arguments):
    labels = None if labels is None else tf.constant(labels, tf.int64)
    return prior(name, **arguments).draw(COUNT, stateless_seed(seed), labels).numpy().astype("float64")


def ring(num_components):
    """Means and covariances of the ring, written out: the second Gaussian's axes are those of the first, turned."""
    angles = 2 * np.pi * np.arange(num_components) / num_components
    along = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    across = np.stack([-np.sin(angles), np.cos(angles)], axis=1)
    covariances = 0.5**2 * along[:, :, None] * along[:, None] + 0.2**2 * across[:, :, None] * across[:, None]
    return SCALE * 2.0 * along, SCALE**2 * covariances


def winding(z):
    """u of points on the roll: the radius is 3 sqrt(u)."""
    return np.square(np.linalg.norm(z, axis=1) / (SCALE * 3.0))


class FixedPriorsTest(tf.test.TestCase, parameterized.TestCase):
    def test_normal_has_its_moments_and_its_density(self):
        normal = prior("standard_normal", latent_dim=4)
        z = draws("standard_normal", latent_dim=4)
        # Standard errors over 20,000 draws: 1.5 / 141 of a mean, 2.25 * 1.41 / 141 of a variance; four of them.
        self.assertAllClose(z.mean(axis=0), np.zeros(4), atol=0.045)
        self.assertAllClose(np.cov(z.T), SCALE**2 * np.eye(4), atol=0.09)
        by_hand = -0.5 * np.sum(np.square(z / SCALE), axis=1) - 4 * np.log(SCALE * np.sqrt(2 * np.pi))
        self.assertAllClose(normal.log_prob(z.astype("float32")), by_hand, rtol=1e-5)

    @parameterized.parameters(1, 3, 10)
    def test_log_prob_of_the_mixture_is_that_of_scikit_learn(self, num_components):
        mixture = GaussianMixture(num_components)
        mixture.weights_ = np.full(num_components, 1 / num_components)
        mixture.means_, mixture.covariances_ = ring(num_components)
        mixture.precisions_cholesky_ = _compute_precision_cholesky(mixture.covariances_, "full")
        z = draws("gaussian_mixture", num_components=num_components)[:500]
        z = np.concatenate([z, [[0.0, 0.0], [7.0, -7.0]]])
        ours = prior("gaussian_mixture", num_components=num_components).log_prob(z.astype("float32"))
        self.assertAllClose(ours, mixture.score_samples(z), rtol=1e-4, atol=1e-4)  # float32, exponents up to 500

    def test_each_label_draws_its_own_gaussian_and_none_draws_all_of_them(self):
        means, covariances = ring(10)
        for label in (0, 3, 9):
            z = draws("gaussian_mixture", np.full(COUNT, label))
            # Four standard errors: 0.75 / 141 of a mean, 0.56 * 1.41 / 141 of a variance.
            self.assertAllClose(z.mean(axis=0), means[label], atol=0.022)
            self.assertAllClose(np.cov(z.T), covariances[label], atol=0.023)
        for unlabelled in (draws("gaussian_mixture"), draws("gaussian_mixture", np.full(COUNT, -1))):
            nearest = np.argmin(np.linalg.norm(unlabelled[:, None] - means, axis=2), axis=1)
            # A share of 0.1 of 20,000 has a standard error of 0.002; few points are nearer to a neighbour's mean.
            self.assertAllClose(np.bincount(nearest) / COUNT, np.full(10, 0.1), atol=0.01)
        mixed = draws("gaussian_mixture", np.arange(COUNT) % 11 - 1)
        self.assertAllClose(mixed[4::11].mean(axis=0), means[3], atol=0.08)  # a tenth of the draws

    def test_segments_partition_the_roll(self):
        roll, u = prior("swiss_roll"), tf.constant(np.linspace(0, 1, COUNT, endpoint=False), tf.float32)
        still = tf.zeros((COUNT, 2))
        whole = roll.from_noise(still, u).numpy()
        self.assertAllClose(winding(whole), u, atol=1e-5)
        angles = np.unwrap(np.arctan2(whole[1:, 1], whole[1:, 0]))
        self.assertAllClose(angles[-1] - angles[0], 4 * np.pi, rtol=0.02)  # two turns
        for label in range(10):
            segment = winding(roll.from_noise(still, u, tf.fill([COUNT], label)).numpy())
            self.assertAllInRange(segment, label / 10 - 1e-5, (label + 1) / 10 + 1e-5)
            self.assertAllClose(segment, (label + u.numpy()) / 10, atol=1e-5)  # all of it, evenly
        self.assertAllEqual(roll.from_noise(still, u, tf.fill([COUNT], -1)), whole)

    def test_the_roll_is_as_wide_as_its_noise(self):
        roll = prior("swiss_roll")
        noise = tf.random.stateless_normal((COUNT, 2), stateless_seed(1))
        u = tf.fill([COUNT], 0.5)
        z = roll.from_noise(noise, u).numpy()
        self.assertAllClose(z - roll.from_noise(0 * noise, u), SCALE * 0.1 * noise, atol=1e-5)
        self.assertAllClose(
            np.bincount((winding(draws("swiss_roll")) * 2).astype(int))[:2] / COUNT, [0.5, 0.5], atol=0.03
        )

    @parameterized.parameters(*PRIORS)
    def test_draws_are_functions_of_their_seed(self, name):
        self.assertAllEqual(draws(name), draws(name))
        self.assertNotAllClose(draws(name), draws(name, seed=4))

    @parameterized.parameters(
        ("standard_normal", False, {"noise"}),
        ("gaussian_mixture", False, {"noise", "uniform"}),
        ("gaussian_mixture", True, {"noise"}),
        ("swiss_roll", True, {"noise", "uniform"}),
    )
    def test_inputs_are_what_a_draw_needs(self, name, by_label, expected):
        self.assertEqual(set(prior(name).inputs(by_label)), expected)
        noise = {"noise": tf.ones((4, 2)), "uniform": tf.fill([4], 0.3)}
        labels = tf.constant([0, 1, 2, 3], tf.int64) if by_label else None
        z = prior(name).from_noise(**{key: noise[key] for key in expected}, labels=labels)
        self.assertAllEqual(z, prior(name).from_noise(**noise, labels=labels))

    def test_the_largest_uniform_number_draws_the_last_component(self):
        largest = tf.fill([1], np.nextafter(np.float32(1), np.float32(0)))
        for num_components in range(1, 65):
            mixture = prior("gaussian_mixture", num_components=num_components)
            self.assertEqual(mixture.component(largest, None).numpy()[0], num_components - 1)

    def test_refusals(self):
        for name in ("gaussian_mixture", "swiss_roll"):
            with self.assertRaisesRegex(ValueError, "latent_dim is 3, but this prior lies in the plane"):
                prior(name, latent_dim=3)
        with self.assertRaisesRegex(ValueError, "no density in closed form"):
            prior("swiss_roll").log_prob(tf.zeros((1, 2)))


if __name__ == "__main__":
    tf.test.main()
