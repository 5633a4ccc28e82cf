"""M2 against what does not share its code: explicit sums over the classes in NumPy, quadrature, finite differences."""

import doctest

import keras
import numpy as np
import tensorflow as tf
from scipy.special import log_softmax, logsumexp
from scipy.stats import norm

import zoo
from zoo.base import EVALUATION
from zoo.distributions import diag_gaussian, stateless_seed
from zoo.semi_supervised_vae import SemiSupervisedVAE

GENERATOR = np.random.default_rng(7)
BINARY = (GENERATOR.random((12, 4, 4, 1)) < 0.4).astype("float32")
LABELS = np.array([-1, 2, -1, -1, 0, -1, -1, 1, -1, -1, -1, 0])  # 4 of 12 have one
NONE = np.full(12, -1)


def small_vae(**arguments):
    keras.utils.set_random_seed(3)
    arguments = {"event_shape": (4, 4, 1), "latent_dim": 2, "num_classes": 3, "hidden": (8,), **arguments}
    vae = SemiSupervisedVAE(**arguments)
    vae.compile("adam")
    generator = np.random.default_rng(4)
    for variable in vae.trainable_variables:  # away from the symmetric start, biases included
        variable.assign_add(0.3 * generator.standard_normal(variable.shape))
    return vae


def loss(vae, x, y):
    """The loss of a batch, with the noise of an evaluation."""
    with vae.repeatable_draws():
        return vae.compute_loss(y=tf.constant(y), y_pred=vae(x), training=False)


def labelled_bounds(vae, x, seed):
    """L(x, y) of every label, [batch, num_classes], in NumPy: from what the networks give for one label at a time."""
    count, num_classes = len(x), vae.num_classes
    shape = (count * num_classes, vae.latent_dim)
    noise = diag_gaussian(tf.zeros(shape), tf.ones(shape)).sample(seed=seed).numpy()
    bounds = []
    for label in range(num_classes):
        y = np.full(count, label)
        code = {name: each.numpy().astype("float64") for name, each in vae.encoded(x, y).items()}
        z = code["loc"] + code["scale"] * noise[label::num_classes]
        nll = -bernoulli_log_prob_in_numpy(x, vae.decoded(z.astype("float32"), y)["logits"])
        kl = -0.5 * np.sum(1.0 + np.log(code["scale"] ** 2) - code["loc"] ** 2 - code["scale"] ** 2, axis=-1)
        bounds.append(nll + kl - np.log(1.0 / num_classes))
    return np.stack(bounds, axis=1)


def near_the_prior(encoder):
    """Let q(z|x, y) be a little wider than N(0, I) and a little off it, so that no importance weight is large."""
    for layer, bias in (("loc", 0.1), ("raw_scale", 0.9)):  # softplus(0.9) = 1.24
        kernel, _ = encoder.get_layer(layer).get_weights()
        encoder.get_layer(layer).set_weights([0.1 * kernel, np.full(1, bias)])


def bernoulli_log_prob_in_numpy(x, logits):
    logits = np.asarray(logits, "float64")
    return np.sum(x * logits - np.logaddexp(0.0, logits), axis=(-3, -2, -1))


def log_q_in_numpy(vae, x):
    """log q(y|x): [batch, num_classes]."""
    return log_softmax(vae.classifier(x)["logits"].numpy().astype("float64"), axis=1)


def bound_in_numpy(bounds, log_q, y):
    """L(x, y) where there is a label, else U(x) = sum_y q(y|x) L(x, y) - H(q(y|x)): one example after the other."""
    found = []
    for row, label in enumerate(y):
        if label >= 0:
            found.append(bounds[row, label])
            continue
        q = np.exp(log_q[row])
        entropy = -sum(q[k] * log_q[row, k] for k in range(len(q)))
        found.append(sum(q[k] * bounds[row, k] for k in range(len(q))) - entropy)
    return np.array(found)


