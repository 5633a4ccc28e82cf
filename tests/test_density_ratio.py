"""The density ratio by a classifier: against closed forms, with equal and unequal samples; what it refuses."""

import doctest
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy import stats

import zoo
from zoo.density_ratio import DensityRatio

GENERATOR = np.random.default_rng(5)


def samples(num_p, num_q, distance=1.0):
    """Samples of N(distance, 1), labelled 1, and of N(0, 1), labelled 0, shuffled; log p/q is linear."""
    x = np.concatenate([GENERATOR.normal(distance, 1.0, (num_p, 1)), GENERATOR.normal(0.0, 1.0, (num_q, 1))])
    y = np.repeat([1, 0], [num_p, num_q])
    order = GENERATOR.permutation(len(x))
    return x[order].astype("float32"), y[order]


def linear(slope=1.0, intercept=-0.5, counts=(1.0, 1.0)):
    """A model with the log ratio slope x + intercept, which has seen `counts` of q and of p."""
    ratio = DensityRatio((1,), hidden=())
    kernel, bias = ratio.classifier.weights
    kernel.assign([[slope]])
    bias.assign([intercept + np.log(counts[1] / counts[0])])
    ratio.label_counts.assign(counts)
    return ratio


def fitted(x, y, **arguments):
    keras.utils.set_random_seed(0)
    ratio = DensityRatio((1,), hidden=())
    ratio.compile(keras.optimizers.Adam(0.05))
    ratio.fit(x, y, batch_size=1000, epochs=20, verbose=0, **arguments)
    return ratio


