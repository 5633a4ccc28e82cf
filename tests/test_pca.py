"""PCA against NumPy's SVD, scikit-learn and dense Gaussian algebra: none of them shares a line with it."""

import doctest
import os
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA as ScikitPCA

import zoo
from zoo import eigen

GENERATOR = np.random.default_rng(5)
DIGITS = load_digits().images[..., None] / 16.0  # [1797, 8, 8, 1] of rank 61: three pixels are always black
FLAT_DIGITS = DIGITS.reshape(-1, 64)


def gaussian(count, deviations, mean=0.0, seed=0):
    """Examples whose covariance has about these eigenvalues' roots, in directions of their own."""
    generator = np.random.default_rng(seed)
    rotation = np.linalg.qr(generator.standard_normal((len(deviations), len(deviations))))[0]
    return mean + generator.standard_normal((count, len(deviations))) * deviations @ rotation


ILL_CONDITIONED = gaussian(3000, 10.0 ** -np.linspace(0, 4, 40), mean=1e6)  # variances over 8 decades
MIXED = gaussian(9000, np.linspace(3, 0.5, 12), mean=2.0)  # more rows than two blocks


def adapted(x, latent_dim, **arguments):
    pca = zoo.PCA(x.shape[1:], latent_dim, **arguments)
    pca.adapt(x)
    return pca


def svd_in_numpy(x):
    """(variances, components) of all directions, by NumPy's float64 SVD of the centred examples."""
    x = x.reshape(len(x), -1).astype("float64")
    _, values, components = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    return values**2 / (len(x) - 1), components


def mnist(count):
    """The first images, float32 [count, 28, 28, 1] in [0, 1], or None where Keras' cache does not hold them."""
    path = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets" / "mnist.npz"
    return np.load(path)["x_train"][:count, ..., None].astype("float32") / 255 if path.exists() else None


class PyBatches(keras.utils.PyDataset):
    def __init__(self, x, size):
        super().__init__()
        self.x, self.size = x, size

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, index):
        return self.x[index * self.size : (index + 1) * self.size]


def stream(x, size):
    return tf.data.Dataset.from_tensor_slices(x).batch(size)


class PCATestCase(tf.test.TestCase, parameterized.TestCase):
    def assertSameUpToSign(self, found, expected, atol):
        signs = np.sign(np.sum(found * expected, axis=1, keepdims=True))
        self.assertAllClose(found, expected * signs, atol=atol, rtol=0.0)

    def assertMeetsSVD(self, pca, x):
        variances, components = svd_in_numpy(x)
        self.assertSameUpToSign(pca.components.numpy(), components[: pca.latent_dim], atol=1e-4)
        self.assertAllClose(pca.explained_variance, variances[: pca.latent_dim], rtol=1e-5, atol=0.0)
        ratio = variances[: pca.latent_dim] / variances.sum()
        self.assertAllClose(pca.explained_variance_ratio, ratio, rtol=1e-5, atol=0.0)
        # Without noise of its own where no direction is left out.
        if pca.latent_dim < pca.features:
            noise = variances[pca.latent_dim :].sum() / (pca.features - pca.latent_dim)
            self.assertAllClose(pca.noise_variance, noise, rtol=1e-5, atol=0.0)