class ObjectiveTest(tf.test.TestCase):
    def test_loss_is_the_explicit_sum_over_the_classes(self):
        vae = small_vae(alpha=0.7)
        seed = stateless_seed(vae.seed, EVALUATION + 2, 0)  # the binarization and the reconstruction draw before it
        bounds, log_q = labelled_bounds(vae, BINARY, seed), log_q_in_numpy(vae, BINARY)
        every_label = GENERATOR.integers(0, 3, 12)
        for y in (LABELS, NONE, every_label):
            expected = bound_in_numpy(bounds, log_q, y).mean()
            labelled = [row for row in range(12) if y[row] >= 0]
            if labelled:
                expected += 0.7 * np.mean([-log_q[row, y[row]] for row in labelled])
            self.assertAllClose(loss(vae, BINARY, y), expected, rtol=1e-5)  # float32 sums of some tens of terms

    def test_elbo_is_the_unlabelled_bound(self):
        vae = small_vae()
        bounds = labelled_bounds(vae, BINARY, stateless_seed(5, 1))
        expected = -bound_in_numpy(bounds, log_q_in_numpy(vae, BINARY), NONE)
        self.assertAllClose(vae.elbo(BINARY, seed=5), expected, rtol=1e-5)
        nll, kl = vae.elbo_terms(BINARY, seed=5)
        self.assertAllClose(-(nll + kl), expected, rtol=1e-5)

    def test_bounds_lie_below_the_likelihood_that_quadrature_gives(self):
        vae = small_vae(latent_dim=1)
        near_the_prior(vae.encoder)
        grid, step = np.linspace(-8.0, 8.0, 2001, retstep=True)
        z, log_prior = grid[:, None].astype("float32"), norm.logpdf(grid) + np.log(step)
        of_every_label = [
            bernoulli_log_prob_in_numpy(BINARY[:, None], vae.decoded(z, np.full(2001, label))["logits"]) + log_prior
            for label in range(3)
        ]
        exact = logsumexp(of_every_label, axis=(0, 2)) - np.log(3)
        estimate = vae.importance_estimate(BINARY, num_importance_samples=2000, seed=1)
        self.assertAllInRange((estimate.log_prob - exact) / estimate.standard_error, -4.0, 4.0)  # 12 images
        self.assertAllClose(estimate.log_prob, exact, atol=0.1)
        elbo = vae.elbo(np.tile(BINARY, (400, 1, 1, 1))).numpy().reshape(400, 12).mean(axis=0)
        self.assertAllLess(elbo - exact, 0.1)  # but for the noise of 400 draws

    def test_weight_of_the_classifiers_loss(self):
        """alpha times the mean over the labelled rows, however many of the batch they are."""
        losses = {alpha: small_vae(alpha=alpha) for alpha in (0.0, 0.5)}
        log_q = log_q_in_numpy(losses[0.5], BINARY)
        for y in (LABELS, np.where(np.arange(12) == 4, LABELS, -1), np.abs(LABELS)):
            of_label = [-log_q[row, y[row]] for row in range(12) if y[row] >= 0]
            difference = loss(losses[0.5], BINARY, y) - loss(losses[0.0], BINARY, y)
            self.assertAllClose(difference, 0.5 * np.mean(of_label), atol=1e-5)

    def test_rows_without_a_label_contribute_to_unlabelled_terms_only(self):
        without, strong = small_vae(alpha=0.0), small_vae(alpha=100.0)
        self.assertAllEqual(loss(without, BINARY, NONE), loss(strong, BINARY, NONE))
        gradients = []
        for vae in (without, strong):
            with tf.GradientTape() as tape:
                value = loss(vae, BINARY, NONE)
            variables = [variable.value for variable in vae.classifier.trainable_variables]
            gradients.append(tape.gradient(value, variables))
        self.assertAllClose(*gradients)
        self.assertGreater(max(np.abs(gradient).max() for gradient in gradients[0]), 1e-3)  # they train q(y|x) too
        logs = strong.evaluate(BINARY, NONE, verbose=0, return_dict=True)
        self.assertEqual((logs["classification_loss"], logs["accuracy"]), (0.0, 0.0))

    def test_a_label_trains_the_classifier_through_its_own_term_only(self):
        for alpha in (0.0, 1.0):
            vae = small_vae(alpha=alpha)
            with tf.GradientTape() as tape:
                value = loss(vae, BINARY, np.abs(LABELS))
            gradient = tape.gradient(value, vae.classifier.get_layer("logits").bias.value)
            # mean of q(y|x) - 1[y = label]
            q = np.exp(log_q_in_numpy(vae, BINARY))
            self.assertAllClose(gradient, alpha * (q - np.eye(3)[np.abs(LABELS)]).mean(axis=0), atol=1e-6)

    def test_a_label_changes_the_loss_of_its_row(self):
        vae = small_vae(alpha=0.0)
        losses = {label: float(loss(vae, BINARY, np.where(np.arange(12) == 1, label, NONE))) for label in (-1, 0, 1, 2)}
        self.assertLen(set(losses.values()), 4)
        seed = stateless_seed(vae.seed, EVALUATION + 2, 0)
        bounds = labelled_bounds(vae, BINARY, seed)
        self.assertAllClose(12 * (losses[2] - losses[0]), bounds[1, 2] - bounds[1, 0], atol=1e-3)  # float32, times 12

    def test_gradient_of_the_loss_is_that_of_finite_differences(self):
        """Reparameterized: the same noise on both sides of the difference. tanh has no kinks to step over."""
        vae = small_vae(activation="tanh")
        for network, layer in ((vae.encoder, "loc"), (vae.classifier, "logits"), (vae.stem, "hidden_1")):
            bias = network.get_layer(layer).bias
            with tf.GradientTape() as tape:
                value = loss(vae, BINARY, LABELS)
            gradient = tape.gradient(value, bias.value).numpy()
            step = 1e-2
            for index in range(2):
                change, losses = step * np.eye(len(gradient))[index], []
                for sign in (1, -1):
                    bias.assign_add(sign * change)
                    losses.append(float(loss(vae, BINARY, LABELS)))
                    bias.assign_sub(sign * change)
                # Differences of float32 losses near 10 over 2e-2: 1e-4; the third derivative adds as much.
                self.assertAllClose(gradient[index], (losses[0] - losses[1]) / (2 * step), atol=2e-3, rtol=2e-3)

    def test_metrics_are_of_the_labelled_rows(self):
        vae = small_vae()
        log_q = log_q_in_numpy(vae, BINARY)
        labelled = LABELS >= 0
        logs = vae.evaluate(BINARY, LABELS, batch_size=5, verbose=0, return_dict=True)  # 2, 1 and 1 of them
        self.assertAllClose(logs["accuracy"], np.mean(log_q.argmax(axis=1)[labelled] == LABELS[labelled]))
        of_label = -log_q[labelled, LABELS[labelled]]
        self.assertAllClose(logs["classification_loss"], of_label.mean(), rtol=1e-5)
        logs = vae.evaluate(BINARY, LABELS, batch_size=12, verbose=0, return_dict=True)
        self.assertAllClose(logs["loss"], logs["nll"] + logs["kl"] + 0.1 * of_label.mean(), rtol=1e-5)