class RatioTest(parameterized.TestCase, tf.test.TestCase):
    @parameterized.parameters((10_000, 10_000), (18_000, 2_000))
    def test_logistic_regression_finds_the_linear_log_ratio(self, num_p, num_q):
        """p = N(1, 1), q = N(0, 1): log p/q = x - 1/2, whatever the proportion of the samples."""
        ratio = fitted(*samples(num_p, num_q))
        self.assertAllClose(ratio.log_prior_odds(), np.log(num_p / num_q), rtol=1e-6)
        # The standard errors of slope and intercept are about 0.03 with 2,000 samples of q.
        self.assertAllClose(ratio.log_ratio(np.array([[0.0], [0.5], [2.0]])), [-0.5, 0.0, 1.5], atol=0.2)
        logits = ratio.predict(np.array([[0.5]]), verbose=0)
        self.assertAllClose(logits, [np.log(num_p / num_q)], atol=0.15)  # with the odds of the labels

    def test_network_finds_a_curved_log_ratio(self):
        """p = N(0, 1), q = N(0, 2^2): log p/q = log 2 - 3/8 x^2."""
        keras.utils.set_random_seed(0)
        x = np.concatenate([GENERATOR.normal(0, 1, (20_000, 1)), GENERATOR.normal(0, 2, (20_000, 1))])
        ratio = DensityRatio((1,), hidden=(16,))
        ratio.compile(keras.optimizers.Adam(0.02))
        ratio.fit(x, np.repeat([1, 0], 20_000), batch_size=1000, epochs=15, verbose=0)
        grid = np.linspace(-2.5, 2.5, 51)[:, None]
        expected = np.log(2.0) - 0.375 * grid[:, 0] ** 2
        # Of 40,000 samples in a short training; the study trains longer and comes to 0.02.
        self.assertLess(np.sqrt(np.mean(np.square(ratio.log_ratio(grid) - expected))), 0.2)

    def test_loss_is_the_cross_entropy_in_nats(self):
        x, y = samples(300, 100)
        ratio = linear(counts=(100.0, 300.0))
        ratio.compile("adam")
        logits = x[:, 0].astype("float64") - 0.5 + np.log(3.0)
        losses = np.logaddexp(0.0, np.where(y == 1, -logits, logits))
        logs = ratio.evaluate(x, y, batch_size=400, verbose=0, return_dict=True)
        self.assertAllClose(logs["loss"], losses.mean(), rtol=1e-5)  # float32 sums
        self.assertAllClose(logs["accuracy"], np.mean((logits > 0) == (y == 1)), rtol=1e-6)
        weights = GENERATOR.random(400).astype("float32")
        logs = ratio.evaluate(x, y, sample_weight=weights, batch_size=400, verbose=0, return_dict=True)
        self.assertAllClose(logs["loss"], np.mean(weights * losses), rtol=1e-5)

    def test_bounds_are_their_formulas(self):
        from_p, from_q = GENERATOR.normal(1, 1, (500, 1)), GENERATOR.normal(0, 1, (400, 1))
        ratio = linear(0.7, -0.2, counts=(10.0, 30.0))
        r_p, r_q = 0.7 * from_p[:, 0] - 0.2, 0.7 * from_q[:, 0] - 0.2
        expected = {
            "donsker_varadhan": r_p.mean() - np.log(np.exp(r_q).mean()),
            "nwj": r_p.mean() - np.exp(r_q).mean() + 1,
        }
        for bound, value in expected.items():
            self.assertAllClose(ratio.kl(from_p, from_q, bound).value, value, atol=1e-6)  # float32 logits
        value = np.log(2) + 0.5 * np.mean(np.log(1 / (1 + np.exp(-r_p)))) + 0.5 * np.mean(np.log(1 / (1 + np.exp(r_q))))
        self.assertAllClose(ratio.jensen_shannon(from_p, from_q).value, value, atol=1e-6)

    def test_bounds_are_tight_at_the_true_ratio_and_below_elsewhere(self):
        """p = N(1, 1), q = N(0, 1): KL = 1/2; within 4 standard errors, which are those of repeated draws."""
        truth = {"kl": 0.5, "jensen_shannon": 0.111421}
        for name in truth:
            estimates = []
            for _ in range(40):
                draws = GENERATOR.normal(1, 1, (1000, 1)), GENERATOR.normal(0, 1, (1000, 1))
                estimates.append(getattr(linear(), name)(*draws))
            values, errors = np.array(estimates).T
            self.assertAllInRange((values - truth[name]) / errors, -4.0, 4.0)
            # The standard deviation of 40 draws is itself known to 11 %.
            self.assertAllClose(values.std(ddof=1), errors.mean(), rtol=0.4)
        draws = GENERATOR.normal(1, 1, (20_000, 1)), GENERATOR.normal(0, 1, (20_000, 1))
        for wrong in (linear(0.5), linear(1.5), linear(1.0, 0.5)):
            self.assertLess(wrong.kl(*draws, "nwj").value, 0.49)
            self.assertLess(wrong.jensen_shannon(*draws).value, 0.111)
        shifted = linear(1.0, 0.5).kl(*draws).value  # Donsker and Varadhan's bound does not see a constant
        self.assertAllClose(shifted, linear().kl(*draws).value, atol=1e-5)

    def test_far_apart_samples_do_not_overflow(self):
        ratio = linear(50.0, -1000.0)
        far, near = np.full((10, 1), 40.0), GENERATOR.normal(0, 1, (10, 1))
        self.assertTrue(np.isfinite(ratio.kl(far, near).value))
        self.assertAllClose(ratio.jensen_shannon(far, near).value, np.log(2.0), atol=1e-6)


