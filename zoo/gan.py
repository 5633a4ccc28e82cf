"""Generative Adversarial Nets (Goodfellow et al. 2014).

    min_G max_D  E_p(x)[log sigmoid(D(x))] + E_p(z)[log(1 - sigmoid(D(G(z))))],    z ~ N(0, I)

D(x) is a logit. Algorithm 1: k steps of the discriminator, each on a minibatch of its own, then one of the generator.
Which losses the two descend is `objective`, one of zoo.objectives.OBJECTIVES; penalties on the slope of D are added to
the discriminator's:

    r1 / 2  E ||grad D(x)||^2,   r2 / 2  E ||grad D(G(z))||^2          (Mescheder et al. 2018)
    gradient_penalty  E (||grad D(x')|| - 1)^2,  x' between x and G(z)  (Gulrajani et al. 2017)
    dragan  E (||grad D(x')|| - 1)^2,  x' around x                      (Kodali et al. 2017)

R3GAN (Huang et al. 2024) is objective="relativistic" with r1 = r2 = gamma.
"""

import keras
import numpy as np
import tensorflow as tf

from zoo import networks
from zoo.base import KERAS_BATCH_SIZE, Adversarial, Endpoint, Input, Output, at_least, sizes
from zoo.distributions import normal_noise, stateless_seed
from zoo.layers import SpectralNormalization
from zoo.objectives import OBJECTIVES, around, between, gradient_penalty, with_squared_slope