class ComponentsTest(PCATestCase):
    # What the issue asks for: components to 1e-4 up to sign, variances to 1e-5 relative.
    @parameterized.named_parameters(
        ("digits", DIGITS, 20),
        ("mean_of_a_million", ILL_CONDITIONED, 39),
        ("all_directions", ILL_CONDITIONED, 40),
        ("several_blocks", MIXED, 5),
        ("float32", MIXED.astype("float32"), 5),
        ("more_features_than_examples", gaussian(30, 0.9 ** np.arange(200), mean=3.0), 28),
    )
    def test_exact_solver_meets_the_svd(self, x, latent_dim):
        pca = adapted(x, latent_dim)
        self.assertMeetsSVD(pca, x)
        self.assertAllClose(pca.mean, x.reshape(len(x), -1).mean(axis=0, dtype="float64"), rtol=1e-12, atol=0.0)
        self.assertAllClose(pca.components @ tf.transpose(pca.components), np.eye(latent_dim), atol=1e-12, rtol=0.0)
        largest = np.argmax(np.abs(pca.components.numpy()), axis=1)
        self.assertAllGreater(pca.components.numpy()[np.arange(latent_dim), largest], 0.0)

    def test_exact_solver_meets_the_svd_of_mnist(self):
        images = mnist(1500)
        if images is None:
            self.skipTest("mnist.npz is not in Keras' cache")
        self.assertMeetsSVD(adapted(images, 50), images)

    @parameterized.named_parameters(
        ("decaying", gaussian(1500, 0.8 ** np.arange(150), mean=10.0), 12),
        ("digits", DIGITS, 10),
        ("more_features_than_examples", gaussian(30, 0.9 ** np.arange(200), mean=3.0), 20),
        ("mean_of_a_million", ILL_CONDITIONED, 8),
        ("all_directions", MIXED, 12),
    )
    def test_randomized_solver_meets_the_svd(self, x, latent_dim):
        self.assertMeetsSVD(adapted(x, latent_dim, solver="randomized"), x)

    def test_more_passes_come_nearer_to_the_svd_from_below(self):
        x = gaussian(1500, np.arange(1, 151) ** -0.5)  # decays slowly: variances 1, 1/2, 1/3 ...
        expected = svd_in_numpy(x)[0][:10]
        errors = []
        for passes in (1, 2, 3, 5):
            found = adapted(x, 10, solver="randomized", passes=passes, seed=1).explained_variance.numpy()
            # The Nystrom approximation never exceeds the covariance; rounding of float64 apart.
            self.assertAllLess(found - expected, 1e-12)
            errors.append(np.max(1 - found / expected))
        self.assertAllLess(np.diff(errors), 0.0)
        self.assertGreater(errors[0], 0.1)  # one pass is a rough guess here
        self.assertLess(errors[-1], 1e-3)

    def test_randomized_solver_depends_on_its_seed_to_rounding_only(self):
        x = gaussian(500, 0.8 ** np.arange(80))
        one, same, other = (adapted(x, 5, solver="randomized", seed=seed).components.numpy() for seed in (1, 1, 2))
        self.assertAllEqual(one, same)
        self.assertNotAllEqual(one, other)
        self.assertAllClose(one, other, atol=1e-7, rtol=0.0)

    def test_randomized_above_ten_thousand_features_and_only_there(self):
        x = gaussian(40, 0.5 ** np.arange(12))
        with mock.patch("zoo.pca.LARGEST_COVARIANCE", 12):
            exact = adapted(x, 3)
        with mock.patch("zoo.pca.LARGEST_COVARIANCE", 11), mock.patch.object(eigen, "exact", None):
            randomized = adapted(x, 3)
        self.assertAllClose(exact.components, randomized.components, atol=1e-9, rtol=0.0)

    @parameterized.parameters("covariance", "randomized")
    def test_the_same_bits_from_arrays_and_streams(self, solver):
        x = MIXED.astype("float32")
        sources = (x, stream(x, 37), stream(x, 5000), stream(x, 9000), PyBatches(x, 1000))
        models = [zoo.PCA((12,), 4, solver=solver) for _ in sources]
        for model, source in zip(models, sources, strict=True):
            model.adapt(source)
        labelled = zoo.PCA((12,), 4, solver=solver, dtype="mixed_bfloat16")  # whatever the policy
        labelled.adapt(tf.data.Dataset.from_tensor_slices((x, np.arange(len(x)))).batch(100))
        for model in (*models[1:], labelled):
            for variable, expected in zip(model.weights, models[0].weights, strict=True):
                self.assertEqual(variable.numpy().tobytes(), expected.numpy().tobytes(), variable.name)

    def test_a_sorted_stream_takes_no_digits_from_the_randomized_solver(self):
        """Its first block says little of the mean of all."""
        x = MIXED[np.argsort(MIXED[:, 0])] + 1e4
        self.assertMeetsSVD(adapted(x, 6, solver="randomized"), x)

    def test_adapting_again_replaces_what_was_learned(self):
        pca = adapted(MIXED, 3)
        pca.adapt(MIXED[:100] * 2.0)
        self.assertMeetsSVD(pca, MIXED[:100] * 2.0)
        self.assertEqual(pca.num_examples.numpy(), 100)


