"""k-means against scikit-learn, SciPy, and NumPy loops: none of them shares a line with it."""

import doctest
import os
import sys
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans as ScikitKMeans
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture

import zoo

DIGITS = load_digits().images[..., None] / 16.0  # [1797, 8, 8, 1]
FLAT_DIGITS = DIGITS.reshape(-1, 64)
START = FLAT_DIGITS[:10]
FAR = 100.0 + np.arange(64)  # no digit is near it
# Four clouds of 60 points, not in order.
CLOUDS = np.random.default_rng(4).permutation(
    np.concatenate([np.random.default_rng(3).standard_normal((60, 2)) + center for center in np.eye(4, 2) * 6 - 2])
)


def started(start, event_shape=(64,), compile_arguments=(), **arguments):
    arguments = {"dtype": "float64", **arguments}
    num_clusters = np.prod(np.shape(start)) // np.prod(event_shape) // arguments.get("num_initializations", 1)
    kmeans = zoo.KMeans(event_shape, int(num_clusters), **arguments)
    kmeans.compile(**dict(compile_arguments))
    kmeans.start_from(start)
    return kmeans


def in_scikit(x, start, iterations=300, **fit_arguments):
    """scikit-learn's Lloyd, with the default float64 and no tolerance but that of the assignments."""
    model = ScikitKMeans(len(start), init=start, n_init=1, max_iter=iterations, tol=0, algorithm="lloyd")
    return model.fit(x, **fit_arguments)


def labels_of(kmeans, x):
    return kmeans.predict(x, batch_size=len(x), verbose=0)["labels"]


def inertia_of(kmeans, x):
    return cdist(x, kmeans.centroids.reshape(-1, kmeans.features), "sqeuclidean").min(axis=1).sum()


def stream(x, size=40):
    return tf.data.Dataset.from_tensor_slices(x).batch(size)


