"""The distributions of the zoo, and the seeds of their draws.

Networks return tensors; these functions turn them into `tfp.distributions`. A distribution is built where it is used
and never stored: Keras does not track the variables inside one.
"""

import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import distributions as tfd

# What TensorFlow chooses by itself. Named, XLA compiles it on a CPU to the same numbers in a thirtieth of the time.
ALGORITHM = "philox"


def standard_normal(event_size, dtype=tf.float32):
    """N(0, I) over vectors of `event_size`; the family of `diag_gaussian`, so that their KL has a closed form."""
    return diag_gaussian(tf.zeros(event_size, dtype), tf.ones(event_size, dtype))


def diag_gaussian(loc, scale):
    """N(loc, diag(scale^2)); `scale` is the standard deviation; event_shape is the last axis."""
    return DiagGaussian(loc=loc, scale_diag=scale)


class DiagGaussian(tfd.MultivariateNormalDiag):
    """tfd.MultivariateNormalDiag, whose draws are those of `normal_noise`: loc + scale noise."""

    def _call_sample_n(self, sample_shape, seed, **unused):
        sample_shape = tf.reshape(tf.cast(sample_shape, tf.int32), [-1])
        shape = tf.concat([sample_shape, self.batch_shape_tensor(), self.event_shape_tensor()], axis=0)
        return self.loc + self.scale.diag_part() * normal_noise(shape, tfp.random.sanitize_seed(seed), self.dtype)


def bernoulli(logits, event_ndims):
    """Independent Bernoulli variables over the last `event_ndims` axes; log_prob is their sum, in nats."""
    return tfd.Independent(tfd.Bernoulli(logits=logits, dtype=tf.float32), reinterpreted_batch_ndims=event_ndims)


def gaussian(loc, scale, event_ndims):
    """Independent Gaussian variables over the last `event_ndims` axes; log_prob is their sum, in nats."""
    return tfd.Independent(tfd.Normal(loc, scale), reinterpreted_batch_ndims=event_ndims)


def one_hot(labels, num_classes, dtype=tf.float32):
    """Labels [batch] as indicators [batch, num_classes]; a row of zeros for -1. The same in every runtime."""
    return tf.cast(labels[:, None] == tf.range(num_classes, dtype=labels.dtype), dtype)


def normal_noise(shape, seed, dtype=tf.float32):
    """Draws of N(0, 1) of `shape`: a pure function of `seed`, from `stateless_seed`."""
    return tf.random.stateless_normal(shape, seed, dtype=dtype, alg=ALGORITHM)


def uniform_noise(shape, seed, dtype=tf.float32):
    """Draws of the uniform distribution on [0, 1): a pure function of `seed`, from `stateless_seed`."""
    return tf.random.stateless_uniform(shape, seed, dtype=dtype, alg=ALGORITHM)


def stateless_seed(seed, *path):
    """int32[2] for TensorFlow's stateless draws and tfp's `sample`: a function of `seed` and the numbers in `path`.

    Every random draw of the zoo takes its seed from here, so that two draws with different paths are independent and
    the same path gives the same numbers again.
    """
    key = tf.stack([tf.cast(seed, tf.int32), 0])
    for number in path:
        key = tf.random.experimental.stateless_fold_in(key, number)
    return key
