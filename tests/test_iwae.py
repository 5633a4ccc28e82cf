"""The importance weighted bound and its gradients against NumPy in float64, quadrature, and the VAE itself."""

import dataclasses
import doctest
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from scipy.special import logsumexp

import zoo
from training.callbacks import FinishEpoch, SamplesAtFirst
from training.checkpoints import state_of
from training.recipes import RECIPES
from training.run_folder import RunFolder
from training.train import build, in_stages, train

GENERATOR = np.random.default_rng(9)
GRAY = (GENERATOR.random((50, 4, 4, 1)) ** 2).astype("float32")
BINARY = (GRAY > 0.3).astype("float32")


def small(model_class=zoo.IWAE, moved=True, **arguments):
    keras.utils.set_random_seed(3)
    model = model_class(
        **{"event_shape": (4, 4, 1), "latent_dim": 3, "hidden": (8,), "activation": "tanh", **arguments}
    )
    model.compile("adam")
    generator = np.random.default_rng(4)
    if moved:
        for variable in model.trainable_variables:  # away from the symmetric start, biases included
            variable.assign_add(0.3 * generator.standard_normal(variable.shape))
    return model


def logits_in_numpy(model, z):
    """A decoder of one hidden tanh layer in float64: z [..., latent_dim] -> [..., pixels]."""
    layers = [model.decoder.get_layer(name).get_weights() for name in ("hidden_1", "logits")]
    (first, first_bias), (last, last_bias) = [[part.astype("float64") for part in layer] for layer in layers]
    return np.tanh(z @ first + first_bias) @ last + last_bias


