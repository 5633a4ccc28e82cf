"""The mathematics of the VAE against what does not share its code: NumPy in float64, quadrature, closed forms."""

import doctest
import resource
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logsumexp
from scipy.stats import multivariate_normal
from tensorflow_probability import distributions as tfd

import zoo
from zoo.distributions import diag_gaussian
from zoo.importance import importance_estimate

GENERATOR = np.random.default_rng(7)
GRAY = (GENERATOR.random((50, 4, 4, 1)) ** 2).astype("float32")
BINARY = (GRAY > 0.3).astype("float32")


def small_vae(**arguments):
    keras.utils.set_random_seed(3)
    vae = zoo.VAE(**{"event_shape": (4, 4, 1), "latent_dim": 3, "hidden": (8,), **arguments})
    vae.compile("adam")
    for variable in vae.trainable_variables:  # away from the symmetric start, biases included
        variable.assign_add(0.3 * GENERATOR.standard_normal(variable.shape))
    return vae


def kl_in_numpy(loc, scale):
    loc, scale = loc.astype("float64"), scale.astype("float64")
    return -0.5 * np.sum(1.0 + np.log(scale**2) - loc**2 - scale**2, axis=-1)


def bernoulli_log_prob_in_numpy(x, logits):
    logits = logits.astype("float64")
    return np.sum(x * logits - np.logaddexp(0.0, logits), axis=tuple(range(1, x.ndim)))


class ObjectiveTest(tf.test.TestCase):
    def test_loss_is_the_hand_summed_elbo(self):
        vae = small_vae(beta=2.5)
        outputs = vae.predict(GRAY, batch_size=50, verbose=0)
        nll = -bernoulli_log_prob_in_numpy(outputs["images"], outputs["logits"])
        kl = kl_in_numpy(outputs["loc"], outputs["scale"])
        logs = vae.evaluate(GRAY, batch_size=50, verbose=0, return_dict=True)
        # float32 sums of some tens of terms against float64.
        self.assertAllClose(logs["nll"], nll.mean(), rtol=1e-5)
        self.assertAllClose(logs["kl"], kl.mean(), rtol=1e-5)
        self.assertAllClose(logs["loss"], (nll + 2.5 * kl).mean(), rtol=1e-5)

    def test_sample_weights_weigh_the_loss(self):
        vae = small_vae()
        outputs = vae.predict(BINARY, batch_size=50, verbose=0)
        loss = -bernoulli_log_prob_in_numpy(BINARY, outputs["logits"]) + kl_in_numpy(outputs["loc"], outputs["scale"])
        weights = GENERATOR.random(50).astype("float32")
        # Keras drops the weights where there is no y.
        logs = vae.evaluate(BINARY, BINARY, sample_weight=weights, batch_size=50, verbose=0, return_dict=True)
        self.assertAllClose(logs["loss"], np.mean(weights * loss), rtol=1e-5)

    def test_closed_form_kl_is_the_monte_carlo_kl(self):
        vae = small_vae()
        posterior = vae.posterior(BINARY)
        z = posterior.sample(20_000, seed=(1, 2))
        log_ratio = (posterior.log_prob(z) - vae.prior.log_prob(z)).numpy().astype("float64")
        standard_error = log_ratio.std(axis=0, ddof=1) / np.sqrt(len(log_ratio))
        deviation = (log_ratio.mean(axis=0) - tfd.kl_divergence(posterior, vae.prior)) / standard_error
        # 50 images: the largest of 50 standard normals exceeds 4 once in 300 tries; the seed is fixed.
        self.assertAllInRange(deviation, -4.0, 4.0)
        self.assertLess(abs(np.mean(deviation)) * np.sqrt(50), 3.0)

    def test_gradient_of_the_loss_is_that_of_finite_differences(self):
        """Reparameterized: the same noise on both sides of the difference. tanh has no kinks to step over."""
        vae = small_vae(activation="tanh")
        bias = vae.encoder.get_layer("loc").bias

        def loss():
            with vae.repeatable_draws():
                return vae.compute_loss(y_pred=vae(BINARY), training=False)

        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, bias.value).numpy()
        step = 1e-2
        for index in range(3):
            losses = []
            for sign in (1, -1):
                bias.assign_add(sign * step * np.eye(3)[index])
                losses.append(float(loss()))
                bias.assign_sub(sign * step * np.eye(3)[index])
            # Differences of float32 losses near 10 over 2e-2: 1e-4; the third derivative adds as much.
            self.assertAllClose(gradient[index], (losses[0] - losses[1]) / (2 * step), atol=2e-3, rtol=2e-3)

    def test_warm_up_raises_the_weight_of_the_kl_by_training_steps(self):
        vae = small_vae(beta=3.0, warm_up_steps=4)
        logs = [vae.fit(BINARY, batch_size=50, verbose=0).history for _ in range(6)]
        betas = [(log["loss"][0] - log["nll"][0]) / log["kl"][0] for log in logs]
        self.assertAllClose(betas, [0.0, 0.75, 1.5, 2.25, 3.0, 3.0], atol=1e-4)
        log = small_vae(beta=3.0, warm_up_steps=4).evaluate(BINARY, verbose=0, return_dict=True)
        self.assertAllClose(log["loss"], log["nll"] + 3.0 * log["kl"], rtol=1e-5)  # evaluation: all of it at once


