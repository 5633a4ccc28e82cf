"""Several players with an optimizer each: what is refused, what moves, what a file keeps, what is not finite."""

import os

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import zoo

POINTS = np.random.default_rng(5).standard_normal((24, 2)).astype("float32")


def small_gan(optimizer="adam", **arguments):
    keras.utils.set_random_seed(3)
    small = {"event_shape": (2,), "latent_dim": 3, "generator_hidden": (6,), "discriminator_hidden": (5,)}
    gan = zoo.GAN(**{**small, **arguments})
    gan.compile(dict.fromkeys(gan.players, optimizer))
    return gan


def values(variables):
    return [variable.numpy().tobytes() for variable in variables]


def all_variables(model):
    return [*model.weights, *(each for optimizer in model.optimizers.values() for each in optimizer.variables)]


class PlayersTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_step_of_a_player_leaves_the_others_untouched_bit_for_bit(self):
        gan = small_gan(average_decay=0.5, spectral_normalization=True)
        players = {
            "generator": (gan.step_generator, [gan.generator, gan.averaged_generator], [gan.discriminator]),
            "discriminator": (gan.step_discriminator, [gan.discriminator], [gan.generator, gan.averaged_generator]),
        }
        for player, (step, own, other) in players.items():
            before = {
                name: [values(network.weights) for network in networks]
                for name, networks in (("own", own), ("other", other))
            }
            steps = {name: int(optimizer.iterations) for name, optimizer in gan.optimizers.items()}
            step(tf.constant(POINTS))
            for network, old in zip(own, before["own"], strict=True):
                self.assertNotIn(True, [one == two for one, two in zip(values(network.weights), old, strict=True)])
            self.assertEqual([values(network.weights) for network in other], before["other"])
            steps[player] += 1
            self.assertEqual({name: int(each.iterations) for name, each in gan.optimizers.items()}, steps)

    def test_a_step_of_the_discriminator_leaves_trained_weights_of_a_normalized_generator(self):
        gan = small_gan(batch_normalization=True)
        before = values(gan.generator.trainable_weights)
        gan.step_discriminator(tf.constant(POINTS))
        self.assertEqual(values(gan.generator.trainable_weights), before)

    def test_each_optimizer_moves_by_its_own_rule(self):
        gan = small_gan()
        gan.compile({"generator": keras.optimizers.SGD(0.0), "discriminator": keras.optimizers.Adam(0.01, beta_1=0.5)})
        generator, discriminator = values(gan.generator.weights), gan.discriminator.get_weights()
        gan.train_step(tf.constant(POINTS))
        self.assertEqual(values(gan.generator.weights), generator)
        for before, after in zip(discriminator, gan.discriminator.get_weights(), strict=True):
            # Adam's first step is the learning rate in the direction of the sign, wherever there is a gradient.
            self.assertAllClose(np.abs(after - before).max(), 0.01, rtol=1e-3)

    def test_gradient_norms_are_those_of_the_gradients(self):
        gan = small_gan()
        real = tf.constant(POINTS)
        with tf.GradientTape() as tape, gan.repeatable_draws():
            loss = gan.discriminator_loss(real, gan.draw_codes(24))
        norm = tf.linalg.global_norm(tape.gradient(loss, [each.value for each in gan.discriminator.trainable_weights]))
        with gan.repeatable_draws():
            gan.step_discriminator(real)
        self.assertAllClose(gan.gradient_norms["discriminator"].result(), norm, rtol=1e-5)