class ClassesTest(tf.test.TestCase):
    def test_classes_come_from_the_classifier(self):
        vae = small_vae()
        q = np.exp(log_q_in_numpy(vae, BINARY))
        y = q.argmax(axis=1)
        outputs = vae.predict(BINARY, verbose=0)
        classified = vae.endpoints()["classify"].function(tf.constant(BINARY))
        for found in (vae.classify(BINARY), outputs["class_probabilities"], classified["class_probabilities"]):
            self.assertAllClose(found, q, atol=1e-6)
        self.assertAllClose(outputs["loc"], vae.posterior(BINARY, y).mean(), atol=1e-6)
        self.assertAllClose(outputs["logits"], vae.decoded(outputs["z"], y)["logits"], atol=1e-5)
        self.assertAllClose(vae.reconstruct(BINARY), vae.decode(vae.posterior(BINARY, y).mean(), y), atol=1e-6)
        self.assertAllEqual(vae.sample(4, seed=1), vae.sample(4, labels=[0, 1, 2, 0], seed=1))

    def test_bad_input_is_refused_with_a_sentence(self):
        vae = small_vae()
        for labels, sentence in (
            (None, "Labels are missing; a number from 0 to 2, or -1 where there is none"),
            (LABELS[:5], r"shape \[5\] for 12 examples"),
            (LABELS + 1, r"Labels are in \[0, 3\]"),
            (LABELS - 1, r"Labels are in \[-2, 1\]"),
            (LABELS.astype("float32"), "float32; whole numbers"),
        ):
            for method in (vae.fit, vae.evaluate):
                with self.assertRaisesRegex(ValueError, sentence):
                    method(BINARY, labels, verbose=0)
        with self.assertRaisesRegex(ValueError, r"Labels are in \[-1, -1\]; a number from 0 to 2 is wanted"):
            vae.sample(4, labels=-1)
        for arguments, sentence in (
            ({"alpha": -1.0}, "alpha is -1.0"),
            ({"alpha": float("nan")}, "alpha is nan"),
            ({"prior": "gaussian_mixture"}, "takes no prior"),
            ({"num_classes": 2.5}, "num_classes is 2.5"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                small_vae(**arguments)

    def test_fifteen_labels_teach_three_classes(self):
        """Images of a class are a random pattern of 16 pixels, of which one in ten is flipped."""
        generator = np.random.default_rng(2)
        patterns = (generator.random((3, 4, 4, 1)) < 0.5).astype("float32")
        classes = np.arange(600) % 3
        flipped = generator.random((600, 4, 4, 1)) < 0.1
        x = np.where(flipped, 1.0 - patterns[classes], patterns[classes]).astype("float32")
        train, test = slice(0, 300), slice(300, 600)
        y = np.where(np.arange(300) < 15, classes[train], -1)
        keras.utils.set_random_seed(1)
        vae = SemiSupervisedVAE((4, 4, 1), latent_dim=2, num_classes=3, alpha=1.0, hidden=(16,))
        vae.compile(keras.optimizers.Adam(1e-2))
        vae.fit(x[train], y, epochs=20, batch_size=30, verbose=0)
        accuracy = np.mean(vae.classify(x[test]).argmax(axis=1) == classes[test])
        self.assertGreater(accuracy, 0.95)


class DocumentationTest(tf.test.TestCase):
    def test_examples_run(self):
        names = {"np": np, "SemiSupervisedVAE": SemiSupervisedVAE}
        self.assertEqual(doctest.testmod(zoo.semi_supervised_vae, extraglobs=names).failed, 0)