class BinarizationTest(tf.test.TestCase):
    def test_the_likelihood_sees_binary_images_only(self):
        for binarization in ("dynamic", "threshold"):
            images = small_vae(binarization=binarization).predict(GRAY, verbose=0)["images"]
            self.assertAllEqual(np.unique(images), [0.0, 1.0])

    def test_dynamic_draws_have_the_gray_values_as_means(self):
        vae = small_vae(binarization="dynamic")
        images = np.stack([vae(GRAY)["images"] for _ in range(400)])
        standard_error = np.sqrt(GRAY * (1 - GRAY) / 400) + 1e-9
        deviation = (images.mean(axis=0) - GRAY) / standard_error
        self.assertAllInRange(deviation, -4.5, 4.5)  # 800 pixels
        self.assertAllClose(deviation.std(), 1.0, atol=0.15)  # 3 standard errors of a standard deviation of 800

    def test_threshold_is_at_one_half(self):
        vae = small_vae(binarization="threshold")
        self.assertAllEqual(vae.predict(GRAY, verbose=0)["images"], GRAY >= 0.5)

    def test_binary_images_pass_unchanged(self):
        for binarization in ("dynamic", "threshold", None):
            images = small_vae(binarization=binarization).predict(BINARY, verbose=0)["images"]
            self.assertAllEqual(images, BINARY)

    def test_without_a_binarization_gray_images_are_refused(self):
        vae = small_vae(binarization=None)
        for data in (GRAY, tf.data.Dataset.from_tensor_slices(GRAY).batch(10)):
            with self.assertRaisesRegex(ValueError, "0 and 1 only"):
                vae.fit(data, verbose=0)
        for method in (vae.elbo, vae.log_prob, vae.reconstruct):
            with self.assertRaisesRegex(ValueError, "0 and 1 only"):
                method(GRAY)

    def test_output_bias_starts_at_the_logit_of_the_mean_and_only_once(self):
        expected = np.clip(GRAY.mean(axis=0, dtype="float64"), 0.001, 0.999).reshape(-1)
        for data in (GRAY, tf.data.Dataset.from_tensor_slices(GRAY).batch(20)):
            vae = zoo.VAE((4, 4, 1), latent_dim=2, hidden=(4,))
            vae.compile(keras.optimizers.SGD(0.0))
            vae.fit(data, verbose=0)
            bias = vae.decoder.get_layer("logits").bias
            self.assertAllClose(expit(bias.numpy()), expected, atol=1e-6)
            bias.assign(bias + 1.0)
            vae.fit(1.0 - GRAY, verbose=0)
            self.assertAllClose(bias, np.log(expected / (1 - expected)) + 1.0, atol=1e-5)

    def test_output_bias_of_a_convolution_is_one_number_a_channel(self):
        vae = zoo.VAE((4, 4, 1), latent_dim=2, hidden=(4,), network="convolutional")
        vae.adapt(np.zeros((5, 4, 4, 1), "float32"))
        self.assertAllClose(expit(vae.decoder.get_layer("logits").bias.numpy()), [0.001], atol=1e-6)