class ReplicasTest(tf.test.TestCase):
    def test_a_step_on_two_replicas_is_the_step_on_the_whole_batch(self):
        """Where G(z) is the same for every z, no noise is left: equal to rounding, weights and norms of gradients."""
        devices, reduction = ["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice()
        weights, logs = {}, {}
        for name, strategy in (
            ("one", tf.distribute.get_strategy()),
            ("two", tf.distribute.MirroredStrategy(devices, cross_device_ops=reduction)),
        ):
            with strategy.scope():
                gan = small_gan({"class_name": "SGD", "config": {"learning_rate": 0.5}}, average_decay=0.5)
                gan.generator.get_layer("hidden_1").kernel.assign(tf.zeros((3, 6)))
                gan.generator.get_layer("hidden_1").bias.assign(tf.linspace(-1.0, 1.0, 6))
            halves = np.concatenate([POINTS[:12], POINTS[:12]])  # the same on each replica
            logs[name] = gan.fit(halves, batch_size=24, verbose=0, shuffle=False).history
            weights[name] = [*gan.discriminator.get_weights(), *gan.averaged_generator.get_layer("head").get_weights()]
        for one, two in zip(weights["one"], weights["two"], strict=True):
            self.assertAllClose(one, two, rtol=1e-5, atol=1e-6)
        for norm in ("discriminator_gradient", "d_loss"):
            self.assertAllClose(logs["one"][norm], logs["two"][norm], rtol=1e-5)


class FileTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("mixed_float16", "mixed_bfloat16", "float32")
    def test_precision_schedules_and_optimizers_survive_a_file(self, dtype):
        schedule = keras.optimizers.schedules.CosineDecay(0.01, decay_steps=20)
        gan = small_gan(dtype=dtype, r1=0.1, average_decay=0.9)
        gan.compile({"generator": keras.optimizers.Adam(schedule), "discriminator": keras.optimizers.RMSprop(0.002)})
        gan.fit(POINTS, batch_size=8, epochs=2, verbose=0, shuffle=False)
        path = os.path.join(self.get_temp_dir(), f"{self.id()}.keras")
        gan.save(path)
        loaded = zoo.load(path)

        inner = {player: getattr(each, "inner_optimizer", each) for player, each in loaded.optimizers.items()}
        kinds = {player: type(each).__name__ for player, each in inner.items()}
        self.assertEqual(kinds, {"generator": "Adam", "discriminator": "RMSprop"})
        for each in loaded.optimizers.values():
            self.assertEqual(isinstance(each, keras.optimizers.LossScaleOptimizer), dtype == "mixed_float16")
        # 6 steps of 20: 0.01 (1 + cos(6 pi / 20)) / 2
        rate = 0.005 * (1 + np.cos(0.3 * np.pi))
        self.assertAllClose(float(inner["generator"].learning_rate), rate, rtol=1e-5)
        self.assertEqual(values(all_variables(loaded)), values(all_variables(gan)))
        for each in (gan, loaded):
            each.fit(POINTS, batch_size=8, verbose=0, shuffle=False)
        self.assertEqual(values(all_variables(loaded)), values(all_variables(gan)))
        self.assertEqual(gan.generator(POINTS[:, [0, 1, 0]])["points"].dtype, tf.float32)

    def test_a_model_that_was_never_compiled_survives_a_file(self):
        gan = zoo.GAN(event_shape=(2,), latent_dim=2, generator_hidden=(3,), discriminator_hidden=(3,))
        path = os.path.join(self.get_temp_dir(), "plain.keras")
        gan.save(path)
        loaded = zoo.load(path)
        self.assertFalse(loaded.compiled)
        self.assertAllEqual(loaded.sample(3), gan.sample(3))

    def test_float16_scales_the_losses_and_reports_gradients_unscaled(self):
        norms = {}
        for dtype in ("float32", "mixed_float16"):
            gan = small_gan(dtype=dtype)
            gan.train_step(tf.constant(POINTS))
            norms[dtype] = [float(norm.result()) for norm in gan.gradient_norms.values()]
        self.assertAllClose(norms["float32"], norms["mixed_float16"], rtol=0.02)  # 11 bits, a few layers

    def test_a_step_that_overflows_is_skipped_and_not_reported_as_infinite(self):
        gan = small_gan(dtype="mixed_float16")
        scaled = keras.optimizers.LossScaleOptimizer
        gan.compile({player: scaled(keras.optimizers.Adam(0.1), initial_scale=1e30) for player in gan.players})
        before = values(gan.generator.weights + gan.discriminator.weights)
        logs = gan.train_step(tf.constant(POINTS))
        self.assertEqual(values(gan.generator.weights + gan.discriminator.weights), before)
        self.assertAllClose([float(gan.optimizers[player].dynamic_scale) for player in gan.players], [5e29, 5e29])
        self.assertTrue(np.isfinite([float(value) for value in logs.values()]).all())


class OptimizersTest(tf.test.TestCase):
    def test_bad_optimizers_are_refused_by_name(self):
        gan = small_gan()
        shared = keras.optimizers.Adam()
        wanted = r'\{"generator": "adam", "discriminator": "adam"\}'
        for bad, sentence in (
            (None, f"optimizer is None; an optimizer for each player is wanted, such as {wanted}"),
            ("adam", f"optimizer is 'adam'; an optimizer for each player is wanted, such as {wanted}"),
            (["adam", "adam"], "an optimizer for each player is wanted"),
            ({"generator": "adam"}, f"no optimizer for discriminator; compile with {wanted}"),
            ({"generator": "adam", "discriminator": None}, "no optimizer for discriminator"),
            ({}, "no optimizer for generator and discriminator"),
            ({"generator": "adam", "discriminator": "adam", "critic": "adam"}, "no player 'critic' to optimize"),
            ({"generator": "adam", "discriminator": "adam", 3: "adam", "a": None}, "no player 3 to optimize"),
            ({"generator": shared, "discriminator": shared}, "Two players share one optimizer object"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                gan.compile(bad)
        with self.assertRaisesRegex(ValueError, "optimizer is None"):
            gan.compile()
        gan.fit(POINTS, verbose=0)  # what was refused has changed nothing
        gan.compile({"generator": "adam", "discriminator": {"class_name": "SGD", "config": {"learning_rate": 0.5}}})
        self.assertAllClose(gan.optimizers["discriminator"].learning_rate, 0.5)
