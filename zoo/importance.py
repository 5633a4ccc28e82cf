"""The marginal likelihood of a latent-variable model by importance sampling (Burda et al. 2015, equation 8).

    log p(x) ~ log 1/S sum_s w_s,     w_s = p(x|z_s) p(z_s) / q(z_s|x),     z_s ~ q(z|x)

The estimate is a lower bound in expectation, which tightens with S: compare only numbers with equal S.
"""

from typing import NamedTuple

import tensorflow as tf


class ImportanceEstimate(NamedTuple):
    """One estimate per example; float32.

    log_prob: [batch]; log-mean-exp of the log weights, in nats.
    standard_error: [batch]; of `log_prob`, from the spread of the weights (delta method).
    effective_sample_size: [batch]; (sum w)^2 / sum w^2, between 1 and S. Near 1, do not trust the estimate.
    """

    log_prob: tf.Tensor
    standard_error: tf.Tensor
    effective_sample_size: tf.Tensor


def importance_estimate(log_weights, num_importance_samples):
    """Stream `log_weights(s)`, s = 0 ... S - 1, into an `ImportanceEstimate`; memory does not grow with S.

    Args:
        log_weights: takes the int32 index s of a sample and returns log w_s of every example, float32 [batch].
        num_importance_samples: S >= 1; an int or an int32 scalar.
    """
    # float64: the effective sample size is a difference of two logarithms of some hundred nats.
    first = tf.cast(log_weights(tf.constant(0)), tf.float64)

    def accumulate(s, log_sum, log_sum_of_squares):
        log_weight = tf.cast(log_weights(s), tf.float64)
        return s + 1, logaddexp(log_sum, log_weight), logaddexp(log_sum_of_squares, 2.0 * log_weight)

    _, log_sum, log_sum_of_squares = tf.while_loop(
        lambda s, *_: s < num_importance_samples, accumulate, (tf.constant(1), first, 2.0 * first)
    )
    total = tf.cast(num_importance_samples, tf.float64)
    effective_sample_size = tf.exp(2.0 * log_sum - log_sum_of_squares)
    # Var(w) / (S mean(w)^2) = 1 / ESS - 1 / S; the standard error of log mean(w) is its root.
    variance = tf.maximum(1.0 / effective_sample_size - 1.0 / total, 0.0)
    estimate = log_sum - tf.math.log(total), tf.sqrt(variance), effective_sample_size
    return ImportanceEstimate(*(tf.cast(part, tf.float32) for part in estimate))


def logaddexp(a, b):
    """log(exp(a) + exp(b)) without overflow."""
    return tf.maximum(a, b) + tf.math.log1p(tf.exp(-tf.abs(a - b)))