class LinearGaussian:
    """p(x|z) = N(weights z + offset, noise^2 I): the marginal N(offset, weights weights^T + noise^2 I) is known."""

    def __init__(self, noise=0.5):
        generator = np.random.default_rng(11)
        self.weights, self.offset = generator.standard_normal((4, 2)), generator.standard_normal(4)
        self.noise = noise
        self.vae = linear_vae((4,), self.weights, self.offset, noise)

    def use_posterior_of_the_model(self, widened=1.0, shifted=0.0):
        """Set the encoder to the best diagonal Gaussian around the exact posterior mean, made worse as asked."""
        precision = np.eye(2) + self.weights.T @ self.weights / self.noise**2
        to_mean = np.linalg.solve(precision, self.weights.T) / self.noise**2  # E[z|x] = to_mean (x - offset)
        scale = widened * np.sqrt(np.diag(np.linalg.inv(precision)))
        set_linear_encoder(self.vae, to_mean, shifted - to_mean @ self.offset, scale)

    def exact_log_prob(self, x):
        covariance = self.weights @ self.weights.T + self.noise**2 * np.eye(4)
        return multivariate_normal(self.offset, covariance).logpdf(x)


def linear_vae(event_shape, weights, offset, noise):
    """A VAE with p(x|z) = N(weights z + offset, noise^2 I)."""
    vae = zoo.VAE(event_shape, weights.shape[1], hidden=(), binarization=None, likelihood="gaussian")
    vae.decoder.get_layer("mean").set_weights([weights.T, offset])
    vae.log_noise_scale.assign(np.log(noise))
    return vae


def set_linear_encoder(vae, matrix, offset, scale):
    """q(z|x) = N(matrix x + offset, diag(scale^2))."""
    vae.encoder.get_layer("loc").set_weights([matrix.T, offset])
    vae.encoder.get_layer("raw_scale").set_weights([np.zeros(matrix.T.shape), np.log(np.expm1(scale - 1e-5))])


