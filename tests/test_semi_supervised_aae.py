"""The semi-supervised adversarial autoencoder against NumPy in float64."""

import doctest
import os
import sys

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy.special import log_softmax, softmax

import zoo
from zoo.distributions import stateless_seed
from zoo.semi_supervised_aae import SemiSupervisedAAE

GENERATOR = np.random.default_rng(13)
POINTS = GENERATOR.normal(size=(12, 3)).astype("float32")
LABELS = np.array([-1, 0, 1, 2, -1, 2, 1, 0, -1, 2, 1, 1])
NETWORKS = ("encoder", "decoder", "categorical_discriminator", "style_discriminator")


def small_model(**arguments):
    keras.utils.set_random_seed(4)
    sizes = {"num_classes": 3, "latent_dim": 2, "hidden": (5,), "discriminator_hidden": (6,), "activation": "tanh"}
    model = SemiSupervisedAAE(**{"event_shape": (3,), **sizes, **arguments})
    model.compile({player: keras.optimizers.SGD(0.1) for player in model.players})
    for variable in model.trainable_variables:  # biases included
        variable.assign_add(0.3 * GENERATOR.standard_normal(variable.shape))
    return model


def in_numpy(network, x):
    """A dense network with tanh between its layers, in float64."""
    kernels_and_biases = [weight.astype("float64") for weight in network.get_weights()]
    for index in range(0, len(kernels_and_biases), 2):
        x = x @ kernels_and_biases[index] + kernels_and_biases[index + 1]
        x = np.tanh(x) if index < len(kernels_and_biases) - 2 else x
    return x


def encoded_in_numpy(model, x):
    code = in_numpy(model.encoder, x)
    return code[:, :3], code[:, 3:]


def gradients(loss, variables):
    with tf.GradientTape() as tape:
        value = loss()
    return [each.numpy() for each in tape.gradient(value, [variable.value for variable in variables])]


def moved_networks(model, phase):
    """The networks that `phase()` changes."""
    before = {name: getattr(model, name).get_weights() for name in NETWORKS}
    phase()
    return {
        name
        for name, weights in before.items()
        if any(
            not np.array_equal(old, new) for old, new in zip(weights, getattr(model, name).get_weights(), strict=True)
        )
    }


class LossTest(tf.test.TestCase):
    def test_losses_are_those_of_numpy(self):
        model = small_model(prior_scale=2.0)
        class_logits, z = encoded_in_numpy(model, POINTS)
        y = softmax(class_logits, axis=1)
        real_y, real_z = model.draw_prior_codes(12)
        logits = {
            name: in_numpy(network, codes)[:, 0]
            for name, network, codes in (
                ("real_y", model.categorical_discriminator, real_y.numpy()),
                ("real_z", model.style_discriminator, real_z.numpy()),
                ("fake_y", model.categorical_discriminator, y),
                ("fake_z", model.style_discriminator, z),
            )
        }
        fake = model.encode(POINTS)
        # float32 networks of two layers against float64.
        self.assertAllClose(fake[0], y, rtol=1e-5, atol=1e-6)
        self.assertAllClose(fake[1], z, rtol=1e-5, atol=1e-6)
        self.assertAllClose(model.classify(POINTS), y, rtol=1e-5, atol=1e-6)
        reconstruction = in_numpy(model.decoder, np.concatenate([y, z], axis=1))
        self.assertAllClose(model.reconstruct(POINTS), reconstruction, rtol=1e-5, atol=1e-6)
        error = np.mean(np.square(POINTS - reconstruction))
        self.assertAllClose(model.reconstruction_loss(POINTS, *fake), error, rtol=1e-5)
        real, generated = (sum(np.logaddexp(0, -logits[f"{of}_{code}"]) for code in "yz") for of in ("real", "fake"))
        refused = sum(np.logaddexp(0, logits[f"fake_{code}"]) for code in "yz")
        self.assertAllClose(model.discriminator_loss((real_y, real_z), fake), np.mean(real + refused), rtol=1e-5)
        self.assertAllClose(model.generator_loss(fake), np.mean(generated), rtol=1e-5)
        for metric, code in ((model.categorical_accuracy, "y"), (model.style_accuracy, "z")):
            sides = 0.5 * ((logits[f"real_{code}"] > 0) * 1.0 + (logits[f"fake_{code}"] <= 0))
            self.assertAllClose(metric.result(), np.mean(sides))

    def test_priors_are_one_hot_and_normal(self):
        model = small_model(prior_scale=2.0)
        y, z = model.draw_prior_codes(20_000)
        self.assertAllEqual(np.sort(y, axis=1), np.tile([0.0, 0.0, 1.0], (20_000, 1)))
        # Four standard errors over 20,000 draws.
        self.assertAllClose(np.mean(y, axis=0), np.full(3, 1 / 3), atol=0.0135)
        self.assertAllClose(np.mean(z, axis=0), np.zeros(2), atol=0.057)
        self.assertAllClose(np.std(z, axis=0), np.full(2, 2.0), atol=0.04)

    def test_each_phase_moves_its_own_networks(self):
        model, x = small_model(), tf.constant(POINTS)
        real, both = model.draw_prior_codes(12), {"categorical_discriminator", "style_discriminator"}
        phases = {
            "reconstruction": (lambda: model.reconstruction_loss(x, *model.encode(x)), {"encoder", "decoder"}),
            "discriminator": (lambda: model.discriminator_loss(real, model.encode(x)), both),
            "generator": (lambda: model.generator_loss(model.encode(x)), {"encoder"}),
            "classification": (
                lambda: model.classification_loss(model.class_logits_and_style(x)[0], tf.constant(LABELS)),
                {"encoder"},
            ),
        }
        self.assertEqual(tuple(phases), model.players)
        for player, (loss, expected) in phases.items():
            self.assertEqual(moved_networks(model, lambda: model.minimize(player, loss)), expected)  # noqa: B023

    def test_a_step_is_its_phases_in_order(self):
        """The same steps one by one, on the same draws: the first ones of the seed."""
        model, by_hand, x = small_model(), small_model(), tf.constant(POINTS)
        by_hand.set_weights(model.get_weights())
        model.train_on_batch(POINTS, LABELS)
        real = by_hand.draw_prior_codes(12)

        by_hand.minimize("reconstruction", lambda: by_hand.reconstruction_loss(x, *by_hand.encode(x)))
        by_hand.minimize("discriminator", lambda: by_hand.discriminator_loss(real, by_hand.encode(x)))
        by_hand.minimize("generator", lambda: by_hand.generator_loss(by_hand.encode(x)))
        log_probabilities = lambda: tf.nn.log_softmax(by_hand.encoder(x)["loc"][:, :3])  # noqa: E731
        chosen, column = np.flatnonzero(LABELS >= 0), LABELS[LABELS >= 0]
        by_hand.minimize(
            "classification",
            lambda: -tf.reduce_mean(tf.gather_nd(log_probabilities(), np.stack([chosen, column], axis=1))),
        )
        for name in NETWORKS:  # the same float32 operations in a graph and eagerly
            for ours, expected in zip(
                getattr(model, name).get_weights(), getattr(by_hand, name).get_weights(), strict=True
            ):
                self.assertAllClose(ours, expected, rtol=1e-5, atol=1e-6)