class OddsTest(tf.test.TestCase):
    def test_labels_are_counted_however_they_come(self):
        x, y = samples(60, 20)
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(16)
        ratio = DensityRatio((1,), hidden=())
        ratio.compile("adam")
        for arguments in ({"x": x, "y": y}, {"x": x, "y": y[:, None]}, {"x": dataset}, {"x": Batches(x, y)}):
            ratio.fit(**arguments, epochs=3, verbose=0)  # each fit counts anew
            self.assertAllEqual(ratio.label_counts, [60.0, 180.0])
        ratio.fit(x, y, sample_weight=np.where(y == 1, 0.5, 1.0), verbose=0)
        self.assertAllClose(ratio.log_prior_odds(), np.log(30 / 20), rtol=1e-6)
        ratio.fit(x, y, class_weight={0: 3.0, 1: 1.0}, verbose=0)
        self.assertAllClose(ratio.log_prior_odds(), 0.0, atol=1e-6)
        ratio.evaluate(x, y, verbose=0)
        self.assertAllClose(ratio.log_prior_odds(), 0.0, atol=1e-6)  # evaluation does not count

    def test_validation_data_are_not_counted(self):
        x, y = samples(60, 20)
        ratio = DensityRatio((1,), hidden=())
        ratio.compile("adam")
        history = ratio.fit(x, y, validation_data=(x[:10], y[:10]), verbose=0).history
        self.assertEqual(set(history), {"loss", "accuracy", "val_loss", "val_accuracy"})
        self.assertAllEqual(ratio.label_counts, [20.0, 60.0])
        ratio.fit(x, y, validation_split=0.25, verbose=0)
        self.assertEqual(ratio.label_counts.numpy().sum(), 60.0)

    def test_two_replicas_count_all_labels(self):
        x, y = samples(60, 20)
        strategy = tf.distribute.MirroredStrategy(tf.config.list_logical_devices("CPU"))
        with strategy.scope():
            ratio = DensityRatio((1,), hidden=())
            ratio.compile("adam")
        ratio.fit(x, y, batch_size=16, verbose=0)
        self.assertAllEqual(ratio.label_counts, [20.0, 60.0])


class KerasTest(tf.test.TestCase):
    def test_round_trip_keeps_everything(self):
        x, y = samples(90, 30)
        x = np.concatenate([x, x**2], axis=1)
        ratio = DensityRatio((2,), hidden=(5, 4), activation="tanh")
        ratio.compile(keras.optimizers.Adam(0.01), jit_compile=False)
        ratio.fit(x, y, epochs=2, verbose=0)
        path = Path(self.get_temp_dir()) / "ratio.keras"
        ratio.save(path)
        again = zoo.load(path)
        self.assertEqual(again.get_config(), ratio.get_config())
        self.assertEqual((again.event_shape, again.hidden, again.activation), ((2,), (5, 4), "tanh"))
        self.assertAllEqual(again.log_ratio(x), ratio.log_ratio(x))
        self.assertEqual(again.optimizer.iterations.numpy(), ratio.optimizer.iterations.numpy())
        first, second = (model.fit(x, y, shuffle=False, verbose=0).history["loss"] for model in (ratio, again))
        self.assertAllClose(first, second, rtol=1e-6)

    def test_callbacks_and_mixed_precision(self):
        x, y = samples(200, 100)
        ratio = DensityRatio((1,), hidden=(4,), dtype="mixed_bfloat16")
        ratio.compile(keras.optimizers.Adam(0.01), steps_per_execution=2)
        path = Path(self.get_temp_dir()) / "best.keras"
        callbacks = [
            keras.callbacks.ModelCheckpoint(path, monitor="val_loss", save_best_only=True),
            keras.callbacks.ReduceLROnPlateau(),
            keras.callbacks.BackupAndRestore(self.get_temp_dir() + "/backup"),
            keras.callbacks.EarlyStopping(monitor="val_accuracy", mode="max"),
        ]
        ratio.fit(x, y, epochs=2, validation_data=(x, y), callbacks=callbacks, verbose=0)
        self.assertEqual(ratio.log_ratio(x).dtype, tf.float32)
        self.assertEqual(keras.saving.load_model(path).log_ratio(x).shape, (300,))

    def test_images_are_taken(self):
        ratio = zoo.DensityRatio((4, 4, 1), hidden=(3,))
        ratio.compile("adam")
        images = GENERATOR.random((10, 4, 4))
        ratio.fit(images, np.arange(10) % 2, verbose=0)
        self.assertEqual(ratio.log_ratio(images).shape, (10,))

    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.density_ratio"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 6))


