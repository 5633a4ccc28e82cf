"""VEEGAN's three losses against NumPy in float64, and who moves what."""

import doctest
import sys

import keras
import numpy as np
import tensorflow as tf
from scipy.stats import norm
from test_bigan import gradients, in_numpy, logits_in_numpy

import zoo

GENERATOR = np.random.default_rng(12)
POINTS = GENERATOR.normal(size=(12, 3)).astype("float32")
CODES = GENERATOR.normal(size=(12, 2)).astype("float32")
PLAYERS = ("generator", "reconstructor", "discriminator")


def small_veegan(**arguments):
    keras.utils.set_random_seed(4)
    hidden = {"generator_hidden": (5,), "reconstructor_hidden": (4,), "discriminator_hidden": (6, 5)}
    veegan = zoo.VEEGAN(
        **{"event_shape": (3,), "latent_dim": 2, "activation": "tanh", "noise_scale": 0.0, **hidden, **arguments}
    )
    veegan.compile({player: keras.optimizers.SGD(0.1) for player in PLAYERS})
    for variable in veegan.trainable_variables:  # biases included
        variable.assign_add(0.3 * GENERATOR.standard_normal(variable.shape))
    return veegan


def linear_veegan(**arguments):
    return small_veegan(generator_hidden=(), reconstructor_hidden=(), discriminator_hidden=(), **arguments)


class LossTest(tf.test.TestCase):
    def test_losses_are_those_of_algorithm_1(self):
        veegan = small_veegan()
        x = in_numpy(veegan.generator, CODES)
        reconstruction = np.sum((CODES - in_numpy(veegan.reconstructor, x)) ** 2, axis=1)
        real = logits_in_numpy(veegan, POINTS, in_numpy(veegan.reconstructor, POINTS))
        fake = logits_in_numpy(veegan, x, CODES)
        paper = {"real": -real, "fake": -fake}  # the paper's D is the log-ratio of generated over real

        # float32 networks of three layers against float64. log sigmoid(t) = -log(1 + exp(-t)).
        self.assertAllClose(
            veegan.discriminator_loss(POINTS, CODES),
            -np.mean(-np.logaddexp(0.0, -paper["fake"]) - np.logaddexp(0.0, paper["real"])),
            rtol=1e-5,
        )
        self.assertAllClose(veegan.generator_loss(POINTS, CODES), np.mean(paper["fake"] + reconstruction), rtol=1e-5)
        self.assertAllClose(veegan.reconstructor_loss(CODES), np.mean(reconstruction), rtol=1e-5)
        self.assertAllClose(veegan.reconstruction.result(), np.mean(reconstruction), rtol=1e-5)

    def test_a_discriminator_that_knows_better_draws_the_generator_to_the_data(self):
        """The sign: its D is large where pairs are real, and the generator climbs it."""
        veegan = linear_veegan()
        veegan.reconstructor.set_weights([np.zeros((3, 2)), np.zeros(2)])  # d does not depend on G
        center = tf.constant([3.0, -3.0, 3.0])
        for _ in range(50):
            veegan.minimize("discriminator", lambda: veegan.discriminator_loss(POINTS + center, CODES))
        _, to_bias = gradients(lambda: veegan.generator_loss(POINTS, CODES), veegan.trained_by("generator"))
        self.assertAllEqual(np.sign(-to_bias), [1.0, -1.0, 1.0])

    def test_gradients_of_linear_networks_are_the_closed_forms(self):
        veegan = linear_veegan()
        (w, _), (g, g_bias), (f, f_bias) = (
            [weight.astype("float64") for weight in network.get_weights()]
            for network in (veegan.discriminator, veegan.generator, veegan.reconstructor)
        )
        x = CODES @ g + g_bias
        miss = 2.0 * (x @ f + f_bias - CODES) / len(CODES)  # d/dF of the mean of ||z - F||^2
        ours = gradients(lambda: veegan.reconstructor_loss(CODES), veegan.trained_by("reconstructor"))
        for gradient, expected in zip(ours, (x.T @ miss, miss.sum(0)), strict=True):
            self.assertAllClose(gradient, expected, rtol=1e-5, atol=1e-6)
        to_x = miss @ f.T - w[:3, 0] / len(CODES)
        ours = gradients(lambda: veegan.generator_loss(POINTS, CODES), veegan.trained_by("generator"))
        for gradient, expected in zip(ours, (CODES.T @ to_x, to_x.sum(0)), strict=True):
            self.assertAllClose(gradient, expected, rtol=1e-5, atol=1e-6)

    def test_real_examples_move_the_discriminator_alone(self):
        veegan = small_veegan()
        for others in (POINTS, POINTS[::-1] + 1.0):
            moved = gradients(lambda x=others: veegan.generator_loss(x, CODES), veegan.trained_by("generator"))
            self.assertAllEqual(
                moved[0], gradients(lambda: veegan.generator_loss(POINTS, CODES), veegan.trained_by("generator"))[0]
            )

    def test_the_discriminator_sees_codes_of_the_reconstructors_gaussian(self):
        veegan = small_veegan(noise_scale=0.5)
        loc = in_numpy(veegan.reconstructor, POINTS)
        draws = veegan.inferred(np.tile(POINTS, (2000, 1)), training=True).numpy().reshape(2000, *loc.shape)
        # 24 means: the largest of 24 standard normals exceeds 4 once in 700 tries; the seed is fixed.
        self.assertAllInRange((draws.mean(axis=0) - loc) / (0.5 / np.sqrt(2000)), -4.0, 4.0)
        # A standard deviation of 2000 draws has a relative standard error of 1 / sqrt(4000) = 0.016.
        self.assertAllClose(draws.std(axis=0), np.full(loc.shape, 0.5), rtol=0.07)
        self.assertAllClose(small_veegan().inferred(POINTS, training=True).shape, loc.shape)

    def test_by_default_the_distance_is_the_reconstructors_log_density(self):
        noise_scale = zoo.VEEGAN(event_shape=(3,), latent_dim=2).noise_scale
        veegan = small_veegan()
        x = in_numpy(veegan.generator, CODES).astype("float32")
        log_prob = norm(in_numpy(veegan.reconstructor, x), noise_scale).logpdf(CODES).sum(axis=1)
        # The constant is log(2 pi noise_scale^2) = log pi; float32 networks against float64.
        self.assertAllClose(veegan.distance(x, CODES, training=False), -log_prob - np.log(np.pi), rtol=1e-5, atol=1e-5)

    def test_each_player_moves_its_own_weights_only(self):
        veegan = small_veegan()

        def weights():
            return {player: [each.numpy().tobytes() for each in veegan.trained_by(player)] for player in PLAYERS}

        losses = {
            "generator": lambda: veegan.generator_loss(tf.constant(POINTS), CODES),
            "reconstructor": lambda: veegan.reconstructor_loss(CODES),
            "discriminator": lambda: veegan.discriminator_loss(tf.constant(POINTS), CODES),
        }
        for mover, loss in losses.items():
            before = weights()
            veegan.minimize(mover, loss)
            for player, after in weights().items():
                same = [a == b for a, b in zip(before[player], after, strict=True)]
                self.assertEqual(same, [player != mover] * len(same), (mover, player))

    def test_a_training_step_moves_every_player_once(self):
        veegan = small_veegan(discriminator_steps=3, average_decay=0.9)
        veegan.fit(POINTS, batch_size=12, verbose=0)
        steps = {player: int(optimizer.iterations) for player, optimizer in veegan.optimizers.items()}
        self.assertEqual(steps, {"generator": 1, "reconstructor": 1, "discriminator": 3})


