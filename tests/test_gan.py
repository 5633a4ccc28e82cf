"""The GAN against what does not share its code: training steps by hand in float64, NumPy's SVD, counted steps."""

import doctest
import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy.special import expit

import zoo
from zoo.base import EVALUATION
from zoo.distributions import stateless_seed
from zoo.layers import BatchNormalization, Maxout, SpectralConv2D, SpectralDense
from zoo.objectives import OBJECTIVES

GENERATOR = np.random.default_rng(7)
POINTS = (0.7 * GENERATOR.standard_normal((24, 2)) + [1.0, -0.5]).astype("float32")
IMAGES = GENERATOR.random((8, 4, 4, 1)).astype("float32")
RATE = 0.2
SGD = {"class_name": "SGD", "config": {"learning_rate": RATE}}


def small_gan(optimizer=SGD, **arguments):
    keras.utils.set_random_seed(3)
    small = {"event_shape": (2,), "latent_dim": 3, "generator_hidden": (6,), "discriminator_hidden": (5,)}
    gan = zoo.GAN(**{**small, **arguments})
    gan.compile(dict.fromkeys(gan.players, optimizer))
    for variable in gan.trainable_variables:  # away from the symmetric start, biases included
        variable.assign_add(0.3 * GENERATOR.standard_normal(variable.shape))
    return gan


def codes(gan, count, number):
    """What draw `count` of the model gives, in float64."""
    seed = stateless_seed(gan.seed, tf.constant(count, tf.int64), 0)
    z = tf.random.stateless_normal((number, gan.latent_dim), seed)
    return z.numpy().astype("float64")


def softplus(t):
    return np.logaddexp(0.0, t)


def values(variables):
    return [variable.numpy().tobytes() for variable in variables]


class LinearPlayers:
    """G(z) = z A + a and D(x) = x.w + b in float64, from the weights of a GAN without hidden layers."""

    def __init__(self, gan):
        self.a_matrix, self.a, self.w, self.b = (
            weight.astype("float64")
            for name, network in (("head", gan.generator), ("logits", gan.discriminator))
            for weight in network.get_layer(name).get_weights()
        )
        self.w = self.w[:, 0]

    def generate(self, z):
        return z @ self.a_matrix + self.a

    def judge(self, x):
        return x @ self.w + self.b

    def step_discriminator(self, gradient_by_w, gradient_by_b=0.0):
        self.w = self.w - RATE * gradient_by_w
        self.b = self.b - RATE * gradient_by_b
        return np.sqrt(np.sum(gradient_by_w**2) + np.sum(gradient_by_b**2))

    def step_generator(self, z, by_fake_logit):
        """Down a loss whose mean over the batch has the derivative `by_fake_logit` [batch] by each D(G(z))."""
        by_matrix, by_a = z.T @ (by_fake_logit[:, None] * self.w), by_fake_logit.sum() * self.w
        self.a_matrix, self.a = self.a_matrix - RATE * by_matrix, self.a - RATE * by_a
        return np.sqrt(np.sum(by_matrix**2) + np.sum(by_a**2))

    def weights(self):
        return self.a_matrix, self.a, self.w, self.b