def normal_in_numpy(z, loc, scale):
    return np.sum(-0.5 * ((z - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi), axis=-1)


def log_weights_in_numpy(model, images, loc, scale, z):
    """log p(x|z) and log w, [batch, k], for z [batch, k, latent_dim]."""
    logits = logits_in_numpy(model, z)
    flat = images.reshape(len(images), 1, -1).astype("float64")
    log_likelihood = np.sum(flat * logits - np.logaddexp(0.0, logits), axis=-1)
    log_prior = normal_in_numpy(z, 0.0, np.ones_like(z))
    return log_likelihood, log_likelihood + log_prior - normal_in_numpy(z, loc[:, None], scale[:, None])


def gradients(model, images, seed=0):
    """The gradients of the loss by the variables of the encoder and of the decoder, for the noise of `seed`."""
    variables = (model.encoder.trainable_variables, model.decoder.trainable_variables)
    model.draws.assign(100 * seed)
    with tf.GradientTape() as tape:
        loss = model.compute_loss(y_pred=model(images), training=True)
    return tape.gradient(loss, [[variable.value for variable in each] for each in variables])


class BoundTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("straight", "doubly_reparameterized")
    def test_loss_is_the_bound_of_the_codes_in_float64(self, gradient):
        model = small(num_training_samples=7, gradient=gradient)
        outputs = {name: part.astype("float64") for name, part in model.predict(GRAY, batch_size=50, verbose=0).items()}
        self.assertEqual(outputs["z"].shape, (50, 7, 3))
        log_likelihood, log_weights = log_weights_in_numpy(
            model, outputs["images"], outputs["loc"], outputs["scale"], outputs["z"]
        )
        logs = model.evaluate(GRAY, batch_size=50, verbose=0, return_dict=True)
        # float32 sums of some tens of terms against float64.
        self.assertAllClose(outputs["log_weights"], log_weights, rtol=1e-5)
        self.assertAllClose(logs["loss"], np.mean(np.log(7) - logsumexp(log_weights, axis=1)), rtol=1e-5)
        self.assertAllClose(logs["nll"], -log_likelihood.mean(), rtol=1e-5)
        self.assertAllClose(logs["kl"], np.mean(log_likelihood - log_weights), rtol=1e-4)
        self.assertLess(logs["loss"], logs["nll"] + logs["kl"])  # Jensen, in every draw

    def test_codes_are_independent_draws_of_the_posterior(self):
        model = small(num_training_samples=200)
        outputs = model.predict(GRAY, batch_size=50, verbose=0)
        noise = (outputs["z"] - outputs["loc"][:, None]) / outputs["scale"][:, None]
        # 30,000 standard normals: 4 standard errors of a mean, a standard deviation and a correlation.
        self.assertAllClose(noise.mean(), 0.0, atol=0.023)
        self.assertAllClose(noise.std(), 1.0, atol=0.017)
        self.assertAllClose(np.mean(noise[:, 1:] * noise[:, :-1]), 0.0, atol=0.023)

    def test_expected_loss_of_two_codes_is_that_of_quadrature(self):
        model = small(event_shape=(2, 2, 1), latent_dim=1, num_training_samples=2, binarization=None)
        images = np.array(np.unpackbits(np.arange(16, dtype="uint8")[:, None], axis=1)[:, 4:], "float32")
        images = images.reshape(16, 2, 2, 1)
        loc, scale = (model.encoder(images)[name].numpy().astype("float64") for name in ("loc", "scale"))
        nodes, weights = np.polynomial.hermite_e.hermegauss(60)
        weights /= weights.sum()
        z = loc[:, None] + scale[:, None] * nodes[None, :, None]
        _, log_weights = log_weights_in_numpy(model, images, loc, scale, z)
        bound = np.logaddexp(log_weights[:, :, None], log_weights[:, None, :]) - np.log(2)
        expected = np.einsum("bij,i,j->b", bound, weights, weights)

        drawn = model(np.tile(images, (1000, 1, 1, 1)))["log_weights"].numpy().astype("float64").reshape(1000, 16, 2)
        drawn = logsumexp(drawn, axis=-1) - np.log(2)
        standard_error = drawn.std(axis=0, ddof=1) / np.sqrt(1000)
        self.assertAllInRange((drawn.mean(axis=0) - expected) / standard_error, -4.0, 4.0)  # 16 images
        self.assertLess(abs(drawn.mean() - expected.mean()), 4 * np.sqrt(np.mean(standard_error**2) / 16))

    def test_bound_rises_with_the_codes_towards_log_prob(self):
        many = np.tile(BINARY, (40, 1, 1, 1))
        losses = [
            small(num_training_samples=k).evaluate(many, batch_size=500, verbose=0, return_dict=True)["loss"]
            for k in (1, 5, 50)
        ]
        log_prob = np.mean(small().log_prob(BINARY, 5000))
        # 2,000 draws each: the gaps, of tenths of a nat, are some ten standard errors.
        self.assertGreater(losses[0], losses[1] + 0.05)
        self.assertGreater(losses[1], losses[2] + 0.05)
        self.assertGreater(losses[2], -log_prob)

    def test_weights_beyond_the_range_of_float32_leave_it_finite(self):
        model = small(num_training_samples=5)
        model.decoder.get_layer("logits").bias.assign_add(1e4 * np.ones(16))
        loss = model.evaluate(np.zeros((4, 4, 4, 1), "float32"), verbose=0, return_dict=True)["loss"]
        self.assertAllClose(loss, 1.6e5, rtol=1e-2)  # exp(-160,000) is 0 in any float

    @parameterized.parameters("gaussian_mixture", "vamp")
    def test_trained_priors_enter_the_weights(self, prior):
        model = small(num_training_samples=4, gradient="doubly_reparameterized", prior=prior, num_components=3)
        model.fit(GRAY, batch_size=25, epochs=1, verbose=0)
        outputs = model.predict(GRAY, batch_size=50, verbose=0)
        _, log_weights = log_weights_in_numpy(model, *(outputs[name] for name in ("images", "loc", "scale", "z")))
        z = outputs["z"].reshape(-1, 3)
        change = model.prior.log_prob(z).numpy() - normal_in_numpy(z.astype("float64"), 0.0, np.ones(3))
        self.assertGreater(np.abs(change).max(), 0.1)
        self.assertAllClose(outputs["log_weights"], log_weights + change.reshape(50, 4), rtol=1e-4)


class GradientTest(tf.test.TestCase, parameterized.TestCase):
    def test_straight_gradient_is_that_of_finite_differences(self):
        model = small(num_training_samples=4)
        (encoder, decoder), step = gradients(model, BINARY), 1e-2
        for variables, gradient in ((model.encoder, encoder), (model.decoder, decoder)):
            bias, slope = variables.trainable_variables[1], gradient[1].numpy()  # of the first hidden layer
            for index in range(4):
                losses = []
                for sign in (1, -1):
                    bias.assign_add(sign * step * np.eye(8)[index])
                    model.draws.assign(0)
                    losses.append(float(model.compute_loss(y_pred=model(BINARY))))
                    bias.assign_sub(sign * step * np.eye(8)[index])
                # Differences of float32 losses near 10 over 2e-2: 1e-4; the third derivative adds as much.
                self.assertAllClose(slope[index], (losses[0] - losses[1]) / (2 * step), atol=2e-3, rtol=2e-3)

    def test_gradients_differ_by_the_encoder_alone_and_agree_on_average(self):
        straight, doubly = (small(num_training_samples=5, gradient=name) for name in zoo.iwae.GRADIENTS)
        of_straight, of_doubly = gradients(straight, BINARY), gradients(doubly, BINARY)
        for one, other in zip(of_straight[1], of_doubly[1], strict=True):
            self.assertAllClose(one, other, rtol=1e-5, atol=1e-6)  # the same formula, float32
        self.assertNotAllClose(of_straight[0][1], of_doubly[0][1], rtol=1e-2)

        images, estimates = np.tile(BINARY[:5], (200, 1, 1, 1)), []
        for gradient in zoo.iwae.GRADIENTS:
            model = small(num_training_samples=5, gradient=gradient, moved=False)
            model.encoder.get_layer("loc").bias.assign([1.0, -1.0, 0.5])  # away from where the gradient is 0
            draw = tf.function(lambda seed, model=model: gradients(model, images, seed)[0][1])
            estimates.append(np.array([draw(tf.constant(seed, tf.int64)) for seed in range(200)], "float64"))
        difference = estimates[0] - estimates[1]  # of the same noise
        standard_error = difference.std(axis=0, ddof=1) / np.sqrt(200)
        # 8 units: 4 standard errors of 200,000 draws of 5 codes, which are a few percent of the gradient.
        self.assertAllInRange(difference.mean(axis=0) / standard_error, -4.0, 4.0)
        self.assertLess(np.linalg.norm(standard_error), 0.03 * np.linalg.norm(estimates[0].mean(axis=0)))

    @parameterized.parameters(0.5, 2.0)
    def test_weights_of_the_examples_scale_both_gradients_alike(self, weight):
        model = small(num_training_samples=3, gradient="doubly_reparameterized")
        bias = model.encoder.get_layer("loc").bias
        found = []
        for sample_weight in (None, np.full(50, weight, "float32")):
            model.draws.assign(0)
            with tf.GradientTape() as tape:
                loss = model.compute_loss(y_pred=model(BINARY), sample_weight=sample_weight)
            found.append(tape.gradient(loss, bias.value))
        self.assertAllClose(found[1], weight * found[0], rtol=1e-5)

    def test_doubly_reparameterized_gradient_vanishes_at_the_exact_posterior(self):
        """p(x|z) = N(W z, noise^2 I) with orthogonal columns: the exact posterior is a diagonal Gaussian."""
        weights, noise = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, 0.5]]), 0.5
        precision = 1.0 + np.sum(weights**2, axis=0) / noise**2
        x = (2 * GENERATOR.standard_normal((20, 4))).astype("float32")
        norms = {}
        for gradient in zoo.iwae.GRADIENTS:
            model = zoo.IWAE((4,), 2, 6, gradient, hidden=(), binarization=None, likelihood="gaussian")
            model.decoder.get_layer("mean").set_weights([weights.T, np.zeros(4)])
            model.log_noise_scale.assign(np.log(noise))
            model.encoder.get_layer("loc").set_weights([weights / precision / noise**2, np.zeros(2)])
            raw_scale = np.log(np.expm1(precision**-0.5 - 1e-5))
            model.encoder.get_layer("raw_scale").set_weights([np.zeros((4, 2)), raw_scale])
            norms[gradient] = float(tf.linalg.global_norm(gradients(model, x)[0]))
        self.assertLess(norms["doubly_reparameterized"], 1e-4)  # float32, of terms of the size of 10
        self.assertGreater(norms["straight"], 0.1)


class OneSampleTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("plain", {}, False),
        ("by_xla", {}, True),
        ("convolutional", {"network": "convolutional", "hidden": (4,)}, False),
        ("gaussian", {"likelihood": "gaussian", "binarization": None}, False),
    )
    @pytest.mark.slow
    def test_one_sample_is_the_vae_to_the_last_bit(self, arguments, jit):
        histories, weights = [], []
        for model_class, more in ((zoo.VAE, {}), (zoo.IWAE, {"num_training_samples": 1})):
            model = small(model_class, moved=False, **arguments, **more)
            model.compile("adam", jit_compile=jit)
            histories.append(model.fit(GRAY, batch_size=25, epochs=3, verbose=0, shuffle=False).history)
            weights.append([variable.numpy().tobytes() for variable in model.weights])
            histories[-1]["evaluation"] = model.evaluate(GRAY, batch_size=25, verbose=0, return_dict=True)
        self.assertEqual(*histories)
        self.assertEqual(*weights)

    def test_one_sample_of_an_estimated_kl_is_the_vae_to_rounding(self):
        """Three terms reach z there, and the two models add their gradients in another order."""
        weights = []
        for model_class, more in ((zoo.VAE, {}), (zoo.IWAE, {"num_training_samples": 1})):
            model = small(model_class, moved=False, prior="gaussian_mixture", num_components=3, **more)
            model.compile("sgd")
            model.fit(GRAY, batch_size=25, epochs=2, verbose=0, shuffle=False)
            weights.append([variable.numpy() for variable in model.trainable_variables])
        for one, other in zip(*weights, strict=True):
            self.assertAllClose(one, other, rtol=1e-5, atol=1e-6)