class PyBatches(keras.utils.PyDataset):
    def __init__(self, x, size):
        super().__init__()
        self.x, self.size = x, size

    def __len__(self):
        return -(-len(self.x) // self.size)

    def __getitem__(self, index):
        return self.x[index * self.size : (index + 1) * self.size]


class LloydTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("ten", START),
        # Away from the digits, whose distances to each other are roots of integers, with ties.
        ("hundred", FLAT_DIGITS[:100] + 1e-3 * np.random.default_rng(0).standard_normal((100, 64))),
        ("one_empty", np.vstack([START[:9], FAR])),
        ("two_empty", np.vstack([START[:8], FAR, -FAR])),
    )
    def test_each_iteration_is_that_of_scikit_learn(self, start):
        kmeans, scikit = started(start), in_scikit(FLAT_DIGITS, start)
        losses, reseeded = [], 0
        for iterations in (1, 1, 3):  # one more at a time: `fit` goes on
            history = kmeans.fit(FLAT_DIGITS, epochs=iterations, verbose=0).history
            losses, reseeded = losses + history["loss"], reseeded + sum(history["reseeded"])
            expected = in_scikit(FLAT_DIGITS, start, len(losses))
            # Sums of float64 in another order.
            self.assertAllClose(kmeans.centroids, expected.cluster_centers_, atol=1e-10, rtol=0.0)
            self.assertAllClose(inertia_of(kmeans, FLAT_DIGITS), expected.inertia_, rtol=1e-10, atol=0.0)
            self.assertAllEqual(labels_of(kmeans, FLAT_DIGITS), expected.labels_)
        # To the end, in the same number of iterations.
        losses += kmeans.fit(FLAT_DIGITS, epochs=300, verbose=0).history["loss"]
        self.assertLen(losses, scikit.n_iter_)
        self.assertAllEqual(labels_of(kmeans, FLAT_DIGITS), scikit.labels_)
        self.assertAllClose(kmeans.centroids, scikit.cluster_centers_, atol=1e-10, rtol=0.0)
        self.assertAllClose(kmeans.variance * FLAT_DIGITS.size, scikit.inertia_, rtol=1e-10, atol=0.0)
        self.assertAllClose(kmeans.frequencies, np.bincount(scikit.labels_) / 1797, atol=1e-12, rtol=0.0)
        # The loss of an epoch is float32 in Keras' logs; where an empty cluster was filled, it falls as well.
        self.assertAllLess(np.diff(losses), 1e-6)
        self.assertAllClose(losses[-1] * 1797, scikit.inertia_, rtol=1e-6, atol=0.0)
        number = int(np.sum(np.abs(start).max(axis=1) > 2))
        self.assertEqual((reseeded, kmeans.reseeded), (number, number))

    def test_the_variance_is_that_of_the_clusters_after_reseeding(self):
        kmeans = started(np.vstack([START[:8], FAR, -FAR]))
        kmeans.fit(FLAT_DIGITS, verbose=0)
        distances = cdist(FLAT_DIGITS, START[:8])
        labels, farthest = distances.argmin(axis=1), np.argsort(-distances.min(axis=1))[:2]
        labels[farthest] = 8, 9
        means = np.stack([FLAT_DIGITS[labels == label].mean(axis=0) for label in range(10)])
        self.assertAllClose(kmeans.centroids, means, atol=1e-12, rtol=0.0)
        self.assertAllClose(kmeans.variance, np.mean((FLAT_DIGITS - means[labels]) ** 2), rtol=1e-12, atol=0.0)
        self.assertAllClose(kmeans.frequencies, np.bincount(labels) / 1797, atol=1e-12, rtol=0.0)

    def test_float32_by_default(self):
        kmeans, scikit = started(START, dtype=None), in_scikit(FLAT_DIGITS, START)
        kmeans.fit(FLAT_DIGITS, epochs=300, verbose=0)
        self.assertEqual(kmeans.predict(DIGITS[:9, ..., 0].reshape(9, 64), verbose=0)["distances"].dtype, np.float32)
        # The 1e-5: rounding of the distances may decide an assignment at a tie.
        self.assertAllClose(inertia_of(kmeans, FLAT_DIGITS), scikit.inertia_, rtol=1e-5, atol=0.0)
        self.assertAllClose(kmeans.variance * FLAT_DIGITS.size, scikit.inertia_, rtol=1e-5, atol=0.0)

    @parameterized.named_parameters(
        ("tf_data", lambda x: (stream(x, 37), {})),
        ("shuffled_tf_data", lambda x: (tf.data.Dataset.from_tensor_slices(x).shuffle(240, seed=1).batch(60), {})),
        ("py_dataset", lambda x: (PyBatches(x, 40), {})),
        ("shuffled_batches", lambda x: (x, {"batch_size": 60, "shuffle": True})),
        ("tensor", lambda x: (tf.constant(x), {})),
    )
    def test_stops_where_scikit_learn_does_whatever_the_batches(self, feed):
        # A mean far from 0: what rounding leaves of another order must not look like another assignment.
        for mean, dtype in ((1e5, "float64"), (0.0, "float32")):
            x = CLOUDS + mean
            kmeans, scikit = started(x[:5], (2,), dtype=dtype), in_scikit(x, x[:5])
            data, arguments = feed(x)
            history = kmeans.fit(data, epochs=100, verbose=0, **arguments).history
            self.assertLen(history["loss"], scikit.n_iter_)
            self.assertAllClose(inertia_of(kmeans, x), scikit.inertia_, rtol=1e-6, atol=0.0)
            self.assertLen(kmeans.fit(data, epochs=100, verbose=0, **arguments).history["loss"], 1)

    @parameterized.named_parameters(
        ("compiled_by_xla", {"jit_compile": True}),
        ("eager", {"run_eagerly": True}),
        ("several_steps_at_once", {"steps_per_execution": 3}),
    )
    def test_every_mode_of_keras_gives_the_same(self, compile_arguments):
        expected = in_scikit(FLAT_DIGITS, START, 3)
        kmeans = started(START, compile_arguments=compile_arguments.items())
        for data, arguments in ((FLAT_DIGITS, {}), (FLAT_DIGITS, {"batch_size": 500}), (stream(FLAT_DIGITS, 500), {})):
            kmeans.start_from(START)
            loss = kmeans.fit(data, epochs=3, verbose=0, **arguments).history["loss"]
            self.assertAllClose(kmeans.centroids, expected.cluster_centers_, atol=1e-10, rtol=0.0)
            self.assertAllClose(
                loss[0] * 1797, cdist(FLAT_DIGITS, START, "sqeuclidean").min(axis=1).sum(), rtol=1e-6, atol=0.0
            )

    @parameterized.parameters({}, {"jit_compile": True}, {"run_eagerly": True})
    def test_a_batch_of_many_rows_is_taken_in_parts(self, **compile_arguments):
        expected = in_scikit(FLAT_DIGITS, START, 2)
        with mock.patch("zoo.kmeans.ROWS_AT_A_TIME", 500):
            kmeans = started(START, compile_arguments=compile_arguments.items())
            kmeans.fit(FLAT_DIGITS, epochs=2, verbose=0)
        self.assertAllClose(kmeans.centroids, expected.cluster_centers_, atol=1e-10, rtol=0.0)

    def test_several_runs_advance_as_if_alone_and_the_best_is_kept(self):
        starts = np.stack([FLAT_DIGITS[first : first + 10] for first in (0, 200, 400)])
        starts[1, 3] = FAR  # one of them has an empty cluster
        together = started(starts, num_initializations=3)
        history = together.fit(FLAT_DIGITS, epochs=6, verbose=0).history
        alone = [started(start) for start in starts]
        for kmeans in alone:
            kmeans.fit(FLAT_DIGITS, epochs=6, verbose=0)
        for run, kmeans in enumerate(alone):
            self.assertAllClose(together.run_centroids[run], kmeans.centroids, atol=1e-10, rtol=0.0)
            self.assertAllClose(together.run_counts[run], kmeans.run_counts[0], atol=0.0, rtol=0.0)
        best = alone[np.argmin([kmeans.variance for kmeans in alone])]
        self.assertAllClose(together.centroids, best.centroids, atol=1e-10, rtol=0.0)
        self.assertAllClose(together.variance, best.variance, rtol=1e-10, atol=0.0)
        self.assertEqual((sum(history["reseeded"]), together.reseeded), (1, 1))

    def test_all_runs_must_have_ended(self):
        starts = np.stack([CLOUDS[:4], CLOUDS[100:104]])
        expected = max(in_scikit(CLOUDS, start).n_iter_ for start in starts)
        kmeans = started(starts, (2,), num_initializations=2)
        self.assertLen(kmeans.fit(CLOUDS, epochs=100, verbose=0).history["loss"], expected)

    def test_own_initialization_is_as_good_as_that_of_scikit_learn(self):
        scikit = ScikitKMeans(10, n_init=5, random_state=0, tol=0).fit(FLAT_DIGITS)
        for initialization in ("k-means++", "k-means||"):
            kmeans = zoo.KMeans((64,), 10, initialization=initialization, num_initializations=5)
            kmeans.compile()
            kmeans.fit(FLAT_DIGITS, epochs=100, verbose=0)
            self.assertLess(inertia_of(kmeans, FLAT_DIGITS), 1.005 * scikit.inertia_)  # the half a percent

    def test_an_integer_weight_is_so_many_equal_examples(self):
        weights = np.random.default_rng(1).integers(1, 4, len(CLOUDS))
        scikit = in_scikit(np.repeat(CLOUDS, weights, axis=0), CLOUDS[:4])
        for data, arguments in (
            (CLOUDS, {"sample_weight": weights}),
            (CLOUDS, {"sample_weight": weights, "y": np.zeros(240), "batch_size": 60}),
            (tf.data.Dataset.from_tensor_slices((CLOUDS, CLOUDS, weights.astype("float32"))).batch(40), {}),
        ):
            kmeans = started(CLOUDS[:4], (2,))
            history = kmeans.fit(data, epochs=100, verbose=0, **arguments).history
            self.assertLen(history["loss"], scikit.n_iter_)
            self.assertAllClose(kmeans.centroids, scikit.cluster_centers_, atol=1e-10, rtol=0.0)
            self.assertAllClose(kmeans.run_counts.numpy().sum(), weights.sum())
            self.assertAllClose(kmeans.variance * 2 * weights.sum(), scikit.inertia_, rtol=1e-10, atol=0.0)

    def test_validation_split_leaves_its_part_out(self):
        kmeans = started(START)
        history = kmeans.fit(FLAT_DIGITS, validation_split=0.5, epochs=2, verbose=0).history
        expected = in_scikit(FLAT_DIGITS[:898], START, 2)
        self.assertAllClose(kmeans.centroids, expected.cluster_centers_, atol=1e-10, rtol=0.0)
        # Validation comes before the end of the epoch, so it sees the centroids that the epoch began with.
        centroids = in_scikit(FLAT_DIGITS[:898], START, 1).cluster_centers_
        expected = cdist(FLAT_DIGITS[898:], centroids, "sqeuclidean").min(axis=1).mean()
        self.assertAllClose(history["val_loss"][1], expected, rtol=1e-6, atol=0.0)

    def test_an_interrupted_training_goes_on_bit_by_bit(self):
        for arguments in ({"num_initializations": 2}, {"minibatch": True}):
            models = []
            for _ in range(2):
                models.append(zoo.KMeans((64,), 10, seed=3, **arguments))
                models[-1].compile()
            whole, interrupted = models
            fit = {"batch_size": 500, "shuffle": False, "verbose": 0}
            losses = whole.fit(FLAT_DIGITS[:1000], epochs=6, **fit).history["loss"]
            first = interrupted.fit(FLAT_DIGITS[:1000], epochs=3, **fit).history["loss"]
            path = os.path.join(self.get_temp_dir(), "model.keras")
            interrupted.save(path)
            interrupted = zoo.load(path)
            self.assertEqual(first + interrupted.fit(FLAT_DIGITS[:1000], epochs=3, **fit).history["loss"], losses)
            for one, other in zip(whole.weights, interrupted.weights, strict=True):
                self.assertEqual(one.numpy().tobytes(), other.numpy().tobytes(), one.name)

    def test_callbacks_see_the_updated_centroids(self):
        folder, seen = self.get_temp_dir(), []
        for in_list in (False, True):
            kmeans = started(START)
            look = keras.callbacks.LambdaCallback(
                on_epoch_end=lambda epoch, logs, kmeans=kmeans: seen.append((kmeans.centroids, logs["reseeded"]))
            )
            checkpoint = keras.callbacks.ModelCheckpoint(f"{folder}/{{epoch}}.keras")
            callbacks = [look, checkpoint]
            if in_list:
                callbacks = keras.callbacks.CallbackList(callbacks, add_history=True, model=kmeans)
            kmeans.fit(FLAT_DIGITS, epochs=2, verbose=0, callbacks=callbacks)
            for epoch in (1, 2):
                expected = in_scikit(FLAT_DIGITS, START, epoch).cluster_centers_
                centroids, reseeded = seen.pop(0)
                self.assertAllClose(centroids, expected, atol=1e-10, rtol=0.0)
                self.assertEqual(reseeded, 0)
                loaded = zoo.load(f"{folder}/{epoch}.keras")
                self.assertAllClose(loaded.centroids, expected, atol=1e-10, rtol=0.0)
                self.assertGreater(loaded.variance, 0.0)