class LikelihoodTest(tf.test.TestCase):
    def test_log_prob_meets_the_closed_form_of_a_linear_gaussian_model(self):
        model = LinearGaussian()
        vae = model.vae
        x = np.random.default_rng(5).standard_normal((400, 4)).astype("float32") * 2
        for widened, shifted in ((1.3, 0.0), (1.5, 0.2)):
            model.use_posterior_of_the_model(widened, shifted)
            estimate = vae.importance_estimate(x, num_importance_samples=2000, seed=1)
            deviation = (estimate.log_prob - model.exact_log_prob(x)) / estimate.standard_error
            self.assertLess(abs(np.mean(deviation)) * np.sqrt(400), 3.0)
            # The reported standard error is the true one: deviations have a standard deviation of 1 (+- 3 / sqrt(800)).
            self.assertAllClose(np.std(deviation), 1.0, atol=0.11)
            # log E[w] - E[log w] > 0: the bound lies below.
            self.assertLess(np.mean(vae.elbo(x)), np.mean(model.exact_log_prob(x)))

    def test_log_prob_meets_quadrature_and_sums_to_one_over_all_images(self):
        """All 2^4 binary 2x2 images, one latent dimension, p(x) = integral p(x|z) p(z) dz on a fine grid."""
        vae = small_vae(event_shape=(2, 2, 1), latent_dim=1, binarization=None)
        vae.encoder.get_layer("raw_scale").bias.assign([1.5])  # a wide proposal: its weights have a variance
        images = np.array(np.unpackbits(np.arange(16, dtype="uint8")[:, None], axis=1)[:, 4:], "float32")
        images = images.reshape(16, 2, 2, 1)
        z = np.linspace(-8, 8, 4001)
        logits = vae.decoder(z[:, None].astype("float32"))["logits"].numpy().reshape(1, 4001, 4).astype("float64")
        flat = images.reshape(16, 1, 4)
        log_likelihood = np.sum(flat * logits - np.logaddexp(0.0, logits), axis=-1)
        log_prior = -0.5 * z**2 - 0.5 * np.log(2 * np.pi)
        exact = logsumexp(log_likelihood + log_prior + np.log(z[1] - z[0]), axis=1)
        self.assertAllClose(np.exp(exact).sum(), 1.0, atol=1e-6)

        estimate = vae.importance_estimate(images, num_importance_samples=20_000, seed=4)
        self.assertAllInRange((estimate.log_prob - exact) / (estimate.standard_error + 1e-6), -4.0, 4.0)
        self.assertAllClose(np.exp(estimate.log_prob).sum(), 1.0, atol=4 * np.max(estimate.standard_error))

    @pytest.mark.slow
    def test_elbo_lies_below_log_prob_which_rises_with_samples(self):
        vae = small_vae()
        elbo = np.mean([vae.elbo(BINARY, seed=seed) for seed in range(200)])
        few, many = (np.mean(vae.log_prob(BINARY, number, seed=1)) for number in (5, 2000))
        self.assertLess(elbo, few)
        self.assertLess(few, many)

    def test_one_importance_sample_is_one_weight(self):
        vae = small_vae()
        estimate = vae.importance_estimate(BINARY, num_importance_samples=1, seed=2)
        self.assertAllClose(estimate.effective_sample_size, np.ones(50), rtol=1e-4)
        self.assertAllClose(estimate.standard_error, np.zeros(50), atol=2e-2)  # sqrt of a float32 rounding of 0

    def test_streamed_estimate_is_that_of_all_weights_at_once(self):
        log_weights = (30 * GENERATOR.standard_normal((64, 9)) - 500).astype("float32")
        tensor = tf.constant(log_weights)
        estimate = importance_estimate(lambda s: tensor[s], 64)
        weights = np.exp(log_weights.astype("float64") - log_weights.max(axis=0))
        self.assertAllClose(estimate.log_prob, logsumexp(log_weights.astype("float64"), axis=0) - np.log(64), rtol=1e-6)
        size = weights.sum(axis=0) ** 2 / (weights**2).sum(axis=0)
        self.assertAllClose(estimate.effective_sample_size, size, rtol=1e-4)
        relative = weights.std(axis=0) / np.sqrt(64) / weights.mean(axis=0)
        self.assertAllClose(estimate.standard_error, relative, rtol=1e-3)

    def test_memory_does_not_grow_with_the_samples(self):
        vae = zoo.VAE((28, 28, 1), latent_dim=2, hidden=(4,))
        x = np.zeros((200, 28, 28, 1), "float32")
        vae.log_prob(x, 10)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        vae.log_prob(x, 2000)  # at once, the logits alone would be 1.25 GB
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        self.assertLess(after - before, 200_000)  # kilobytes

    def test_exported_log_prob_is_the_hand_summed_estimate(self):
        vae = small_vae()
        noise = GENERATOR.standard_normal((50, 6, 3)).astype("float32")
        code = {name: value.numpy().astype("float64") for name, value in vae.encoder(BINARY).items()}
        z = code["loc"][:, None] + code["scale"][:, None] * noise
        logits = vae.decoder(z.reshape(300, 3).astype("float32"))["logits"].numpy().reshape(50, 6, 16)
        log_weights = (
            np.sum(BINARY.reshape(50, 1, 16) * logits - np.logaddexp(0.0, logits.astype("float64")), axis=-1)
            - 0.5 * np.sum(z**2, axis=-1)
            + np.sum(np.log(code["scale"])[:, None] + 0.5 * noise**2, axis=-1)
        )
        expected = logsumexp(log_weights, axis=1) - np.log(6)
        self.assertAllClose(vae.endpoints()["log_prob"].function(BINARY, noise)["log_prob"], expected, rtol=1e-5)


