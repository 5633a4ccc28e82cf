"""The hyperspherical VAE against quadrature over the polar angle, closed forms and finite differences, in float64."""

import doctest
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from scipy.integrate import quad
from scipy.special import gammaln, ive, logsumexp, roots_legendre
from scipy.stats import kstest

import zoo
from zoo.hyperspherical_vae import POSTERIORS, slope_of_log_radius

GENERATOR = np.random.default_rng(8)
GRAY = (GENERATOR.random((50, 4, 4, 1)) ** 2).astype("float32")
BINARY = (GRAY > 0.3).astype("float32")
CONCENTRATIONS = np.array([1.0, 1.5, 5.0, 30.0, 200.0, 2e3, 1e4])
EVERY_POSTERIOR = tuple((name, name) for name in POSTERIORS)


def small(**arguments):
    keras.utils.set_random_seed(3)
    vae = zoo.HypersphericalVAE(**{"event_shape": (4, 4, 1), "latent_dim": 3, "hidden": (8,), **arguments})
    vae.compile("adam")
    generator = np.random.default_rng(4)
    for variable in vae.trainable_variables:
        variable.assign_add(0.3 * generator.standard_normal(variable.shape))
    return vae


def directions(count, size):
    vectors = np.random.default_rng(2).standard_normal((count, size))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype("float32")


def log_kernel(name, t, concentration):
    """The log density but for a constant, which is 0 at its largest, t = loc . z = 1."""
    return concentration * (np.log1p(t) - np.log(2) if name == "power_spherical" else t - 1.0)


def log_area(dim):
    """Of S^dim."""
    return np.log(2) + 0.5 * (dim + 1) * np.log(np.pi) - gammaln(0.5 * (dim + 1))


class Polar:
    """Quadrature over the angle between loc and z: p(angle) ~ kernel(cos angle) sin(angle)^(dim - 1)."""

    NODES, WEIGHTS = roots_legendre(2000)

    def __init__(self, name, dim, concentration):
        self.angles = 0.5 * np.pi * (1.0 + self.NODES)
        self.t = np.cos(self.angles)
        self.log_kernel = log_kernel(name, self.t, concentration)
        log_mass = self.log_kernel + (dim - 1) * np.log(np.sin(self.angles)) + np.log(0.5 * np.pi * self.WEIGHTS)
        self.weights = np.exp(log_mass - logsumexp(log_mass))
        self.log_normalizer = logsumexp(log_mass) + log_area(dim - 1)  # of the kernel, by area
        self.cumulative = np.cumsum(self.weights) - 0.5 * self.weights

    def mean(self, values):
        return np.sum(self.weights * values)


class PosteriorTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*EVERY_POSTERIOR)
    def test_kl_and_density_are_those_of_quadrature(self, name):
        for dim in (2, 10, 40):
            locs = directions(len(CONCENTRATIONS), dim + 1)
            posterior = POSTERIORS[name](locs, CONCENTRATIONS.astype("float32"))
            polar = [Polar(name, dim, concentration) for concentration in CONCENTRATIONS]
            kl = [each.mean(each.log_kernel) - each.log_normalizer + log_area(dim) for each in polar]
            # float32 results of float64 sums.
            self.assertAllClose(posterior.kl_to_uniform(), kl, rtol=1e-6, atol=1e-6)

            z = posterior.sample(seed=(1, 2))
            t = 1.0 - 0.5 * np.sum(np.square(np.asarray(z, "float64") - locs), axis=1)
            expected = log_kernel(name, t, CONCENTRATIONS) - [each.log_normalizer for each in polar]
            # Points of float32 near loc have an angle to a relative 1e-5, whose square enters times dim / 2.
            self.assertAllClose(posterior.log_prob(z), expected, rtol=1e-5, atol=2e-3)
            self.assertAllClose(
                posterior.log_prob(locs), [-each.log_normalizer for each in polar], rtol=1e-6, atol=1e-5
            )

    @parameterized.named_parameters(*EVERY_POSTERIOR)
    def test_gradient_of_the_kl_is_that_of_quadrature(self, name):
        for dim in (2, 10, 40):
            concentration = tf.constant(CONCENTRATIONS, tf.float32)

            def gradient(concentration, dim=dim):
                with tf.GradientTape() as tape:
                    tape.watch(concentration)
                    kl = POSTERIORS[name](directions(len(CONCENTRATIONS), dim + 1), concentration).kl_to_uniform()
                return tape.gradient(kl, concentration)

            expected = []
            for each in CONCENTRATIONS:  # d KL / d kappa = kappa Var(s) of the sufficient statistic s
                polar = Polar(name, dim, each)
                statistic = log_kernel(name, polar.t, 1.0)
                expected.append(each * (polar.mean(statistic**2) - polar.mean(statistic) ** 2))
            # At 1e4 the variance is a difference of numbers 1e6 times its size: on both sides float64.
            self.assertAllClose(gradient(concentration), expected, rtol=1e-4)
            if dim == 10:
                self.assertAllClose(tf.function(gradient, jit_compile=True)(concentration), expected, rtol=1e-4)

    @parameterized.named_parameters(*EVERY_POSTERIOR)
    def test_draws_have_unit_length_and_the_distribution_of_the_polar_angle(self, name):
        count = 20_000
        for dim, concentration in ((1, 2.0), (2, 1.0), (2, 1e4), (10, 30.0), (40, 1e4), (40, 1.0)):
            loc = directions(1, dim + 1)
            posterior = POSTERIORS[name](loc, np.array([concentration], "float32"))
            z = posterior.sample(count, seed=(3, dim)).numpy()[:, 0].astype("float64")
            self.assertAllClose(np.linalg.norm(z, axis=1), np.ones(count), atol=1e-6)

            along = 1.0 - 0.5 * np.sum(np.square(z - loc), axis=1)
            polar = Polar(name, dim, concentration)
            angles = np.arccos(np.clip(along, -1.0, 1.0))
            outcome = kstest(angles, lambda angle, of=polar: np.interp(angle, of.angles, of.cumulative))
            self.assertGreater(outcome.pvalue, 1e-3)  # fixed seed

            # The mean resultant length in closed form, and the directions about loc without a preferred one.
            size = dim + 1
            resultant = (
                concentration / (concentration + dim)
                if name == "power_spherical"
                else ive(size / 2, concentration) / ive(size / 2 - 1, concentration)
            )
            self.assertAllClose(along.mean(), resultant, atol=4 * along.std() / np.sqrt(count))
            across = z - along[:, None] * loc
            across /= np.linalg.norm(across, axis=1, keepdims=True)
            self.assertAllInRange(across.mean(axis=0) * np.sqrt(count), -4.5, 4.5)
            spread = np.cov(across.T)  # the projector beside loc, over dim
            self.assertAllClose(spread, (np.eye(size) - loc.T * loc) / dim, atol=4.5 / np.sqrt(count))

    @parameterized.named_parameters(*EVERY_POSTERIOR)
    def test_reparameterized_gradient_is_that_of_the_exact_mean(self, name):
        """E[(loc . z)^2] and E[loc . z] by quadrature, differentiated by kappa; and E[a . z] by loc."""
        count = 40_000
        for dim, concentration in ((1, 3.0), (2, 1.0), (2, 500.0), (10, 10.0), (40, 1e4), (40, 2.0)):
            loc = tf.constant(np.tile(directions(1, dim + 1), (count, 1)))
            kappa = tf.fill([count], np.float32(concentration))
            with tf.GradientTape(persistent=True) as tape:
                tape.watch([loc, kappa])
                z = POSTERIORS[name](loc, kappa).sample(seed=(5, dim))
                shortfall = 0.5 * tf.reduce_sum((z - tf.stop_gradient(loc)) ** 2, axis=-1)  # 1 - loc . z, accurately
                first, square = -shortfall, shortfall**2
                elsewhere = tf.reduce_sum(z * directions(2, dim + 1)[1], axis=-1)
            step = 1e-3 * concentration
            for statistic, function in ((first, lambda t: t - 1.0), (square, lambda t: (1.0 - t) ** 2)):
                slopes = tape.gradient(statistic, kappa).numpy().astype("float64")
                above, below = (Polar(name, dim, concentration + sign * step) for sign in (1, -1))
                expected = (above.mean(function(above.t)) - below.mean(function(below.t))) / (2 * step)
                standard_error = slopes.std(ddof=1) / np.sqrt(count)
                # 4 standard errors, and the third derivative times the squared step.
                self.assertAllClose(slopes.mean(), expected, atol=4 * standard_error + 1e-5 * abs(expected))
                self.assertLess(standard_error, 0.05 * abs(expected))
            # E[a . z] = A a . loc, so that its gradient along the sphere is A times a's part across loc.
            slopes = tape.gradient(elsewhere, loc).numpy().astype("float64")
            start = loc.numpy()[0].astype("float64")
            across = np.eye(dim + 1) - np.outer(start, start)
            polar = Polar(name, dim, concentration)
            expected = polar.mean(polar.t) * across @ directions(2, dim + 1)[1]
            deviation = (slopes @ across).mean(axis=0) - expected
            self.assertAllInRange(deviation / (slopes.std(axis=0) / np.sqrt(count) + 1e-6), -4.5, 4.5)

    def test_slope_of_the_radius_keeps_its_quantile(self):
        """Against scipy's adaptive quadrature: F(r + dr) at kappa + dkappa is F(r) at kappa."""
        for dim, concentration in ((1, 1.0), (2, 50.0), (10, 1.0), (10, 300.0), (40, 5.0), (40, 1e4)):
            polar = Polar("von_mises_fisher", dim, concentration)
            quantiles = (1e-4, 0.1, 0.5, 0.9, 0.9999)
            at_quantiles = np.interp(quantiles, polar.cumulative, polar.angles)
            for angle in at_quantiles:
                slope = slope_of_log_radius(
                    tf.constant([[np.tan(angle / 2)]], tf.float64), tf.constant([concentration], tf.float64), dim
                )

                def density(phi, angle=angle, dim=dim, concentration=concentration):
                    return np.exp(concentration * (np.cos(phi) - np.cos(angle))) * (np.sin(phi) / np.sin(angle)) ** (
                        dim - 1
                    )

                mean = polar.mean(polar.t)
                inside, _ = quad(lambda phi, f=density, mean=mean: (np.cos(phi) - mean) * f(phi), 0, angle, limit=200)
                # r = tan(angle / 2), so that d log r / d angle = 1 / sin(angle).
                self.assertAllClose(slope[0, 0], -inside / np.sin(angle), rtol=1e-5)

    @parameterized.named_parameters(*EVERY_POSTERIOR)
    def test_everything_is_finite_from_1_to_10000_with_its_gradients(self, name):
        for dim in (1, 2, 10, 40):
            posterior = POSTERIORS[name]
            locs = tf.constant(np.repeat(directions(4, dim + 1), 1000, axis=0))
            locs = tf.concat([locs, tf.eye(dim + 1)[:1], -tf.eye(dim + 1)[:1]], axis=0)  # where reflections break down
            for concentration in (1.0, 100.0, 1e4):
                kappa = tf.fill([len(locs)], np.float32(concentration))
                with tf.GradientTape(persistent=True) as tape:
                    tape.watch([locs, kappa])
                    q = posterior(locs, kappa)
                    z = q.sample(seed=(7, 8))
                    few = posterior(locs[-5:], kappa[-5:])
                    kl = few.kl_to_uniform()
                    log_prob = few.log_prob(z[-5:])
                for part in (z, kl, log_prob, *tape.gradient(z, [locs, kappa]), tape.gradient(kl, kappa)):
                    self.assertAllInRange(part, -1e6, 1e6)

    @parameterized.named_parameters(*EVERY_POSTERIOR)
    def test_draws_and_their_gradients_compile_by_xla(self, name):
        locs, kappa = tf.constant(directions(4000, 11)), tf.fill([4000], 20.0)

        @tf.function(jit_compile=True)
        def draw(locs, kappa):
            with tf.GradientTape() as tape:
                tape.watch(kappa)
                z = POSTERIORS[name](locs, kappa).sample(seed=(7, 8))
                along = tf.reduce_sum(z * locs, axis=-1)
            return along, tape.gradient(along, kappa)

        along, slope = draw(locs, kappa)
        polar, above, below = (Polar(name, 10, each) for each in (20.0, 20.1, 19.9))
        self.assertAllClose(np.mean(along), polar.mean(polar.t), atol=4 * np.std(along) / np.sqrt(4000))
        expected = (above.mean(above.t) - below.mean(below.t)) / 0.2
        self.assertAllClose(np.mean(slope), expected, atol=4 * np.std(slope) / np.sqrt(4000))


class ModelTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*EVERY_POSTERIOR)
    def test_loss_is_the_hand_summed_elbo(self, name):
        vae = small(posterior=name, beta=2.5)
        outputs = vae.predict(GRAY, batch_size=50, verbose=0)
        self.assertEqual(outputs["loc"].shape, (50, 4))
        self.assertEqual(outputs["concentration"].shape, (50,))
        self.assertAllClose(np.linalg.norm(outputs["loc"], axis=1), np.ones(50), atol=1e-6)
        self.assertAllGreaterEqual(outputs["concentration"], 1.0)
        logits = outputs["logits"].astype("float64")
        nll = -np.sum(outputs["images"] * logits - np.logaddexp(0.0, logits), axis=(1, 2, 3))
        polar = [Polar(name, 3, float(each)) for each in outputs["concentration"][:10]]
        kl = [each.mean(each.log_kernel) - each.log_normalizer + log_area(3) for each in polar]
        posterior = vae.posterior_of({key: outputs[key][:10] for key in ("loc", "concentration")})
        self.assertAllClose(vae.kl_divergence(posterior, None), kl, rtol=1e-5)
        logs = vae.evaluate(GRAY, batch_size=50, verbose=0, return_dict=True)
        self.assertAllClose(logs["nll"], nll.mean(), rtol=1e-5)
        self.assertAllClose(logs["loss"], logs["nll"] + 2.5 * logs["kl"], rtol=1e-5)

    @parameterized.named_parameters(
        ("circle_power_spherical", 1, "power_spherical"), ("circle_von_mises_fisher", 1, "von_mises_fisher"),
        ("ball_power_spherical", 2, "power_spherical"), ("ball_von_mises_fisher", 2, "von_mises_fisher"),
    )  # fmt: skip
    @pytest.mark.slow
    def test_log_prob_meets_quadrature_on_the_sphere(self, dim, name):
        """All 2^4 binary 2x2 images; p(x) = integral of p(x|z) over the sphere / its area."""
        vae = small(event_shape=(2, 2, 1), latent_dim=dim, posterior=name, binarization=None)
        images = np.array(np.unpackbits(np.arange(16, dtype="uint8")[:, None], axis=1)[:, 4:], "float32")
        images = images.reshape(16, 2, 2, 1)
        turn = np.linspace(0, 2 * np.pi, 200, endpoint=False)
        if dim == 1:
            z, weights = np.stack([np.cos(turn), np.sin(turn)], axis=1), np.full(200, 1 / 200)
        else:
            heights, of_heights = np.polynomial.legendre.leggauss(100)
            ring = np.sqrt(1 - heights[:, None] ** 2)
            z = np.stack(np.broadcast_arrays(heights[:, None], ring * np.cos(turn), ring * np.sin(turn)), axis=-1)
            z, weights = z.reshape(-1, 3), np.repeat(of_heights, 200) / 400
        logits = vae.decoder(z.astype("float32"))["logits"].numpy().reshape(1, -1, 4).astype("float64")
        log_likelihood = np.sum(images.reshape(16, 1, 4) * logits - np.logaddexp(0.0, logits), axis=-1)
        exact = logsumexp(log_likelihood, axis=1, b=weights)
        self.assertAllClose(np.exp(exact).sum(), 1.0, atol=1e-5)

        estimate = vae.importance_estimate(images, num_importance_samples=3000, seed=4)
        self.assertAllInRange((estimate.log_prob - exact) / (estimate.standard_error + 1e-6), -4.0, 4.0)
        elbo = np.mean([vae.elbo(images, seed=seed) for seed in range(10)], axis=0)
        self.assertLess(elbo.mean(), exact.mean())

    @parameterized.named_parameters(*EVERY_POSTERIOR)
    @pytest.mark.slow
    def test_kl_moves_with_training(self, name):
        """A concentration that stays where it starts is the known failure of this model: its KL is frozen."""
        generator = np.random.default_rng(1)
        shapes = generator.random((8, 4, 4, 1)) > 0.5
        images = np.tile(shapes, (40, 1, 1, 1)).astype("float32")
        keras.utils.set_random_seed(1)
        vae = zoo.HypersphericalVAE((4, 4, 1), 2, name, hidden=(32,))
        vae.compile(keras.optimizers.Adam(1e-2), jit_compile=False)
        history = vae.fit(images, batch_size=32, epochs=20, verbose=0).history
        concentrations = vae.encoder(shapes.astype("float32"))["concentration"]
        self.assertGreater(history["kl"][-1], history["kl"][0] + 1.0)
        self.assertLess(history["loss"][-1], history["loss"][0] - 2.0)
        self.assertAllGreater(concentrations, 5.0)

    def test_codes_of_the_prior_are_uniform_and_samples_take_them(self):
        vae = small(latent_dim=2)
        z = vae.draw_prior(20_000, (1, 2)).numpy()
        self.assertEqual(z.shape, (20_000, 3))
        self.assertAllClose(np.linalg.norm(z, axis=1), np.ones(20_000), atol=1e-6)
        for axis in range(3):  # Archimedes: each coordinate of S^2 is uniform in [-1, 1]
            self.assertGreater(kstest(z[:, axis], "uniform", (-1, 2)).pvalue, 1e-3)
        self.assertAllClose(vae.prior.log_prob(z[:5]), np.full(5, -np.log(4 * np.pi)))
        self.assertEqual(vae.sample(5, seed=1).shape, (5, 4, 4, 1))
        self.assertAllEqual(vae.sample(5, seed=1, noise=True), vae.sample(5, seed=1, noise=True))

    def test_decode_takes_directions_and_is_safe_at_zero(self):
        vae = small()
        decode = vae.endpoints()["decode"]
        self.assertEqual(decode.inputs["z"].shape, ("batch", 4))
        z = GENERATOR.standard_normal((20, 4)).astype("float32")
        short, long = (decode.function(length * z) for length in (1e-3, 1e3))
        for output in ("logits", "probabilities"):
            self.assertAllClose(short[output], long[output], rtol=1e-5, atol=1e-6)
        self.assertNotAllClose(decode.function(-z)["logits"], long["logits"])
        self.assertTrue(np.isfinite(decode.function(np.zeros((1, 4), "float32"))["logits"]).all())
        self.assertIn("directions of z", decode.summary)

    def test_encode_gives_a_unit_vector_even_of_an_empty_image(self):
        for network in ("dense", "convolutional"):
            vae = zoo.HypersphericalVAE((4, 4, 1), 2, network=network, hidden=(4,))  # untrained
            code = vae.endpoints()["encode"].function(np.zeros((1, 4, 4, 1), "float32"))
            self.assertAllClose(np.linalg.norm(code["loc"], axis=1), [1.0], atol=1e-5)
            self.assertEqual(set(code), {"loc", "concentration"})
        self.assertEqual(set(vae.endpoints()), {"decode", "encode"})

    def test_reconstructions_are_decoded_from_loc(self):
        vae = small()
        self.assertAllClose(vae.reconstruct(BINARY), vae.decode(vae.encoder(BINARY)["loc"]), rtol=1e-4)


class ArgumentsTest(tf.test.TestCase):
    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.hyperspherical_vae"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 4))

    def test_bad_arguments_are_refused_by_name(self):
        good = {"event_shape": (8, 8, 1), "latent_dim": 2}
        for bad, sentence in (
            ({"posterior": "gaussian"}, "posterior is 'gaussian'; one of"),
            ({"latent_dim": 0}, "latent_dim"),
            ({"prior": "vamp"}, "HypersphericalVAE takes no prior"),
            ({"num_components": 3}, "HypersphericalVAE takes no num_components"),
            ({"beta": -1.0}, "beta"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                zoo.HypersphericalVAE(**{**good, **bad})
