"""Importance Weighted Autoencoders (Burda, Grosse and Salakhutdinov 2015).

    L_k(x) = E_{z_1 ... z_k ~ q(z|x)}[log 1/k sum_i w_i],       w_i = p(x|z_i) p(z_i) / q(z_i|x)

    ELBO(x) = L_1(x) <= L_k(x) <= L_{k+1}(x) <= log p(x)

The loss is the mean of -L_k over the batch, in nats. Its gradients, with the normalized weights w~_i = w_i / sum_j w_j:

    straight                  d L_k = sum_i w~_i d log w_i,                     all that z_i and q depend on

    doubly reparameterized    of the decoder and the prior: as above;
    (Tucker et al. 2019)      of the encoder: sum_i w~_i^2 (d log w_i / d z_i) (d z_i / d phi),     q's density held

Both are unbiased. The straight one of the encoder drowns in noise as k rises; the other one does not, and has none at
all where q(z|x) is the exact posterior.
"""

import math

import keras
import tensorflow as tf

from zoo.base import at_least
from zoo.vae import VAE

GRADIENTS = ("straight", "doubly_reparameterized")
OF_THE_ELBO = ("beta", "warm_up_steps")  # arguments of VAE that weigh a KL, of which L_k has none


@keras.saving.register_keras_serializable(package="zoo")
class IWAE(VAE):
    """Importance weighted autoencoder: a VAE trained on the bound of k samples.

    With `num_training_samples=1` it is the VAE with `beta=1`: the same draws, and the bound of one sample is taken with
    the KL of `VAE`. In closed form, which that of N(0, I) has, the two are trained to the same weights, bit for bit; an
    estimated one differs by the order of its sums.

    Args:
        event_shape, latent_dim, network, hidden, activation, binarization, likelihood, prior, num_components, seed: of
            `zoo.VAE`. There is no `beta` and no `warm_up_steps`: the bound has no KL to weigh.
        num_training_samples: k, the codes drawn for each image in the loss, all decoded as one batch. That of the
            estimate of log p(x) is the argument `num_importance_samples` of `log_prob`.
        gradient: "straight" or "doubly_reparameterized"; the latter needs k >= 2.

    Metrics, means over the batch in nats, one draw of k codes: `loss`, -L_k; `nll`, the mean over the codes of
    -log p(x|z_i); `kl`, that of log q(z_i|x) - log p(z_i), an estimate of the KL, for k = 1 the KL of `VAE`. So
    nll + kl is an estimate of -ELBO, and not below the loss.

    Call: images -> {"images", "loc", "scale"} as in `VAE`, and {"z": [batch, k, latent_dim], "log_likelihood",
    "log_weights": [batch, k]}: the codes, log p(x|z_i) and log w_i. The pixels of k codes are not returned.

    `elbo` and `log_prob` are those of `VAE`; log_prob(x, num_importance_samples=k) is a draw of L_k(x).

    Example:
        >>> iwae = IWAE(event_shape=(8, 8, 1), latent_dim=2, num_training_samples=5)
        >>> iwae.compile("adam")
        >>> history = iwae.fit(np.random.default_rng(0).random((256, 8, 8)), epochs=2, verbose=0)
        >>> iwae.sample(4, seed=0).shape
        (4, 8, 8, 1)

    Raises:
        ValueError: as `VAE`, and for `beta` and `warm_up_steps`.

    References:
        Burda, Grosse and Salakhutdinov 2015, Importance Weighted Autoencoders, section 3.
        Tucker et al. 2019, Doubly Reparameterized Gradient Estimators for Monte Carlo Objectives.
    """

    def __init__(
        self,
        event_shape,
        latent_dim,
        num_training_samples=5,
        gradient="straight",
        network="dense",
        hidden=(256, 128),
        activation="relu",
        binarization="dynamic",
        likelihood="bernoulli",
        prior="standard_normal",
        num_components=10,
        seed=0,
        **kwargs,
    ):
        for name in OF_THE_ELBO:
            if name in kwargs:
                raise ValueError(f"IWAE takes no {name}: its bound has no KL to weigh; leave it out, or use VAE.")
        super().__init__(
            event_shape,
            latent_dim,
            network=network,
            hidden=hidden,
            activation=activation,
            binarization=binarization,
            likelihood=likelihood,
            prior=prior,
            num_components=num_components,
            seed=seed,
            **kwargs,
        )
        self.gradient = gradient
        if gradient not in GRADIENTS:
            raise ValueError(f"gradient is {gradient!r}; one of {GRADIENTS} is wanted.")
        self.take_samples(num_training_samples)

    def take_samples(self, num_training_samples):
        """Go on with the bound of so many samples; a compiled step has to be made anew to see it.

        Raises:
            ValueError: for less than 1, or for 1 with the doubly reparameterized gradient.
        """
        self.num_training_samples = at_least("num_training_samples", num_training_samples, 1)
        if self.gradient != "straight" and self.num_training_samples == 1:
            raise ValueError(
                "num_training_samples is 1, where the bound is the VAE's and its KL has no sample to reparameterize "
                'twice; pass gradient="straight" or more samples.'
            )

    def call(self, x, training=None):
        images = self.binarize(x, self.draw_seed())
        code = self.encoder(images, training=training)
        z = self.posterior_of(code).sample(self.num_training_samples, seed=self.draw_seed())
        z = tf.transpose(z, (1, 0, 2))  # the codes of an image beside each other
        density_of = {name: parameter[:, None] for name, parameter in code.items()}  # beside the k codes of an image
        offset = 0.0
        if self.gradient == "doubly_reparameterized":
            density_of = {name: tf.stop_gradient(parameter) for name, parameter in density_of.items()}
            z, offset = weigh_gradient(z)
        log_likelihood = self.log_likelihood_of_codes(images, z, training)
        log_weights = log_likelihood + self.prior.log_prob(z) - self.posterior_of(density_of).log_prob(z) + offset
        return {"images": images, **code, "z": z, "log_likelihood": log_likelihood, "log_weights": log_weights}

    def log_likelihood_of_codes(self, images, z, training):
        """log p(x|z_i): float32 [batch, k], of codes z [batch, k, latent_dim], which the decoder takes as one batch."""
        decoded = self.decoder(tf.reshape(z, (-1, self.latent_dim)), training=training)
        repeated = tf.repeat(images, self.num_training_samples, axis=0)
        return tf.reshape(self.likelihood_of(decoded).log_prob(repeated), (-1, self.num_training_samples))

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        log_likelihood, log_weights = y_pred["log_likelihood"], y_pred["log_weights"]
        nll = -tf.reduce_mean(log_likelihood, axis=1)
        if self.num_training_samples == 1:
            kl = self.kl_divergence(self.posterior_of(y_pred), y_pred["z"][:, 0])
            loss = nll + kl
        else:
            kl = tf.reduce_mean(log_likelihood - log_weights, axis=1)
            loss = math.log(self.num_training_samples) - tf.reduce_logsumexp(log_weights, axis=1)

        self.nll.update_state(nll, sample_weight)
        self.kl.update_state(kl, sample_weight)
        return self.mean_over_batch(loss, sample_weight)

    def get_config(self):
        config = {name: value for name, value in super().get_config().items() if name not in OF_THE_ELBO}
        return {**config, "num_training_samples": self.num_training_samples, "gradient": self.gradient}


@tf.custom_gradient
def weigh_gradient(z):
    """z [batch, k, latent_dim] and zeros [batch, k] to be added to log w_i: the gradient of z_i is multiplied by w~_i.

    What comes back to the zeros is the loss's gradient by log w_i, which is w~_i but for one factor for each example.
    """

    def gradient(of_z, of_log_weights):
        total = tf.reduce_sum(of_log_weights, axis=1, keepdims=True)
        return tf.math.divide_no_nan(of_log_weights, total)[..., None] * of_z

    return (tf.identity(z), tf.zeros(tf.shape(z)[:2], z.dtype)), gradient