class TrainingStepTest(tf.test.TestCase, parameterized.TestCase):
    """Whole training steps, by plain gradient descent, of linear players: weights, metrics and gradient norms."""

    def assert_same(self, gan, players, logs, expected):
        for found, wanted in zip(LinearPlayers(gan).weights(), players.weights(), strict=True):
            self.assertAllClose(found, wanted, rtol=1e-4, atol=1e-5)  # three steps in float32
        for name, wanted in expected.items():
            self.assertAllClose(logs[name][-1], wanted, rtol=1e-4, atol=1e-5)

    @parameterized.parameters(1.0, 60.0)  # logits of order 1, and of order 100 that saturate
    def test_r3gan(self, scale):
        gamma = 0.3
        gan = small_gan(
            generator_hidden=(), discriminator_hidden=(), objective="relativistic", r1=gamma, r2=gamma, seed=4
        )
        gan.discriminator.get_layer("logits").kernel.assign(scale * gan.discriminator.get_layer("logits").kernel)
        players, x = LinearPlayers(gan), POINTS.astype("float64")
        logs = gan.fit(POINTS, batch_size=24, epochs=3, verbose=0, shuffle=False).history
        for step in range(3):
            fake = players.generate(codes(gan, 2 * step, 24))
            t = players.judge(x) - players.judge(fake)
            squared_slope = np.sum(players.w**2)
            d_loss = np.mean(softplus(-t)) + gamma / 2 * squared_slope + gamma / 2 * squared_slope
            by_w = np.mean(-expit(-t)[:, None] * (x - fake), axis=0) + 2 * gamma * players.w
            d_norm = players.step_discriminator(by_w)
            z = codes(gan, 2 * step + 1, 24)
            t = players.judge(players.generate(z)) - players.judge(x)
            g_loss = np.mean(softplus(-t))
            g_norm = players.step_generator(z, -expit(-t) / 24)
        expected = {"d_loss": d_loss, "g_loss": g_loss, "r1": squared_slope, "r2": squared_slope}
        self.assert_same(
            gan, players, logs, expected | {"discriminator_gradient": d_norm, "generator_gradient": g_norm}
        )

    def test_wasserstein_gp_with_two_discriminator_steps(self):
        weight = 3.0
        gan = small_gan(
            generator_hidden=(),
            discriminator_hidden=(),
            objective="wasserstein_gp",
            gradient_penalty=weight,
            discriminator_steps=2,
        )
        players = LinearPlayers(gan)
        logs = gan.fit(POINTS, batch_size=24, epochs=3, verbose=0, shuffle=False).history
        for step in range(3):
            d_losses, gaps, penalties = [], [], []
            for minibatch in range(2):
                x = POINTS[12 * minibatch : 12 * (minibatch + 1)].astype("float64")
                # Draws: codes and the place of x' for each step of the discriminator, then codes for the generator.
                fake = players.generate(codes(gan, 5 * step + 2 * minibatch, 12))
                norm = np.linalg.norm(players.w)
                gaps.append(np.mean(players.judge(x)) - np.mean(players.judge(fake)))
                penalties.append((norm - 1) ** 2)  # D is linear: whatever x'
                d_losses.append(-gaps[-1] + weight * penalties[-1])
                penalty_by_w = 2 * (norm - 1) * players.w / norm
                players.step_discriminator(fake.mean(axis=0) - x.mean(axis=0) + weight * penalty_by_w)
            z = codes(gan, 5 * step + 4, 12)
            g_loss = -np.mean(players.judge(players.generate(z)))
            players.step_generator(z, np.full(12, -1 / 12))
        expected = {"d_loss": d_losses, "wasserstein": gaps, "gradient_penalty": penalties}
        expected = {name: np.mean(both) for name, both in expected.items()}
        self.assert_same(gan, players, logs, expected | {"g_loss": g_loss})

    def test_minimax_in_evaluation(self):
        gan = small_gan(generator_hidden=(), discriminator_hidden=(), objective="minimax")
        players = LinearPlayers(gan)
        logs = gan.evaluate(POINTS, batch_size=24, verbose=0, return_dict=True)
        real = players.judge(POINTS)
        fake, fake_of_the_generator = (players.judge(players.generate(codes(gan, EVALUATION + n, 24))) for n in (0, 1))
        expected = {
            "d_loss": np.mean(softplus(-real) + softplus(fake)),
            "g_loss": -np.mean(softplus(fake_of_the_generator)),
            "accuracy": (np.mean(real > 0) + np.mean(fake <= 0)) / 2,
        }
        self.assertAllClose(logs, expected, rtol=1e-5)


