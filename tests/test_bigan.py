"""BiGAN and ALI against NumPy in float64 and the closed forms of linear networks."""

import doctest
import sys

import keras
import numpy as np
import tensorflow as tf
from scipy.special import expit

import zoo

GENERATOR = np.random.default_rng(11)
POINTS = GENERATOR.normal(size=(12, 3)).astype("float32")
CODES = GENERATOR.normal(size=(12, 2)).astype("float32")
IMAGES = GENERATOR.random((6, 8, 8, 1)).astype("float32")


def small_bigan(**arguments):
    keras.utils.set_random_seed(4)
    hidden = {"generator_hidden": (5,), "encoder_hidden": (4,), "discriminator_hidden": (6, 5)}
    bigan = zoo.BiGAN(**{"event_shape": (3,), "latent_dim": 2, "activation": "tanh", **hidden, **arguments})
    bigan.compile({player: keras.optimizers.SGD(0.1) for player in bigan.players})
    for variable in bigan.trainable_variables:  # biases included
        variable.assign_add(0.3 * GENERATOR.standard_normal(variable.shape))
    return bigan


def linear_bigan(**arguments):
    return small_bigan(generator_hidden=(), encoder_hidden=(), discriminator_hidden=(), **arguments)


def in_numpy(network, x):
    """A dense network with tanh between its layers, in float64."""
    kernels_and_biases = [weight.astype("float64") for weight in network.get_weights()]
    for index in range(0, len(kernels_and_biases), 2):
        x = x @ kernels_and_biases[index] + kernels_and_biases[index + 1]
        x = np.tanh(x) if index < len(kernels_and_biases) - 2 else x
    return x


def logits_in_numpy(bigan, x, z):
    return in_numpy(bigan.discriminator, np.concatenate([x, z], axis=1))[:, 0]


def gradients(loss, variables):
    with tf.GradientTape() as tape:
        value = loss()
    return [each.numpy() for each in tape.gradient(value, [variable.value for variable in variables])]


def bytes_of(variables):
    return [variable.numpy().tobytes() for variable in variables]


