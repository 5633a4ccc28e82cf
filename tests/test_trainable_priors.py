"""The trained priors of the VAE against scikit-learn, sums by hand in float64, and quadrature."""

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy.special import logsumexp, softmax
from scipy.stats import kstest, norm
from sklearn import mixture

import zoo
from training.evaluation.likelihood import latent_diagnostics, likelihood
from zoo.trainable_priors import GaussianMixture

GENERATOR = np.random.default_rng(11)
GRAY = (GENERATOR.random((50, 4, 4, 1)) ** 2).astype("float32")
BINARY = (GRAY > 0.3).astype("float32")

TRAINED = (("gaussian_mixture", "gaussian_mixture"), ("vamp", "vamp"))
REAL = {"binarization": None, "likelihood": "gaussian"}


def small_vae(prior, **arguments):
    keras.utils.set_random_seed(3)
    vae = zoo.VAE(
        **{"event_shape": (4, 4, 1), "latent_dim": 3, "hidden": (8,), "prior": prior, "num_components": 4, **arguments}
    )
    vae.compile("adam", run_eagerly=True)  # the contract test covers graphs
    generator = np.random.default_rng(5)
    for variable in vae.trainable_variables:  # away from the symmetric start, biases and weights of components included
        if variable.name != "pseudo_inputs":
            variable.assign_add(0.4 * generator.standard_normal(variable.shape))
    return vae


def components(vae):
    """(weights, loc, scale) of the prior, float64, of its variables; the encoder alone is the model's."""
    prior = vae.trainable_prior
    if vae.prior_family == "vamp":
        code = vae.encoder(prior.pseudo_inputs.numpy())
        loc, scale, weights = code["loc"], code["scale"], np.full(vae.num_components, 1 / vae.num_components)
    else:
        loc, scale = prior.loc.numpy(), np.logaddexp(0.0, prior.raw_scale.numpy()) + 1e-5
        weights = softmax(prior.logits.numpy().astype("float64"))
    return weights, np.array(loc, "float64"), np.array(scale, "float64")


def log_prior_in_numpy(vae, z):
    weights, loc, scale = components(vae)
    return logsumexp(np.log(weights) + norm.logpdf(z[..., None, :], loc, scale).sum(axis=-1), axis=-1)


def set_mixture(vae, loc, scale, logits):
    vae.trainable_prior.loc.assign(loc)
    vae.trainable_prior.raw_scale.assign(np.log(np.expm1(np.asarray(scale) - 1e-5)))
    vae.trainable_prior.logits.assign(logits)


class DensityTest(tf.test.TestCase, parameterized.TestCase):
    def test_mixture_is_that_of_scikit_learn(self):
        for smallest_scale in (0.3, 1e-4):
            logits = GENERATOR.standard_normal(4).astype("float32")
            loc = (3.0 * GENERATOR.standard_normal((4, 5))).astype("float32")
            scale = np.geomspace(smallest_scale, 2.0, 20).reshape(4, 5).astype("float32")
            ours, theirs = GaussianMixture(logits, loc, scale), mixture.GaussianMixture(4, covariance_type="diag")
            theirs.weights_, theirs.means_ = softmax(logits.astype("float64")), loc.astype("float64")
            theirs.precisions_cholesky_ = 1.0 / scale.astype("float64")
            near = loc[:, None] + scale[:, None] * GENERATOR.standard_normal((4, 20, 5))
            z = np.concatenate([near.reshape(80, 5), 4.0 * GENERATOR.standard_normal((100, 5))]).astype("float32")
            # Ours ends in float32, theirs in float64, of the same numbers.
            self.assertAllClose(ours.log_prob(z), theirs.score_samples(z.astype("float64")), rtol=1e-6, atol=1e-5)
        self.assertEqual(ours.log_prob(z.reshape(3, 60, 5)).shape, (3, 60))

    @parameterized.named_parameters(
        ("dense", {}),
        ("convolutional", {"network": "convolutional", "hidden": (3, 4)}),
        ("gaussian", REAL),
        ("bfloat16", {"dtype": "mixed_bfloat16"}),
    )
    def test_vamp_is_the_hand_sum_over_pseudo_inputs(self, arguments):
        vae = small_vae("vamp", **arguments)
        z = (2.0 * GENERATOR.standard_normal((60, 3))).astype("float32")
        self.assertAllClose(vae.prior.log_prob(z), log_prior_in_numpy(vae, z), rtol=1e-5)  # float32 against float64

    def test_monte_carlo_kl_from_one_standard_component_is_the_closed_form(self):
        mixture_of_one, standard = small_vae("gaussian_mixture", num_components=1), small_vae("standard_normal")
        set_mixture(mixture_of_one, np.zeros((1, 3)), np.ones((1, 3)), np.zeros(1))
        posterior = standard.posterior(BINARY)
        z = posterior.sample(20_000, seed=(1, 2))
        estimates = mixture_of_one.kl_divergence(posterior, z).numpy().astype("float64")
        standard_error = estimates.std(axis=0, ddof=1) / np.sqrt(20_000)
        deviation = (estimates.mean(axis=0) - standard.kl_divergence(posterior, z[0])) / standard_error
        self.assertAllInRange(deviation, -4.0, 4.0)  # 50 images; the seed is fixed

    @parameterized.named_parameters(*TRAINED)
    def test_gradient_in_the_prior_is_that_of_finite_differences(self, prior):
        """Reparameterized: the same noise on both sides of the difference. tanh has no kinks to step over."""
        vae = small_vae(prior, activation="tanh")

        def loss():
            with vae.repeatable_draws():
                return vae.compute_loss(y_pred=vae(BINARY), training=False)

        variables = vae.trainable_prior.trainable_variables
        with tf.GradientTape() as tape:
            value = loss()
        step = 1e-2
        for variable, gradient in zip(variables, tape.gradient(value, [each.value for each in variables]), strict=True):
            start = variable.numpy()
            index = np.unravel_index(np.argmax(np.abs(gradient)), start.shape)
            losses = []
            for sign in (1, -1):
                moved = start.copy()
                moved[index] += sign * step
                variable.assign(moved)
                losses.append(float(loss()))
            variable.assign(start)
            self.assertGreater(abs(gradient.numpy()[index]), 3e-3)
            # Differences of float32 losses near 10 over 2e-2: 1e-4; the third derivative adds as much.
            self.assertAllClose(gradient.numpy()[index], (losses[0] - losses[1]) / (2 * step), atol=5e-4, rtol=5e-3)


class LikelihoodTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*TRAINED)
    def test_log_prob_and_elbo_meet_quadrature(self, prior):
        """All 2^4 binary 2x2 images, one latent dimension, p(x) = integral p(x|z) p(z) dz on a fine grid."""
        vae = small_vae(prior, event_shape=(2, 2, 1), latent_dim=1, binarization=None)
        if prior == "gaussian_mixture":
            set_mixture(vae, [[-2.0], [-0.5], [1.0], [2.5]], [[0.3], [0.5], [0.2], [0.6]], [0.5, 0.0, -0.5, 1.0])
            vae.encoder.get_layer("raw_scale").bias.assign([2.0])  # a proposal that reaches all of them
        images = np.array(np.unpackbits(np.arange(16, dtype="uint8")[:, None], axis=1)[:, 4:], "float32")
        images = images.reshape(16, 2, 2, 1)
        z = np.linspace(-12, 12, 6001)
        logits = vae.decoder(z[:, None].astype("float32"))["logits"].numpy().reshape(1, 6001, 4).astype("float64")
        flat = images.reshape(16, 1, 4)
        log_joint = np.sum(flat * logits - np.logaddexp(0.0, logits), axis=-1) + log_prior_in_numpy(vae, z[:, None])
        exact = logsumexp(log_joint + np.log(z[1] - z[0]), axis=1)
        self.assertAllClose(np.exp(exact).sum(), 1.0, atol=1e-6)

        estimate = vae.importance_estimate(images, num_importance_samples=20_000, seed=4)
        self.assertAllInRange((estimate.log_prob - exact) / (estimate.standard_error + 1e-6), -4.0, 4.0)

        code = {name: value.numpy().astype("float64") for name, value in vae.encoder(images).items()}
        log_posterior = norm.logpdf(z, code["loc"], code["scale"])
        exact_elbo = np.sum(np.exp(log_posterior) * (log_joint - log_posterior), axis=1) * (z[1] - z[0])
        elbos = vae.elbo(np.repeat(images, 5000, axis=0), seed=2).numpy().reshape(16, 5000)
        standard_error = elbos.std(axis=1, ddof=1) / np.sqrt(5000)
        self.assertAllInRange((elbos.mean(axis=1) - exact_elbo) / standard_error, -4.0, 4.0)  # 16 images

    @parameterized.named_parameters(*TRAINED)
    def test_exported_log_prob_is_the_hand_summed_estimate(self, prior):
        vae = small_vae(prior)
        noise = GENERATOR.standard_normal((50, 6, 3)).astype("float32")
        code = {name: value.numpy().astype("float64") for name, value in vae.encoder(BINARY).items()}
        z = code["loc"][:, None] + code["scale"][:, None] * noise
        logits = vae.decoder(z.reshape(300, 3).astype("float32"))["logits"].numpy().reshape(50, 6, 16)
        log_weights = (
            np.sum(BINARY.reshape(50, 1, 16) * logits - np.logaddexp(0.0, logits.astype("float64")), axis=-1)
            + log_prior_in_numpy(vae, z)
            - norm.logpdf(z, code["loc"][:, None], code["scale"][:, None]).sum(axis=-1)
        )
        expected = logsumexp(log_weights, axis=1) - np.log(6)
        self.assertAllClose(vae.endpoints()["log_prob"].function(BINARY, noise)["log_prob"], expected, rtol=1e-5)

    @parameterized.named_parameters(*TRAINED)
    def test_loss_holds_the_kl_at_the_z_that_is_decoded(self, prior):
        vae = small_vae(prior)
        outputs = vae.predict(BINARY, batch_size=50, verbose=0)
        log_posterior = norm.logpdf(outputs["z"].astype("float64"), outputs["loc"], outputs["scale"]).sum(axis=-1)
        kl = log_posterior - log_prior_in_numpy(vae, outputs["z"].astype("float64"))
        logs = vae.evaluate(BINARY, batch_size=50, verbose=0, return_dict=True)
        self.assertAllClose(logs["kl"], kl.mean(), rtol=1e-5)  # float32 against float64
        self.assertAllClose(logs["loss"], logs["nll"] + logs["kl"], rtol=1e-6)

    def test_pseudo_inputs_are_encoded_once_for_all_importance_samples(self):
        vae = small_vae("vamp")
        x = tf.constant(BINARY)
        graph = vae.compiled_importance_estimate.get_concrete_function(x, tf.constant(7), 0).graph.as_graph_def()
        (loop,) = (each for each in graph.library.function if "while_body" in each.signature.name)
        names = " ".join(node.name for node in loop.node_def)
        self.assertIn("decoder", names)
        self.assertNotIn("encoder", names)

    @parameterized.parameters("standard_normal", "gaussian_mixture")
    def test_evaluation_shares_z_between_its_terms(self, prior):
        vae = small_vae(prior)
        metrics = likelihood(vae, BINARY, num_importance_samples=5, seed=3)
        self.assertAllClose(metrics["elbo"], np.mean(vae.elbo(BINARY, seed=3)), rtol=1e-6)
        self.assertAllClose(metrics["elbo"], -(metrics["nll"] + metrics["kl"]), rtol=1e-6)
        diagnostics = latent_diagnostics(vae, BINARY)
        self.assertEqual("kl_per_dimension" in diagnostics, prior == "standard_normal")
        self.assertEqual(diagnostics["latent_dim"], 3)


class DrawsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*TRAINED)
    def test_draws_have_the_density_of_the_prior(self, prior):
        vae = small_vae(prior)
        weights, loc, scale = components(vae)
        z = vae.draw_prior(20_000, zoo.distributions.stateless_seed(1)).numpy().astype("float64")
        for axis in range(3):
            # Kolmogorov-Smirnov, against the distribution function; three tests, fixed seed.
            cdf = lambda t, axis=axis: norm.cdf(t[:, None], loc[:, axis], scale[:, axis]) @ weights  # noqa: E731
            self.assertGreater(kstest(z[:, axis], cdf).pvalue, 0.01)
        mean = weights @ loc
        covariance = np.einsum("k,ki,kj", weights, loc - mean, loc - mean) + np.diag(weights @ scale**2)
        for i in range(3):
            for j in range(3):  # the pairs see which loc goes with which
                products = (z - mean)[:, i] * (z - mean)[:, j]
                standard_error = products.std() / np.sqrt(20_000)
                self.assertLess(abs(products.mean() - covariance[i, j]), 4 * standard_error)

    @parameterized.named_parameters(*TRAINED)
    def test_endpoint_prior_is_draw_prior_of_the_same_noise(self, prior):
        vae = small_vae(prior)
        seed = zoo.distributions.stateless_seed(9)
        noise = tf.random.stateless_normal((500, 3), seed)
        uniform = tf.random.stateless_uniform((500,), tf.random.experimental.stateless_fold_in(seed, 1))
        endpoint = vae.endpoints()["prior"]
        z = endpoint.function(noise, uniform)["z"]
        self.assertAllEqual(z, vae.draw_prior(500, seed))
        self.assertEqual([each.values for each in endpoint.inputs.values()], ["standard_normal", "uniform"])
        self.assertEqual(vae.endpoints()["decode"].inputs["z"].values, "real")

        weights, loc, scale = components(vae)
        component = np.minimum(np.searchsorted(np.cumsum(weights), uniform, side="right"), 3)
        self.assertAllClose(z, loc[component] + scale[component] * noise, atol=1e-5)
        ends = np.array([0.0, np.nextafter(np.float32(1), np.float32(0))], "float32")
        self.assertAllClose(endpoint.function(np.zeros((2, 3), "float32"), ends)["z"], loc[[0, 3]], atol=1e-6)

    def test_samples_are_of_the_prior(self):
        vae = small_vae("gaussian_mixture")
        set_mixture(vae, np.full((4, 3), 2.0), np.full((4, 3), 1e-3), np.zeros(4))
        self.assertAllClose(vae.sample(20, seed=1), np.repeat(vae.decode(np.full((1, 3), 2.0)), 20, axis=0), atol=5e-3)


