"""The VAE given labels against what does not share its code: NumPy in float64, quadrature, finite differences."""

import doctest

import keras
import numpy as np
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import norm

import zoo
from zoo.supervised_vae import SupervisedVAE

GENERATOR = np.random.default_rng(7)
BINARY = (GENERATOR.random((30, 4, 4, 1)) < 0.4).astype("float32")
LABELS = GENERATOR.integers(0, 3, 30)


def small_vae(**arguments):
    keras.utils.set_random_seed(3)
    vae = SupervisedVAE(**{"event_shape": (4, 4, 1), "latent_dim": 3, "num_classes": 3, "hidden": (8,), **arguments})
    vae.compile("adam")
    for variable in vae.trainable_variables:  # away from the symmetric start, biases included
        variable.assign_add(0.3 * GENERATOR.standard_normal(variable.shape))
    return vae


def bernoulli_log_prob_in_numpy(x, logits):
    logits = np.asarray(logits, "float64")
    return np.sum(x * logits - np.logaddexp(0.0, logits), axis=(-3, -2, -1))


def kl_in_numpy(loc, scale):
    loc, scale = np.asarray(loc, "float64"), np.asarray(scale, "float64")
    return -0.5 * np.sum(1.0 + np.log(scale**2) - loc**2 - scale**2, axis=-1)


def weights_of(network, layer):
    return [weight.astype("float64") for weight in network.get_layer(layer).get_weights()]


class ObjectiveTest(tf.test.TestCase):
    def test_loss_is_the_hand_summed_elbo(self):
        vae = small_vae(beta=2.5)
        outputs = vae.predict(BINARY, LABELS, batch_size=30, verbose=0)
        nll = -bernoulli_log_prob_in_numpy(BINARY, outputs["logits"])
        kl = kl_in_numpy(outputs["loc"], outputs["scale"])
        logs = vae.evaluate(BINARY, LABELS, batch_size=30, verbose=0, return_dict=True)
        # float32 sums of some tens of terms against float64.
        self.assertAllClose(logs["nll"], nll.mean(), rtol=1e-5)
        self.assertAllClose(logs["kl"], kl.mean(), rtol=1e-5)
        self.assertAllClose(logs["loss"], (nll + 2.5 * kl).mean(), rtol=1e-5)

    def test_dense_networks_are_those_on_joined_inputs(self):
        vae = small_vae(activation="tanh")
        indicators = np.eye(3)[LABELS]
        kernel, bias = weights_of(vae.stem, "hidden_1")
        (of_label,) = weights_of(vae.encoder, "label")
        hidden = np.tanh(np.hstack([BINARY.reshape(30, 16), indicators]) @ np.vstack([kernel, of_label]) + bias)
        loc_kernel, loc_bias = weights_of(vae.encoder, "loc")
        loc = hidden @ loc_kernel + loc_bias
        self.assertAllClose(vae.posterior(BINARY, LABELS).mean(), loc, atol=1e-5)  # float32

        kernel, bias = weights_of(vae.decoder, "hidden_1")
        head, head_bias = weights_of(vae.decoder, "logits")
        logits = np.tanh(np.hstack([loc, indicators]) @ kernel + bias) @ head + head_bias
        decoded = vae.decode(loc.astype("float32"), LABELS)
        self.assertAllClose(decoded, 1.0 / (1.0 + np.exp(-logits.reshape(30, 4, 4, 1))), atol=1e-5)

    def test_without_hidden_layers_the_networks_are_linear(self):
        vae = small_vae(hidden=())
        kernel, bias = weights_of(vae.encoder, "loc")
        joined = np.hstack([BINARY.reshape(30, 16), np.eye(3)[LABELS]])
        self.assertAllClose(vae.posterior(BINARY, LABELS).mean(), joined @ kernel + bias, atol=1e-5)

    def test_gradient_of_the_loss_is_that_of_finite_differences(self):
        """Reparameterized: the same noise on both sides of the difference. tanh has no kinks to step over."""
        vae = small_vae(activation="tanh")
        weight = vae.encoder.get_layer("label").kernel  # which the label picks a row of

        def loss():
            with vae.repeatable_draws():
                return vae.compute_loss(y_pred=vae((BINARY, LABELS)), training=False)

        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, weight.value).numpy()
        step = 1e-2
        for row in range(3):
            change = np.zeros(weight.shape)
            change[row, 2] = step
            losses = []
            for sign in (1, -1):
                weight.assign_add(sign * change)
                losses.append(float(loss()))
                weight.assign_sub(sign * change)
            # Differences of float32 losses near 10 over 2e-2: 1e-4; the third derivative adds as much.
            self.assertAllClose(gradient[row, 2], (losses[0] - losses[1]) / (2 * step), atol=2e-3, rtol=2e-3)

    def test_log_prob_is_the_integral_over_a_code_of_one_dimension(self):
        vae = small_vae(latent_dim=1)
        near_the_prior(vae.encoder)
        exact = log_prob_by_quadrature(vae, BINARY, LABELS)
        estimate = vae.importance_estimate(BINARY, LABELS, num_importance_samples=2000, seed=1)
        deviation = (estimate.log_prob - exact) / estimate.standard_error
        self.assertAllInRange(deviation, -4.0, 4.0)  # 30 images
        self.assertAllClose(estimate.log_prob, exact, atol=0.1)
        self.assertAllEqual(vae.log_prob(BINARY, LABELS, 2000, seed=1), estimate.log_prob)
        others = log_prob_by_quadrature(vae, BINARY, (LABELS + 1) % 3)
        self.assertGreater(np.abs(others - exact).min(), 1e-3)  # the label matters

        elbo = vae.elbo(np.tile(BINARY, (400, 1, 1, 1)), np.tile(LABELS, 400)).numpy().reshape(400, 30).mean(axis=0)
        self.assertAllLess(elbo - exact, 0.1)  # a bound, but for the noise of 400 draws
        nll, kl = vae.elbo_terms(BINARY, LABELS, seed=3)
        self.assertAllClose(-(nll + kl), vae.elbo(BINARY, LABELS, seed=3))

    def test_endpoint_of_log_prob_is_the_hand_summed_importance_weight(self):
        vae = small_vae()
        noise = GENERATOR.standard_normal((30, 5, 3)).astype("float32")
        given = {"images": BINARY, "labels": tf.constant(LABELS), "noise": noise}
        found = vae.endpoints()["log_prob"].function(**given)["log_prob"]
        posterior = vae.posterior(BINARY, LABELS)
        loc, scale = posterior.mean().numpy(), posterior.stddev().numpy()
        log_weights = []
        for s in range(5):
            z = loc + scale * noise[:, s]
            likelihood = bernoulli_log_prob_in_numpy(BINARY, vae.decoded(z, LABELS)["logits"])
            log_ratio = norm.logpdf(z) - norm.logpdf(z, loc, scale)
            log_weights.append(likelihood + log_ratio.sum(axis=1))
        self.assertAllClose(found, logsumexp(log_weights, axis=0) - np.log(5), rtol=1e-5)