class LossTest(tf.test.TestCase):
    def test_losses_are_those_of_numpy(self):
        bigan = small_bigan()
        real = logits_in_numpy(bigan, POINTS, in_numpy(bigan.encoder, POINTS))
        fake = logits_in_numpy(bigan, in_numpy(bigan.generator, CODES), CODES)
        # float32 networks of three layers against float64.
        self.assertAllClose(
            bigan.discriminator_loss(POINTS, CODES),
            np.mean(np.logaddexp(0.0, -real) + np.logaddexp(0.0, fake)),
            rtol=1e-5,
        )
        self.assertAllClose(
            bigan.generator_loss(POINTS, CODES),
            np.mean(np.logaddexp(0.0, real) + np.logaddexp(0.0, -fake)),
            rtol=1e-5,
        )
        accuracy = 0.5 * np.mean((real > 0).astype(float) + (fake <= 0))
        self.assertAllClose(bigan.diagnostic.result(), accuracy, rtol=1e-6)

    def test_gradients_of_linear_networks_are_the_closed_forms(self):
        bigan = linear_bigan()
        discriminator, generator, encoder = (
            [weight.astype("float64") for weight in network.get_weights()]
            for network in (bigan.discriminator, bigan.generator, bigan.encoder)
        )
        w, b = discriminator[0][:, 0], discriminator[1]
        real_pairs = np.concatenate([POINTS, POINTS @ encoder[0] + encoder[1]], axis=1)
        fake_pairs = np.concatenate([CODES @ generator[0] + generator[1], CODES], axis=1)
        real, fake = real_pairs @ w + b, fake_pairs @ w + b

        # d/dw softplus(-D(real)) + softplus(D(fake)) = -sigmoid(-D(real)) real + sigmoid(D(fake)) fake
        expected = np.mean(-expit(-real)[:, None] * real_pairs + expit(fake)[:, None] * fake_pairs, axis=0)
        ours = gradients(lambda: bigan.discriminator_loss(POINTS, CODES), bigan.trained_by("discriminator"))
        self.assertAllClose(ours[0][:, 0], expected, rtol=1e-5, atol=1e-6)

        # G moves x of the generated pairs, with sigmoid(-D); E moves z of the real ones, with sigmoid(D).
        to_generator = -expit(-fake)[:, None] * w[:3] / len(CODES)
        to_encoder = expit(real)[:, None] * w[3:] / len(POINTS)
        expected = (CODES.T @ to_generator, to_generator.sum(0), POINTS.T @ to_encoder, to_encoder.sum(0))
        ours = gradients(lambda: bigan.generator_loss(POINTS, CODES), bigan.trained_by("generator"))
        for gradient, value in zip(ours, expected, strict=True):
            self.assertAllClose(gradient, value, rtol=1e-5, atol=1e-6)

    def test_no_linear_discriminator_gains_where_the_encoder_inverts_the_generator(self):
        """There the two joint distributions are one: the optimum of both papers."""
        bigan = linear_bigan(event_shape=(2,))
        kernel, bias = bigan.generator.get_weights()
        inverse = np.linalg.inv(kernel)
        bigan.discriminator.set_weights([np.zeros((4, 1)), np.zeros(1)])
        x = CODES @ kernel + bias
        steps = {}
        for name, shift in (("inverse", 0.0), ("another", 0.5)):
            bigan.encoder.set_weights([inverse, shift - bias @ inverse])
            steps[name] = gradients(lambda: bigan.discriminator_loss(x, CODES), bigan.trained_by("discriminator"))[0]
        self.assertAllClose(steps["inverse"], np.zeros((4, 1)), atol=1e-6)  # rounding of numbers of order 1
        self.assertAllClose(steps["another"][2:], np.full((2, 1), -0.25), atol=1e-6)  # -1/2 of the shift of z
        self.assertAllClose(bigan.reconstruct(x), x + 0.5 * kernel.sum(axis=0), atol=1e-5)

    def test_r1_of_a_linear_discriminator_is_its_squared_slope_over_x_and_z(self):
        plain, penalized = linear_bigan(), linear_bigan(r1=3.0)
        penalized.set_weights(plain.get_weights())
        w = plain.discriminator.get_weights()[0].astype("float64")
        excess = penalized.discriminator_loss(POINTS, CODES) - plain.discriminator_loss(POINTS, CODES)
        self.assertAllClose(excess, 1.5 * np.sum(w**2), rtol=1e-5)
        self.assertAllClose(penalized.penalties["r1"].result(), np.sum(w**2), rtol=1e-5)

    def test_each_player_moves_its_own_weights_only(self):
        for arguments in ({}, {"stochastic_encoder": True}):
            bigan = small_bigan(**arguments)
            networks = {name: getattr(bigan, name) for name in ("generator", "encoder", "discriminator")}
            for step, movers in (
                (bigan.step_discriminator, {"discriminator"}),
                (bigan.step_generator, {"generator", "encoder"}),
            ):
                before = {name: bytes_of(network.trainable_variables) for name, network in networks.items()}
                step(tf.constant(POINTS))
                for name, network in networks.items():
                    same = [a == b for a, b in zip(before[name], bytes_of(network.trainable_variables), strict=True)]
                    self.assertEqual(any(same) if name in movers else not all(same), False, (name, movers))


