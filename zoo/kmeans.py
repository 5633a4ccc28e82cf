"""k-means (Lloyd 1982), and the mixture of Gaussians that it stands for.

    assignment   label_n = argmin_k ||x_n - c_k||^2
    update       c_k = mean of the x_n with label k
    objective    1/N sum_n min_k ||x_n - c_k||^2

An epoch is one iteration: its training steps assign and add up, its end updates. As a generative model it is the
mixture whose components all have one spherical variance,

    prior        p(k)   = share of the examples with label k
    likelihood   p(x|k) = N(c_k, variance I),      variance = 1/(N D) sum_n ||x_n - c_label_n||^2
    marginal     p(x)   = sum_k p(k) p(x|k)
"""

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo import seeding
from zoo.base import Endpoint, Input, Output, WithoutGradient, at_least
from zoo.distributions import gaussian, normal_noise, stateless_seed
from zoo.inputs import check_ends, check_shape

INITIALIZATIONS = ("k-means++", "k-means||", "random")
ROWS_AT_A_TIME = 2500  # few enough to stay in the cache from one use to the next; a batch may be all of the data
MINIBATCH_SIZE = 1024
FAR = 10  # spreads from 0: a distance then loses two of float32's seven digits
TINY = np.finfo(np.float64).tiny  # instead of a division by 0
NUMBERS_AT_A_TIME = 2**23  # of tfp's mixture, which takes [batch, clusters, features] of them


