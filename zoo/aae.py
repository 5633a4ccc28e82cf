"""Adversarial Autoencoders (Makhzani et al. 2015).

    q(z) = integral of q(z|x) p_data(x) dx, the aggregated posterior, is held to the prior p(z) by a discriminator of
    codes, D(z), a logit. Three phases on each minibatch (section 2), each with an optimizer of its own:

    reconstruction   min_Enc,Dec   E ||x - Dec(z)||^2 / features                        z ~ q(z|x)
    discriminator    min_D         E_p(z)[softplus(-D(z))] + E_q(z)[softplus(D(z))]     a prior's z is "real"
    generator        min_Enc       E_q(z)[softplus(-D(z))]                              the encoder fools D

    posterior    deterministic  z = E(x)
                 gaussian       z = loc(x) + scale(x) noise,    noise ~ N(0, I)
                 universal      z = E(x, noise),                noise ~ N(0, I)

The error is a mean over the features, so that it reads the same for images of every size. No phase's loss is weighed
against another's: the balance of reconstruction and prior lies in the learning rates of their optimizers. One that
divides by the size of the gradient (Adam) does not see the factor 1 / features; under plain SGD, the rates of a loss
summed over the features are larger here by that factor.

Labels go to the discriminator (section 2.3, figure 4), D(z, y): a labelled row is compared with its class's own place
in the prior, an unlabelled one, of an extra class, with the whole prior. Or they go to the decoder (the supervised
autoencoder of figure 6), Dec(z, y): z is left to carry the style, but may still carry the class, for the discriminator
sees q(z) alone. Where they go to both (conditional adversarial nets, Mirza and Osindero 2014), D(z, y) holds the codes
q(z|y) of every class to the whole prior, and z tells nothing of y.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from zoo.adversarial_autoencoder import ON_ITS_SIDE, AdversarialAutoencoder
from zoo.base import Conditional, Endpoint, Input, Output, at_least, with_labels
from zoo.distributions import normal_noise, one_hot, stateless_seed
from zoo.fixed_priors import PRIORS
from zoo.inputs import UNLABELLED, Labels, missing_labels
from zoo.objectives import log_loss

POSTERIORS = ("deterministic", "gaussian", "universal")
LABELS_IN = (None, "discriminator", "decoder", "both")


@keras.saving.register_keras_serializable(package="zoo")
class AAE(AdversarialAutoencoder):
    """Adversarial autoencoder: an autoencoder whose codes follow any prior that can be drawn from.

    Args:
        event_shape: (height, width, channels): images in [0, 1], from a decoder that ends in a sigmoid; or
            (features,): real numbers of order 1, from one that ends in a linear layer.
        latent_dim: size of z.
        posterior: "deterministic", "gaussian", or "universal": any distribution, from noise beside the input.
        noise_dim: of a universal posterior, how many normal numbers stand beside the input: with a dense network beside
            the flattened example, with a convolutional one as constant planes.
        prior: "standard_normal", "gaussian_mixture" (a ring) or "swiss_roll", these two with latent_dim=2; see
            `zoo.fixed_priors`.
        prior_scale: factor on every code of the prior; the standard deviation of the normal.
        num_components: Gaussians on the ring, or segments of the roll, which are the places of labels.
        labels_in: None; "discriminator": training takes labels, -1 where there is none, and each class has its place in
            a prior of as many components; "decoder": every example has a label, which the decoder takes beside z;
            "both": so does the discriminator, and the codes of each class are held to the whole prior.
        num_classes: of the labels.
        network: "dense" or "convolutional" (4x4, stride 2), of encoder and decoder.
        hidden: units or filters of the encoder's hidden layers, from the examples inwards; the decoder mirrors them.
        discriminator_hidden: units of the discriminator's hidden layers, which are dense.
        activation: of the hidden layers, by Keras' name for it.
        input_noise: standard deviation of normal noise on the encoder's input, in training alone.
        initial_stddev: of the first kernels, drawn from a normal distribution; 0 is Keras' Glorot uniform.
        seed: of the noise of training and evaluation.

    Players: "reconstruction" trains encoder and decoder, "discriminator" the discriminator, and "generator" the
    encoder; each of the two optimizers that move the encoder has a state of its own.

    Metrics: `reconstruction_error`, `d_loss`, `g_loss` and `accuracy`, the share of codes that the discriminator puts
    on their side: 1/2 is the goal.

    Call: examples, of a decoder that takes labels the pair (examples, labels) -> {"z": E(x), "images" (or "points"):
    Dec(z)}, of a Gaussian posterior at its mean, of a universal one at noise 0.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(512, 3))
        >>> aae = AAE(event_shape=(3,), latent_dim=2, hidden=(16,), discriminator_hidden=(16,), prior="swiss_roll")
        >>> aae.compile(dict.fromkeys(aae.players, "adam"))
        >>> history = aae.fit(points, epochs=2, verbose=0)
        >>> aae.sample(4, seed=0).shape
        (4, 3)

    Raises:
        ValueError: for an argument out of its range, a prior that does not fit latent_dim or the labels; by `compile`:
            for a player without an optimizer; by `fit` and `evaluate`: for examples of another shape or range, for
            labels that are missing or out of range, and for sample weights; by `sample`: for labels on a model that has
            none.

    References:
        Makhzani, Shlens, Jaitly, Goodfellow and Frey 2015, Adversarial Autoencoders, sections 2, 2.3 and 4.
        Mirza and Osindero 2014, Conditional Generative Adversarial Nets.
    """

    players = ("reconstruction", "discriminator", "generator")

    def __init__(
        self,
        event_shape,
        latent_dim,
        posterior="deterministic",
        noise_dim=10,
        prior="standard_normal",
        prior_scale=1.0,
        num_components=10,
        labels_in=None,
        num_classes=10,
        network="dense",
        hidden=(256, 128),
        discriminator_hidden=(128, 128),
        activation="relu",
        input_noise=0.0,
        initial_stddev=0.0,
        seed=0,
        **kwargs,
    ):
        layers = (network, hidden, discriminator_hidden, activation, input_noise, initial_stddev)
        super().__init__(event_shape, *layers, seed=seed, **kwargs)
        self.latent_dim = at_least("latent_dim", latent_dim, 1)
        self.noise_dim = at_least("noise_dim", noise_dim, 1)
        self.num_components = at_least("num_components", num_components, 1)
        self.num_classes = at_least("num_classes", num_classes, 2)
        self.posterior_family, self.prior_family = posterior, prior  # `prior` is the distribution
        self.prior_scale, self.labels_in = prior_scale, labels_in
        self.check_arguments()
        self.fixed_prior = PRIORS[prior](self.latent_dim, float(prior_scale), self.num_components)
        self.check_places_of_labels()

        judged_dim = self.latent_dim + (self.num_judged_classes if self.discriminator_takes_labels else 0)
        decoded_dim = self.latent_dim + (self.num_classes if self.decoder_takes_labels else 0)
        self.encoder = self.new_encoder(self.encoded_shape(), self.latent_dim, with_scale=posterior == "gaussian")
        self.decoder = self.new_decoder(decoded_dim)
        self.discriminator = self.new_discriminator(judged_dim)
        self.built = True

        self.accuracy = keras.metrics.Mean(name="accuracy")  # of the discriminator; 1/2 where q(z) is the prior

    def check_arguments(self):
        for name, value, choices in (
            ("posterior", self.posterior_family, POSTERIORS),
            ("prior", self.prior_family, tuple(PRIORS)),
            ("labels_in", self.labels_in, LABELS_IN),
        ):
            if value not in choices:
                raise ValueError(f"{name} is {value!r}; one of {choices} is wanted.")
        if not 0.0 < self.prior_scale < np.inf:
            raise ValueError(f"prior_scale is {self.prior_scale}; a finite number > 0 is wanted.")

    @property
    def decoder_takes_labels(self):
        return self.labels_in in ("decoder", "both")

    @property
    def discriminator_takes_labels(self):
        return self.labels_in in ("discriminator", "both")

    @property
    def classes_have_places(self):
        """Whether each class has its own place in the prior, and rows may be unlabelled."""
        return self.labels_in == "discriminator"

    @property
    def num_judged_classes(self):
        """Of the discriminator: the unlabelled rows are one more."""
        return self.num_classes + self.classes_have_places

    def check_places_of_labels(self):
        if not self.classes_have_places:
            return
        if not self.fixed_prior.has_components:
            raise ValueError(
                f"labels_in is 'discriminator', but the prior {self.prior_family!r} has no place for each class: pass "
                "prior='gaussian_mixture' or 'swiss_roll'."
            )
        if self.num_components != self.num_classes:
            raise ValueError(
                f"num_components is {self.num_components} and num_classes {self.num_classes}; with "
                "labels_in='discriminator' each class has a component of its own: pass equal numbers."
            )

    def encoded_shape(self):
        """What the encoder takes: examples, or examples beside the noise of a universal posterior."""
        if self.posterior_family != "universal":
            return self.event_shape
        if self.network == "convolutional":
            return (*self.event_shape[:-1], self.event_shape[-1] + self.noise_dim)
        return (math.prod(self.event_shape) + self.noise_dim,)

    @property
    def labels(self):
        return None if self.labels_in is None else Labels(self.num_classes, some=self.classes_have_places)

    def trained_by(self, player):
        if player == "discriminator":
            return self.discriminator.trainable_variables
        decoder = self.decoder.trainable_variables if player == "reconstruction" else []
        return self.encoder.trainable_variables + decoder

    # Distributions.

    @property
    def prior(self):
        """p(z) as a tfp distribution, event_shape [latent_dim]; a ValueError for the swiss roll, which has none."""
        return self.fixed_prior.distribution

    def draw_prior(self, num_samples, seed=0, labels=None):
        """z ~ p(z): float32 [num_samples, latent_dim]; with labels, one or [num_samples], from a class's place.

        Labels are for labels_in="discriminator"; -1 is the whole prior.
        """
        if labels is not None and not self.classes_have_places:
            raise ValueError("labels came, but the prior is one for all classes: leave them out.")
        places = None if labels is None else self.classes_of(num_samples, labels, some=True)
        return self.fixed_prior.draw(num_samples, stateless_seed(seed, 0), places)

    def draw_codes(self, x):
        """z ~ q(z|x), one for each example: [batch, latent_dim]."""
        sizes_of_noise = {"deterministic": 0, "gaussian": self.latent_dim, "universal": self.noise_dim}
        size = sizes_of_noise[self.posterior_family]
        return self.code(x, normal_noise((tf.shape(x)[0], size), self.draw_seed()) if size else None)

    def code(self, x, noise=None):
        """z of x and the posterior's noise; None is noise 0."""
        if self.posterior_family == "universal":
            noise = tf.zeros((tf.shape(x)[0], self.noise_dim)) if noise is None else noise
            return self.encoder(self.beside(x, noise))["loc"]
        code = self.encoder(x)
        return code["loc"] if noise is None else code["loc"] + code["scale"] * noise

    def beside(self, x, noise):
        """x and noise [batch, noise_dim] as one example of `encoded_shape`."""
        x = tf.cast(x, tf.float32)
        if self.network == "dense":
            return tf.concat([tf.reshape(x, (-1, math.prod(self.event_shape))), noise], axis=1)
        planes = noise[:, None, None, :] * tf.ones((*self.event_shape[:-1], 1))
        return tf.concat([x, planes], axis=-1)

    # Networks as functions. `labels` is None where the model has none.

    def call(self, x, training=None):
        x, labels = x if self.decoder_takes_labels else (x, None)
        z = self.code(x)
        return {"z": z, self.end: self.decoded(z, labels)}

    def decoded(self, z, labels):
        if self.decoder_takes_labels:
            z = tf.concat([z, one_hot(labels, self.num_classes)], axis=1)
        return self.decoder(z)[self.end]

    def judged(self, z, labels):
        if self.discriminator_takes_labels:
            with_unlabelled = tf.where(labels < 0, tf.cast(self.num_classes, labels.dtype), labels)
            z = tf.concat([z, one_hot(with_unlabelled, self.num_judged_classes)], axis=1)
        return self.discriminator(z)["logits"]

    def encode(self, x, noise=None):
        """E(x) of examples [batch, *event_shape]: [batch, latent_dim].

        The mean of a Gaussian posterior; of a universal one the code at `noise` [batch, noise_dim], 0 if there is none.
        """
        if noise is not None and self.posterior_family != "universal":
            raise ValueError(f"noise came, but the posterior is {self.posterior_family}: leave it out.")
        return self.code(tf.convert_to_tensor(x), noise)

    def decode(self, z, y=None):
        """Dec(z), or Dec(z, y): codes and labels [batch] -> examples [batch, *event_shape]."""
        return self.decoded(tf.convert_to_tensor(z), self.decoder_labels(len(z), y))

    def discriminate(self, z, y=None):
        """D(z): [batch], the logits that codes are the prior's.

        Of a discriminator that takes labels D(z, y), of labels y [batch]; with labels_in="discriminator" codes may be
        unlabelled.
        """
        if y is not None and not self.discriminator_takes_labels:
            raise ValueError("y came, but the discriminator takes no labels: leave it out.")
        if y is None and self.labels_in == "both":
            raise ValueError(missing_labels(self.labels))
        labels = self.classes_of(len(z), UNLABELLED if y is None else y, some=self.labels_in != "both")
        return self.judged(tf.convert_to_tensor(z), labels)

    def reconstruct(self, x, y=None):
        """Dec(E(x)), or Dec(E(x), y): float32 [batch, *event_shape]."""
        x = self.checked(x)
        labels = self.decoder_labels(len(x), y)
        arrays = (x,) if labels is None else (x, labels)
        return self.in_batches(lambda x, labels=None: self.decoded(self.code(x), labels), *arrays)

    def decoder_labels(self, count, y):
        """Labels for the decoder, int64 [count]; None where it takes none."""
        if self.decoder_takes_labels:
            if y is None:
                raise ValueError(missing_labels(self.labels))
            return self.classes_of(count, y)
        if y is not None:
            raise ValueError("y came, but the decoder takes no labels: leave it out.")
        return None

    # The three losses.

    def reconstruction_loss(self, x, z, labels=None):
        """The mean squared error of examples [batch, *event_shape] that codes z [batch, latent_dim] give again."""
        return self.loss_of_reconstruction(x, self.decoded(z, labels))

    def discriminator_loss(self, real, fake, labels=None):
        """softplus(-D(real)) + softplus(D(fake)) of as many codes of the prior as of the encoder."""
        real_logits, fake_logits = self.judged(real, labels), self.judged(fake, labels)
        loss = log_loss(real_logits, fake_logits)
        self.d_loss.update_state(loss)
        self.accuracy.update_state(ON_ITS_SIDE(real_logits, fake_logits))
        return self.mean_over_batch(loss)

    def generator_loss(self, fake, labels=None):
        """softplus(-D(fake)) of codes of the encoder."""
        loss = tf.nn.softplus(-self.judged(fake, labels))
        self.g_loss.update_state(loss)
        return self.mean_over_batch(loss)

    # The three phases, on one minibatch.

    def train_step(self, data):
        x, labels = self.examples_and_labels(data)
        real, seen = self.draw_real(x, labels), self.corrupted(x)

        def z():
            return self.draw_codes(seen)

        self.minimize("reconstruction", lambda: self.reconstruction_loss(x, z(), labels))
        self.minimize("discriminator", lambda: self.discriminator_loss(real, z(), labels))
        self.minimize("generator", lambda: self.generator_loss(z(), labels))
        return self.get_metrics_result()

    def test_step(self, data):
        x, labels = self.examples_and_labels(data)
        z = self.draw_codes(x)
        self.reconstruction_loss(x, z, labels)
        self.discriminator_loss(self.draw_real(x, labels), z, labels)
        self.generator_loss(z, labels)
        return self.losses()

    def draw_real(self, x, labels):
        """As many codes of the prior as there are examples, each from the place of its label."""
        places = labels if self.classes_have_places else None
        return self.fixed_prior.draw(tf.shape(x)[0], self.draw_seed(), places)

    # Prediction takes labels where the decoder does: see `zoo.base.Conditional`.

    def predict(self, x, y=None, *args, **kwargs):
        """`keras.Model.predict` of examples `x`, of a decoder that takes labels of examples and their labels `y`."""
        if self.decoder_takes_labels:
            return Conditional.predict(self, x, y, *args, **kwargs)
        return super().predict(x, *args, **kwargs)

    def predict_step(self, data):
        return super().predict_step(with_labels(data) if self.decoder_takes_labels else data)

    # Generation.

    def sample(self, num_samples, labels=None, seed=0):
        """Dec(z), z ~ p(z): float32 [num_samples, *event_shape]. The same arguments give the same examples.

        Args:
            labels: of a model with labels, a class for all samples, or one for each [num_samples]. None: of a decoder
                that takes them 0 ... num_classes - 1 in turn, with labels_in="discriminator" the whole prior.
        """
        at_least("num_samples", num_samples, 1)
        if self.labels is None:
            self.refuse_labels(labels)
        if self.decoder_takes_labels:
            z, classes = self.draw_prior(num_samples, seed), self.classes_of(num_samples, labels)
            return self.in_batches(self.decoded, z, classes)
        return self.in_batches(lambda z: self.decoded(z, None), self.draw_prior(num_samples, seed, labels))

    # Deployment. The codes of `decode` are real numbers, whatever the prior; `generate` draws them from noise.

    def endpoints(self):
        examples, codes = ("batch", *self.event_shape), ("batch", self.latent_dim)
        label = {"labels": Input(("batch",), "label", self.num_classes)}
        of_decoder = label if self.decoder_takes_labels else {}
        of_discriminator = label if self.discriminator_takes_labels else {}
        of_places = label if self.classes_have_places else {}
        given = " of their labels" if self.labels_in else ""
        return {
            "generate": Endpoint(
                self.generated,
                inputs={**self.fixed_prior.inputs(by_label=bool(of_places)), **of_decoder, **of_places},
                outputs={self.end: Output(examples)},
                summary=f"{self.end.capitalize()}{given}: the decoder's at codes of the prior, drawn by the noise.",
            ),
            "decode": Endpoint(
                lambda z, labels=None: {self.end: self.decoded(z, labels)},
                inputs={"z": Input(codes, "real"), **of_decoder},
                outputs={self.end: Output(examples)},
                summary=f"{self.end.capitalize()} of codes z, of the scale of the prior.",
            ),
            "encode": self.encode_endpoint(Input(examples, self.values), Output(codes)),
            "discriminate": Endpoint(
                lambda z, labels=None: {"logits": self.judged(z, labels)},
                inputs={"z": Input(codes, "real"), **of_discriminator},
                outputs={"logits": Output(("batch",))},
                summary="D(z): the logit that codes are the prior's.",
            ),
        }

    def generated(self, noise, uniform=None, labels=None):
        places, classes = (labels, None) if self.classes_have_places else (None, labels)
        return {self.end: self.decoded(self.fixed_prior.from_noise(noise, uniform, places), classes)}

    def encode_endpoint(self, examples, code):
        if self.posterior_family == "gaussian":
            return Endpoint(
                lambda **x: dict(self.encoder(x[self.end])),
                inputs={self.end: examples},
                outputs={"loc": code, "scale": code},
                summary=f"q(z|x) = N(loc, diag(scale^2)) of {self.end}.",
            )
        universal = self.posterior_family == "universal"
        noise = {"noise": Input(("batch", self.noise_dim), "standard_normal")} if universal else {}
        return Endpoint(
            lambda noise=None, **x: {"z": self.code(x[self.end], noise)},
            inputs={self.end: examples, **noise},
            outputs={"z": code},
            summary=f"A draw of q(z|x) of {self.end}, by the noise." if universal else f"The code of {self.end}.",
        )

    def get_config(self):
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "posterior": self.posterior_family,
            "noise_dim": self.noise_dim,
            "prior": self.prior_family,
            "prior_scale": self.prior_scale,
            "num_components": self.num_components,
            "labels_in": self.labels_in,
            "num_classes": self.num_classes,
        }