class EncoderTest(tf.test.TestCase):
    def test_a_stochastic_encoder_draws_from_its_gaussian(self):
        bigan = small_bigan(stochastic_encoder=True)
        code = bigan.encoder(POINTS)
        draws = bigan.inferred(np.tile(POINTS, (2000, 1)), training=True).numpy().reshape(2000, *code["loc"].shape)
        standard_error = code["scale"] / np.sqrt(2000)
        # 24 means: the largest of 24 standard normals exceeds 4 once in 700 tries; the seed is fixed.
        self.assertAllInRange((draws.mean(axis=0) - code["loc"]) / standard_error, -4.0, 4.0)
        # A standard deviation of 2000 draws has a relative standard error of 1 / sqrt(4000) = 0.016.
        self.assertAllClose(draws.std(axis=0), code["scale"], rtol=0.07)
        self.assertAllEqual(bigan.encode(POINTS), code["loc"])

    def test_a_plain_encoder_is_a_function(self):
        bigan = small_bigan()
        self.assertAllEqual(bigan.inferred(POINTS, training=True), bigan.encode(POINTS))
        self.assertAllClose(bigan.encode(POINTS), in_numpy(bigan.encoder, POINTS), rtol=1e-5, atol=1e-6)

    def test_prediction_and_reconstruction_go_through_the_encoder(self):
        bigan = small_bigan(average_decay=0.9)
        bigan.averaged_generator.set_weights([2.0 * weight for weight in bigan.averaged_generator.get_weights()])
        outputs = bigan.predict(POINTS, verbose=0)
        z = in_numpy(bigan.encoder, POINTS)
        self.assertAllClose(outputs["z"], z, rtol=1e-5, atol=1e-6)
        self.assertAllClose(outputs["logits"], logits_in_numpy(bigan, POINTS, z), rtol=1e-5, atol=1e-5)
        self.assertAllClose(bigan.reconstruct(POINTS), in_numpy(bigan.averaged_generator, z), rtol=1e-5, atol=1e-5)


class ImagesTest(tf.test.TestCase):
    arguments = {"event_shape": (8, 8, 1), "network": "convolutional", "activation": "leaky_relu"}

    def test_pairs_of_images_and_codes_come_back_as_they_went(self):
        bigan = small_bigan(**self.arguments)
        pairs = bigan.paired(IMAGES, CODES[:6])
        self.assertEqual(pairs.shape, (6, 66))
        self.assertAllEqual(bigan.packed_logits(pairs), bigan.discriminate(IMAGES, CODES[:6]))

    def test_a_convolutional_discriminator_judges_the_pair_and_not_the_sum_of_two_opinions(self):
        bigan = small_bigan(**self.arguments)
        here, there = bigan.discriminate(IMAGES, CODES[:6]), bigan.discriminate(IMAGES, CODES[6:])
        rolled = np.roll(IMAGES, 1, axis=0)
        here_rolled, there_rolled = bigan.discriminate(rolled, CODES[:6]), bigan.discriminate(rolled, CODES[6:])
        interaction = np.abs((here - there) - (here_rolled - there_rolled))
        self.assertGreater(np.max(interaction), 1e-3)  # 0 up to rounding, 1e-6, for a sum

    def test_it_trains_on_images_with_every_option(self):
        bigan = small_bigan(
            **self.arguments, stochastic_encoder=True, batch_normalization=True, r1=0.1, discriminator_steps=2
        )
        history = bigan.fit(IMAGES, batch_size=6, epochs=2, verbose=0).history
        self.assertTrue(np.isfinite(list(history.values())).all())
        self.assertLessEqual({"g_loss", "d_loss", "accuracy", "r1"}, set(history))
        self.assertAllInRange(bigan.reconstruct(IMAGES), 0.0, 1.0)


class ArgumentsTest(tf.test.TestCase):
    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.bigan"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 5))

    def test_bad_arguments_are_refused_by_name(self):
        good = {"event_shape": (8, 8, 1), "latent_dim": 2}
        for name, bad in (
            ("latent_dim", 0),
            ("event_shape", (8, 8)),
            ("encoder_hidden", (16, 0)),
            ("encoder_hidden", 16),
            ("discriminator_steps", 0),
            ("network", "transformer"),
            ("r1", -1.0),
            ("average_decay", 1.0),
            ("initial_stddev", float("nan")),
        ):
            with self.assertRaisesRegex(ValueError, name):
                zoo.BiGAN(**{**good, name: bad})
        for name in ("encoder_hidden", "generator_hidden", "discriminator_hidden"):
            with self.assertRaisesRegex(ValueError, "at least one hidden layer"):
                zoo.BiGAN(**good, network="convolutional", **{name: ()})

    def test_what_belongs_to_a_gan_alone_is_neither_taken_nor_saved(self):
        config = zoo.BiGAN((3,), 2).get_config()
        for name in ("objective", "pack", "clip"):
            self.assertNotIn(name, config)
            with self.assertRaisesRegex(ValueError, name):
                zoo.BiGAN((3,), 2, **{name: 2})
