"""Semi-supervised learning with a deep generative model: M2 of Kingma et al. 2014.

    prior        p(y) = 1 / num_classes,    p(z) = N(0, I)
    likelihood   p(x|z, y)                                      as in zoo.SupervisedVAE
    posterior    q(z|x, y) = N(loc(x, y), diag(scale(x, y)^2)),    q(y|x) = Cat(softmax(logits(x)))

    labelled     -L(x, y) = E_q(z|x, y)[log p(x|z, y)] - KL(q(z|x, y) || p(z)) + log p(y) <= log p(x, y)   (equation 6)
    unlabelled   -U(x)    = sum_y q(y|x) (-L(x, y)) + H(q(y|x))                            <= log p(x)      (equation 7)

Both are one formula of r(y), which is q(y|x), or all on the label where there is one:

    bound = E_r(y)[log p(x|z, y)] - E_r(y)[KL(q(z|x, y) || p(z))] - KL(r(y) || p(y))

y is enumerated: each image is encoded and decoded with every label, once, with one z for each. An image with a label
needs only one of them; as few have a label, all are treated alike.

The objective (equation 9) adds the classifier's own loss, because no term of the labelled bound trains q(y|x):

    J = sum_labelled L + sum_unlabelled U + alpha N E_labelled[-log q(y|x)],    alpha = 0.1

N being the number of examples, labelled or not; the paper writes alpha N as alpha. The loss is an estimate of J / N
from a batch: the mean of L or U over its rows, plus alpha times the mean of -log q(y|x) over its labelled rows.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from zoo import networks
from zoo.base import Endpoint, Output
from zoo.distributions import stateless_seed
from zoo.importance import importance_estimate
from zoo.inputs import Labels
from zoo.supervised_vae import GivenLabels


@keras.saving.register_keras_serializable(package="zoo")
class SemiSupervisedVAE(GivenLabels):
    """Variational autoencoder of images some of which have a label; it classifies, and generates by class.

    Labels are 0 ... num_classes - 1, and -1 for an image without one: `fit(x, y)` takes both together.

    The classifier's term does not depend on how many rows of a batch are labelled, but a batch without any lacks it.
    Where few images have a label, give each batch the same small number of labelled rows. The bounds weigh labelled
    and unlabelled images as the batches do: with more labelled rows in a batch than in the data, their L counts more.

    Args:
        event_shape, latent_dim: of `zoo.VAE`.
        num_classes: labels are 0 ... num_classes - 1.
        alpha: weight of the classifier's loss, beside a bound of the order of a hundred nats.
        network, hidden, activation: of `zoo.VAE`; the classifier q(y|x) has the hidden layers of the encoder.
        beta, warm_up_steps: of `zoo.VAE`; the weight of the KL of z alone.
        binarization, likelihood, seed: of `zoo.VAE`.

    The metrics `nll` and `kl` are the two parts of the bound, kl with that of y; `classification_loss`, the mean of
    -log q(y|x) in nats, and `accuracy` are of the labelled images alone, and 0 where there are none.

    Call: images -> {"images": the binary images, "class_probabilities", "class_logits", and for the most probable class
    "loc", "scale", "z", "logits"}, as `zoo.SupervisedVAE` for it.

    Example:
        >>> x, y = np.random.default_rng(0).random((256, 8, 8)), np.arange(256) % 10
        >>> vae = SemiSupervisedVAE(event_shape=(8, 8, 1), latent_dim=2, num_classes=10)
        >>> vae.compile("adam")
        >>> history = vae.fit(x, np.where(np.arange(256) < 50, y, -1), epochs=2, verbose=0)
        >>> vae.classify(x).shape
        (256, 10)

    Raises:
        ValueError: as `zoo.SupervisedVAE`.

    References:
        Kingma et al. 2014, Semi-Supervised Learning with Deep Generative Models, section 3.1.
    """

    def __init__(
        self,
        event_shape,
        latent_dim,
        num_classes,
        alpha=0.1,
        network="dense",
        hidden=(256, 128),
        activation="relu",
        beta=1.0,
        warm_up_steps=0,
        binarization="dynamic",
        likelihood="bernoulli",
        seed=0,
        **kwargs,
    ):
        super().__init__(
            event_shape,
            latent_dim,
            num_classes,
            network=network,
            hidden=hidden,
            activation=activation,
            beta=beta,
            warm_up_steps=warm_up_steps,
            binarization=binarization,
            likelihood=likelihood,
            seed=seed,
            **kwargs,
        )
        self.alpha = float(alpha)
        if not 0.0 <= self.alpha < np.inf:
            raise ValueError(f"alpha is {self.alpha}; a finite number >= 0 is wanted.")
        event_shape, _, *layers = self.shape_and_layers()
        self.classifier = networks.classifier(event_shape, self.num_classes, *layers)
        self.classification_loss = keras.metrics.Mean(name="classification_loss")
        self.accuracy = keras.metrics.Mean(name="accuracy")

    @property
    def labels(self):
        return Labels(self.num_classes, some=True)

    # The objective.

    def call(self, x, training=None):
        images = self.binarize(x, self.draw_seed())
        class_logits = self.classifier(images)["logits"]
        y = tf.argmax(class_logits, axis=-1)
        code = self.encoded(images, y)
        z = self.posterior_of(code).sample(seed=self.draw_seed())
        classes = {"class_probabilities": tf.nn.softmax(class_logits), "class_logits": class_logits}
        return {"images": images, **classes, **code, "z": z, **self.decoded(z, y)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        class_logits, indicators = y_pred["class_logits"], self.indicators(y)
        labelled = tf.reduce_sum(indicators, axis=-1)
        nll, kl, kl_of_y = self.terms(y_pred["images"], class_logits, indicators, self.draw_seed())
        bound = nll + (self.warmed_up_beta() if training else self.beta) * kl + kl_of_y

        # Its mean over the batch is the mean of -log q(y|x) over the labelled rows.
        classification_loss = -tf.reduce_sum(indicators * tf.nn.log_softmax(class_logits), axis=-1)
        weight = tf.math.divide_no_nan(labelled, tf.reduce_mean(labelled))
        loss = bound + self.alpha * weight * classification_loss

        right = tf.cast(tf.argmax(class_logits, axis=-1) == tf.cast(y, tf.int64), tf.float32)
        weight_of_labelled = labelled if sample_weight is None else labelled * tf.cast(sample_weight, tf.float32)
        self.nll.update_state(nll, sample_weight)
        self.kl.update_state(kl + kl_of_y, sample_weight)
        self.classification_loss.update_state(classification_loss, weight_of_labelled)
        self.accuracy.update_state(right, weight_of_labelled)
        return self.mean_over_batch(loss, sample_weight)

    def terms(self, images, class_logits, indicators, seed):
        """The terms of -bound: -log p(x|z, y) and KL(q(z|x, y) || p(z)) over r(y), and KL(r(y) || p(y)): each [batch].

        indicators: the labels, one-hot, [batch, num_classes]; a row of zeros without a label, where r(y) is q(y|x).
        """
        nll, kl = self.terms_of_every_label(images, seed)
        unlabelled = 1.0 - tf.reduce_sum(indicators, axis=-1)
        log_q = tf.nn.log_softmax(class_logits)
        q = tf.exp(log_q)
        r = indicators + unlabelled[:, None] * q
        # KL(r || p(y)) = log num_classes - H(r); the entropy of a label is 0
        kl_of_y = math.log(self.num_classes) + unlabelled * tf.reduce_sum(q * log_q, axis=-1)
        return tf.reduce_sum(r * nll, axis=-1), tf.reduce_sum(r * kl, axis=-1), kl_of_y

    def terms_of_every_label(self, images, seed):
        """-log p(x|z, y) for one z ~ q(z|x, y), and KL(q(z|x, y) || p(z)): each float32 [batch, num_classes]."""
        posterior, each, y = self.posterior_of_every_label(images)
        z = posterior.sample(seed=seed)
        # Written out, for most of the time goes here: tfp's Bernoulli takes two logarithms a pixel where one will do
        pixels = self.log_likelihood(each, self.decoded(z, y)[self.head])
        nll = -tf.reduce_sum(pixels, axis=tuple(range(1, pixels.shape.rank)))
        kl = self.kl_divergence(posterior, z)
        return tf.reshape(nll, (-1, self.num_classes)), tf.reshape(kl, (-1, self.num_classes))

    def posterior_of_every_label(self, images):
        """q(z|x, y) of each image with the labels 0 ... num_classes - 1 in turn; those images and labels beside it."""
        y = tf.tile(tf.range(self.num_classes, dtype=tf.int64), tf.shape(images)[:1])
        features = tf.repeat(self.stem(images)["features"], self.num_classes, axis=0)
        return self.posterior_of(self.encoded_features(features, y)), tf.repeat(images, self.num_classes, axis=0), y

    def elbo(self, x, seed=0):
        """-U(x), a bound on log p(x), in nats: float32 [batch]. Gray images are binarized by the protocol."""
        return super().elbo(x, seed)

    def elbo_terms(self, x, seed=0):
        """E_q(y|x)[-log p(x|z, y)] and the KL of y and z together, which add up to -`elbo`: float32 [batch] each."""
        images = self.binarize(self.tensor(x), stateless_seed(seed, 0))
        class_logits = self.classifier(images)["logits"]
        no_labels = tf.zeros_like(class_logits)
        nll, kl, kl_of_y = self.terms(images, class_logits, no_labels, stateless_seed(seed, 1))
        return nll, kl + kl_of_y

    @tf.function(reduce_retracing=True)
    def compiled_importance_estimate(self, x, num_importance_samples, seed):
        # p(x) = sum_y p(y) p(x|y): a weight is the mean over y of the weights of p(x|y), with a z for each
        posterior, images, y = self.posterior_of_every_label(self.binarize(x, stateless_seed(seed, 0)))

        def log_weights(s):
            z = posterior.sample(seed=stateless_seed(seed, 1, s))
            of_every_label = tf.reshape(self.log_weights(images, z, posterior, y), (-1, self.num_classes))
            return tf.reduce_logsumexp(of_every_label, axis=-1) - math.log(self.num_classes)

        return importance_estimate(log_weights, num_importance_samples)

    # What it is for.

    def classify(self, x):
        """q(y|x) of images x: float32 [batch, num_classes]. `x` as the posterior takes it; gray images pass as well."""
        return self.in_batches(lambda images: tf.nn.softmax(self.classifier(images)["logits"]), self.tensor(x))

    def reconstruct(self, x):
        """E[x|z, y] for the most probable class, at z = the posterior's mean: float32 [batch, *event_shape]."""
        return super().reconstruct(x, self.classify(x).argmax(axis=-1))

    # Deployment.

    def endpoints(self):
        given_labels = super().endpoints()
        classes = Output(("batch", self.num_classes))
        return {
            "decode": given_labels["decode"],
            "encode": given_labels["encode"],
            "classify": Endpoint(
                self.classify_endpoint,
                inputs={"images": given_labels["encode"].inputs["images"]},
                outputs={"class_probabilities": classes, "class_logits": classes},
                summary="q(y|x): the probability of each class, and its logit.",
            ),
        }

    def classify_endpoint(self, images):
        class_logits = self.classifier(images, training=False)["logits"]
        return {"class_probabilities": tf.nn.softmax(class_logits), "class_logits": class_logits}

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha}