def near_the_prior(encoder):
    """Let q(z|x, y) be a little wider than N(0, I) and a little off it, so that no importance weight is large."""
    for layer, bias in (("loc", 0.1), ("raw_scale", 0.9)):  # softplus(0.9) = 1.24
        kernel, _ = encoder.get_layer(layer).get_weights()
        encoder.get_layer(layer).set_weights([0.1 * kernel, np.full(1, bias)])


def log_prob_by_quadrature(vae, x, y):
    """log of the integral of p(x|z, y) N(z | 0, 1) over a grid of z, whose ends are 8 standard deviations off."""
    grid, step = np.linspace(-8.0, 8.0, 2001, retstep=True)
    z = grid[:, None].astype("float32")
    log_prior = norm.logpdf(grid) + np.log(step)
    log_likelihood = {
        label: bernoulli_log_prob_in_numpy(x[:, None], vae.decoded(z, np.full(2001, label))["logits"])
        for label in set(y)
    }
    return np.array([logsumexp(log_likelihood[label][index] + log_prior) for index, label in enumerate(y)])


class LabelsTest(tf.test.TestCase):
    def test_what_depends_on_the_label(self):
        for network in ("dense", "convolutional"):
            vae = small_vae(network=network)
            locs = [vae.posterior(BINARY, np.full(30, label)).mean() for label in range(3)]
            self.assertGreater(np.abs(locs[0] - locs[1]).max(axis=1).min(), 1e-3)
            samples = [vae.sample(5, labels=label, seed=1) for label in range(3)]
            self.assertGreater(np.abs(samples[0] - samples[1]).max(axis=(1, 2, 3)).min(), 1e-3)
            in_turn = vae.sample(5, seed=1)  # 0, 1, 2, 0, 1, of the same codes
            self.assertAllClose(in_turn, [samples[label][index] for index, label in enumerate((0, 1, 2, 0, 1))])
            self.assertAllEqual(in_turn, vae.sample(5, labels=np.array([0, 1, 2, 0, 1], "uint8"), seed=1))
        self.assertAllInSet(vae.sample(5, labels=2, noise=True), {0.0, 1.0})
        reconstructed = vae.reconstruct(BINARY, LABELS)
        self.assertAllClose(reconstructed, vae.decode(vae.posterior(BINARY, LABELS).mean(), LABELS))

    def test_bad_labels_are_refused_with_a_sentence(self):
        vae = small_vae()
        for labels, sentence in (
            (3, r"Labels are in \[3, 3\]; a number from 0 to 2 is wanted"),
            (-1, r"Labels are in \[-1, -1\]"),
            (1.0, "Labels came as float64; whole numbers"),
            ([0, 1], r"shape \[2\] for 4 examples"),
            ([[0], [1], [2], [0]], r"shape \[4, 1\] for 4 examples"),
            (np.array([0, 1, 2, 5]), r"Labels are in \[0, 5\]"),
            (True, "Labels came as bool"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                vae.sample(4, labels=labels)
        for method in (vae.elbo, vae.log_prob, vae.reconstruct, vae.fit, vae.evaluate, vae.predict):
            for labels, sentence in (
                (None, "Labels are missing"),
                (LABELS[:5], r"shape \[5\] for 30 examples"),
                (LABELS + 1, r"Labels are in \[1, 3\]"),
                (LABELS - 1, r"Labels are in \[-1, 1\]"),
                (LABELS.astype("float32"), "float32; whole numbers"),
            ):
                with self.assertRaisesRegex(ValueError, sentence):
                    method(BINARY, labels)
        with self.assertRaisesRegex(ValueError, "takes no prior"):
            small_vae(prior="vamp")
        with self.assertRaisesRegex(ValueError, "num_classes is 0"):
            small_vae(num_classes=0)

    def test_arrays_and_streams_are_the_same(self):
        batches = tf.data.Dataset.from_tensor_slices((BINARY, LABELS)).batch(8)
        arrays, options = (BINARY, LABELS.astype("uint8")), {"batch_size": 8, "verbose": 0}
        by_array, by_stream = untouched_vae(), untouched_vae()
        history = by_array.fit(*arrays, epochs=2, shuffle=False, **options).history
        self.assertEqual(history, by_stream.fit(batches, epochs=2, verbose=0).history)
        self.assertEqual(by_array.evaluate(*arrays, **options), by_stream.evaluate(batches, verbose=0))
        outputs = by_stream.predict(batches, verbose=0)
        for name, output in by_array.predict(*arrays, **options).items():
            self.assertAllEqual(output, outputs[name])

    def test_samples_are_of_the_class_asked_for(self):
        patterns, x, y = three_patterns(300)
        keras.utils.set_random_seed(1)
        vae = SupervisedVAE((4, 4, 1), latent_dim=2, num_classes=3, hidden=(16,))
        vae.compile(keras.optimizers.Adam(1e-2))
        vae.fit(x, y, epochs=15, batch_size=20, verbose=0)
        labels = np.arange(60) % 3
        samples = vae.sample(60, labels=labels, seed=2)
        distances = np.abs(samples[:, None] - patterns).sum(axis=(2, 3, 4))
        self.assertAllEqual(distances.argmin(axis=1), labels)


def untouched_vae():
    keras.utils.set_random_seed(5)
    vae = SupervisedVAE((4, 4, 1), latent_dim=2, num_classes=3, hidden=(4,))
    vae.compile("adam")
    return vae


def three_patterns(count):
    """Three random binary patterns; images of them with one pixel in ten flipped; their classes."""
    generator = np.random.default_rng(2)
    patterns = (generator.random((3, 4, 4, 1)) < 0.5).astype("float32")
    y = np.arange(count) % 3
    flipped = generator.random((count, 4, 4, 1)) < 0.1
    return patterns, np.where(flipped, 1.0 - patterns[y], patterns[y]).astype("float32"), y


class DocumentationTest(tf.test.TestCase):
    def test_examples_run(self):
        names = {"np": np, "SupervisedVAE": SupervisedVAE}
        self.assertEqual(doctest.testmod(zoo.supervised_vae, extraglobs=names).failed, 0)