class DensityTest(PCATestCase):
    @parameterized.named_parameters(
        ("digits", FLAT_DIGITS, 16),
        ("one_component", FLAT_DIGITS, 1),
        ("mean_of_a_million", ILL_CONDITIONED, 30),
        ("all_directions", MIXED, 12),
        ("all_but_one", MIXED, 11),
    )
    def test_log_prob_is_that_of_scikit_learn(self, x, latent_dim):
        scikit = ScikitPCA(latent_dim, svd_solver="full").fit(x)
        self.assertAllClose(
            adapted(x, latent_dim).log_prob(x[:300]), scikit.score_samples(x[:300]), rtol=1e-5, atol=0.0
        )

    def test_log_prob_of_all_directions_is_that_of_the_sample_covariance(self):
        expected = multivariate_normal(MIXED.mean(axis=0), np.cov(MIXED.T)).logpdf(MIXED[:50])
        self.assertAllClose(adapted(MIXED, 12).log_prob(MIXED[:50]), expected, rtol=1e-9, atol=0.0)

    def test_log_prob_with_fewer_examples_than_features_is_that_of_the_dense_gaussian(self):
        # Here scikit-learn spreads the noise over the N directions of the sample, and not over all that are left out.
        x = gaussian(30, 0.9 ** np.arange(60), mean=3.0)
        variances, components = svd_in_numpy(x)
        noise = variances[4:].sum() / 56
        covariance = components[:4].T * (variances[:4] - noise) @ components[:4] + noise * np.eye(60)
        expected = multivariate_normal(x.mean(axis=0), covariance).logpdf(x)
        self.assertAllClose(adapted(x, 4).log_prob(x), expected, rtol=1e-9, atol=0.0)

    @parameterized.named_parameters(("some", 5), ("all_directions", 12))
    def test_prior_likelihood_and_posterior_are_those_of_dense_conditioning(self, latent_dim):
        pca, x = adapted(MIXED, latent_dim), MIXED[:20]
        noise, variances = pca.noise_variance.numpy(), svd_in_numpy(MIXED)[0][:latent_dim]
        weights = pca.components.numpy().T * np.sqrt(np.maximum(variances - noise, 0.0))
        # Of (z, x), jointly Gaussian with covariance ((I, W^T), (W, C)), z given x.
        covariance = weights @ weights.T + noise * np.eye(12)
        to_mean = np.linalg.solve(covariance, weights).T
        posterior = pca.posterior(x)
        # Where nothing is left out the last column of W is 0, and as a root of a difference it is 0 to 1e-8 only.
        self.assertAllClose(posterior.mean(), (x - MIXED.mean(axis=0)) @ to_mean.T, atol=1e-6, rtol=0.0)
        expected = np.eye(latent_dim) - to_mean @ weights
        self.assertAllClose(
            posterior.covariance(), np.broadcast_to(expected, (20, *expected.shape)), atol=1e-6, rtol=0.0
        )

        z = GENERATOR.standard_normal((20, latent_dim))
        likelihood = pca.likelihood(z)
        self.assertAllClose(likelihood.mean(), z @ weights.T + MIXED.mean(axis=0), atol=1e-6, rtol=0.0)
        self.assertAllClose(likelihood.variance(), np.full((20, 12), noise), rtol=1e-9, atol=0.0)
        # Bayes, at any code: p(x) = p(x|z) p(z) / p(z|x).
        log_prob = likelihood.log_prob(x) + pca.prior.log_prob(z) - posterior.log_prob(z)
        self.assertAllClose(log_prob, pca.log_prob(x), rtol=1e-9, atol=0.0)
        self.assertEqual(log_prob.dtype, tf.float64)

    def test_events_of_images_keep_their_shape(self):
        pca = adapted(DIGITS, 4)
        self.assertEqual(pca.likelihood(np.zeros((3, 4))).event_shape, (8, 8, 1))
        self.assertAllClose(
            pca.log_prob(DIGITS[:9]), adapted(FLAT_DIGITS, 4).log_prob(FLAT_DIGITS[:9]), rtol=1e-12, atol=0.0
        )

    def test_the_loss_is_the_mean_of_minus_log_prob(self):
        pca = zoo.PCA((8, 8, 1), 8)
        pca.compile()
        expected = -ScikitPCA(8, svd_solver="full").fit(FLAT_DIGITS).score(FLAT_DIGITS)
        # Keras' mean over the batches is a float32.
        history = pca.fit(DIGITS, batch_size=100, epochs=2, verbose=0, shuffle=False).history
        self.assertAllClose(history["loss"], [expected, expected], rtol=1e-5, atol=0.0)
        self.assertAllClose(pca.evaluate(DIGITS, batch_size=500, verbose=0), expected, rtol=1e-5, atol=0.0)
        self.assertAllClose(pca.evaluate(stream(DIGITS, 37), verbose=0), expected, rtol=1e-5, atol=0.0)
        weights = GENERATOR.random(1797)
        weighted = pca.evaluate(DIGITS, DIGITS, sample_weight=weights, batch_size=1797, verbose=0)
        self.assertAllClose(weighted, np.mean(-weights * pca.log_prob(DIGITS)), rtol=1e-5, atol=0.0)
        # Keras' own split: the last half validates, and the first half alone is learned from.
        history = pca.fit(DIGITS, validation_split=0.5, batch_size=100, verbose=0).history
        scikit = ScikitPCA(8, svd_solver="full").fit(FLAT_DIGITS[:898])
        self.assertAllClose(history["val_loss"], [-scikit.score(FLAT_DIGITS[898:])], rtol=1e-5, atol=0.0)

    def test_all_that_is_sampled_has_the_moments_of_the_marginal(self):
        pca, count = adapted(MIXED, 4), 40_000
        x = pca.sample(count, seed=3).astype("float64")
        variances, components = svd_in_numpy(MIXED)
        noise = variances[4:].mean()
        expected = np.where(np.arange(12) < 4, variances, noise)
        code = (x - MIXED.mean(axis=0)) @ components.T
        # 12 means and 78 (co)variances, in standard errors; the largest of 90 exceeds 4.5 once in 1,600 tries.
        self.assertAllInRange(code.mean(axis=0) / np.sqrt(expected / count), -4.5, 4.5)
        error = np.sqrt((1 + np.eye(12)) * np.outer(expected, expected) / count)
        self.assertAllInRange((code.T @ code / count - np.diag(expected)) / error, -4.5, 4.5)

    def test_without_noise_the_means_of_the_likelihood_are_sampled(self):
        pca = adapted(MIXED, 4)
        centered = pca.sample(50, seed=3, noise=False) - MIXED.mean(axis=0)
        # In the span of the components, to the rounding of float32.
        self.assertAllClose(centered @ pca.components.numpy().T @ pca.components.numpy(), centered, atol=1e-5, rtol=0.0)
        # The same codes: what the noise adds has its variance. 600 numbers: 4.5 standard errors.
        difference = pca.sample(50, seed=3) - centered - MIXED.mean(axis=0)
        noise = svd_in_numpy(MIXED)[0][4:].mean()
        self.assertAllClose(np.mean(difference**2) / noise, 1.0, atol=4.5 * np.sqrt(2 / 600), rtol=0.0)