@keras.saving.register_keras_serializable(package="zoo")
class KMeans(WithoutGradient):
    """k-means by Lloyd's algorithm, on arrays and streams; as a generative model, a mixture of spheres.

    `compile()`, then `fit(x, epochs=...)`: an epoch is one Lloyd iteration, and training stops when no assignment has
    changed. The loss of an epoch is the mean squared distance to the nearest of the centroids that the epoch began
    with. `fit` on a model that has centroids goes on from them.

    Args:
        event_shape: (height, width, channels), or (features,). Examples are any finite numbers.
        num_clusters: number of centroids.
        initialization: "k-means++" (greedy; a stream is represented by a uniform sample of 10,000 examples, or 100 a
            cluster), "k-means||" (6 passes over all of the data), or "random" (distinct draws of examples).
        num_initializations: so many runs advance together, each from its own initialization; the one of the smallest
            objective so far is the model.
        minibatch: update after each batch instead, each centroid towards the mean of its examples by the share that
            they have in all it has seen (Sculley 2010). Nothing stops such a training but `epochs` or a callback.
        seed: of the initializations.
        dtype: "float64" takes distances in float64; under any other policy they are float32. Centroids are float64.

    Attributes:
        centroids: float64 [num_clusters, *event_shape]. frequencies: float64 [num_clusters], which sum to 1.
        variance: float; within the clusters, of one feature. reseeded: int; how many empty clusters were given the
            example farthest from its centroid; `history` has their number an epoch.

    Call: images -> {"labels": int64 [batch], "distances": [batch, num_clusters], to each centroid}.

    Example:
        >>> kmeans = KMeans(event_shape=(8, 8, 1), num_clusters=3)
        >>> kmeans.compile()
        >>> history = kmeans.fit(np.random.default_rng(0).random((256, 8, 8)), epochs=50, verbose=0)
        >>> kmeans.sample(4, seed=0).shape
        (4, 8, 8, 1)

    Raises:
        ValueError: for an argument out of its range; by `fit`: for fewer examples, or fewer distinct ones, than
            clusters, and for values that are not finite; where the model is used before `fit`.

    References:
        Lloyd 1982, Least Squares Quantization in PCM. Sculley 2010, Web-Scale K-Means Clustering, for `minibatch`.
        Arthur and Vassilvitskii 2007, k-means++. Bahmani et al. 2012, Scalable K-Means++, for k-means||.
    """

    values = "real"

    def __init__(
        self,
        event_shape,
        num_clusters,
        initialization="k-means++",
        num_initializations=1,
        minibatch=False,
        seed=0,
        **kwargs,
    ):
        super().__init__(event_shape=event_shape, seed=seed, **kwargs)
        self.features = int(np.prod(self.event_shape))
        self.num_clusters = at_least("num_clusters", num_clusters, 1)
        self.num_initializations = at_least("num_initializations", num_initializations, 1)
        self.initialization, self.minibatch = initialization, bool(minibatch)
        if initialization not in INITIALIZATIONS:
            raise ValueError(f"initialization is {initialization!r}; one of {INITIALIZATIONS} is wanted.")

        # What each of the runs has found, and what the present epoch has added up.
        runs, clusters = self.num_initializations, self.num_clusters
        self.run_centroids = self.statistic("run_centroids", (runs, clusters, self.features))
        self.run_counts = self.statistic("run_counts", (runs, clusters))
        self.run_objectives = self.statistic("run_objectives", (runs,))
        self.best_run = self.statistic("best_run", (), "int64")
        self.center = self.statistic("center", (self.features,))
        self.num_reseeded = self.statistic("num_reseeded", (), "int64")
        self.is_started = self.statistic("is_started", (), "int64")
        self.sums = self.statistic("sums", (runs, clusters, self.features))
        self.counts = self.statistic("counts", (runs, clusters))
        self.nearest = self.statistic("nearest", (runs,))
        self.squares = self.statistic("squares", ())
        self.supports_jit = False  # XLA goes wrong on slices whose size only the run shows; `segment_sum` is compiled
        self.built = True

    def statistic(self, name, shape, dtype="float64"):
        return self.add_weight(
            shape=shape,
            initializer="zeros",
            dtype=dtype,
            trainable=False,
            autocast=False,
            aggregation="only_first_replica",
            name=name,
        )

    @property
    def precision(self):
        return "float64" if self.dtype_policy.variable_dtype == "float64" else "float32"

    @property
    def centroids(self):
        self.check_ready()
        return self.run_centroids.numpy()[self.best_run.numpy()].reshape(-1, *self.event_shape)

    @property
    def frequencies(self):
        self.check_fitted()
        counts = self.run_counts.numpy()[self.best_run.numpy()]
        return counts / counts.sum()

    @property
    def variance(self):
        self.check_fitted()
        return float(self.run_objectives.numpy()[self.best_run.numpy()] / self.features)

    @property
    def reseeded(self):
        return int(self.num_reseeded.numpy())

    def check_ready(self):
        if tf.executing_eagerly() and not self.is_started.numpy():
            raise ValueError("This KMeans has no centroids; call fit(x) first.")

    def check_fitted(self):
        self.check_ready()
        if not self.run_counts.numpy().any():
            raise ValueError("This KMeans has finished no iteration; call fit(x) first.")

    # Where it starts.

    def adapt_to(self, x):
        """Choose the initial centroids among the examples, unless there are centroids already."""
        if not self.minibatch:
            check_ends(x)
        if self.is_started.numpy():
            return
        generators = [np.random.default_rng([self.seed, run]) for run in range(self.num_initializations)]
        runs = [seeding.initial_centroids(x, self.num_clusters, self.initialization, each) for each in generators]
        self.start_from(np.stack(runs))

    def start_from(self, centroids):
        """Set the centroids that the next `fit` starts from: [num_clusters, *event_shape], or one such for each run."""
        shape = self.run_centroids.shape
        centroids = np.asarray(centroids, np.float64)
        if centroids.size != np.prod(shape) or not np.isfinite(centroids).all():
            raise ValueError(
                f"Centroids came with shape {list(centroids.shape)}; finite numbers, {self.num_clusters} x "
                f"{list(self.event_shape)} for each of {self.num_initializations} runs, are wanted."
            )
        centroids = centroids.reshape(shape)
        self.run_centroids.assign(centroids)
        self.run_counts.assign(np.zeros(shape[:2]))
        # Distances about a point among the data keep the digits that a mean far from 0 would take from float32. Where
        # that is not needed, it would only cost time.
        mean = centroids.mean(axis=(0, 1))
        spread = np.sqrt(np.mean(np.square(centroids - mean).sum(axis=-1)))
        self.center.assign(mean if np.linalg.norm(mean) > FAR * spread else np.zeros_like(mean))
        self.best_run.assign(0)
        self.is_started.assign(1)

    # An iteration: assign and add up in the steps, update at the end.

    def fit(self, x=None, y=None, batch_size=None, epochs=1, shuffle=None, **kwargs):
        """`keras.Model.fit`. An array is one batch, unless `batch_size` is given; with `minibatch`, 1,024 by default.

        Labels `y` are ignored. A sample weight counts an example so many times; seeding and reseeding leave it out.
        """
        if kwargs.get("steps_per_epoch") and not self.minibatch:
            raise ValueError("An epoch of k-means is one pass over all examples; leave steps_per_epoch out.")
        is_array, y = not isinstance(x, (tf.data.Dataset, keras.utils.PyDataset)), None
        if is_array and kwargs.get("sample_weight") is not None:
            y = np.zeros(len(x))  # Keras drops the weights where there is no y
        if is_array and batch_size is None:
            if self.minibatch:
                batch_size = MINIBATCH_SIZE
            elif y is not None or kwargs.get("validation_split"):
                batch_size = len(x)  # for Keras to split and weight
        shuffle = self.minibatch and is_array if shuffle is None else shuffle
        return super().fit(x, y, batch_size=batch_size, epochs=epochs, shuffle=shuffle, **kwargs)

    def feed(self, x, batch_size):
        """An array as one batch, of which Keras makes no copies."""
        if isinstance(x, np.ndarray) and batch_size is None:
            return tf.data.Dataset.from_tensors(x.astype(self.precision, copy=False))
        return x

    def own_callbacks(self, x):
        return [Iterations(x)]

    def train_step(self, data):
        x, _, weight = keras.utils.unpack_x_y_sample_weight(data)
        linear_form = self.linear_form(self.run_centroids.value, self.precision)
        weight = None if weight is None else tf.cast(weight, self.precision)
        totals = self.totals(tf.reshape(tf.cast(x, self.precision), (-1, self.features)), weight, linear_form)
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            totals = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, totals)
        for accumulator, total in zip(self.accumulators(), totals, strict=True):
            accumulator.assign_add(total)
        if self.minibatch:
            self.move_towards(*totals[:2])
        _, counts, nearest, squares = totals
        objective = tf.maximum(tf.gather(nearest, self.best_run.value) + squares, 0.0)
        self.loss_metric().update_state(objective / tf.reduce_sum(counts[0]), sample_weight=tf.reduce_sum(counts[0]))
        return self.get_metrics_result()

    def loss_metric(self):
        return next(metric for metric in self.metrics if metric.name == "loss")

    def accumulators(self):
        return self.sums, self.counts, self.nearest, self.squares

    def totals(self, x, weight, linear_form):
        """What flat examples add to the accumulators, `ROWS_AT_A_TIME`."""
        if x.shape[0] is not None and x.shape[0] <= ROWS_AT_A_TIME:
            return self.totals_of_rows(x, weight, linear_form)

        def add_rows(start, *totals):
            rows = slice(start, start + ROWS_AT_A_TIME)
            more = self.totals_of_rows(x[rows], None if weight is None else weight[rows], linear_form)
            return start + ROWS_AT_A_TIME, *(total + each for total, each in zip(totals, more, strict=True))

        zeros = [tf.zeros(accumulator.shape, tf.float64) for accumulator in self.accumulators()]
        return tf.while_loop(lambda start, *_: start < tf.shape(x)[0], add_rows, (0, *zeros))[1:]

    def totals_of_rows(self, x, weight, linear_form):
        x = self.about_center(x)
        if weight is None:
            weight, weighted, squares = tf.ones_like(x[:, 0]), x, 2.0 * tf.nn.l2_loss(x)
        else:
            weighted, squares = x * weight[:, None], tf.tensordot(tf.reduce_sum(tf.square(x), axis=-1), weight, 1)
        scores = tf.split(scores_of(x, linear_form), self.num_initializations, axis=-1)  # of each run [batch, clusters]
        labels = [tf.argmin(each, axis=-1, output_type=tf.int32) for each in scores]
        nearest = [tf.tensordot(tf.reduce_min(each, axis=-1), weight, 1) for each in scores]
        counts = [tf.math.unsorted_segment_sum(weight, each, self.num_clusters) for each in labels]
        sums = [segment_sum(weighted, each, self.num_clusters) for each in labels]
        totals = tf.stack(sums), tf.stack(counts), tf.stack(nearest), squares
        return [tf.cast(total, tf.float64) for total in totals]

    def move_towards(self, sums, counts):
        """c <- c + (sum of its examples - n c) / (number of all its examples so far), for the n of this batch."""
        self.run_counts.assign_add(counts)
        change = sums - counts[..., None] * (self.run_centroids - self.center)
        self.run_centroids.assign_add(change / tf.maximum(self.run_counts.value, TINY)[..., None])

    def start_iteration(self):
        for accumulator in self.accumulators():
            accumulator.assign(tf.zeros_like(accumulator.value))

    def finish_iteration(self, x):
        """Update from what was added up; return how many clusters were reseeded, and whether no assignment changed."""
        before, sums, counts = self.run_centroids.numpy(), self.sums.numpy(), self.counts.numpy()
        objectives, num_examples = self.nearest.numpy() + self.squares.numpy(), counts[0].sum()
        if self.minibatch:
            counts, after = self.run_counts.numpy(), before.copy()
        else:
            means = self.center.numpy() + sums / np.maximum(counts, TINY)[..., None]
            after = np.where(counts[..., None] > 0, means, before)
            # sum ||x - after||^2 = sum ||x - before||^2 - count ||after - before||^2, where after is the mean
            objectives -= np.sum(counts * np.square(after - before).sum(axis=-1), axis=-1)
        reseeded = sum(
            reseed_empty(x, before[run], after[run], counts[run], objectives[run : run + 1])
            for run in np.flatnonzero((counts == 0).any(axis=-1))
        )
        # Sums in another order differ by rounding. One example that changes its cluster moves a centroid by a distance
        # of the data's own scale divided by the cluster's size, or changes the sizes.
        rounding = 16 * np.finfo(self.precision).eps * np.sqrt(self.squares.numpy() / num_examples)
        rounding += 16 * np.finfo(np.float64).eps * np.abs(before).max()
        is_same = np.array_equal(counts, self.run_counts.numpy()) and np.abs(after - before).max() <= rounding
        self.run_centroids.assign(after)
        self.run_counts.assign(counts)
        self.run_objectives.assign(np.maximum(objectives, 0.0) / num_examples)
        self.best_run.assign(np.argmin(objectives))
        self.num_reseeded.assign_add(reseeded)
        return reseeded, is_same and not reseeded and not self.minibatch

    # Assignment.

    def about_center(self, x):
        """Flat examples, or centroids, less `center`, which is 0 unless the data lie far from 0 for their spread."""
        center = tf.cast(self.center, x.dtype)
        return tf.cond(tf.reduce_any(center != 0.0), lambda: x - center, lambda: x)

    def linear_form(self, centroids, dtype):
        """(A, b) such that x^T A + b = ||x - c||^2 - ||x||^2, all about `center`, for `centroids` [..., features]."""
        offsets = tf.reshape(centroids - self.center, (-1, self.features))
        return tf.transpose(tf.cast(-2.0 * offsets, dtype)), tf.cast(tf.reduce_sum(offsets**2, axis=-1), dtype)

    def squared_distances(self, x, centroids):
        """||x - c||^2 of examples to `centroids` [clusters, features]: [batch, clusters]."""
        check_shape(tuple(x.shape), self.event_shape)
        x = self.about_center(tf.reshape(x, (-1, self.features)))
        squares = tf.reduce_sum(tf.square(x), axis=-1, keepdims=True)
        return tf.maximum(scores_of(x, self.linear_form(centroids, x.dtype)) + squares, 0.0)

    def of_best_run(self, statistic):
        return tf.gather(tf.convert_to_tensor(statistic.value), self.best_run.value)

    def assign(self, x, dtype=None):
        squared = self.squared_distances(tf.cast(x, dtype or self.precision), self.of_best_run(self.run_centroids))
        return {"labels": tf.argmin(squared, axis=-1), "distances": tf.sqrt(squared)}

    def call(self, x, training=None):
        self.check_ready()
        return self.assign(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.mean_over_batch(tf.reduce_min(y_pred["distances"], axis=-1) ** 2, sample_weight)

    def reconstruct(self, x):
        """The centroid of each example: float64 [batch, *event_shape]."""
        labels = self.in_batches(lambda images: self.assign(images)["labels"], self.checked(x))
        return self.centroids[labels]

    # Distributions, in float64.

    @property
    def prior(self):
        """p(k): how often each cluster occurs; over labels."""
        return tfd.Categorical(probs=self.frequencies, dtype=tf.int64)

    def likelihood(self, labels):
        """p(x|k) of labels [batch]; event_shape of the examples."""
        return self.spheres(tf.gather(self.centroids, labels))

    def posterior(self, x):
        """p(k|x) of examples x [batch, *event_shape]: a `tfd.Categorical` over labels."""
        squared = self.squared_distances(tf.cast(x, tf.float64), self.of_best_run(self.run_centroids))
        return tfd.Categorical(logits=self.prior.logits_parameter() - squared / (2.0 * self.variance), dtype=tf.int64)

    def marginal(self):
        """p(x): event_shape of the examples."""
        return tfd.MixtureSameFamily(self.prior, self.spheres(tf.constant(self.centroids)))

    def spheres(self, loc):
        if self.variance == 0.0:
            raise ValueError("Every example is a centroid, so the density is not finite; ask for fewer clusters.")
        return gaussian(loc, np.sqrt(self.variance), len(self.event_shape))

    def log_prob(self, x):
        """log p(x) of the mixture, exact, in nats: float64 [batch]."""
        x, marginal = np.asarray(self.checked(x), np.float64), self.marginal()
        rows = max(1, NUMBERS_AT_A_TIME // (self.num_clusters * self.features))
        parts = [marginal.log_prob(x[start : start + rows]) for start in range(0, len(x), rows)]
        return tf.concat(parts, axis=0)

    def sample(self, num_samples, seed=0, labels=None):
        """Examples from p(x), float32 [num_samples, *event_shape]: a centroid and noise, not clipped to any range.

        The same arguments give the same examples.
        """
        self.refuse_labels(labels)
        at_least("num_samples", num_samples, 1)
        clusters = self.prior.sample(num_samples, seed=stateless_seed(seed, 0))
        x = tf.cast(self.likelihood(clusters).mean(), tf.float32)
        return (x + self.variance**0.5 * normal_noise(x.shape, stateless_seed(seed, 1))).numpy()

    # Deployment.

    def endpoints(self):
        self.check_fitted()
        images = Input(("batch", *self.event_shape), "real")
        return {
            "assign": Endpoint(
                lambda images: self.assign(images, tf.float32),
                inputs={"images": images},
                outputs={
                    "labels": Output(("batch",), "int64", smallest_of="distances"),
                    "distances": Output(("batch", self.num_clusters)),
                },
                summary="The nearest centroid of each image, and the distance to every centroid.",
            ),
            "log_prob": Endpoint(
                self.log_prob_endpoint,
                inputs={"images": images},
                outputs={"log_prob": Output(("batch",))},
                summary="log p(x) in nats of the mixture of Gaussians about the centroids, exact.",
            ),
        }

    def log_prob_endpoint(self, images):
        # log sum_k p(k) N(x; c_k, variance I), with the distances by one matrix product
        squared = self.squared_distances(images, self.of_best_run(self.run_centroids))
        counts, variance = self.of_best_run(self.run_counts), self.of_best_run(self.run_objectives) / self.features
        log_share = tf.math.log(counts / tf.reduce_sum(counts))
        log_normalizer = 0.5 * self.features * tf.math.log(2.0 * np.pi * variance)
        exponents = -squared / tf.cast(2.0 * variance, tf.float32) + tf.cast(log_share, tf.float32)
        return {"log_prob": tf.reduce_logsumexp(exponents, axis=-1) - tf.cast(log_normalizer, tf.float32)}

    def get_config(self):
        return {
            **super().get_config(),
            "num_clusters": self.num_clusters,
            "initialization": self.initialization,
            "num_initializations": self.num_initializations,
            "minibatch": self.minibatch,
        }


class Iterations(keras.callbacks.Callback):
    """Begins and ends the iteration that an epoch over the examples `x` is; stops where no assignment has changed."""

    def __init__(self, x):
        super().__init__()
        self.x = x

    def on_epoch_begin(self, epoch, logs=None):
        self.model.start_iteration()

    def on_epoch_end(self, epoch, logs=None):
        logs["reseeded"], is_same = self.model.finish_iteration(self.x)
        if is_same:
            self.model.stop_training = True


def scores_of(x, linear_form):
    slopes, constants = linear_form
    return tf.nn.bias_add(tf.matmul(x, slopes), constants)


@tf.function(jit_compile=True)  # takes half the time of TensorFlow's own operation
def segment_sum(x, labels, num_segments):
    """The sum of the rows of x with each label: [num_segments, features]."""
    return tf.math.unsorted_segment_sum(x, labels, num_segments)


def reseed_empty(x, before, after, counts, objective):
    """Move each empty cluster of a run to one of the examples farthest from their centroids; return how many.

    The example leaves the mean of the cluster that it had been assigned to, as in scikit-learn. `after`, `counts` and
    `objective` [1] are changed in place.
    """
    empty = np.flatnonzero(counts == 0)
    seeding.check_distinct(x, len(before))
    rows, labels = seeding.farthest(x, before, len(empty))
    for cluster, row, label in zip(empty, rows, labels, strict=True):
        if counts[label] > 1:
            step = (after[label] - row) / (counts[label] - 1)
            objective -= counts[label] * (counts[label] - 1) * np.square(step).sum()
            counts[label] -= 1
            after[label] += step
        after[cluster], counts[cluster] = row, 1
    return len(empty)