class AlgorithmTest(tf.test.TestCase, parameterized.TestCase):
    def test_each_minibatch_of_a_batch_is_seen_by_a_discriminator_step_of_its_own(self):
        gan = small_gan(discriminator_steps=3)
        gan.compile(dict.fromkeys(gan.players, SGD), run_eagerly=True)
        seen = {"discriminator": [], "generator": []}

        def recording(player, step):
            return lambda real: (seen[player].append(real.numpy()), step(real))

        steps = {f"step_{player}": recording(player, getattr(gan, f"step_{player}")) for player in gan.players}
        stream = tf.data.Dataset.from_tensor_slices(POINTS[:19]).batch(12)  # 12, and 7: three times 2, and 1 left out
        with mock.patch.multiple(gan, **steps):
            gan.fit(stream, verbose=0)
        self.assertEqual([len(real) for real in seen["discriminator"]], [4, 4, 4, 2, 2, 2])
        self.assertAllEqual(np.concatenate(seen["discriminator"]), POINTS[:18])
        self.assertAllEqual(np.concatenate(seen["generator"]), np.concatenate([POINTS[8:12], POINTS[16:18]]))
        iterations = {player: int(optimizer.iterations) for player, optimizer in gan.optimizers.items()}
        self.assertEqual(iterations, {"generator": 2, "discriminator": 6})

    def test_the_average_is_that_of_the_weights_after_each_step(self):
        gan = small_gan(average_decay=0.8, batch_normalization=True)
        gan.averaged_generator.set_weights(gan.generator.get_weights())
        trained = [any(weight is each for each in gan.generator.trainable_weights) for weight in gan.generator.weights]
        self.assertEqual(sum(trained), 6)  # two kernels, two biases, gamma and beta
        average = [weight.numpy().astype("float64") for weight in gan.averaged_generator.weights]
        for _ in range(5):
            gan.train_step(tf.constant(POINTS))
            weights = [weight.numpy().astype("float64") for weight in gan.generator.weights]
            average = [
                0.8 * mean + 0.2 * weight if learned else weight
                for mean, weight, learned in zip(average, weights, trained, strict=True)
            ]
        for found, wanted in zip(gan.averaged_generator.weights, average, strict=True):
            self.assertAllClose(found, wanted, rtol=1e-6, atol=1e-6)
        self.assertNotAllClose(average[0], weights[0], atol=1e-3)

    def test_what_is_generated_comes_from_the_average(self):
        gan = small_gan(average_decay=0.9)
        head = gan.averaged_generator.get_layer("head")
        head.kernel.assign(tf.zeros_like(head.kernel))
        head.bias.assign([5.0, 7.0])
        z = codes(gan, 0, 4).astype("float32")
        for points in (gan.generate(z), gan.sample(4), gan.endpoints()["generate"].function(z)["points"]):
            self.assertAllEqual(points, [[5.0, 7.0]] * 4)
        self.assertNotIn(True, [any(each is one for one in gan.trained_by("generator")) for each in head.weights])
        self.assertAllEqual(small_gan(average_decay=0.0).generate(z).shape, (4, 2))

    def test_wasserstein_holds_every_weight_of_the_discriminator(self):
        gan = small_gan(objective="wasserstein", clip=0.05)
        gan.fit(POINTS, batch_size=8, epochs=2, verbose=0)
        bounds = [np.abs(weight.numpy()).max() for weight in gan.discriminator.trainable_weights]
        self.assertAllInRange(bounds, 0.0, np.float32(0.05))
        self.assertEqual(max(bounds), np.float32(0.05))
        self.assertGreater(np.abs(gan.generator.get_layer("head").kernel.numpy()).max(), 0.05)

    def test_evaluation_is_repeatable_and_changes_nothing(self):
        gan, undisturbed = (small_gan(batch_normalization=True, objective="wasserstein_gp", seed=2) for _ in range(2))
        undisturbed.set_weights(gan.get_weights())
        gan.fit(POINTS, batch_size=8, verbose=0, shuffle=False)
        before = values(gan.weights)
        logs = [gan.evaluate(POINTS, verbose=0, return_dict=True) for _ in range(2)]
        self.assertEqual(*logs)
        self.assertEqual(values(gan.weights), before)  # statistics of the batches and the count of draws included
        gan.fit(POINTS, batch_size=8, verbose=0, shuffle=False, validation_data=POINTS)
        undisturbed.fit(POINTS, batch_size=8, epochs=2, verbose=0, shuffle=False)
        self.assertEqual(values(gan.weights), values(undisturbed.weights))

    def test_samples_are_a_function_of_number_and_seed(self):
        gan = small_gan()
        samples = gan.sample(5, seed=1)
        gan.draw_codes(3)
        keras.utils.set_random_seed(9)
        self.assertAllEqual(gan.sample(5, seed=1), samples)
        self.assertNotAllClose(gan.sample(5, seed=2), samples)

    @parameterized.named_parameters((name, name) for name in OBJECTIVES)
    def test_logits_of_any_size_give_finite_losses_and_steps(self, objective):
        for sign in (1, -1):
            gan = small_gan("adam", objective=objective, r1=0.1, dragan=0.1)  # the size of its steps is bounded
            kernel = gan.discriminator.get_layer("logits").kernel
            kernel.assign(sign * 1e4 * kernel)
            logs = gan.train_step(tf.constant(POINTS))
            self.assertTrue(np.isfinite([float(value) for value in logs.values()]).all(), logs)
            self.assertTrue(all(np.isfinite(weight).all() for weight in gan.get_weights()))

    def test_it_learns_a_gaussian(self):
        x = (1.0 + 0.5 * np.random.default_rng(1).standard_normal((12_800, 1))).astype("float32")
        gan = small_gan(
            event_shape=(1,),
            latent_dim=1,
            generator_hidden=(16,),
            discriminator_hidden=(16, 16),
            objective="relativistic",
            r1=0.1,
            r2=0.1,
            average_decay=0.99,
        )
        rates = {player: keras.optimizers.Adam(2e-3, beta_1=0.5, beta_2=0.9) for player in gan.players}
        gan.compile(rates)
        gan.fit(x, batch_size=128, epochs=8, verbose=0)
        samples = gan.sample(4000, seed=1)
        # An untrained generator is off by 1 and by a factor; a trained one still circles, by about a tenth.
        self.assertAllClose(samples.mean(), 1.0, atol=0.15)
        self.assertAllClose(samples.std(), 0.5, rtol=0.3)


