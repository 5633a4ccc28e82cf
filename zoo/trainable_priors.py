"""Priors that are trained with the model that has them: mixtures of K Gaussians with diagonal covariances.

    gaussian_mixture    p(z) = sum_k softmax(logits)_k N(z | loc_k, diag(scale_k^2))
    vamp                p(z) = 1/K sum_k q(z|u_k) = 1/K sum_k N(z | loc(u_k), diag(scale(u_k)^2))

The best prior for the ELBO is the mean of the posteriors, 1/N sum_n q(z|x_n). The VampPrior takes that mean over K
pseudo-inputs u_k, trained like weights, instead of the N examples (Tomczak and Welling 2018, VAE with a VampPrior).

Neither has a closed KL from q(z|x): log q(z|x) - log p(z) at a draw of z is an unbiased estimate of it, of either sign.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo.distributions import diag_gaussian
from zoo.networks import SMALLEST_SCALE
from zoo.seeding import uniform_sample

PRIORS = ("standard_normal", "gaussian_mixture", "vamp")
BATCHES = 100  # of a stream, among which the pseudo-inputs look for their start


class GaussianMixture(tfd.MixtureSameFamily):
    """sum_k softmax(logits)_k N(loc_k, diag(scale_k^2)); event_shape [latent_dim].

    Its `log_prob` is tfp's, in another order of sums: of memory [..., K], not [..., K, latent_dim].

    Args:
        logits: [K].
        loc, scale: [K, latent_dim]; `scale` is the standard deviation.
    """

    def __init__(self, logits, loc, scale):
        parameters = dict(locals())
        self.logits, self.loc, self.scale = logits, loc, scale
        super().__init__(tfd.Categorical(logits=logits), diag_gaussian(loc, scale), name="GaussianMixture")
        self._parameters = parameters

    def _log_prob(self, z):
        return tf.reduce_logsumexp(tf.nn.log_softmax(self.logits) + self.component_log_prob(z), axis=-1)

    def component_log_prob(self, z):
        """log N(z | loc_k, diag(scale_k^2)): float32 [..., K] of codes z [..., latent_dim]."""
        # sum_j (z_j - loc_j)^2 / scale_j^2 = z^2 . scale^-2 - 2 z . (loc scale^-2) + loc^2 . scale^-2, two products of
        # matrices. Its terms cancel; in float64 that costs nothing that float32 shows, down to the smallest scales.
        z, loc, scale = (tf.cast(each, tf.float64) for each in (z, self.loc, self.scale))
        precision = scale**-2
        squared = (
            tf.linalg.matmul(z**2, precision, transpose_b=True)
            - 2.0 * tf.linalg.matmul(z, loc * precision, transpose_b=True)
            + tf.reduce_sum(loc**2 * precision, axis=-1)
        )
        log_normalizer = tf.reduce_sum(tf.math.log(scale) + 0.5 * math.log(2.0 * math.pi), axis=-1)
        return tf.cast(-0.5 * squared - log_normalizer, tf.float32)

    def transform(self, noise, uniform):
        """z = loc_k + scale_k * noise, where `uniform` picks k by its place among the cumulative weights.

        noise: [batch, latent_dim], of N(0, I); uniform: [batch], in [0, 1). z ~ p(z) is float32 [batch, latent_dim].
        """
        # float64: two runtimes would round weights of float32 apart, and then pick different components.
        weights = tf.nn.softmax(tf.cast(self.logits, tf.float64))
        reached = tf.cumsum(weights)[:-1] <= tf.cast(uniform, tf.float64)[:, None]
        component = tf.reduce_sum(tf.cast(reached, tf.int32), axis=-1)
        return tf.gather(self.loc, component) + tf.gather(self.scale, component) * noise


class MixturePrior(keras.layers.Layer):
    """The variables of a Gaussian mixture: logits [K], loc and raw_scale [K, latent_dim].

    scale = softplus(raw_scale) + 1e-5. It starts with equal weights, scale^2 = 1/2 and loc ~ N(0, I/2), which is
    together as wide as N(0, I), and no two components are alike.
    """

    def __init__(self, num_components, latent_dim, seed):
        super().__init__(dtype="float32", name="prior")
        shape, raw_scale = (num_components, latent_dim), math.log(math.expm1(math.sqrt(0.5) - SMALLEST_SCALE))
        spread = keras.initializers.RandomNormal(stddev=math.sqrt(0.5), seed=seed)
        wide = keras.initializers.Constant(raw_scale)
        float32 = {"autocast": False}  # also where a model of lower precision asks for the density in its `call`
        self.logits = self.add_weight(shape=(num_components,), initializer="zeros", name="logits", **float32)
        self.loc = self.add_weight(shape=shape, initializer=spread, name="loc", **float32)
        self.raw_scale = self.add_weight(shape=shape, initializer=wide, name="raw_scale", **float32)
        self.built = True

    def distribution(self, encoder):
        logits, loc, raw_scale = map(tf.convert_to_tensor, (self.logits, self.loc, self.raw_scale))
        return GaussianMixture(logits, loc, tf.nn.softplus(raw_scale) + SMALLEST_SCALE)

    def adapt_to(self, x, seed):
        """Nothing: its start is that of the posteriors, which the examples do not tell yet."""


class VampPrior(keras.layers.Layer):
    """The pseudo-inputs of a VampPrior: [K, *event_shape].

    Pixels stay in [0, 1]: the optimizer puts back after each step what has left the interval, so that the gradient
    never vanishes at its ends, where most pixels are. Under a Gaussian likelihood they are any real numbers
    (`bounded=False`).
    """

    def __init__(self, num_components, event_shape, bounded, seed):
        super().__init__(dtype="float32", name="prior")
        self.pseudo_inputs = self.add_weight(
            shape=(num_components, *event_shape),
            initializer=keras.initializers.RandomUniform(0.0, 1.0, seed=seed),
            constraint=nearest_in_unit_interval if bounded else None,
            aggregation="mean",  # each replica puts the same pixels back
            name="pseudo_inputs",
        )
        self.built = True

    def distribution(self, encoder):
        code = encoder(tf.convert_to_tensor(self.pseudo_inputs))
        return GaussianMixture(tf.zeros(self.pseudo_inputs.shape[0]), code["loc"], code["scale"])

    def adapt_to(self, x, seed):
        """Start from examples of checked `x`, chosen at random from `seed`; of a stream, from its first 100 batches.

        Where there are fewer examples than pseudo-inputs, the others stay as they are, random pixels.
        """
        x = x.take(BATCHES) if isinstance(x, tf.data.Dataset) else x
        pseudo_inputs = self.pseudo_inputs.numpy()
        examples = uniform_sample(x, len(pseudo_inputs), np.random.default_rng(seed), at_least=1)
        pseudo_inputs[: len(examples)] = examples.reshape(-1, *pseudo_inputs.shape[1:])
        self.pseudo_inputs.assign(pseudo_inputs)


def nearest_in_unit_interval(pixels):
    return tf.clip_by_value(pixels, 0.0, 1.0)
