"""The ratio of two densities from samples of both, by a classifier between them.

    y = 1: x ~ p        y = 0: x ~ q        loss = -E[y log sigmoid(D(x)) + (1 - y) log(1 - sigmoid(D(x)))]

By Bayes' rule the best logits are the log ratio, moved by the log odds of the labels, which are n_p/n_q:

    D*(x) = log p(x)/q(x) + log n_p/n_q

so that log p(x)/q(x) is estimated by r(x) = D(x) - log n_p/n_q. Any r bounds divergences from below (with
D = r, equality where r = log p/q):

    JSD(p, q)   >= log 2 + 1/2 E_p log sigmoid(r) + 1/2 E_q log(1 - sigmoid(r))     Goodfellow et al. 2014
    KL(p || q)  >= E_p r - log E_q exp r                                            Donsker and Varadhan 1983
    KL(p || q)  >= E_p r - E_q exp r + 1                                            Nguyen et al. 2010, "nwj"
"""

import contextlib
import re

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from zoo.base import shape_of_events, sizes
from zoo.divergences import Estimate
from zoo.inputs import checked, refusals_as_value_errors

BOUNDS = ("donsker_varadhan", "nwj")
REFUSED_LABELS = "Labels must be 1 for samples of p and 0 for samples of q"


@keras.saving.register_keras_serializable(package="zoo")
class DensityRatio(keras.Model):
    """Estimates log p(x)/q(x) from samples of p, labelled 1, and of q, labelled 0, by dense networks.

    `fit(x, y)` minimizes the cross-entropy of the labels, in nats. Samples may come in any proportion: the labels of
    both kinds are counted as they are seen (weighted, where there are sample weights) and saved with the weights; each
    `fit` starts the count anew. Keras' `validation_split` takes the last samples: shuffle them first.

    Where p and q hardly overlap, a classifier tells them apart with any large enough logits, and the ratio is far too
    near to 0 between them: the "density chasm" (Rhodes et al. 2020). From n samples of q no lower bound of the KL
    can be trusted beyond log n (McAllester and Stratos 2020).

    Args:
        event_shape: (features,), or (height, width, channels). Any finite numbers, best of a spread near 1.
        hidden: units of each hidden layer; () is logistic regression.
        activation: of the hidden layers, by Keras' name for it; a smooth one gives a smooth ratio.

    Call: examples -> logits [batch], of the proportion of labels that was seen.

    Example:
        >>> generator = np.random.default_rng(0)
        >>> x = np.concatenate([generator.normal(1.0, 1.0, (3000, 1)), generator.normal(0.0, 1.0, (1000, 1))])
        >>> ratio = DensityRatio(event_shape=(1,), hidden=())
        >>> ratio.compile(keras.optimizers.Adam(0.02))
        >>> history = ratio.fit(x, np.repeat([1, 0], [3000, 1000]), epochs=10, verbose=0)
        >>> bool(abs(ratio.log_ratio(np.array([[1.0]])).numpy()[0] - 0.5) < 0.2)  # log p/q = x - 1/2
        True

    Raises:
        ValueError: for an argument out of its range; by `fit` and `evaluate`: for examples of another shape or not
            finite, for labels other than 0 and 1 or of one kind only; by the estimates, before `fit`.

    References:
        Sugiyama, Suzuki and Kanamori 2012, Density Ratio Estimation in Machine Learning, section 4.
        Goodfellow et al. 2014, Generative Adversarial Nets, proposition 1.
        Bickel, Brueckner and Scheffer 2007, Discriminative Learning for Differing Training and Test Distributions, for
        the odds of the labels.
    """

    values = "real"

    def __init__(self, event_shape, hidden=(64, 64), activation="gelu", **kwargs):
        super().__init__(**kwargs)
        self.event_shape, self.hidden = shape_of_events(event_shape), sizes("hidden", hidden)
        if not isinstance(activation, str):
            raise ValueError(f"activation is {activation!r}; Keras' name of one is wanted, such as 'gelu'.")
        self.activation = activation

        x = keras.Input(self.event_shape, name="x")
        units = layers.Flatten(dtype=self.dtype_policy)(x)
        for index, size in enumerate(self.hidden, start=1):
            units = layers.Dense(size, activation, dtype=self.dtype_policy, name=f"hidden_{index}")(units)
        logits = layers.Dense(1, dtype="float32", name="logits")(units)
        self.classifier = keras.Model(x, layers.Reshape((), dtype="float32")(logits), name="classifier")
        self.label_counts = self.add_weight(  # [of q, of p]
            shape=(2,),
            initializer="zeros",
            trainable=False,
            dtype="float64",
            name="label_counts",
            aggregation="only_first_replica",
        )
        self.built = True

        self.cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
        self.accuracy = keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")

    # Keras' own loop, with the examples and labels checked.

    def fit(self, x=None, y=None, *args, validation_data=None, **kwargs):
        """`keras.Model.fit`.

        Args:
            x: samples of p and of q in any order, [N, *event_shape]; or a batched `tf.data.Dataset` or `PyDataset` of
                tuples (x, y).
            y: [N], 1 for each sample of p and 0 for each of q.
        """
        x, y = self.checked(x, y)
        if y is not None:
            refuse_one_kind(y[: int(len(y) * (1.0 - kwargs.get("validation_split", 0.0)))])  # as Keras splits it
        if isinstance(validation_data, (tuple, list)):
            validation_data = (*self.checked(*validation_data[:2]), *validation_data[2:])
        elif validation_data is not None:
            validation_data, _ = self.checked(validation_data, None)
        self.label_counts.assign(tf.zeros(2, tf.float64))
        with self.refusals():
            history = super().fit(x, y, *args, validation_data=validation_data, **kwargs)
        self.log_prior_odds()  # refuses labels of one kind only
        return history

    def evaluate(self, x=None, y=None, *args, **kwargs):
        """`keras.Model.evaluate`: the cross-entropy of the labels in nats, and the accuracy."""
        x, y = self.checked(x, y)
        with self.refusals():
            return super().evaluate(x, y, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        """`keras.Model.predict`: the logits [N], of the proportion of labels that was seen."""
        x = checked(x, self.event_shape, self.values)
        with self.refusals():
            return super().predict(x, *args, **kwargs)

    def checked(self, x, y):
        x = checked(x, self.event_shape, self.values)
        if isinstance(x, tf.data.Dataset):
            return checked_stream(x), None
        if isinstance(x, keras.utils.PyDataset):
            return x, None
        return x, checked_labels(y, len(x))

    @contextlib.contextmanager
    def refusals(self):
        try:
            with refusals_as_value_errors(self.event_shape, self.values):
                yield
        except tf.errors.InvalidArgumentError as error:
            refused = re.search(f"{REFUSED_LABELS}[^\\n]*", str(error))
            if not refused:
                raise
            raise ValueError(f"{REFUSED_LABELS}; the dataset yields others.") from None

    # The objective.

    def call(self, x, training=None):
        return self.classifier(x, training=training)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        labels = tf.reshape(tf.cast(y, tf.float32), tf.shape(y_pred))
        if training:
            self.count(labels, sample_weight)
        self.accuracy.update_state(labels[:, None], y_pred[:, None], sample_weight)
        return self.cross_entropy(labels[:, None], y_pred[:, None], sample_weight)

    def count(self, labels, sample_weight):
        weight = tf.ones_like(labels) if sample_weight is None else tf.cast(sample_weight, tf.float32)
        counts = tf.stack([tf.reduce_sum(weight * (1.0 - labels)), tf.reduce_sum(weight * labels)])
        if tf.distribute.get_strategy().num_replicas_in_sync > 1:
            counts = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, counts)
        self.label_counts.assign_add(tf.cast(counts, tf.float64))

    # The ratio.

    def log_prior_odds(self):
        """log n_p/n_q of the labels that `fit` has seen, a float."""
        of_q, of_p = self.label_counts.numpy()
        if of_p == 0.0 and of_q == 0.0:
            raise ValueError("The model has seen no labels, so their proportion is not known: call fit first.")
        if of_p == 0.0 or of_q == 0.0:
            raise ValueError(f"All labels that fit saw were {int(of_p > 0)}; samples of both p and q are wanted.")
        return float(np.log(of_p) - np.log(of_q))

    def log_ratio(self, x):
        """r(x), the estimate of log p(x)/q(x) of x [N, *event_shape], in nats: float32 [N]."""
        log_prior_odds = self.log_prior_odds()
        x = checked(x, self.event_shape, self.values)
        return self.classifier(tf.constant(x, tf.float32), training=False) - log_prior_odds

    def jensen_shannon(self, from_p, from_q):
        """A lower bound of JSD(p, q) in nats, as an `Estimate`; never above log 2.

        Args:
            from_p, from_q: samples [N, *event_shape] of p and [M, *event_shape] of q that `fit` has not seen.
        """
        r_p, r_q = self.log_ratios(from_p, from_q)
        log_2 = np.log(2.0)
        return mean_and_error(0.5 * (log_2 - np.logaddexp(0.0, -r_p)), 0.5 * (log_2 - np.logaddexp(0.0, r_q)))

    def kl(self, from_p, from_q, bound="donsker_varadhan"):
        """A lower bound of KL(p || q) in nats, as an `Estimate`.

        Args:
            from_p, from_q: samples [N, *event_shape] of p and [M, *event_shape] of q that `fit` has not seen.
            bound: "donsker_varadhan", the tighter one, whose estimate comes out a little high where M is small; or
                "nwj", whose estimate is unbiased, and scatters widely where the ratio is large.
        """
        if bound not in BOUNDS:
            raise ValueError(f"bound is {bound!r}; one of {BOUNDS} is wanted.")
        r_p, r_q = self.log_ratios(from_p, from_q)
        if bound == "nwj":
            return mean_and_error(r_p, 1.0 - np.exp(r_q))
        # log E_q exp r = largest + log E_q exp(r - largest), linear about its estimate for the standard error
        weights = np.exp(r_q - r_q.max())
        error = mean_and_error(r_p, weights / weights.mean()).standard_error
        return Estimate(r_p.mean() - r_q.max() - np.log(weights.mean()), error)

    def log_ratios(self, from_p, from_q):
        """`log_ratio` of both, in float64."""
        return tuple(self.log_ratio(x).numpy().astype("float64") for x in (from_p, from_q))

    def get_config(self):
        return {
            **super().get_config(),
            "event_shape": self.event_shape,
            "hidden": self.hidden,
            "activation": self.activation,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def mean_and_error(of_p, of_q):
    """`Estimate` of the sum of two means, of independent samples."""
    errors = [values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan for values in (of_p, of_q)]
    return Estimate(of_p.mean() + of_q.mean(), np.hypot(*errors))


def checked_labels(y, num_examples):
    """Labels as float32 [N], after a check that each is 0 or 1."""
    if y is None:
        raise ValueError(f"{REFUSED_LABELS}, one for each example; none came: call fit(x, y).")
    y = np.asarray(y)
    if y.shape not in ((num_examples,), (num_examples, 1)):
        raise ValueError(f"{REFUSED_LABELS}, one for each of {num_examples} examples; they came with shape {y.shape}.")
    y = y.reshape(-1)
    other = y[(y != 0) & (y != 1)]
    if len(other):
        raise ValueError(f"{REFUSED_LABELS}; some are {other[0]}.")
    return y.astype("float32")


def refuse_one_kind(y):
    if np.all(y == y[:1]):
        raise ValueError(
            "All labels to train on are the same; samples of both p and q are wanted, shuffled if there is a "
            "validation_split."
        )


def checked_stream(dataset):
    """A dataset of (x, y) or (x, y, weight) whose labels are checked as they come."""
    if not isinstance(dataset.element_spec, tuple) or len(dataset.element_spec) < 2:
        raise ValueError(f"{REFUSED_LABELS}, so the dataset must yield tuples (x, y); it yields examples alone.")

    def check(x, y, *weight):
        is_label = tf.reduce_all((y == tf.zeros_like(y)) | (y == tf.ones_like(y)))
        with tf.control_dependencies([tf.debugging.Assert(is_label, [REFUSED_LABELS])]):
            return (x, tf.identity(y), *weight)

    return dataset.map(check, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