class StartTest(tf.test.TestCase, parameterized.TestCase):
    def test_components_start_apart_and_together_as_wide_as_n_0_i(self):
        vae = zoo.VAE((4, 4, 1), latent_dim=50, hidden=(4,), prior="gaussian_mixture", num_components=200, seed=3)
        weights, loc, scale = components(vae)
        self.assertLen(np.unique(loc), 10_000)
        self.assertAllClose(weights, np.full(200, 1 / 200))
        self.assertAllClose(loc.var() + np.mean(scale**2), 1.0, atol=0.02)  # 10,000 draws: 3 standard errors of 1/2
        again = zoo.VAE((4, 4, 1), latent_dim=50, hidden=(4,), prior="gaussian_mixture", num_components=200, seed=3)
        self.assertAllEqual(vae.trainable_prior.loc, again.trainable_prior.loc)

    def test_pseudo_inputs_start_from_examples_and_only_once(self):
        examples = {each.tobytes() for each in GRAY}
        for data in (GRAY, tf.data.Dataset.from_tensor_slices(GRAY).batch(20).repeat()):
            vae = zoo.VAE((4, 4, 1), latent_dim=2, hidden=(4,), prior="vamp", num_components=30)
            vae.adapt(data)
            start = vae.trainable_prior.pseudo_inputs.numpy()
            self.assertLessEqual({each.tobytes() for each in start}, examples)
            vae.adapt(GRAY[::-1].copy())
            self.assertAllEqual(vae.trainable_prior.pseudo_inputs, start)
        vae = zoo.VAE((4, 4, 1), latent_dim=2, hidden=(4,), prior="vamp", num_components=60)
        vae.adapt(GRAY)  # fewer than the pseudo-inputs: all of them, and ten of random pixels
        self.assertLen(examples & {each.tobytes() for each in vae.trainable_prior.pseudo_inputs.numpy()}, 50)
        self.assertLen(np.unique(vae.trainable_prior.pseudo_inputs, axis=0), 60)

    def test_pixels_of_pseudo_inputs_stay_in_the_unit_interval(self):
        for arguments, stay in (({}, True), (REAL, False)):
            vae = zoo.VAE((4, 4, 1), latent_dim=2, hidden=(4,), prior="vamp", num_components=5, **arguments)
            vae.compile(keras.optimizers.Adam(0.5), run_eagerly=True)
            vae.adapt(GRAY)
            start = vae.trainable_prior.pseudo_inputs.numpy()
            vae.fit(GRAY, batch_size=10, verbose=0)  # five steps of half the interval
            pixels = vae.trainable_prior.pseudo_inputs.numpy()
            self.assertGreater(np.abs(pixels - start).max(), 0.3)
            self.assertEqual(pixels.min() >= 0.0 and pixels.max() <= 1.0, stay)


class ArgumentsTest(tf.test.TestCase):
    def test_bad_arguments_are_refused_by_name(self):
        with self.assertRaisesRegex(ValueError, r"prior is 'swiss_roll'; one of .*'vamp'.* is wanted"):
            zoo.VAE((4, 4, 1), 2, prior="swiss_roll")
        with self.assertRaisesRegex(ValueError, "num_components is 0"):
            zoo.VAE((4, 4, 1), 2, prior="vamp", num_components=0)

    def test_variables_have_names(self):
        names = {prior: [each.path for each in small_vae(prior).trainable_prior.variables] for _, prior in TRAINED}
        self.assertEqual(names["gaussian_mixture"], ["prior/logits", "prior/loc", "prior/raw_scale"])
        self.assertEqual(names["vamp"], ["prior/pseudo_inputs"])