class LabelsTest(tf.test.TestCase):
    def test_unlabelled_rows_do_not_count_in_the_classification(self):
        model = small_model()
        labelled = LABELS >= 0
        class_logits = encoded_in_numpy(model, POINTS)[0]
        expected = -np.mean(log_softmax(class_logits[labelled], axis=1)[np.arange(labelled.sum()), LABELS[labelled]])

        def loss(x, labels):
            return model.classification_loss(model.class_logits_and_style(x)[0], tf.constant(labels))

        self.assertAllClose(loss(POINTS, LABELS), expected, rtol=1e-5)
        self.assertAllClose(model.cross_entropy.result(), expected, rtol=1e-5)
        wrong = np.mean(class_logits[labelled].argmax(axis=1) != LABELS[labelled])
        self.assertAllClose(model.error.result(), wrong, rtol=1e-6)

        variables = model.trained_by("classification")
        ours = gradients(lambda: loss(POINTS, LABELS), variables)
        of_labelled_alone = gradients(lambda: loss(POINTS[labelled], LABELS[labelled]), variables)
        for gradient, value in zip(ours, of_labelled_alone, strict=True):
            self.assertAllClose(gradient, value, rtol=1e-5, atol=1e-6)

    def test_without_a_label_the_loss_and_its_gradient_are_zero(self):
        model, nobody = small_model(), np.full(12, -1)

        def loss():
            return model.classification_loss(model.class_logits_and_style(POINTS)[0], tf.constant(nobody))

        self.assertAllEqual(loss(), 0.0)
        for gradient in gradients(loss, model.trained_by("classification")):
            self.assertAllEqual(gradient, np.zeros_like(gradient))
        history = model.fit(POINTS, nobody, epochs=2, verbose=0).history
        self.assertTrue(np.isfinite(list(history.values())).all())
        self.assertEqual((history["cross_entropy"][-1], history["error"][-1]), (0.0, 0.0))

    def test_clusters_have_no_labels_and_no_classification(self):
        model = small_model(supervised=False, num_classes=4)
        self.assertEqual(model.players, ("reconstruction", "discriminator", "generator"))
        history = model.fit(POINTS, verbose=0).history
        self.assertNotIn("cross_entropy", history)
        self.assertEqual(model.predict(POINTS, verbose=0)["class_probabilities"].shape, (12, 4))

    def test_samples_are_of_the_labels_asked_for(self):
        model = small_model(prior_scale=2.0)
        z = 2.0 * tf.random.stateless_normal((6, 2), stateless_seed(5, 0))
        for labels, meant in (([0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 2]), (1, [1] * 6), (None, [0, 1, 2, 0, 1, 2])):
            samples = model.sample(6, labels=labels, seed=5)
            self.assertAllClose(samples, model.decode(z, meant), rtol=1e-6)
            by_hand = in_numpy(model.decoder, np.concatenate([np.eye(3)[meant], z], axis=1))
            self.assertAllClose(samples, by_hand, rtol=1e-5, atol=1e-6)

    def test_saves_and_loads(self):
        for labels, arguments in ((LABELS, {}), (None, {"supervised": False})):
            model = small_model(class_noise=0.1, input_noise=0.2, **arguments)
            model.fit(POINTS, labels, verbose=0)
            path = os.path.join(self.get_temp_dir(), "model.keras")
            model.save(path)
            loaded = zoo.load(path)
            self.assertEqual(loaded.get_config(), model.get_config())
            self.assertEqual(loaded.evaluate(POINTS, labels, verbose=0), model.evaluate(POINTS, labels, verbose=0))