class RefusalTest(tf.test.TestCase):
    def test_bad_examples_and_labels_are_refused_in_a_sentence(self):
        x, y = samples(30, 10)
        ratio = DensityRatio((1,), hidden=())
        ratio.compile("adam")
        labelled = tf.data.Dataset.from_tensor_slices((x, 3 * y)).batch(8)
        for arguments, sentence in (
            ((x, None), "one for each example; none came: call fit.x, y."),
            ((x, y[:3]), r"one for each of 40 examples; they came with shape \(3,\)"),
            ((x, 2 * y), "Labels must be 1 for samples of p and 0 for samples of q; some are 2"),
            ((x, 0.3 * y), "some are 0.3"),
            ((x, np.ones(40)), "All labels to train on are the same; samples of both p and q"),
            ((x[:, 0], y), r"Examples came with shape \[40\]; \[N, 1\] is wanted"),
            ((np.full_like(x, np.nan), y), "finite numbers"),
            ((labelled,), "Labels must be 1 for samples of p and 0 for samples of q; the dataset yields others"),
            ((labelled.map(lambda x, y: x),), r"the dataset must yield tuples \(x, y\)"),
            ((labelled.map(lambda x, y: (x, tf.zeros_like(y))),), "All labels that fit saw were 0; samples of both"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                ratio.fit(*arguments, verbose=0)
        with self.assertRaisesRegex(ValueError, "All labels to train on are the same"):
            ratio.fit(np.sort(x, axis=0), np.sort(y), validation_split=0.8, verbose=0)
        with self.assertRaisesRegex(ValueError, "some are 2"):
            ratio.evaluate(x, 2 * y, verbose=0)

    def test_estimates_before_fit_are_refused(self):
        ratio = DensityRatio((1,))
        x = np.zeros((3, 1))
        for estimate in (lambda: ratio.log_ratio(x), lambda: ratio.kl(x, x), lambda: ratio.jensen_shannon(x, x)):
            with self.assertRaisesRegex(ValueError, "has seen no labels.*call fit first"):
                estimate()
        with self.assertRaisesRegex(ValueError, "bound is 'fenchel'; one of"):
            linear().kl(x, x, "fenchel")

    def test_bad_arguments_are_refused_by_name(self):
        for name, bad in (("event_shape", (2, 3)), ("hidden", 16), ("hidden", (0,)), ("activation", tf.nn.relu)):
            with self.assertRaisesRegex(ValueError, name):
                DensityRatio(**{"event_shape": (1,), name: bad})


class Batches(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return self.x[16 * index : 16 * (index + 1)], self.y[16 * index : 16 * (index + 1)]


class ScipyTest(tf.test.TestCase):
    def test_optimal_classifier_has_no_better_neighbour(self):
        """Proposition 1 of Goodfellow et al.: the cross-entropy under p and q is least at the true log ratio."""
        x = np.linspace(-10, 11, 2101)[:, None]
        cells = np.array([stats.norm.pdf(x[:, 0], loc) for loc in (1.0, 0.0)]) * 0.01

        def loss(ratio):
            ratio.compile("adam")
            both, labels = np.concatenate([x, x]), np.repeat([1.0, 0.0], len(x))
            logs = ratio.evaluate(both, labels, sample_weight=cells.ravel() * len(x), batch_size=len(both), verbose=0)
            return logs[0]

        best = loss(linear())
        self.assertAllClose(best, np.log(2.0) - 0.111421, atol=2e-6)  # log 2 - JSD; the golden number of theta = 1
        for slope, intercept in ((1.05, -0.5), (0.95, -0.5), (1.0, -0.45), (1.0, -0.55)):
            self.assertGreater(loss(linear(slope, intercept)), best)
