"""VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning (Srivastava et al. 2017).

A reconstructor F takes examples back to codes, and a discriminator D(x, z), a logit, tells (x, z), x from the data and
z = F(x) + noise_scale * noise, from (G(z), z), z ~ N(0, I). Where z cannot be had back from G(z), modes are missing:

    O = KL(q(x|z) p(z) || p(z|x) p(x)) + E_p(z)[d(z, F(G(z)))],    d(z, z') = ||z - z'||^2

    q(x|z): x = G(z),    p(z|x) = N(F(x), noise_scale^2 I)

bounds the cross-entropy between p(z) and what F makes of the data. At the best discriminator -D is
the log-ratio of the two joint densities, so that the KL is -E D(G(z), z). Algorithm 1, with D > 0 where the pair is
real as everywhere in this zoo (the paper's D has the other sign):

    discriminator    softplus(-D(x, F(x) + noise)) + softplus(D(G(z), z))
    generator        -D(G(z), z) + d(z, F(G(z)))
    reconstructor    d(z, F(G(z)))
"""

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from zoo.base import sizes
from zoo.bigan import BiGAN


@keras.saving.register_keras_serializable(package="zoo")
class VEEGAN(BiGAN):
    """GAN with a reconstructor of the codes, of the three players "generator", "reconstructor" and "discriminator".

    Args:
        event_shape: (height, width, channels): images in [0, 1]; or (features,): real numbers of order 1.
        latent_dim: size of z.
        noise_scale: standard deviation of the reconstructor's Gaussian, from which the discriminator's codes of real
            examples are drawn. At the default, the root of 1/2, d is -log p(z|x) and a constant. 0 gives the
            discriminator F(x) itself: while F knows nothing of real examples, their codes alone tell them from z ~ N(0,
            I), whatever G(z) is, and G learns next to nothing.
        discriminator_steps: k, as of `GAN`.
        network: "dense" or "convolutional"; see `zoo.networks.generator`, `inference` and `pair_discriminator`.
        generator_hidden, reconstructor_hidden, discriminator_hidden: units or filters of the hidden layers: from the
            codes outwards, from the examples inwards.
        activation: of the hidden layers, by Keras' name for it; "leaky_relu" has a slope of 0.2.
        discriminator_activation: of the discriminator's, if another; also "maxout", of dense layers.
        batch_normalization: in the generator and in the reconstructor.
        r1: gamma of the penalty r1 / 2 E ||grad D(x, z)||^2 at the pairs of real examples, over x and z; 0 is none.
        average_decay: of the moving average of the generator's weights, as of `GAN`; 0 is no average.
        initial_stddev: of the first kernels, as of `GAN`; 0 is Keras' Glorot uniform.
        seed: of the noise of training and evaluation.

    The players move one after another: the discriminator, then the reconstructor, then the generator. The metric
    "reconstruction" is the mean of d; of a reconstructor that says nothing, F = 0, it is latent_dim.

    Call: examples -> {"logits": D(x, F(x)), "z": F(x)}.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(512, 2))
        >>> veegan = VEEGAN(event_shape=(2,), latent_dim=2, generator_hidden=(16,), discriminator_hidden=(16,))
        >>> veegan.compile({"generator": "adam", "reconstructor": "adam", "discriminator": "adam"})
        >>> history = veegan.fit(points, epochs=2, verbose=0)
        >>> veegan.reconstruct(points[:4]).shape
        (4, 2)

    Raises:
        ValueError: as of `GAN`; for a `noise_scale` below 0.

    References:
        Srivastava et al. 2017, VEEGAN: Reducing Mode Collapse in GANs using Implicit Variational Learning.
    """

    players = ("generator", "reconstructor", "discriminator")

    def __init__(
        self,
        event_shape,
        latent_dim,
        noise_scale=0.5**0.5,
        discriminator_steps=1,
        network="dense",
        generator_hidden=(128, 128),
        reconstructor_hidden=(128, 128),
        discriminator_hidden=(128, 128),
        activation="leaky_relu",
        discriminator_activation=None,
        batch_normalization=False,
        r1=0.0,
        average_decay=0.0,
        initial_stddev=0.0,
        seed=0,
        **kwargs,
    ):
        self.noise_scale = noise_scale
        self.reconstructor_hidden = sizes("reconstructor_hidden", reconstructor_hidden)
        super().__init__(
            event_shape,
            latent_dim,
            discriminator_steps=discriminator_steps,
            network=network,
            generator_hidden=generator_hidden,
            stochastic_encoder=False,
            encoder_hidden=self.reconstructor_hidden,
            discriminator_hidden=discriminator_hidden,
            activation=activation,
            discriminator_activation=discriminator_activation,
            batch_normalization=batch_normalization,
            r1=r1,
            average_decay=average_decay,
            initial_stddev=initial_stddev,
            seed=seed,
            **kwargs,
        )
        self.reconstruction = keras.metrics.Mean(name="reconstruction")

    def check_arguments(self):
        super().check_arguments()
        if not 0.0 <= self.noise_scale < np.inf:
            raise ValueError(f"noise_scale is {self.noise_scale}; a finite number >= 0 is wanted.")

    @property
    def reconstructor(self):
        """F: the encoder of a BiGAN, trained otherwise."""
        return self.encoder

    def trained_by(self, player):
        return getattr(self, player).trainable_variables  # the generator's own, and not those of an encoder

    def inferred(self, x, training):
        """z = F(x) + noise_scale * noise, one for each example: [batch, latent_dim]."""
        z = self.reconstructor(x, training=training)["loc"]
        return z + self.noise_scale * self.draw_codes(tf.shape(x)[0]) if self.noise_scale else z

    # The losses of generator and reconstructor.

    def generator_loss(self, real, z, training=True):
        """-D(G(z), z) + d(z, F(G(z))); real examples do not matter."""
        x = self.generator(z, training=training)[self.end]
        reconstruction = self.distance(x, z, training)
        loss = reconstruction - self.discriminate(x, z)
        self.g_loss.update_state(loss)
        self.reconstruction.update_state(reconstruction)
        return self.mean_over_batch(loss)

    def reconstructor_loss(self, z, training=True):
        """d(z, F(G(z)))."""
        x = self.generator(z, training=training)[self.end]
        return self.mean_over_batch(self.distance(x, z, training))

    def distance(self, x, z, training):
        """d(z, F(x)) = ||z - F(x)||^2: [batch]."""
        return tf.reduce_sum(tf.square(z - self.reconstructor(x, training=training)["loc"]), axis=1)

    # Algorithm 1.

    def step_generator(self, real):
        z = self.draw_codes(tf.shape(real)[0])
        self.minimize("reconstructor", lambda: self.reconstructor_loss(z))
        self.minimize("generator", lambda: self.generator_loss(real, z))
        if self.average_decay:
            self.move_average()

    # Deployment.

    def encode_endpoint(self, examples):
        return replace(
            super().encode_endpoint(examples), summary=f"F(x): the code of {self.end}, by the reconstructor."
        )

    def get_config(self):
        config = super().get_config()
        del config["encoder_hidden"], config["stochastic_encoder"]
        return {**config, "reconstructor_hidden": self.reconstructor_hidden, "noise_scale": self.noise_scale}