class MinibatchTest(tf.test.TestCase, parameterized.TestCase):
    def test_updates_are_those_of_a_numpy_loop(self):
        centroids, counts = START.copy(), np.zeros(10)
        losses = []
        for _ in range(2):
            squared = 0.0
            for first in range(0, 1797, 300):
                batch = FLAT_DIGITS[first : first + 300]
                distances = cdist(batch, centroids, "sqeuclidean")
                squared += distances.min(axis=1).sum()
                for x, label in zip(batch, distances.argmin(axis=1), strict=True):  # Sculley's algorithm 1
                    counts[label] += 1
                    centroids[label] += (x - centroids[label]) / counts[label]
            losses.append(squared / 1797)
        for data, arguments in ((FLAT_DIGITS, {"batch_size": 300, "shuffle": False}), (stream(FLAT_DIGITS, 300), {})):
            kmeans = started(START, minibatch=True)
            history = kmeans.fit(data, epochs=2, verbose=0, **arguments).history
            self.assertAllClose(kmeans.centroids, centroids, atol=1e-10, rtol=0.0)
            self.assertAllClose(kmeans.frequencies, counts / counts.sum(), rtol=1e-12, atol=0.0)
            self.assertAllClose(history["loss"], losses, rtol=1e-6, atol=0.0)
            self.assertEqual(history["reseeded"], [0, 0])

    @parameterized.parameters(lambda x: x, tf.constant)
    def test_an_array_comes_in_shuffled_batches_of_a_thousand(self, kind):
        kmeans = started(START, minibatch=True)
        sizes = []
        count = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: sizes.append(kmeans.run_counts.numpy().sum())
        )
        kmeans.fit(kind(FLAT_DIGITS), epochs=2, verbose=0, callbacks=[count])
        self.assertAllEqual(sizes, [1024, 1797, 1797 + 1024, 2 * 1797])
        scikit = in_scikit(FLAT_DIGITS, START)
        self.assertLess(inertia_of(kmeans, FLAT_DIGITS), 1.1 * scikit.inertia_)

    def test_an_endless_stream_by_steps(self):
        kmeans = started(START, minibatch=True)
        kmeans.fit(stream(FLAT_DIGITS, 100).repeat(), steps_per_epoch=5, epochs=2, verbose=0)
        self.assertEqual(kmeans.run_counts.numpy().sum(), 1000)


class ReplicaTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("lloyd", {"num_initializations": 2}),
        ("minibatch", {"minibatch": True}),
    )
    def test_two_replicas_give_the_results_of_one(self, arguments):
        """The last batch holds 1 example, which leaves the other replica without any."""
        two = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())
        x, results = FLAT_DIGITS[: 4 * 200 + 1], []
        starts = np.stack([START, np.vstack([FLAT_DIGITS[50:59], FAR])])[: arguments.get("num_initializations", 1)]
        for strategy in (tf.distribute.get_strategy(), two):
            with strategy.scope():
                kmeans = started(starts, **arguments)
            history = kmeans.fit(stream(x, 200), epochs=3, verbose=0).history
            evaluated = kmeans.evaluate(stream(x, 200), verbose=0)
            outputs = kmeans.predict(stream(x, 200), verbose=0)
            counts = kmeans.run_counts.numpy()
            results.append((history["loss"], history["reseeded"], evaluated, kmeans.run_centroids.numpy(), counts))
            results[-1] += (outputs["distances"], outputs["labels"])
        for one, other in zip(*results, strict=True):
            self.assertAllClose(one, other, rtol=1e-6, atol=1e-6)


class DensityTest(tf.test.TestCase, parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.kmeans = started(DIGITS[:10], (8, 8, 1))
        self.kmeans.fit(DIGITS, epochs=100, verbose=0)
        # scikit-learn's mixture, with its parameters set and nothing fitted.
        centroids = self.kmeans.centroids.reshape(10, 64)
        labels = cdist(FLAT_DIGITS, centroids).argmin(axis=1)
        self.variance = np.mean((FLAT_DIGITS - centroids[labels]) ** 2)
        self.mixture = GaussianMixture(10, covariance_type="spherical")
        self.mixture.weights_, self.mixture.means_ = np.bincount(labels) / 1797, centroids
        self.mixture.precisions_cholesky_ = np.full(10, self.variance**-0.5)

    def test_density_is_that_of_the_mixture_of_scikit_learn(self):
        self.assertAllClose(self.kmeans.variance, self.variance, rtol=1e-10, atol=0.0)
        expected = self.mixture.score_samples(FLAT_DIGITS)
        self.assertAllClose(self.kmeans.log_prob(DIGITS), expected, rtol=1e-9, atol=1e-7)
        with mock.patch("zoo.kmeans.NUMBERS_AT_A_TIME", 640 * 100):
            self.assertAllClose(self.kmeans.log_prob(DIGITS[:250]), expected[:250], rtol=1e-9, atol=1e-7)
        posterior = self.mixture.predict_proba(FLAT_DIGITS)
        self.assertAllClose(self.kmeans.posterior(DIGITS).probs_parameter(), posterior, atol=1e-9, rtol=0.0)
        # Bayes, at any label.
        labels = np.arange(1797) % 10
        log_prob = self.kmeans.likelihood(labels).log_prob(DIGITS) + self.kmeans.prior.log_prob(labels)
        self.assertAllClose(log_prob - self.kmeans.posterior(DIGITS).log_prob(labels), expected, rtol=1e-9, atol=1e-7)

    def test_labels_and_distances_are_those_of_scipy(self):
        outputs = self.kmeans.predict(DIGITS, verbose=0)
        expected = cdist(FLAT_DIGITS, self.mixture.means_)
        self.assertAllClose(outputs["distances"], expected, atol=1e-9, rtol=0.0)
        self.assertAllEqual(outputs["labels"], expected.argmin(axis=1))
        self.assertEqual(outputs["labels"].dtype, np.int64)
        centroids = self.mixture.means_[expected.argmin(axis=1)].reshape(DIGITS.shape)
        self.assertAllClose(self.kmeans.reconstruct(DIGITS), centroids, atol=1e-12, rtol=0.0)
        # Keras' loss is a float32.
        loss = np.mean(expected.min(axis=1) ** 2)
        self.assertAllClose(self.kmeans.evaluate(DIGITS, batch_size=100, verbose=0), loss, rtol=1e-6, atol=0.0)

    def test_endpoints_in_float32_are_the_methods_in_float64(self):
        x = DIGITS[:300].astype("float32")
        endpoints = self.kmeans.endpoints()
        expected = cdist(x.reshape(-1, 64).astype("float64"), self.mixture.means_)
        assigned = endpoints["assign"].function(x)
        self.assertAllClose(assigned["distances"], expected, rtol=1e-5, atol=0.0)
        self.assertAllEqual(assigned["labels"], expected.argmin(axis=1))
        log_prob = endpoints["log_prob"].function(x)["log_prob"]
        self.assertAllClose(log_prob, self.mixture.score_samples(x.reshape(-1, 64)), rtol=1e-5, atol=1e-4)

    def test_samples_have_the_moments_of_the_mixture(self):
        count = 40_000
        x = self.kmeans.sample(count, seed=5).reshape(count, 64).astype("float64")
        weights, means = self.mixture.weights_, self.mixture.means_
        mean = weights @ means
        second = np.diag(np.full(64, self.variance)) + (means - mean).T * weights @ (means - mean)
        # 64 means in standard errors, and 64 variances, whose errors are those of a Gaussian or less.
        self.assertAllInRange((x.mean(axis=0) - mean) / np.sqrt(np.diag(second) / count), -4.5, 4.5)
        self.assertAllInRange(
            x.var(axis=0) / np.diag(second), 1 - 4.5 * np.sqrt(2 / count), 1 + 4.5 * np.sqrt(2 / count)
        )
        # Nearest centroids of the samples, as often as the prior says, but for samples that fall nearer to others.
        noise = np.random.default_rng(0).standard_normal((count, 64)) * self.variance**0.5
        expected = means[np.random.default_rng(1).choice(10, count, p=weights)] + noise
        shares = [np.bincount(cdist(each, means).argmin(axis=1)) / count for each in (x, expected)]
        self.assertAllClose(*shares, atol=4.5 * np.sqrt(2 * 0.1 / count), rtol=0.0)


class RefusalTest(tf.test.TestCase, parameterized.TestCase):
    def assertRefuses(self, sentence, x, start=None, num_clusters=4, **arguments):
        kmeans = zoo.KMeans((2,), num_clusters, **arguments)
        kmeans.compile()
        if start is not None:
            kmeans.start_from(start)
        with self.assertRaisesRegex(ValueError, sentence):
            kmeans.fit(x, epochs=20, verbose=0)

    @parameterized.parameters("k-means++", "k-means||", "random")
    def test_few_examples(self, initialization):
        for few in (CLOUDS[:3], stream(CLOUDS[:3], 2)):
            self.assertRefuses("number of examples is 3; num_clusters = 4", few, initialization=initialization)
        kmeans = zoo.KMeans((2,), 4, initialization=initialization)
        kmeans.compile()
        kmeans.fit(CLOUDS[:4], epochs=3, verbose=0)
        self.assertAllClose(kmeans.variance, 0.0, atol=1e-12, rtol=0.0)
        with self.assertRaisesRegex(ValueError, "Every example is a centroid.*ask for fewer clusters"):
            kmeans.log_prob(CLOUDS)

    @parameterized.parameters("k-means++", "k-means||", "random")
    def test_few_distinct_examples_say_how_many(self, initialization):
        sentence = "hold 3 distinct examples only, fewer than num_clusters = 4; ask for at most 3"
        self.assertRefuses(sentence, stream(np.tile(CLOUDS[:3], (50, 1))), initialization=initialization)
        for mean in (1 / 3, 1e4):
            self.assertRefuses(sentence, np.repeat(CLOUDS[:3] + mean, 50, axis=0), initialization=initialization)

    def test_few_distinct_examples_with_centroids_of_ones_own(self):
        self.assertRefuses("hold 3 distinct examples only", np.repeat(CLOUDS[:3], 50, axis=0), CLOUDS[:4])
        self.assertRefuses("hold 3 distinct examples only", CLOUDS[:3], CLOUDS[:4])
        self.assertRefuses("hold 1 distinct examples only", CLOUDS[:1], CLOUDS[:4])

    @parameterized.parameters(False, True)
    def test_values_and_shapes(self, has_centroids):
        start = CLOUDS[:4] if has_centroids else None
        broken = CLOUDS.copy()
        broken[70, 1] = np.nan
        for bad in (broken, stream(broken), PyBatches(broken, 40)):
            self.assertRefuses("finite numbers.*Remove NaN and infinity", bad, start)
        widths = [CLOUDS[:10], CLOUDS[:10, :1]]
        changing = tf.data.Dataset.from_generator(
            lambda: iter(widths), output_signature=tf.TensorSpec((None, None), tf.float64)
        )
        self.assertRefuses(r"shape \[10, 1\]; \[N, 2\] is wanted", changing, start)
        self.assertRefuses(r"shape \[30, 1\]; \[N, 2\] is wanted", PyBatches(CLOUDS[:, :1], 30), start)
        self.assertRefuses("never ends", stream(CLOUDS).repeat(), start)

    def test_methods_do_not_cut_examples_anew(self):
        kmeans = started(CLOUDS[:4], (2,))
        kmeans.fit(CLOUDS, verbose=0)
        for method in (kmeans.posterior, kmeans.log_prob, kmeans.reconstruct):
            for shape in ((4, 1), (2,), (3, 4)):
                with self.assertRaisesRegex(ValueError, r"\[N, 2\] is wanted"):
                    method(np.zeros(shape))

    def test_use_before_fit(self):
        kmeans = zoo.KMeans((2,), 4)
        kmeans.compile()
        for use in (
            lambda: kmeans.predict(CLOUDS, verbose=0),
            lambda: kmeans.evaluate(CLOUDS, verbose=0),
            lambda: kmeans.posterior(CLOUDS),
            lambda: kmeans.likelihood([0]),
            lambda: kmeans.log_prob(CLOUDS),
            lambda: kmeans.sample(1),
            lambda: kmeans.reconstruct(CLOUDS),
            lambda: kmeans.prior,
            lambda: kmeans.centroids,
            lambda: kmeans.variance,
            lambda: kmeans.frequencies,
        ):
            with self.subTest(use), self.assertRaisesRegex(ValueError, r"has no centroids; call fit\(x\) first"):
                use()
        kmeans.start_from(CLOUDS[:4])
        kmeans.predict(CLOUDS, verbose=0)
        for use in (lambda: kmeans.sample(1), lambda: kmeans.log_prob(CLOUDS), lambda: kmeans.variance):
            with self.assertRaisesRegex(ValueError, "finished no iteration; call fit"):
                use()

    def test_bad_arguments_are_refused_by_name(self):
        good = {"event_shape": (8, 8, 1), "num_clusters": 2}
        for name, bad in (
            ("num_clusters", 0),
            ("num_clusters", 2.0),
            ("num_initializations", 0),
            ("initialization", "kmeans++"),
            ("event_shape", (8, 8)),
            ("seed", -1),
        ):
            with self.assertRaisesRegex(ValueError, name):
                zoo.KMeans(**{**good, name: bad})
        kmeans = zoo.KMeans(**good)
        with self.assertRaisesRegex(ValueError, "follows no gradient, so it takes no optimizer"):
            kmeans.compile("adam")
        kmeans.compile()
        with self.assertRaisesRegex(ValueError, "leave steps_per_epoch out"):
            kmeans.fit(DIGITS, steps_per_epoch=2, verbose=0)
        for start in (DIGITS[:3], np.zeros((2, 63)), np.full((2, 64), np.nan)):
            with self.assertRaisesRegex(ValueError, r"shape .*; finite numbers, 2 x \[8, 8, 1\] for each of 1 runs"):
                kmeans.start_from(start)
        kmeans.start_from(DIGITS[:2])
        kmeans.fit(DIGITS[:50], verbose=0)
        with self.assertRaisesRegex(ValueError, "num_samples"):
            kmeans.sample(0)

    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.kmeans"])
        self.assertEqual((outcome.failed, outcome.attempted), (0, 4))