class CodeTest(PCATestCase):
    @parameterized.parameters(False, True)
    def test_codes_are_those_of_scikit_learn(self, whiten):
        scikit, pca = ScikitPCA(6, whiten=whiten, svd_solver="full").fit(FLAT_DIGITS), adapted(DIGITS, 6, whiten=whiten)
        signs = np.sign(np.sum(scikit.components_ * pca.components.numpy(), axis=1))
        code = pca.encode(DIGITS)
        self.assertAllClose(code, scikit.transform(FLAT_DIGITS) * signs, atol=1e-9, rtol=0.0)
        self.assertAllClose(pca.predict(DIGITS, verbose=0)["code"], code, atol=1e-12, rtol=0.0)
        if whiten:
            self.assertAllClose(np.cov(code.numpy().T), np.eye(6), atol=1e-9, rtol=0.0)
        expected = scikit.inverse_transform(scikit.transform(FLAT_DIGITS)).reshape(DIGITS.shape)
        self.assertAllClose(pca.decode(code), expected, atol=1e-9, rtol=0.0)
        self.assertAllClose(pca.reconstruct(DIGITS), expected, atol=1e-9, rtol=0.0)

    @parameterized.parameters(False, True)
    def test_endpoints_in_float32_are_the_methods_in_float64(self, whiten):
        for x, latent_dim in ((DIGITS, 6), (MIXED, 1), (MIXED, 12)):
            pca, x = adapted(x, latent_dim, whiten=whiten), x[:100].astype("float32")
            endpoints = pca.endpoints()
            code = pca.encode(x)
            for name, argument, expected in (
                ("encode", x, code),
                ("decode", tf.cast(code, tf.float32), pca.decode(code)),
                ("log_prob", x, pca.log_prob(x)),
            ):
                (found,) = endpoints[name].function(argument).values()
                self.assertEqual(found.dtype, tf.float32)
                # Of numbers near 0, to 1e-5 of the largest.
                self.assertAllClose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