@keras.saving.register_keras_serializable(package="zoo")
class GAN(Adversarial):
    """Generative adversarial network.

    Args:
        event_shape: (height, width, channels): images in [0, 1], from a generator that ends in a sigmoid; or
            (features,): real numbers, from one that ends in a linear layer. Features should be of order 1.
        latent_dim: size of z.
        objective: "minimax", "non_saturating", "least_squares", "hinge", "wasserstein" (weights clipped),
            "wasserstein_gp" or "relativistic".
        discriminator_steps: k; a training batch is cut into k minibatches, one for each of these steps, the last of
            which also serves the generator's step.
        network: "dense" or "convolutional"; see `zoo.networks.generator` and `discriminator`.
        generator_hidden, discriminator_hidden: units or filters of the hidden layers: from the codes outwards, from the
            examples inwards.
        activation: of the hidden layers, by Keras' name for it; "leaky_relu" has a slope of 0.2.
        discriminator_activation: of the discriminator's, if another; also "maxout", of dense layers.
        batch_normalization: in the generator.
        r1, r2: gamma of the penalties on the slope at real and at generated examples; 0 is none.
        gradient_penalty: weight of the penalty of "wasserstein_gp".
        dragan: weight of the DRAGAN penalty; 0 is none.
        clip: with "wasserstein", the bound on each weight of the discriminator.
        spectral_normalization: of each kernel of the discriminator.
        pack: how many examples the discriminator judges together (PacGAN); a minibatch gives packs of examples that
            follow each other, and what does not fill the last pack is left out.
        average_decay: of the moving average of the generator's weights, from which `generate`, `sample` and the export
            draw: average <- decay * average + (1 - decay) * weights after each step; 0 is no average.
        initial_stddev: of the first kernels, drawn from a normal distribution; 0 is Keras' Glorot uniform.
        seed: of the noise of training and evaluation.

    Call: examples -> {"logits": D(x)}.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(512, 2))
        >>> gan = GAN(event_shape=(2,), latent_dim=2, generator_hidden=(16,), discriminator_hidden=(16,))
        >>> gan.compile({"generator": "adam", "discriminator": keras.optimizers.Adam(1e-4, beta_1=0.5)})
        >>> history = gan.fit(points, epochs=2, verbose=0)
        >>> gan.sample(4, seed=0).shape
        (4, 2)

    Raises:
        ValueError: for an argument out of its range; by `compile`: for a player without an optimizer; by `fit`: for a
            batch size that minibatches and packs do not divide, for sample weights, and for examples of another shape
            or outside the range of the generator.

    References:
        Goodfellow et al. 2014, Generative Adversarial Nets, algorithm 1. Radford et al. 2016, DCGAN. Lin et al. 2018,
        PacGAN, section 2. Huang et al. 2024, The GAN is dead; long live the GAN! (R3GAN). Yaz et al. 2019, The unusual
        effectiveness of averaging in GAN training.
    """

    players = ("generator", "discriminator")

    def __init__(
        self,
        event_shape,
        latent_dim,
        objective="non_saturating",
        discriminator_steps=1,
        network="dense",
        generator_hidden=(128, 128),
        discriminator_hidden=(128, 128),
        activation="leaky_relu",
        discriminator_activation=None,
        batch_normalization=False,
        r1=0.0,
        r2=0.0,
        gradient_penalty=10.0,
        dragan=0.0,
        clip=0.01,
        spectral_normalization=False,
        pack=1,
        average_decay=0.0,
        initial_stddev=0.0,
        seed=0,
        **kwargs,
    ):
        super().__init__(event_shape=event_shape, seed=seed, **kwargs)
        self.latent_dim = at_least("latent_dim", latent_dim, 1)
        self.discriminator_steps = at_least("discriminator_steps", discriminator_steps, 1)
        self.pack = at_least("pack", pack, 1)
        self.generator_hidden = sizes("generator_hidden", generator_hidden)
        self.discriminator_hidden = sizes("discriminator_hidden", discriminator_hidden)
        self.objective, self.network = objective, network
        self.activation, self.discriminator_activation = activation, discriminator_activation
        self.batch_normalization, self.spectral_normalization = batch_normalization, spectral_normalization
        self.r1, self.r2, self.gradient_penalty, self.dragan = r1, r2, gradient_penalty, dragan
        self.clip, self.average_decay, self.initial_stddev = clip, average_decay, initial_stddev
        self.check_arguments()
        self.build_networks()
        self.built = True

        self.g_loss = keras.metrics.Mean(name="g_loss")
        self.d_loss = keras.metrics.Mean(name="d_loss")
        self.diagnostic = keras.metrics.Mean(name=OBJECTIVES[objective].diagnostic)
        self.penalties = {name: keras.metrics.Mean(name=name) for name in self.penalty_weights()}

    def check_arguments(self):
        if self.objective not in OBJECTIVES:
            raise ValueError(f"objective is {self.objective!r}; one of {', '.join(OBJECTIVES)} is wanted.")
        if self.network not in networks.NETWORKS:
            raise ValueError(f"network is {self.network!r}; one of {networks.NETWORKS} is wanted.")
        if self.network == "convolutional":
            if len(self.event_shape) != 3 or not self.generator_hidden or not self.discriminator_hidden:
                raise ValueError(
                    "Convolutional networks need event_shape (height, width, channels) and at least one hidden layer "
                    f"each; they are {self.event_shape}, {self.generator_hidden} and {self.discriminator_hidden}."
                )
            if self.discriminator_activation == "maxout":
                raise ValueError("discriminator_activation is 'maxout', which is for dense networks; choose another.")
        for name in ("activation", "discriminator_activation"):
            if not isinstance(getattr(self, name) or "", str):
                raise ValueError(f"{name} is {getattr(self, name)!r}; Keras' name of one is wanted, such as 'relu'.")
        for name in ("r1", "r2", "gradient_penalty", "dragan", "initial_stddev"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; a finite number >= 0 is wanted.")
        if not 0.0 < self.clip < np.inf:
            raise ValueError(f"clip is {self.clip}; a finite number > 0 is wanted.")
        if not 0.0 <= self.average_decay < 1.0:
            raise ValueError(f"average_decay is {self.average_decay}; a number in [0, 1) is wanted, such as 0.999.")

    def build_networks(self):
        self.generator = self.new_generator("generator")
        self.discriminator = self.new_discriminator(self.packed_shape())
        if self.average_decay:
            self.averaged_generator = self.new_generator("averaged_generator")
            self.averaged_generator.trainable = False
            self.averaged_generator.set_weights(self.generator.get_weights())

    def new_generator(self, name):
        shape_and_layers = (self.event_shape, self.latent_dim, self.network, self.generator_hidden, self.activation)
        layers = (self.batch_normalization, networks.normal_kernels(self.initial_stddev), self.dtype_policy)
        return networks.generator(*shape_and_layers, *layers, name=name)

    def new_discriminator(self, event_shape):
        return networks.discriminator(
            event_shape,
            self.network,
            self.discriminator_hidden,
            self.discriminator_activation or self.activation,
            self.spectral_normalization,
            networks.normal_kernels(self.initial_stddev),
            self.dtype_policy,
        )

    # Packs: what the discriminator judges at once.

    def packed_shape(self):
        """Features beside each other, images as channels."""
        return (*self.event_shape[:-1], self.pack * self.event_shape[-1])

    def packed(self, x):
        """[batch, *event_shape] -> [batch / pack, *packed_shape]; what does not fill a pack is left out."""
        if self.pack == 1:
            return x
        packs = tf.shape(x)[0] // self.pack
        x = tf.reshape(x[: packs * self.pack], (packs, self.pack, *self.event_shape))
        if len(self.event_shape) == 3:
            x = tf.transpose(x, (0, 2, 3, 1, 4))  # [packs, height, width, pack, channels]
        return tf.reshape(x, (packs, *self.packed_shape()))

    # Networks as functions.

    def call(self, x, training=None):
        return {"logits": self.discriminate(x)}

    def discriminate(self, x):
        """The logits D(x) of examples [batch, *event_shape]: [batch], or of packs [batch / pack]. > 0 is "real"."""
        return self.packed_logits(self.packed(tf.convert_to_tensor(x)))

    def packed_logits(self, packed):
        return self.discriminator(packed)["logits"]

    def generate(self, z):
        """G(z) of codes z [batch, latent_dim]: examples [batch, *event_shape], of the averaged generator if any."""
        generator = self.averaged_generator if self.average_decay else self.generator
        return generator(z, training=False)[self.end]

    def draw_codes(self, num_codes):
        return normal_noise((num_codes, self.latent_dim), self.draw_seed())

    # The two losses.

    def judged_real(self, x, training):
        """What the discriminator judges of real examples: packs of them."""
        return self.packed(x)

    def judged_fake(self, z, training):
        return self.packed(self.generator(z, training=training)[self.end])

    def discriminator_loss(self, real, z, training=True):
        """Of real examples and as many codes: the objective's loss and the penalties, a mean over the batch."""
        return self.loss_of_discriminator(self.judged_real(real, training), self.judged_fake(z, training))

    def loss_of_discriminator(self, real, fake):
        """`discriminator_loss` of what is judged."""
        weights = self.penalty_weights()
        penalties = {}
        real_logits, penalties["r1"] = self.logits_and_slope(real, "r1" in weights)
        fake_logits, penalties["r2"] = self.logits_and_slope(fake, "r2" in weights)
        if "gradient_penalty" in weights:
            x = between(real, fake, self.draw_seed())
            penalties["gradient_penalty"] = gradient_penalty(self.packed_logits, x)
        if "dragan" in weights:
            penalties["dragan"] = gradient_penalty(self.packed_logits, around(real, self.draw_seed()))

        objective = OBJECTIVES[self.objective]
        loss = objective.discriminator(real_logits, fake_logits)
        self.diagnostic.update_state(objective.diagnose(real_logits, fake_logits))
        for name, weight in weights.items():
            loss += weight * penalties[name]
            self.penalties[name].update_state(penalties[name])
        self.d_loss.update_state(loss)
        return self.mean_over_batch(loss)

    def generator_loss(self, real, z, training=True):
        """Of as many codes as real examples, which matter to a relativistic objective alone."""
        real_logits = self.packed_logits(self.judged_real(real, training))
        fake_logits = self.packed_logits(self.judged_fake(z, training))
        loss = OBJECTIVES[self.objective].generator(real_logits, fake_logits)
        self.g_loss.update_state(loss)
        return self.mean_over_batch(loss)

    def penalty_weights(self):
        """name -> weight of the penalties in the discriminator's loss."""
        weights = {"r1": self.r1 / 2, "r2": self.r2 / 2, "dragan": self.dragan}
        if self.objective == "wasserstein_gp":
            weights["gradient_penalty"] = self.gradient_penalty
        return {name: weight for name, weight in weights.items() if weight}

    def logits_and_slope(self, packed, with_slope):
        return with_squared_slope(self.packed_logits, packed) if with_slope else (self.packed_logits(packed), None)

    # Algorithm 1.

    def train_step(self, data):
        for real in self.minibatches(data):
            self.step_discriminator(real)
        self.step_generator(real)
        return self.get_metrics_result()

    def step_discriminator(self, real):
        z = self.draw_codes(tf.shape(real)[0])
        if self.spectral_normalization:
            spectral = [each for each in self.discriminator.layers if isinstance(each, SpectralNormalization)]
            self.assign([each.singular_vector for each in spectral], [each.next_singular_vector() for each in spectral])
        self.minimize("discriminator", lambda: self.discriminator_loss(real, z))
        if self.objective == "wasserstein":
            variables = self.trained_by("discriminator")
            self.assign(variables, [tf.clip_by_value(each.value, -self.clip, self.clip) for each in variables])

    def step_generator(self, real):
        z = self.draw_codes(tf.shape(real)[0])
        self.minimize("generator", lambda: self.generator_loss(real, z))
        if self.average_decay:
            self.move_average()

    def move_average(self):
        # average <- decay * average + (1 - decay) * weights; statistics of the batches are copied.
        decay = self.average_decay
        pairs = list(zip(self.averaged_generator.weights, self.generator.weights, strict=True))
        trained = {id(each) for each in self.generator.trainable_weights}
        self.assign(
            [average for average, _ in pairs],
            [
                decay * average.value + (1.0 - decay) * weight.value if id(weight) in trained else weight.value
                for average, weight in pairs
            ],
        )

    def test_step(self, data):
        for real in self.minibatches(data):
            self.discriminator_loss(real, self.draw_codes(tf.shape(real)[0]), training=False)
        self.generator_loss(real, self.draw_codes(tf.shape(real)[0]), training=False)
        norms = set(self.gradient_norms.values())
        return {metric.name: metric.result() for metric in self.metrics if metric not in norms}

    def minibatches(self, data):
        """A batch's real examples, cut into one minibatch for each discriminator step; a rest is left out."""
        x, _, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise ValueError("sample_weight came; an adversarial loss has none: repeat the examples that weigh more.")
        if self.discriminator_steps == 1:
            return [x]
        size = tf.shape(x)[0] // self.discriminator_steps
        return [x[step * size : (step + 1) * size] for step in range(self.discriminator_steps)]

    def feed(self, x, batch_size):
        """Refuse batches that minibatches and packs do not divide, where their size is known beforehand."""
        if isinstance(x, tf.data.Dataset):
            spec = x.element_spec
            batch_size = (spec[0] if isinstance(spec, tuple) else spec).shape[0]
        elif isinstance(x, np.ndarray):
            batch_size = batch_size or KERAS_BATCH_SIZE
        else:
            batch_size = None
        replicas = self.distribute_strategy.num_replicas_in_sync
        share = self.discriminator_steps * self.pack * replicas
        if batch_size is not None and batch_size % share:
            on_each = f" on each of {replicas} replicas" if replicas > 1 else ""
            raise ValueError(
                f"A batch holds {batch_size} examples, which {self.discriminator_steps} minibatches of packs of "
                f"{self.pack}{on_each} do not divide: {batch_size % share} of each batch would be left out. Choose a "
                f"multiple of {share}; of a smaller batch at the end of an epoch the remainder is left out."
            )
        return x

    # Generation.

    def sample(self, num_samples, seed=0, labels=None):
        """G(z), z ~ N(0, I): float32 [num_samples, *event_shape]. The same arguments give the same examples."""
        self.refuse_labels(labels)
        at_least("num_samples", num_samples, 1)
        z = normal_noise((num_samples, self.latent_dim), stateless_seed(seed, 0))
        return self.in_batches(self.generate, z)

    # Deployment.

    def endpoints(self):
        examples = ("batch", *self.event_shape)
        packs = examples if self.pack == 1 else ("batch", self.pack, *self.event_shape)
        return {
            "generate": Endpoint(
                lambda z: {self.end: self.generate(z)},
                inputs={"z": Input(("batch", self.latent_dim), "standard_normal")},
                outputs={self.end: Output(examples)},
                summary=f"G(z): {self.end}, for codes z ~ N(0, I).",
            ),
            "discriminate": Endpoint(
                lambda **x: {"logits": self.discriminate(tf.reshape(x[self.end], (-1, *self.event_shape)))},
                inputs={self.end: Input(packs, self.values)},
                outputs={"logits": Output(("batch",))},
                summary=f"D(x): the logit that {self.end} are real"
                + (f", {self.pack} together." if self.pack > 1 else "."),
            ),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "objective": self.objective,
            "discriminator_steps": self.discriminator_steps,
            "network": self.network,
            "generator_hidden": self.generator_hidden,
            "discriminator_hidden": self.discriminator_hidden,
            "activation": self.activation,
            "discriminator_activation": self.discriminator_activation,
            "batch_normalization": self.batch_normalization,
            "r1": self.r1,
            "r2": self.r2,
            "gradient_penalty": self.gradient_penalty,
            "dragan": self.dragan,
            "clip": self.clip,
            "spectral_normalization": self.spectral_normalization,
            "pack": self.pack,
            "average_decay": self.average_decay,
            "initial_stddev": self.initial_stddev,
        }
