"""Adversarial Feature Learning (Donahue et al. 2017) and Adversarially Learned Inference (Dumoulin et al. 2017).

Two ways to draw a pair of an example and a code, and a discriminator D(x, z), a logit, that tells them apart:

    (x, E(x)),  x from the data         (G(z), z),  z ~ N(0, I)

    min_G,E max_D  E_p(x)[log sigmoid(D(x, E(x)))] + E_p(z)[log(1 - sigmoid(D(G(z), z)))]

At the optimum the two joint distributions are the same, and then E inverts G: G(E(x)) = x. Generator and encoder move
together, down the discriminator's loss with the labels exchanged, for stronger gradients:

    discriminator         softplus(-D(x, E(x))) + softplus(D(G(z), z))
    generator, encoder    softplus(D(x, E(x))) + softplus(-D(G(z), z))
"""

import keras
import numpy as np
import tensorflow as tf

from zoo import networks
from zoo.base import Endpoint, Input, Output, sizes
from zoo.gan import GAN
from zoo.objectives import log_loss

OF_A_GAN_ALONE = (
    "objective",
    "r2",
    "gradient_penalty",
    "dragan",
    "clip",
    "spectral_normalization",
    "pack",
)


@keras.saving.register_keras_serializable(package="zoo")
class BiGAN(GAN):
    """Bidirectional GAN: a generator, and an encoder that inverts it; with `stochastic_encoder` it is ALI.

    Args:
        event_shape: (height, width, channels): images in [0, 1]; or (features,): real numbers of order 1.
        latent_dim: size of z.
        stochastic_encoder: the encoder gives a Gaussian N(loc(x), diag(scale(x)^2)), from which the training draws
            z = loc + scale * noise (ALI); without it E(x) is a function (BiGAN).
        discriminator_steps: k, as of `GAN`.
        network: "dense" or "convolutional"; see `zoo.networks.generator`, `inference` and `pair_discriminator`.
        generator_hidden, encoder_hidden, discriminator_hidden: units or filters of the hidden layers: from the codes
            outwards, from the examples inwards.
        activation: of the hidden layers, by Keras' name for it; "leaky_relu" has a slope of 0.2.
        discriminator_activation: of the discriminator's, if another; also "maxout", of dense layers.
        batch_normalization: in the generator and in the encoder.
        r1: gamma of the penalty r1 / 2 E ||grad D(x, z)||^2 at the pairs of real examples, over x and z; 0 is none.
        average_decay: of the moving average of the generator's weights, as of `GAN`; 0 is no average.
        initial_stddev: of the first kernels, as of `GAN`; 0 is Keras' Glorot uniform.
        seed: of the noise of training and evaluation.

    Call: examples -> {"logits": D(x, E(x)), "z": E(x)}, of a stochastic encoder at the mean of its Gaussian.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(512, 2))
        >>> bigan = BiGAN(event_shape=(2,), latent_dim=2, generator_hidden=(16,), discriminator_hidden=(16,))
        >>> bigan.compile({"generator": "adam", "discriminator": keras.optimizers.Adam(1e-4, beta_1=0.5)})
        >>> history = bigan.fit(points, epochs=2, verbose=0)
        >>> bigan.reconstruct(points[:4]).shape
        (4, 2)

    Raises:
        ValueError: as of `GAN`.

    References:
        Donahue, Krahenbuhl and Darrell 2017, Adversarial Feature Learning. Dumoulin et al. 2017,
        Adversarially Learned Inference.
    """

    def __init__(
        self,
        event_shape,
        latent_dim,
        stochastic_encoder=False,
        discriminator_steps=1,
        network="dense",
        generator_hidden=(128, 128),
        encoder_hidden=(128, 128),
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
        refused = [name for name in OF_A_GAN_ALONE if name in kwargs]
        if refused:
            raise ValueError(f"{refused[0]} is an argument of GAN; a {type(self).__name__} has none: leave it out.")
        # What `build_networks` needs beyond what a GAN has.
        self.encoder_hidden = sizes("encoder_hidden", encoder_hidden)
        self.stochastic_encoder = stochastic_encoder
        super().__init__(
            event_shape,
            latent_dim,
            discriminator_steps=discriminator_steps,
            network=network,
            generator_hidden=generator_hidden,
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

    def check_arguments(self):
        super().check_arguments()
        if self.network == "convolutional" and not self.encoder_hidden:
            raise ValueError("A convolutional encoder needs at least one hidden layer; there is none.")

    def build_networks(self):
        super().build_networks()
        self.encoder = networks.inference(
            self.event_shape,
            self.latent_dim,
            self.network,
            self.encoder_hidden,
            self.activation,
            self.batch_normalization,
            networks.normal_kernels(self.initial_stddev),
            self.dtype_policy,
            with_scale=self.stochastic_encoder,
        )

    def new_discriminator(self, event_shape):
        return networks.pair_discriminator(
            event_shape,
            self.latent_dim,
            self.network,
            self.discriminator_hidden,
            self.discriminator_activation or self.activation,
            networks.normal_kernels(self.initial_stddev),
            self.dtype_policy,
        )

    def trained_by(self, player):
        if player == "generator":
            return self.generator.trainable_variables + self.encoder.trainable_variables
        return super().trained_by(player)

    # Pairs: what the discriminator judges. As one vector [batch, features + latent_dim] they are a GAN's examples.

    def paired(self, x, z):
        return tf.concat([tf.reshape(x, (-1, int(np.prod(self.event_shape)))), z], axis=1)

    def packed_logits(self, packed):
        x, z = packed[:, : -self.latent_dim], packed[:, -self.latent_dim :]
        return self.discriminate(tf.reshape(x, (-1, *self.event_shape)), z)

    def judged_real(self, x, training):
        return self.paired(x, self.inferred(x, training))

    def judged_fake(self, z, training):
        return self.paired(self.generator(z, training=training)[self.end], z)

    def inferred(self, x, training):
        """z ~ q(z|x), one for each example: [batch, latent_dim]."""
        code = self.encoder(x, training=training)
        if not self.stochastic_encoder:
            return code["loc"]
        return code["loc"] + code["scale"] * self.draw_codes(tf.shape(x)[0])

    # Networks as functions.

    def call(self, x, training=None):
        z = self.encode(x)
        return {"logits": self.discriminate(x, z), "z": z}

    def discriminate(self, x, z):
        """The logits D(x, z) of examples [batch, *event_shape] and codes [batch, latent_dim]: [batch]."""
        return self.discriminator({self.end: tf.convert_to_tensor(x), "z": tf.convert_to_tensor(z)})["logits"]

    def encode(self, x):
        """E(x) of examples [batch, *event_shape], or the mean of its Gaussian: [batch, latent_dim]."""
        return self.encoder(x, training=False)["loc"]

    def reconstruct(self, x):
        """G(E(x)): float32 [batch, *event_shape]; of the averaged generator if any."""
        return self.in_batches(lambda part: self.generate(self.encode(part)), self.checked(x))

    # The loss of generator and encoder.

    def generator_loss(self, real, z, training=True):
        real_logits = self.packed_logits(self.judged_real(real, training))
        fake_logits = self.packed_logits(self.judged_fake(z, training))
        loss = log_loss(fake_logits, real_logits)  # of the discriminator, with the labels exchanged
        self.g_loss.update_state(loss)
        return self.mean_over_batch(loss)

    # Deployment.

    def endpoints(self):
        examples = Input(("batch", *self.event_shape), self.values)
        codes = Input(("batch", self.latent_dim), "standard_normal")
        return {
            "generate": super().endpoints()["generate"],
            "encode": self.encode_endpoint(examples),
            "discriminate": Endpoint(
                lambda z, **x: {"logits": self.discriminate(x[self.end], z)},
                inputs={self.end: examples, "z": codes},
                outputs={"logits": Output(("batch",))},
                summary=f"D(x, z): the logit that {self.end} are real and z their code.",
            ),
        }

    def encode_endpoint(self, examples):
        code = Output(("batch", self.latent_dim))
        if self.stochastic_encoder:
            return Endpoint(
                lambda **x: dict(self.encoder(x[self.end], training=False)),
                inputs={self.end: examples},
                outputs={"loc": code, "scale": code},
                summary=f"q(z|x) = N(loc, diag(scale^2)) of {self.end}.",
            )
        return Endpoint(
            lambda **x: {"z": self.encode(x[self.end])},
            inputs={self.end: examples},
            outputs={"z": code},
            summary=f"E(x): the code of {self.end}, which the generator takes back to them.",
        )

    def get_config(self):
        config = {name: value for name, value in super().get_config().items() if name not in OF_A_GAN_ALONE}
        return {**config, "encoder_hidden": self.encoder_hidden, "stochastic_encoder": self.stochastic_encoder}
