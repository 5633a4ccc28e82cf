"""Semi-supervised adversarial autoencoders and their clustering (Makhzani et al. 2015, sections 5 and 6).

    The encoder gives a class and a style, q(y|x) = softmax(logits(x)) and z = E(x), which the decoder takes together.
    Two discriminators, D_y and D_z, hold what the encoder gives to the priors

        p(y) = 1 / num_classes, as one-hot vectors          p(z) = N(0, prior_scale^2 I)

    Three phases on each minibatch:

    reconstruction     min_Enc,Dec    E ||x - Dec(y, z)||^2 / features
    regularization     min_D_y        E_p(y)[softplus(-D_y(y))] + E_q(y)[softplus(D_y(y))]
                       min_D_z        E_p(z)[softplus(-D_z(z))] + E_q(z)[softplus(D_z(z))]
                       min_Enc        E_q(y)[softplus(-D_y(y))] + E_q(z)[softplus(-D_z(z))]
    classification     min_Enc        E[-log q(y|x)],  of the rows with a label

Without labels there is no classification phase, and the classes are clusters that the priors alone shape (section 6).
"""

import keras
import numpy as np
import tensorflow as tf

from zoo.adversarial_autoencoder import ON_ITS_SIDE, AdversarialAutoencoder
from zoo.base import Endpoint, Input, Output, at_least
from zoo.distributions import normal_noise, one_hot, stateless_seed, uniform_noise
from zoo.inputs import Labels
from zoo.objectives import log_loss