class SmallBatchTest(tf.test.TestCase, parameterized.TestCase):
    """The last batch of an epoch may be smaller than what one training step takes: even 0 examples for a minibatch."""

    @parameterized.named_parameters(
        ("relativistic", {"objective": "relativistic", "r1": 0.1, "r2": 0.1}),
        ("wasserstein_gp", {"objective": "wasserstein_gp", "dragan": 1.0, "spectral_normalization": True}),
    )
    def test_too_few_examples_for_every_minibatch_leave_everything_finite(self, arguments):
        gan = small_gan("adam", discriminator_steps=2, pack=2, batch_normalization=True, average_decay=0.9, **arguments)

        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 2

            def __getitem__(self, index):
                return POINTS[:8] if index == 0 else POINTS[8:11]

        stream = tf.data.Dataset.from_tensor_slices(POINTS[:9]).batch(8)
        for data, arguments in ((Batches(), {}), (stream, {}), (POINTS[:9], {"batch_size": 8})):
            logs = gan.fit(data, validation_data=data, verbose=0, **arguments).history
            self.assertTrue(np.isfinite(list(logs.values())).all(), logs)
            self.assertTrue(all(np.isfinite(weight).all() for weight in gan.get_weights()))

    def test_a_replica_without_examples_leaves_everything_finite(self):
        strategy = tf.distribute.MirroredStrategy(
            ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
        )
        with strategy.scope():
            gan = small_gan("adam", objective="wasserstein", batch_normalization=True, average_decay=0.9)
            gan.compile(dict.fromkeys(gan.players, "adam"))
        gan.fit(tf.data.Dataset.from_tensor_slices(POINTS[:9]).batch(8), epochs=2, verbose=0)  # 4 + 4, and 1 + 0
        self.assertTrue(all(np.isfinite(weight).all() for weight in gan.get_weights()))
        with self.assertRaisesRegex(ValueError, "1 minibatches of packs of 1 on each of 2 replicas do not divide"):
            gan.fit(POINTS, batch_size=3, verbose=0)

    def test_batch_statistics_are_those_of_keras(self):
        layer, of_keras = BatchNormalization(momentum=0.7), keras.layers.BatchNormalization(momentum=0.7)
        x = GENERATOR.standard_normal((6, 3)).astype("float32") * 3 + 1
        for training in (True, True, False):
            self.assertAllEqual(layer(x, training=training), of_keras(x, training=training))
        self.assertEqual(values(layer.weights), values(of_keras.weights))
        self.assertEqual(layer(x[:0], training=True).shape, (0, 3))
        self.assertTrue(all(np.isfinite(weight).all() for weight in layer.get_weights()))


class SpectralNormalizationTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("dense", SpectralDense, keras.layers.Dense, (7,), (5,)),
        ("wide", SpectralDense, keras.layers.Dense, (3,), (20,)),
        ("convolution", SpectralConv2D, keras.layers.Conv2D, (6, 4, 2, "same"), (8, 8, 3)),
    )
    def test_the_largest_singular_value_is_one(self, spectral_class, plain_class, arguments, shape):
        layer, plain = spectral_class(*arguments), plain_class(*arguments)
        layer.build((None, *shape))
        layer.kernel.assign(GENERATOR.standard_normal(layer.kernel.shape))
        for _ in range(300):
            layer.singular_vector.assign(layer.next_singular_vector())
        kernel = layer.kernel.numpy().astype("float64").reshape(-1, layer.kernel.shape[-1])
        normalized = layer.normalized_kernel().numpy().reshape(kernel.shape)
        self.assertAllClose(np.linalg.svd(normalized, compute_uv=False)[0], 1.0, rtol=1e-4)
        self.assertAllClose(normalized, kernel / np.linalg.svd(kernel, compute_uv=False)[0], rtol=1e-3, atol=1e-5)

        # What the layer computes is what Keras' layer computes with that kernel.
        x = GENERATOR.standard_normal((4, *shape)).astype("float32")
        plain.build((None, *shape))
        layer.bias.assign(GENERATOR.standard_normal(layer.bias.shape))
        plain.set_weights([layer.normalized_kernel(), layer.bias])
        self.assertAllClose(layer(x), plain(x), rtol=1e-4, atol=1e-4)

    def test_the_gradient_flows_through_the_norm(self):
        """Of f(W) = sum C * W / sigma(W): finite differences in float64 with sigma by NumPy's SVD."""
        layer = SpectralDense(3)
        layer.build((None, 4))
        kernel, c = GENERATOR.standard_normal((4, 3)), GENERATOR.standard_normal((4, 3))
        layer.kernel.assign(kernel)
        for _ in range(300):
            layer.singular_vector.assign(layer.next_singular_vector())
        with tf.GradientTape() as tape:
            value = tf.reduce_sum(c.astype("float32") * layer.normalized_kernel())
        gradient = tape.gradient(value, layer.kernel.value).numpy()

        def exact(kernel):
            return np.sum(c * kernel) / np.linalg.svd(kernel, compute_uv=False)[0]

        kernel, step = layer.kernel.numpy().astype("float64"), 1e-6
        for index in np.ndindex(4, 3):
            move = np.zeros((4, 3))
            move[index] = step
            difference = (exact(kernel + move) - exact(kernel - move)) / (2 * step)
            self.assertAllClose(gradient[index], difference, rtol=1e-3, atol=1e-4)  # float32, a product of 4 factors

    def test_training_keeps_the_norm_known(self):
        gan = small_gan(
            {"class_name": "SGD", "config": {"learning_rate": 0.01}}, spectral_normalization=True, objective="hinge"
        )
        gan.fit(POINTS, batch_size=4, epochs=10, verbose=0)  # 60 steps of the iteration
        for name in ("hidden_1", "logits"):
            kernel = gan.discriminator.get_layer(name).normalized_kernel().numpy()
            self.assertAllClose(np.linalg.svd(kernel, compute_uv=False)[0], 1.0, rtol=0.01)
        before = values(gan.discriminator.non_trainable_weights)
        gan.discriminate(POINTS)
        gan.step_generator(tf.constant(POINTS))
        self.assertEqual(values(gan.discriminator.non_trainable_weights), before)  # one iteration a step, and no more


class PackTest(tf.test.TestCase):
    def test_points_that_follow_each_other_lie_beside_each_other(self):
        gan = small_gan(pack=3)
        x = np.arange(14, dtype="float32").reshape(7, 2)
        self.assertAllEqual(gan.packed(x), [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])  # the seventh is left out

    def test_images_become_channels(self):
        for channels in (1, 3):
            gan = small_gan(event_shape=(4, 5, channels), pack=2)
            x = GENERATOR.random((5, 4, 5, channels)).astype("float32")
            expected = np.concatenate([x[0:4:2], x[1:4:2]], axis=-1)
            self.assertAllEqual(gan.packed(x), expected)
            self.assertEqual(gan.discriminator.input_shape, (None, 4, 5, 2 * channels))

    def test_the_discriminator_judges_a_pack_jointly(self):
        gan = small_gan(pack=3)
        logits = gan.discriminate(POINTS).numpy()
        self.assertEqual(logits.shape, (8,))
        moved = POINTS.copy()
        moved[4] += 1.0  # in the second pack
        self.assertAllEqual(gan.discriminate(moved).numpy() != logits, np.arange(8) == 1)

    def test_the_losses_are_those_of_a_gan_of_packs(self):
        """PacGAN is a GAN on the product space: of pairs [x_1, x_2] and [G(z_1), G(z_2)]."""
        gan = small_gan(pack=2, generator_hidden=(), discriminator_hidden=(), objective="non_saturating", r1=0.5)
        players, z = LinearPlayers(gan), codes(gan, 3, 24)
        real, fake = (players.judge(x.reshape(12, 4)) for x in (POINTS, players.generate(z)))
        d_loss = np.mean(softplus(-real) + softplus(fake)) + 0.25 * np.sum(players.w**2)
        z = z.astype("float32")
        self.assertAllClose(gan.discriminator_loss(tf.constant(POINTS), z), d_loss, rtol=1e-5)
        self.assertAllClose(gan.generator_loss(tf.constant(POINTS), z), np.mean(softplus(-fake)), rtol=1e-5)

    def test_packs_of_one_are_a_gan(self):
        gan = small_gan(pack=1)
        x = tf.constant(POINTS)
        self.assertIs(gan.packed(x), x)
        self.assertEqual(gan.packed_shape(), gan.event_shape)
        self.assertEqual(gan.endpoints()["discriminate"].inputs["points"].shape, ("batch", 2))

    def test_the_endpoint_takes_packs(self):
        gan = small_gan(pack=2)
        endpoint = gan.endpoints()["discriminate"]
        self.assertEqual(endpoint.inputs["points"].shape, ("batch", 2, 2))
        logits = endpoint.function(points=tf.constant(POINTS.reshape(12, 2, 2)))["logits"]
        self.assertAllEqual(logits, gan.discriminate(POINTS))