class ReplicaTest(PCATestCase):
    def test_two_replicas_give_the_results_of_one(self):
        """The last batch holds 1 example, which leaves the other replica without any."""
        two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
        x, results = DIGITS[: 38 * 4 + 1], []
        for strategy in (tf.distribute.get_strategy(), two):
            with strategy.scope():
                pca = zoo.PCA((8, 8, 1), 4)
                pca.compile()
            loss = pca.fit(stream(x, 38), epochs=2, verbose=0).history["loss"]
            evaluated = pca.evaluate(stream(x, 38), verbose=0)
            results.append((loss, evaluated, pca.predict(stream(x, 38), verbose=0)["code"]))
        for one, other in zip(*results, strict=True):
            self.assertAllClose(one, other, rtol=1e-6, atol=1e-6)


class RefusalTest(PCATestCase):
    def assertRefuses(self, x, sentence, latent_dim=2, **arguments):
        shape = getattr(x, "shape", (0, 12))[1:]
        with self.assertRaisesRegex(ValueError, sentence):
            zoo.PCA(shape, latent_dim, **arguments).adapt(x)

    @parameterized.parameters("covariance", "randomized")
    def test_few_examples(self, solver):
        self.assertRefuses(MIXED[:1], "number of examples is 1; at least 2 are needed", solver=solver)
        self.assertRefuses(MIXED[:5], "There are 5 examples; more than latent_dim = 5", latent_dim=5, solver=solver)
        self.assertRefuses(MIXED[:0], "There are 0 examples", solver=solver)
        adapted(MIXED[:6], 5, solver=solver)

    @parameterized.parameters("covariance", "randomized")
    def test_constant_data_have_rank_0(self, solver):
        # Sums of thousands of 0.1 or 1/3 are not exact, and what is left of them is no direction.
        for value in (0.0, 0.1, 1 / 3, 1e6 + 0.1):
            for count in (3, 100, 5000, 9000):
                x = np.full((count, 12), value)
                self.assertRefuses(x, r"vary in 0 directions only \(their rank\)", latent_dim=1, solver=solver)

    @parameterized.product(solver=("covariance", "randomized"), mean=(0.0, 0.1, 1e6), count=(50, 5000))
    def test_duplicated_data_say_their_rank(self, solver, mean, count):
        few = np.random.default_rng(1).standard_normal((5, 12)) + mean
        x = few[np.random.default_rng(2).integers(0, 5, count)]
        self.assertRefuses(x, "vary in 4 directions only .their rank.*ask for at most 4", latent_dim=5, solver=solver)
        pca = adapted(x, 4, solver=solver)
        self.assertAllClose(pca.explained_variance, svd_in_numpy(x)[0][:4], rtol=1e-5, atol=0.0)
        self.assertTrue(np.isfinite(pca.log_prob(x[:5])).all())  # noise above 0, so that there is a density

    def test_values_and_shapes(self):
        broken = MIXED[:100].copy()
        broken[70, 3] = np.nan
        infinite = np.where(np.isnan(broken), np.inf, broken)
        for bad in (broken, stream(broken, 30), PyBatches(broken, 30), infinite, stream(infinite, 30)):
            self.assertRefuses(bad, "finite numbers.*Remove NaN and infinity")
        widths = [MIXED[:10], MIXED[:10, :7]]
        for signature in (tf.TensorSpec((None, None), tf.float64), tf.TensorSpec(None, tf.float64)):
            changing = tf.data.Dataset.from_generator(lambda: iter(widths), output_signature=signature)
            self.assertRefuses(changing, r"shape \[10, 7\]; \[N, 12\] is wanted")
        changing = PyBatches(MIXED, 10)
        changing.__class__ = type("Changing", (PyBatches,), {"__getitem__": lambda self, index: widths[index % 2]})
        self.assertRefuses(changing, r"shape \[10, 7\]; \[N, 12\] is wanted")
        self.assertRefuses(stream(MIXED, 30).repeat(), "never ends")

    def test_streams_that_break_after_they_were_adapted_to(self):
        pca = adapted(MIXED, 2)
        pca.compile()
        broken = MIXED[:100].copy()
        broken[70, 3] = np.nan
        for method in (pca.evaluate, pca.predict):
            for bad in (stream(broken, 30), PyBatches(broken, 30)):
                with self.assertRaisesRegex(ValueError, "Remove NaN and infinity"):
                    method(bad, verbose=0)
            with self.assertRaisesRegex(ValueError, r"\[N, 12\] is wanted"):
                method(PyBatches(MIXED[:, :5], 30), verbose=0)

    def test_methods_do_not_cut_examples_anew(self):
        pca = adapted(MIXED, 2)
        for method in (pca.encode, pca.posterior, pca.log_prob, pca.reconstruct):
            for shape in ((4, 6), (12,), (1, 2, 12)):
                with self.assertRaisesRegex(ValueError, r"\[N, 12\] is wanted"):
                    method(np.zeros(shape))

    def test_use_before_adapt(self):
        pca = zoo.PCA((12,), 2)
        pca.compile()
        for use in (
            lambda: pca.predict(MIXED, verbose=0),
            lambda: pca.evaluate(MIXED, verbose=0),
            lambda: pca.encode(MIXED),
            lambda: pca.decode(np.zeros((1, 2))),
            lambda: pca.posterior(MIXED),
            lambda: pca.likelihood(np.zeros((1, 2))),
            lambda: pca.log_prob(MIXED),
            lambda: pca.sample(1),
            lambda: pca.reconstruct(MIXED),
        ):
            with (
                self.subTest(use),
                self.assertRaisesRegex(ValueError, "has seen no data; call adapt.x. or fit.x. first"),
            ):
                use()

    def test_bad_arguments_are_refused_by_name(self):
        good = {"event_shape": (8, 8, 1), "latent_dim": 2}
        for name, bad in (
            ("latent_dim", 0),
            ("latent_dim", 2.5),
            ("latent_dim", 65),
            ("event_shape", (8, 8)),
            ("event_shape", 8),
            ("solver", "svd"),
            ("passes", 0),
            ("seed", -1),
        ):
            with self.assertRaisesRegex(ValueError, name):
                zoo.PCA(**{**good, name: bad})
        with self.assertRaisesRegex(ValueError, "follows no gradient, so it takes no optimizer"):
            zoo.PCA(**good).compile("adam")
        with self.assertRaisesRegex(ValueError, "num_samples"):
            adapted(MIXED, 2).sample(0)

    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.pca"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 3))