class GaussianLikelihoodTest(tf.test.TestCase):
    def test_loss_is_the_hand_summed_elbo(self):
        vae = small_vae(likelihood="gaussian", binarization=None, beta=2.5)
        x = 3.0 * GRAY - 1.0  # any real numbers
        outputs = vae.predict(x, batch_size=50, verbose=0)
        noise = float(np.exp(vae.log_noise_scale.numpy().astype("float64")))
        error = (x - outputs["mean"]).reshape(50, -1).astype("float64")
        nll = 0.5 * np.sum(np.square(error / noise) + np.log(2 * np.pi * noise**2), axis=-1)
        logs = vae.evaluate(x, batch_size=50, verbose=0, return_dict=True)
        self.assertAllClose(logs["nll"], nll.mean(), rtol=1e-5)
        self.assertAllClose(logs["loss"], (nll + 2.5 * kl_in_numpy(outputs["loc"], outputs["scale"])).mean(), rtol=1e-5)

    def test_with_the_exact_posterior_of_pca_the_bound_is_tight(self):
        """The decoder and the posterior of a fitted PCA: log p(x|z) p(z) / q(z|x) is log p(x) whatever z."""
        generator = np.random.default_rng(3)
        x = (generator.standard_normal((600, 5)) @ generator.standard_normal((5, 64)) * 0.3).reshape(-1, 8, 8, 1)
        x = (x + 0.2 * generator.standard_normal(x.shape)).astype("float32")
        pca = zoo.PCA((8, 8, 1), latent_dim=5)
        pca.adapt(x)
        vae = linear_vae((8, 8, 1), pca.loadings().numpy(), pca.mean.numpy(), pca.noise_variance.numpy() ** 0.5)
        variances, noise = pca.explained_variance.numpy(), pca.noise_variance.numpy()
        to_mean = (np.sqrt(variances - noise) / variances)[:, None] * pca.components.numpy()
        set_linear_encoder(vae, to_mean, -to_mean @ pca.mean.numpy(), np.sqrt(noise / variances))

        exact = pca.log_prob(x).numpy()
        # All weights are equal, so the estimate has no variance: what is left is float32, of sums of 64 terms.
        estimate = vae.importance_estimate(x, num_importance_samples=20, seed=1)
        self.assertAllClose(estimate.log_prob, exact, atol=1e-3)
        self.assertAllClose(estimate.effective_sample_size, np.full(600, 20.0), rtol=1e-3)
        # The ELBO takes the KL in closed form and one z, so it scatters about log p(x).
        deviation = vae.elbo(x, seed=2).numpy() - exact
        self.assertLess(abs(deviation.mean()), 3 * deviation.std(ddof=1) / np.sqrt(600))
        self.assertGreater(deviation.std(), 0.1)
        # Its expectation lies below by KL(q(z|x) || p(z|x)).
        posterior = vae.posterior(x)
        loc, scale = (tf.cast(part, tf.float64) for part in (posterior.mean(), posterior.stddev()))
        gap = tfd.kl_divergence(diag_gaussian(loc, scale), pca.posterior(x))
        self.assertAllInRange(gap, 0.0, 1e-4)

    def test_mean_and_noise_start_where_they_fit_best_without_z(self):
        x = (5.0 + 2.0 * GENERATOR.standard_normal((300, 6))).astype("float32")
        for data in (x, tf.data.Dataset.from_tensor_slices(x).batch(60)):
            vae = zoo.VAE((6,), latent_dim=2, hidden=(4,), binarization=None, likelihood="gaussian")
            vae.adapt(data)
            self.assertAllClose(vae.decoder.get_layer("mean").bias, x.mean(axis=0), rtol=1e-5)
            self.assertAllClose(vae.noise_scale, np.sqrt(x.var(axis=0).mean()), rtol=1e-5)
            vae.adapt(x + 100.0)  # and only once
            self.assertAllClose(vae.decoder.get_layer("mean").bias, x.mean(axis=0), rtol=1e-5)
        vae = zoo.VAE((6,), latent_dim=2, binarization=None, likelihood="gaussian")
        vae.adapt(np.zeros((5, 6)))
        self.assertTrue(np.isfinite(vae.log_noise_scale.numpy()))

    def test_samples_with_noise_scatter_about_the_means(self):
        vae = LinearGaussian(noise=0.3).vae
        difference = vae.sample(5000, seed=1, noise=True) - vae.sample(5000, seed=1)
        self.assertAllClose(difference.std(), 0.3, rtol=0.02)  # 20,000 numbers: 4 standard errors
        self.assertAllEqual(vae.sample(5, seed=1, noise=True), vae.sample(5, seed=1, noise=True))
        binary = small_vae().sample(10, noise=True)
        self.assertAllEqual(np.unique(binary), [0.0, 1.0])

    def test_endpoints_are_those_of_real_images(self):
        model = LinearGaussian()
        model.use_posterior_of_the_model()
        endpoints = model.vae.endpoints()
        self.assertEqual(list(endpoints), ["decode", "encode", "log_prob"])
        z = GENERATOR.standard_normal((7, 2)).astype("float32")
        decoded = endpoints["decode"].function(z)
        self.assertAllClose(decoded["mean"], z @ model.weights.T + model.offset, atol=1e-5)
        self.assertEqual(set(decoded), set(endpoints["decode"].outputs))
        self.assertIn("N(mean, 0.5^2 I)", endpoints["decode"].summary)
        self.assertEqual(endpoints["log_prob"].inputs["images"].values, "real")
        x = 2 * GENERATOR.standard_normal((7, 4)).astype("float32")
        noise = GENERATOR.standard_normal((7, 4000, 2)).astype("float32")
        estimate = endpoints["log_prob"].function(x, noise)["log_prob"]
        self.assertAllClose(estimate, model.exact_log_prob(x), atol=0.1)  # about 4 standard errors of 4,000 samples

    def test_real_numbers_are_taken_and_binarization_is_not(self):
        vae = zoo.VAE((4, 4, 1), 2, hidden=(4,), binarization=None, likelihood="gaussian")
        vae.compile("adam")
        vae.fit(5.0 * GRAY - 2.0, verbose=0)
        with self.assertRaisesRegex(ValueError, "finite"):
            vae.fit(np.full_like(GRAY, np.nan), verbose=0)
        with self.assertRaisesRegex(ValueError, "binarization is 'dynamic', but a Gaussian likelihood"):
            zoo.VAE((4, 4, 1), 2, likelihood="gaussian")
        with self.assertRaisesRegex(ValueError, "likelihood is 'poisson'; one of"):
            zoo.VAE((4, 4, 1), 2, likelihood="poisson")