class ImagesTest(tf.test.TestCase):
    def test_it_trains_on_images_with_every_option(self):
        images = GENERATOR.random((6, 8, 8, 1)).astype("float32")
        options = {"batch_normalization": True, "r1": 0.1, "noise_scale": 1.0, "average_decay": 0.9}
        veegan = small_veegan(event_shape=(8, 8, 1), network="convolutional", activation="leaky_relu", **options)
        history = veegan.fit(images, batch_size=6, epochs=2, verbose=0).history
        self.assertTrue(np.isfinite(list(history.values())).all())
        self.assertLessEqual({"g_loss", "d_loss", "accuracy", "reconstruction", "r1"}, set(history))
        self.assertAllInRange(veegan.reconstruct(images), 0.0, 1.0)
        self.assertEqual(set(veegan.endpoints()), {"generate", "encode", "discriminate"})


class ArgumentsTest(tf.test.TestCase):
    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.veegan"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 5))

    def test_bad_arguments_are_refused_by_name(self):
        for name, bad in (
            ("latent_dim", 0),
            ("noise_scale", -1.0),
            ("noise_scale", float("inf")),
            ("reconstructor_hidden", (16, 0)),
            ("network", "transformer"),
            ("r1", -1.0),
            ("pack", 2),
        ):
            with self.assertRaisesRegex(ValueError, name):
                zoo.VEEGAN(**{"event_shape": (8, 8, 1), "latent_dim": 2, name: bad})
        with self.assertRaisesRegex(ValueError, "no optimizer for reconstructor"):
            zoo.VEEGAN((3,), 2).compile({"generator": "adam", "discriminator": "adam"})