class ScheduleTest(tf.test.TestCase):
    def test_stages_are_those_of_the_paper(self):
        """The rates as the authors list them; stage i lasts 3^(i - 1) epochs."""
        rates = 1e-4 * np.array([10, 7.2, 5.2, 3.7, 2.7, 1.9, 1.4, 1])
        expected = np.repeat(rates, 7 * 3 ** np.arange(8))  # 7 steps an epoch
        self.assertLen(expected, 7 * RECIPES["iwae_mnist_k50"].epochs)
        schedule = in_stages(RECIPES["iwae_mnist_k50"].learning_rate, 7)
        ends = 7 * np.cumsum(3 ** np.arange(8))
        for step in (0, *(ends[:-1]), *(ends - 1)):
            self.assertAllClose(schedule(tf.constant(step)), expected[step], rtol=0.02)  # those are rounded

    def test_recipes_hand_over_what_the_paper_says(self):
        for name, k in (("iwae_mnist_k1", 1), ("iwae_mnist_k5", 5), ("iwae_mnist_k50", 50)):
            model = build(RECIPES[name], (28, 28, 1), 7)
            optimizer = model.optimizer.get_config()
            self.assertEqual((model.num_training_samples, model.latent_dim, model.hidden), (k, 50, (200, 200)))
            self.assertEqual((optimizer["beta_1"], optimizer["beta_2"], optimizer["epsilon"]), (0.99, 0.999, 1e-4))
            short = build(RECIPES[f"{name}_short"], (28, 28, 1), 7)
            by_its_own = {"name": short.name, "gradient": short.gradient}
            self.assertEqual(short.get_config(), {**model.get_config(), **by_its_own})
            self.assertEqual(short.optimizer.get_config()["beta_1"], 0.9)
        with self.assertRaisesRegex(ValueError, "decay and stages are both asked for"):
            dataclasses.replace(RECIPES["iwae_mnist_k1"], decay=True)

    def test_fewer_samples_at_first_are_a_model_of_fewer_and_then_one_of_more(self):
        samples_first = SamplesAtFirst(few=2, epochs=2, many=6)
        in_one = small(num_training_samples=6)
        how = {
            "batch_size": 25,
            "validation_data": GRAY[:25],
            "validation_batch_size": 25,
            "shuffle": False,
            "verbose": 0,
        }
        history = in_one.fit(GRAY, epochs=3, callbacks=[samples_first], **how).history
        first, then = small(num_training_samples=2), small(num_training_samples=6)
        for epoch in range(2):
            for name, (value,) in first.fit(GRAY, **how).history.items():
                self.assertEqual(value, history[name][epoch], name)
        then.optimizer.build(then.trainable_variables)
        for target, source in zip(state_of(then), state_of(first), strict=True):
            target.assign(source)
        for name, (value,) in then.fit(GRAY, **how).history.items():
            self.assertEqual(value, history[name][2], name)
        self.assertEqual(in_one.predict(GRAY[:1], verbose=0)["z"].shape, (1, 6, 3))
        for one, other in zip(state_of(in_one), state_of(then), strict=True):
            self.assertEqual(one.numpy().tobytes(), other.numpy().tobytes())
        with self.assertRaisesRegex(ValueError, "samples_at_first is 5 and epochs_at_first 0; both are wanted"):
            dataclasses.replace(RECIPES["iwae_mnist_k50"], samples_at_first=5)
        with self.assertRaisesRegex(ValueError, "epochs_at_first is 160 of 100 epochs, which leaves none for 50"):
            dataclasses.replace(RECIPES["iwae_mnist_k50_short"], epochs=100)
        doubly = small(num_training_samples=6, gradient="doubly_reparameterized")
        with self.assertRaisesRegex(ValueError, "num_training_samples is 1, where"):
            doubly.fit(GRAY, callbacks=[SamplesAtFirst(few=1, epochs=1, many=6)], **how)

    def test_a_run_of_fewer_samples_at_first_goes_on_to_the_same_bits(self):
        folder = Path(self.get_temp_dir())
        tiny = {"data": "digits", "hidden": (8,), "latent_dim": 2, "epochs": 3, "epochs_at_first": 1, "jit": False}
        recipe = dataclasses.replace(RECIPES["iwae_mnist_k50_short"], **tiny)
        whole = train(recipe, folder / "whole", verbose=0)
        end = FinishEpoch.on_epoch_end

        def end_and_stop(callback, epoch, logs=None):
            end(callback, epoch, logs)
            raise KeyboardInterrupt

        for _ in range(2):  # before the number of samples changes, and after
            stopped = mock.patch.object(FinishEpoch, "on_epoch_end", end_and_stop)
            with stopped, self.assertRaises(KeyboardInterrupt):
                train(recipe, folder / "stopped", verbose=0)
        self.assertLen(RunFolder(folder / "stopped").progress()[0], 2)  # it did not begin anew
        resumed = train(recipe, folder / "stopped", verbose=0)
        self.assertEqual(whole.history_path.read_bytes(), resumed.history_path.read_bytes())
        self.assertEqual(resumed.model().num_training_samples, 50)
        for one, other in zip(*(state_of(run.model()) for run in (whole, resumed)), strict=True):
            self.assertEqual(one.numpy().tobytes(), other.numpy().tobytes())


class ArgumentsTest(tf.test.TestCase):
    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.iwae"], extraglobs={"np": np})
        self.assertEqual((outcome.failed, outcome.attempted), (0, 4))

    def test_bad_arguments_are_refused_by_name(self):
        good = {"event_shape": (8, 8, 1), "latent_dim": 2}
        for bad, sentence in (
            ({"num_training_samples": 0}, "num_training_samples is 0; a whole number >= 1"),
            ({"num_training_samples": 2.0}, "num_training_samples is 2.0"),
            ({"gradient": "vimco"}, "gradient is 'vimco'; one of"),
            ({"gradient": "doubly_reparameterized", "num_training_samples": 1}, "num_training_samples is 1, where"),
            ({"beta": 2.0}, "IWAE takes no beta"),
            ({"warm_up_steps": 3}, "IWAE takes no warm_up_steps"),
            ({"latent_dim": 0}, "latent_dim"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                zoo.IWAE(**{**good, **bad})