class ArgumentsTest(tf.test.TestCase):
    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.vae"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 4))

    def test_bad_arguments_are_refused_by_name(self):
        good = {"event_shape": (8, 8, 1), "latent_dim": 2}
        for name, bad in (
            ("latent_dim", 0),
            ("latent_dim", 2.5),
            ("event_shape", (8, 8)),
            ("event_shape", 8),
            ("event_shape", (0, 8, 1)),
            ("network", "transformer"),
            ("hidden", (16, 0)),
            ("hidden", 16),
            ("activation", keras.activations.relu),
            ("beta", -1.0),
            ("beta", float("nan")),
            ("warm_up_steps", -1),
            ("binarization", "static"),
            ("seed", -1),
        ):
            with self.assertRaisesRegex(ValueError, name):
                zoo.VAE(**{**good, name: bad})
        with self.assertRaisesRegex(ValueError, "convolutional"):
            zoo.VAE((64,), 2, network="convolutional")
        with self.assertRaisesRegex(ValueError, "num_samples"):
            zoo.VAE(**good).sample(0)

    def test_networks_of_odd_and_colour_images_mirror_each_other(self):
        for event_shape in ((7, 9, 3), (28, 28, 1), (5, 5, 1)):
            vae = zoo.VAE(event_shape, latent_dim=2, network="convolutional", hidden=(4, 6, 8))
            self.assertEqual(vae.decoder.outputs[0].shape, (None, *event_shape))

    def test_features_are_taken_by_dense_networks(self):
        vae = zoo.VAE((6,), latent_dim=2)
        vae.compile("adam")
        vae.fit(GENERATOR.random((20, 6)), verbose=0)
        self.assertEqual(vae.sample(3).shape, (3, 6))