@keras.saving.register_keras_serializable(package="zoo")
class SemiSupervisedAAE(AdversarialAutoencoder):
    """Adversarial autoencoder with a class and a style, trained with few labels or, as a clustering, with none.

    Args:
        event_shape: as of `zoo.AAE`.
        num_classes: of the labels; without labels, the number of clusters.
        latent_dim: size of the style z.
        supervised: training takes labels 0 ... num_classes - 1, or -1 where there is none. False: no labels and no
            player "classification"; this is the clustering.
        prior_scale: standard deviation of the style's prior.
        class_noise: standard deviation of normal noise on what D_y judges in training, one-hot vectors and q(y|x)
            alike: without it D_y can tell them apart by the exact zeros and ones; 0 is the paper.
        network, hidden, discriminator_hidden, activation, initial_stddev, seed: as of `zoo.AAE`; both discriminators
            have `discriminator_hidden`.
        input_noise: standard deviation of normal noise on the encoder's input, in training alone; 0.3 on MNIST in the
            paper.

    Players: "reconstruction" trains encoder and decoder, "discriminator" both discriminators, "generator" the encoder,
    and, where supervised, "classification" the encoder.

    The classification loss is a mean over the rows of a minibatch that have a label, so it does not shrink with their
    share; in a minibatch without any it is 0 and so is its gradient, though an optimizer with momentum still moves.
    Where few rows have labels, feed a stream whose every minibatch holds some of them (in the paper this phase has
    minibatches of its own). All rows count in the other phases. The other phases find groups early and are content with
    any names for them: give the classification a learning rate several times the generator's, so that it can rename
    them.

    Metrics: `reconstruction_error`, `d_loss` and `g_loss` (sums over the two), `categorical_d_accuracy` and
    `style_d_accuracy`, the share that each discriminator puts on its side; where supervised, of the rows with a label,
    `cross_entropy` in nats and `error`, the share whose likeliest class is another; 0 where there are no such rows.

    Call: examples -> {"class_probabilities": q(y|x), "z", "images" (or "points"): Dec(q(y|x), z)}.

    Example:
        >>> points, labels = np.random.default_rng(0).normal(size=(512, 3)), np.full(512, -1)
        >>> labels[:20] = points[:20, 0] > 0
        >>> model = SemiSupervisedAAE((3,), num_classes=2, latent_dim=2, hidden=(16,), discriminator_hidden=(16,))
        >>> model.compile(dict.fromkeys(model.players, "adam"))
        >>> history = model.fit(points, labels, epochs=2, verbose=0)
        >>> model.classify(points[:4]).shape
        TensorShape([4, 2])

    Raises:
        ValueError: for an argument out of its range; by `compile`: for a player without an optimizer; by `fit` and
            `evaluate`: for examples of another shape or range, for labels that are missing or out of range, and for
            sample weights.

    References:
        Makhzani, Shlens, Jaitly, Goodfellow and Frey 2015, Adversarial Autoencoders, sections 5 and 6.
    """

    def __init__(
        self,
        event_shape,
        num_classes=10,
        latent_dim=10,
        supervised=True,
        prior_scale=1.0,
        class_noise=0.0,
        network="dense",
        hidden=(256, 128),
        discriminator_hidden=(128, 128),
        activation="relu",
        input_noise=0.0,
        initial_stddev=0.0,
        seed=0,
        **kwargs,
    ):
        self.supervised = bool(supervised)  # on which `players` depend
        layers = (network, hidden, discriminator_hidden, activation, input_noise, initial_stddev)
        super().__init__(event_shape, *layers, seed=seed, **kwargs)
        self.num_classes = at_least("num_classes", num_classes, 2)
        self.latent_dim = at_least("latent_dim", latent_dim, 1)
        self.prior_scale, self.class_noise = prior_scale, class_noise
        if not 0.0 < prior_scale < np.inf:
            raise ValueError(f"prior_scale is {prior_scale}; a finite number > 0 is wanted.")
        if not 0.0 <= class_noise < np.inf:
            raise ValueError(f"class_noise is {class_noise}; a finite number >= 0 is wanted.")

        self.encoder = self.new_encoder(self.event_shape, self.num_classes + self.latent_dim)
        self.decoder = self.new_decoder(self.num_classes + self.latent_dim)
        self.categorical_discriminator = self.new_discriminator(self.num_classes)
        self.style_discriminator = self.new_discriminator(self.latent_dim)
        self.built = True

        self.categorical_accuracy = keras.metrics.Mean(name="categorical_d_accuracy")
        self.style_accuracy = keras.metrics.Mean(name="style_d_accuracy")
        if self.supervised:
            self.cross_entropy = keras.metrics.Mean(name="cross_entropy")
            self.error = keras.metrics.Mean(name="error")

    @property
    def players(self):
        unsupervised = ("reconstruction", "discriminator", "generator")
        return (*unsupervised, "classification") if self.supervised else unsupervised

    @property
    def labels(self):
        return Labels(self.num_classes, some=True) if self.supervised else None

    def trained_by(self, player):
        if player == "discriminator":
            return self.categorical_discriminator.trainable_variables + self.style_discriminator.trainable_variables
        decoder = self.decoder.trainable_variables if player == "reconstruction" else []
        return self.encoder.trainable_variables + decoder

    # Networks as functions.

    def call(self, x, training=None):
        y, z = self.encode(x)
        return {"class_probabilities": y, "z": z, self.end: self.decoded(y, z)}

    def class_logits_and_style(self, x):
        code = self.encoder(x)["loc"]
        return code[:, : self.num_classes], code[:, self.num_classes :]

    def encode(self, x):
        """(q(y|x), z) of examples [batch, *event_shape]: class probabilities [batch, num_classes] and the style."""
        class_logits, z = self.class_logits_and_style(tf.convert_to_tensor(x))
        return tf.nn.softmax(class_logits), z

    def classify(self, x):
        """q(y|x) of examples [batch, *event_shape]: [batch, num_classes]; of clusters where there are no labels."""
        return self.encode(x)[0]

    def decoded(self, y, z):
        return self.decoder(tf.concat([y, z], axis=1))[self.end]

    def decode(self, z, labels):
        """Dec(y, z) of styles z [batch, latent_dim] and labels (or clusters) [batch]: [batch, *event_shape]."""
        return self.of_class(tf.convert_to_tensor(z), self.classes_of(len(z), labels))

    def of_class(self, z, labels):
        return self.decoded(one_hot(labels, self.num_classes), z)

    def reconstruct(self, x):
        """Dec(q(y|x), z): float32 [batch, *event_shape]."""
        return self.in_batches(lambda x: self.decoded(*self.encode(x)), self.checked(x))

    def judged(self, y, z):
        """(D_y(y), D_z(z)): two times [batch] logits."""
        return self.categorical_discriminator(y)["logits"], self.style_discriminator(z)["logits"]

    # The losses. `y` is [batch, num_classes].

    def reconstruction_loss(self, x, y, z):
        """The mean squared error of examples [batch, *event_shape] that classes y and styles z give again."""
        return self.loss_of_reconstruction(x, self.decoded(y, z))

    def discriminator_loss(self, real, fake):
        """softplus(-D(real)) + softplus(D(fake)), summed over D_y and D_z, of pairs (y, z)."""
        (real_y, real_z), (fake_y, fake_z) = self.judged(*real), self.judged(*fake)
        loss = log_loss(real_y, fake_y) + log_loss(real_z, fake_z)
        self.d_loss.update_state(loss)
        self.categorical_accuracy.update_state(ON_ITS_SIDE(real_y, fake_y))
        self.style_accuracy.update_state(ON_ITS_SIDE(real_z, fake_z))
        return self.mean_over_batch(loss)

    def generator_loss(self, fake):
        """softplus(-D_y(y)) + softplus(-D_z(z)) of pairs (y, z) of the encoder."""
        y_logits, z_logits = self.judged(*fake)
        loss = tf.nn.softplus(-y_logits) + tf.nn.softplus(-z_logits)
        self.g_loss.update_state(loss)
        return self.mean_over_batch(loss)

    def classification_loss(self, class_logits, labels):
        """-log q(y|x), a mean over the rows whose label is not -1; 0 where there are none."""
        cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(labels, 0), class_logits)
        labelled = tf.cast(labels >= 0, tf.float32)
        self.cross_entropy.update_state(cross_entropy, labelled)
        self.error.update_state(tf.argmax(class_logits, axis=1) != labels, labelled)
        share = tf.maximum(tf.reduce_sum(labelled), 1.0) / tf.maximum(tf.cast(tf.size(labels), tf.float32), 1.0)
        return self.mean_over_batch(cross_entropy, labelled / share)

    # The phases, on one minibatch.

    def train_step(self, data):
        x, labels = self.examples_and_labels(data)
        real, seen = self.with_class_noise(*self.draw_prior_codes(tf.shape(x)[0])), self.corrupted(x)

        def fake():
            return self.with_class_noise(*self.encode(seen))

        self.minimize("reconstruction", lambda: self.reconstruction_loss(x, *self.encode(seen)))
        self.minimize("discriminator", lambda: self.discriminator_loss(real, fake()))
        self.minimize("generator", lambda: self.generator_loss(fake()))
        if self.supervised:
            self.minimize(
                "classification",
                lambda: self.classification_loss(self.class_logits_and_style(seen)[0], labels),
            )
        return self.get_metrics_result()

    def test_step(self, data):
        x, labels = self.examples_and_labels(data)
        class_logits, z = self.class_logits_and_style(x)
        y = tf.nn.softmax(class_logits)
        self.reconstruction_loss(x, y, z)
        self.discriminator_loss(self.draw_prior_codes(tf.shape(x)[0]), (y, z))
        self.generator_loss((y, z))
        if self.supervised:
            self.classification_loss(class_logits, labels)
        return self.losses()

    def draw_prior_codes(self, num_codes):
        """(y, z) of the priors: one-hot classes [num_codes, num_classes] and styles [num_codes, latent_dim]."""
        classes = tf.cast(self.num_classes * uniform_noise((num_codes,), self.draw_seed()), tf.int64)
        y = one_hot(classes, self.num_classes)
        z = self.prior_scale * normal_noise((num_codes, self.latent_dim), self.draw_seed())
        return y, z

    def with_class_noise(self, y, z):
        if self.class_noise:
            y += self.class_noise * normal_noise(tf.shape(y), self.draw_seed())
        return y, z

    # Generation.

    def sample(self, num_samples, labels=None, seed=0):
        """Dec(y, z), z ~ p(z): float32 [num_samples, *event_shape]. The same arguments give the same examples.

        Args:
            labels: a class (or cluster) for all samples, or one for each [num_samples]; None: 0 ... num_classes - 1
                in turn.
        """
        at_least("num_samples", num_samples, 1)
        z = self.prior_scale * normal_noise((num_samples, self.latent_dim), stateless_seed(seed, 0))
        return self.in_batches(self.of_class, z, self.classes_of(num_samples, labels))

    # Deployment. The styles of `decode` are real numbers, of the scale of the prior; `generate` draws them from noise.

    def endpoints(self):
        examples, styles = ("batch", *self.event_shape), ("batch", self.latent_dim)
        labels = Input(("batch",), "label", self.num_classes)
        probabilities, kind = Output(("batch", self.num_classes)), "class" if self.supervised else "cluster"
        return {
            "classify": Endpoint(
                lambda **x: {"class_probabilities": self.classify(x[self.end])},
                inputs={self.end: Input(examples, self.values)},
                outputs={"class_probabilities": probabilities},
                summary=f"q(y|x): the probability of each {kind}, of {self.end}.",
            ),
            "encode": Endpoint(
                lambda **x: dict(zip(("class_probabilities", "z"), self.encode(x[self.end]), strict=True)),
                inputs={self.end: Input(examples, self.values)},
                outputs={"class_probabilities": probabilities, "z": Output(styles)},
                summary=f"The {kind} and the style z of {self.end}.",
            ),
            "decode": Endpoint(
                lambda z, labels: {self.end: self.of_class(z, labels)},
                inputs={"z": Input(styles, "real"), "labels": labels},
                outputs={self.end: Output(examples)},
                summary=f"{self.end.capitalize()} of a {kind} and a style z, of the scale of the prior.",
            ),
            "generate": Endpoint(
                lambda noise, labels: {self.end: self.of_class(self.prior_scale * noise, labels)},
                inputs={"noise": Input(styles, "standard_normal"), "labels": labels},
                outputs={self.end: Output(examples)},
                summary=f"{self.end.capitalize()} of a {kind}, with a style that the noise draws from the prior.",
            ),
        }

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "latent_dim": self.latent_dim,
            "supervised": self.supervised,
            "prior_scale": self.prior_scale,
            "class_noise": self.class_noise,
        }