class NetworkTest(tf.test.TestCase, parameterized.TestCase):
    def test_maxout_is_the_largest_of_its_pieces(self):
        x = GENERATOR.standard_normal((6, 12)).astype("float32")
        self.assertAllEqual(Maxout(3)(x), x.reshape(6, 4, 3).max(axis=-1))
        self.assertEqual(Maxout(3).compute_output_shape((None, 12)), (None, 4))

    def test_a_maxout_discriminator_is_the_largest_of_5_linear_functions_for_each_unit(self):
        gan = small_gan(discriminator_activation="maxout")
        (kernel, bias), (w, b) = (gan.discriminator.get_layer(name).get_weights() for name in ("hidden_1", "logits"))
        self.assertEqual(kernel.shape, (2, 25))
        hidden = np.max((POINTS.astype("float64") @ kernel + bias).reshape(24, 5, 5), axis=-1)
        self.assertAllClose(gan.discriminate(POINTS), (hidden @ w + b)[:, 0], rtol=1e-5, atol=1e-5)
        self.assertAllClose(gan.discriminate(POINTS), gan.predict(POINTS, verbose=0)["logits"], rtol=1e-5, atol=1e-5)

    def test_first_kernels_are_normal_and_each_its_own(self):
        keras.utils.set_random_seed(1)
        gan = zoo.GAN((2,), 50, generator_hidden=(50, 50, 50), initial_stddev=0.02)
        kernels = [gan.generator.get_layer(f"hidden_{index}").kernel.numpy() for index in (1, 2, 3)]
        for kernel in kernels:
            self.assertAllClose(kernel.std(), 0.02, rtol=0.06)  # 2,500 numbers: 4 standard errors
            self.assertAllClose(kernel.mean(), 0.0, atol=0.0016)
        correlations = np.corrcoef([kernel.reshape(-1) for kernel in kernels])[np.triu_indices(3, 1)]
        self.assertAllInRange(correlations, -0.08, 0.08)  # 4 standard errors; the same draw would have 1

    @parameterized.parameters(((7, 9, 3),), ((28, 28, 1),), ((32, 32, 3),), ((5, 5, 1),))
    def test_networks_of_odd_and_colour_images_mirror_each_other(self, event_shape):
        hidden = {"generator_hidden": (8, 6, 4), "discriminator_hidden": (4, 6, 8)}
        gan = zoo.GAN(event_shape, latent_dim=2, network="convolutional", batch_normalization=True, pack=2, **hidden)
        images = gan.sample(4)
        self.assertEqual(images.shape, (4, *event_shape))
        self.assertAllInRange(images, 0.0, 1.0)
        self.assertEqual(gan.discriminate(images).shape, (2,))

    def test_images_train_on_dense_networks_too(self):
        gan = small_gan(event_shape=(4, 4, 1), pack=2)
        logs = gan.fit(IMAGES, batch_size=8, verbose=0).history
        self.assertTrue(np.isfinite(list(logs.values())).all())
        self.assertAllInRange(gan.sample(20), 0.0, 1.0)