class NoiseTest(tf.test.TestCase):
    def test_class_noise_is_on_what_the_discriminator_judges(self):
        model = small_model(class_noise=0.2)
        y, z = tf.zeros((4000, 3)), tf.ones((4000, 2))
        noisy, same = model.with_class_noise(y, z)
        self.assertAllClose(np.std(noisy), 0.2, rtol=0.03)  # 12,000 numbers: four standard errors are 2.6 %
        self.assertAllEqual(same, z)
        self.assertAllEqual(small_model().with_class_noise(y, z)[0], y)


class EndpointsTest(tf.test.TestCase):
    def test_endpoints_are_the_methods(self):
        model = small_model(prior_scale=2.0)
        endpoints = model.endpoints()
        self.assertEqual(list(endpoints), ["classify", "encode", "decode", "generate"])
        y, z = model.encode(POINTS)
        labels = tf.constant(np.abs(LABELS))
        self.assertAllEqual(endpoints["classify"].function(points=POINTS)["class_probabilities"], y)
        encoded = endpoints["encode"].function(points=POINTS)
        self.assertAllEqual(encoded["class_probabilities"], y)
        self.assertAllEqual(encoded["z"], z)
        decoded = endpoints["decode"].function(z=z, labels=labels)["points"]
        self.assertAllEqual(decoded, model.decode(z, np.abs(LABELS)))
        self.assertAllEqual(endpoints["generate"].function(noise=z / 2.0, labels=labels)["points"], decoded)


class LearningTest(tf.test.TestCase):
    def test_few_labels_name_the_groups(self):
        """Three groups of points far apart, one in 20 with a label."""
        generator = np.random.default_rng(1)
        classes = generator.integers(0, 3, 1500)
        centers = np.array([[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]])
        points = (centers[classes] + 0.2 * generator.normal(size=(1500, 2))).astype("float32")
        labels = np.where(np.arange(1500) % 20 == 0, classes, -1)
        keras.utils.set_random_seed(0)
        sizes = {"num_classes": 3, "latent_dim": 1, "hidden": (32,), "discriminator_hidden": (32,)}
        model = SemiSupervisedAAE((2,), **sizes)
        rates = {"reconstruction": 2e-3, "discriminator": 2e-3, "generator": 5e-4, "classification": 5e-3}
        model.compile({player: keras.optimizers.Adam(rate, beta_1=0.5) for player, rate in rates.items()})
        model.fit(points, labels, batch_size=100, epochs=10, verbose=0)
        error = np.mean(np.argmax(model.classify(points), axis=1) != classes)
        self.assertLess(error, 0.05)  # the groups do not touch; chance is 0.67
        logs = model.evaluate(points, classes, batch_size=500, verbose=0, return_dict=True)
        self.assertAllClose(logs["error"], error, atol=1e-6)


class BadInputTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters(
        ({"num_classes": 1}, "num_classes is 1"),
        ({"latent_dim": 0}, "latent_dim is 0"),
        ({"prior_scale": -1.0}, "prior_scale is -1.0"),
        ({"class_noise": -1.0}, "class_noise is -1.0"),
        ({"network": "recurrent"}, "network is 'recurrent'"),
    )
    def test_arguments(self, arguments, sentence):
        with self.assertRaisesRegex(ValueError, sentence):
            SemiSupervisedAAE(**{"event_shape": (3,), **arguments})

    def test_labels_and_players(self):
        model = small_model()
        without = dict.fromkeys(("reconstruction", "discriminator", "generator"), "sgd")
        for call, sentence in (
            (lambda: model.fit(POINTS), "Labels are missing"),
            (lambda: model.fit(POINTS, LABELS + 1.0), "whole numbers are wanted"),
            (lambda: model.fit(POINTS, LABELS + 1), "or -1 where there is none"),
            (lambda: model.sample(12, labels=LABELS), "a number from 0 to 2"),
            (lambda: model.decode(np.zeros((2, 2)), [0]), r"shape \[1\] for 2 examples"),
            (lambda: model.compile(without), "no optimizer for classification"),
            (lambda: small_model(supervised=False).compile({**without, "classification": "sgd"}), "no player"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                call()


class DocumentationTest(tf.test.TestCase):
    def test_example_in_docstring(self):
        outcome = doctest.testmod(sys.modules["zoo.semi_supervised_aae"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 6))


if __name__ == "__main__":
    tf.test.main()