class ArgumentsTest(tf.test.TestCase):
    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.gan"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 5))

    def test_bad_arguments_are_refused_by_name(self):
        good = {"event_shape": (8, 8, 1), "latent_dim": 2}
        for arguments, sentence in (
            ({"objective": "vanilla"}, "objective is 'vanilla'; one of minimax, non_saturating"),
            ({"objective": None}, "objective is None; one of"),
            ({"network": "transformer"}, r"network is 'transformer'; one of .*dense.*convolutional"),
            ({"latent_dim": 0}, "latent_dim is 0; a whole number >= 1 is wanted"),
            ({"latent_dim": 2.5}, "latent_dim is 2.5"),
            ({"discriminator_steps": 0}, "discriminator_steps is 0; a whole number >= 1 is wanted"),
            ({"pack": 0}, "pack is 0; a whole number >= 1 is wanted"),
            ({"seed": -1}, "seed is -1"),
            ({"event_shape": (8, 8)}, r"event_shape is \(8, 8\); \(height, width, channels\) or \(features,\)"),
            ({"generator_hidden": 16}, "generator_hidden is 16; a tuple"),
            ({"discriminator_hidden": (16, 0)}, "each entry of discriminator_hidden is 0"),
            ({"activation": keras.activations.relu}, "activation is <function relu"),
            ({"discriminator_activation": 3}, "discriminator_activation is 3; Keras' name"),
            ({"r1": -1.0}, "r1 is -1.0; a finite number >= 0 is wanted"),
            ({"r2": float("nan")}, "r2 is nan; a finite number >= 0"),
            ({"gradient_penalty": -10}, "gradient_penalty is -10; a finite"),
            ({"dragan": float("inf")}, "dragan is inf; a finite"),
            ({"initial_stddev": -0.1}, "initial_stddev is -0.1; a finite"),
            ({"clip": 0.0}, "clip is 0.0; a finite number > 0 is wanted"),
            ({"average_decay": 1}, r"average_decay is 1; a number in \[0, 1\) is wanted, such as 0.999"),
            ({"average_decay": -0.5}, "average_decay is -0.5"),
            ({"network": "convolutional", "event_shape": (64,)}, r"Convolutional networks need .* they are \(64,\)"),
            ({"network": "convolutional", "generator_hidden": ()}, "at least one hidden layer"),
            ({"network": "convolutional", "discriminator_activation": "maxout"}, "'maxout', which is for dense"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                zoo.GAN(**{**good, **arguments})
        with self.assertRaisesRegex(ValueError, "num_samples is 0"):
            zoo.GAN(**good).sample(0)

    def test_batches_that_minibatches_and_packs_do_not_divide_are_refused(self):
        gan = small_gan(discriminator_steps=2, pack=3)
        stream = tf.data.Dataset.from_tensor_slices(POINTS).batch(8, drop_remainder=True)
        sentence = (
            "A batch holds {} examples, which 2 minibatches of packs of 3 do not divide: 2 of each batch would be left "
            "out. Choose a multiple of 6; of a smaller batch at the end of an epoch the remainder is left out."
        )
        for data, arguments, size in ((POINTS, {"batch_size": 8}, 8), (POINTS, {}, 32), (stream, {}, 8)):
            with self.assertRaisesRegex(ValueError, sentence.format(size)):
                gan.fit(data, verbose=0, **arguments)
        gan.fit(POINTS[:20], batch_size=18, verbose=0)  # 18, and 2: of a smaller batch the remainder is left out

    def test_sample_weights_are_refused(self):
        gan = small_gan()
        for method in (gan.fit, gan.evaluate):
            with self.assertRaisesRegex(ValueError, "sample_weight came; an adversarial loss has none: repeat"):
                method(POINTS, POINTS, sample_weight=np.ones(24), verbose=0)

    def test_examples_outside_the_range_of_the_generator_are_refused(self):
        gan = small_gan(event_shape=(4, 4, 1))
        for method in (gan.fit, gan.evaluate, gan.predict):
            with self.assertRaisesRegex(
                ValueError, r"numbers in \[0, 1\], but some hold values in .* Scale the pixels"
            ):
                method(2 * IMAGES, verbose=0)
        points = small_gan()
        points.fit(100 * POINTS - 50, verbose=0)  # real numbers, if they are finite
        with self.assertRaisesRegex(ValueError, "finite numbers.*Remove NaN"):
            points.fit(np.full_like(POINTS, np.inf), verbose=0)
