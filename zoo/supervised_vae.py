"""A variational autoencoder that knows the class of each image: the supervised, or conditional, VAE.

    prior        p(z)      = N(0, I), of every class the same
    likelihood   p(x|z, y) = that of zoo.VAE, by a decoder that takes the code beside the label
    posterior    q(z|x, y) = N(loc(x, y), diag(scale(x, y)^2))

    ELBO(x|y) = E_q(z|x, y)[log p(x|z, y)] - KL(q(z|x, y) || p(z)) <= log p(x|y)

It is the bound on a labelled example of Kingma et al. 2014 (equation 6) without the constant log p(y), and the
conditional VAE of Sohn et al. 2015 with a prior that does not look at the condition. The decoder is told the class, so
z need not carry it: what is left for z is the style, and the codes of all classes together form one normal
distribution.

`GivenLabels` holds the two networks that take labels; `zoo.SemiSupervisedVAE` has them too.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from zoo import networks
from zoo.base import Conditional, Input, at_least
from zoo.distributions import one_hot, stateless_seed
from zoo.inputs import Labels, checked_labels
from zoo.vae import VAE

OF_A_PRIOR = ("prior", "num_components")  # arguments of VAE


class GivenLabels(VAE):
    """A VAE with q(z|x, y) and p(x|z, y). Labels y are whole numbers [batch]: 0 ... num_classes - 1.

    The networks are those of `VAE`; the encoder takes the label beside the image (`zoo.networks.conditional_encoder`),
    the decoder beside the code.
    """

    def __init__(self, event_shape, latent_dim, num_classes, **kwargs):
        for name in OF_A_PRIOR:
            if name in kwargs:
                raise ValueError(f"{type(self).__name__} takes no {name}: its prior is N(0, I); leave it out.")
        self.num_classes = at_least("num_classes", num_classes, 1)  # the networks need it
        super().__init__(event_shape, latent_dim, **kwargs)

    def new_encoder(self):
        event_shape, *code_and_layers = self.shape_and_layers()
        self.stem, encoder = networks.conditional_encoder(event_shape, self.num_classes, *code_and_layers)
        return encoder

    def new_decoder(self):
        event_shape, latent_dim, *layers = self.shape_and_layers()
        return networks.decoder(event_shape, latent_dim + self.num_classes, *layers, head=self.head)

    def encoded(self, x, y):
        """What the encoder gives of images x and labels y: {"loc", "scale"}, each [batch, latent_dim]."""
        return self.encoded_features(self.stem(x)["features"], y)

    def encoded_features(self, features, y):
        return self.encoder({"features": features, "labels": self.indicators(y)})

    def decoded(self, z, y):
        """What the decoder gives of codes z and labels y: {"logits"} or {"mean"}, [batch, *event_shape]."""
        return self.decoder(tf.concat([z, self.indicators(y)], axis=-1))

    def indicators(self, y):
        return one_hot(tf.cast(y, tf.int64), self.num_classes)

    # Distributions.

    def posterior(self, x, y):
        """q(z|x, y) of images x [batch, *event_shape], such as the likelihood is of; event_shape [latent_dim]."""
        return self.posterior_of(self.encoded(x, y))

    def likelihood(self, z, y):
        """p(x|z, y) of codes z [batch, latent_dim]; event_shape of the images; its mean is the gray picture."""
        return self.likelihood_of(self.decoded(z, y))

    # Generation.

    def decode(self, z, y):
        """E[x|z, y] of codes z [batch, latent_dim]: pixel probabilities, or means, [batch, *event_shape]."""
        return self.likelihood(z, y).mean()

    def sample(self, num_samples, labels=None, seed=0, noise=False):
        """Images of the classes wanted, float32 [num_samples, *event_shape]; as `VAE.sample` otherwise.

        Args:
            labels: a class for all images, or one for each [num_samples]; None: 0 ... num_classes - 1 in turn.

        Raises:
            ValueError: for labels that are floats, of another length, or no classes of the model.
        """
        labels = self.labels_of_samples(labels, at_least("num_samples", num_samples, 1))
        z = self.draw_prior(num_samples, stateless_seed(seed, 0))
        return self.images_of(z, labels, seed=seed, noise=noise)

    def labels_of_samples(self, labels, num_samples):
        """The class of each sample, [num_samples]; see `sample`."""
        labels = np.asarray(np.arange(num_samples) % self.num_classes if labels is None else labels)
        if labels.ndim == 0:
            labels = np.repeat(labels, num_samples)
        return checked_labels(labels, num_samples, Labels(self.num_classes))

    def reconstruct(self, x, y):
        """E[x|z, y] at z = the posterior's mean: float32 [batch, *event_shape]. `x` as the posterior takes it."""
        x = self.checked(x)
        y = checked_labels(y, len(x), Labels(self.num_classes))
        return self.in_batches(lambda x, y: self.decode(self.posterior(x, y).mean(), y), x, y)

    # Deployment.

    def endpoints(self):
        """Those of `VAE`, which take "labels" [batch] as well."""
        decode, encode, log_prob = super().endpoints().values()
        labels = {"labels": Input(("batch",), "label", num_classes=self.num_classes)}

        def given_labels(endpoint, function, **replaced):
            inputs = {**endpoint.inputs, **labels}
            return dataclasses.replace(endpoint, function=function, inputs=inputs, **replaced)

        return {
            "decode": given_labels(
                decode,
                lambda z, labels: self.pixels_of(self.decoded(z, labels)),
                summary=decode.summary.replace("p(x|z)", "p(x|z, y)"),
            ),
            "encode": given_labels(
                encode,
                lambda images, labels: dict(self.encoded(images, labels)),
                summary=encode.summary.replace("q(z|x)", "q(z|x, y)"),
            ),
            "log_prob": given_labels(
                log_prob,
                self.log_prob_endpoint,
                summary=log_prob.summary.replace("log p(x)", "log p(x|y)"),
            ),
        }

    def log_prob_endpoint(self, images, labels, noise):
        def decoder(z):
            return self.decoded(z, tf.repeat(labels, tf.shape(noise)[1]))

        return self.importance_weighted(images, noise, lambda images: self.encoded(images, labels), decoder)

    def get_config(self):
        config = {name: value for name, value in super().get_config().items() if name not in OF_A_PRIOR}
        return {**config, "num_classes": self.num_classes}


@keras.saving.register_keras_serializable(package="zoo")
class SupervisedVAE(Conditional, GivenLabels):
    """Variational autoencoder of images given their class.

    Args:
        event_shape, latent_dim: of `zoo.VAE`.
        num_classes: labels are 0 ... num_classes - 1.
        network, hidden, activation, beta, warm_up_steps, binarization, likelihood, seed: of `zoo.VAE`.

    Call: (images, labels) -> {"images": the binary images, "loc", "scale", "z", "logits"}, as `zoo.VAE` for one z drawn
    from q(z|x, y). `loss`, `nll`, `elbo` and `log_prob` are nats of the image given its label.

    Example:
        >>> x, y = np.random.default_rng(0).random((256, 8, 8)), np.arange(256) % 10
        >>> vae = SupervisedVAE(event_shape=(8, 8, 1), latent_dim=2, num_classes=10)
        >>> vae.compile("adam")
        >>> history = vae.fit(x, y, epochs=2, verbose=0)
        >>> vae.sample(4, labels=7, seed=0).shape
        (4, 8, 8, 1)

    Raises:
        ValueError: as `zoo.VAE`; by `fit`, `evaluate`, `predict` and the methods that take labels: where these are
            missing, of another length, floats, or beyond num_classes.

    References:
        Kingma et al. 2014, Semi-Supervised Learning with Deep Generative Models, equation 6.
        Sohn et al. 2015, Learning Structured Output Representation using Deep Conditional Generative Models.
    """

    def __init__(
        self,
        event_shape,
        latent_dim,
        num_classes,
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

    @property
    def labels(self):
        return Labels(self.num_classes)

    def call(self, pair, training=None):
        x, y = pair
        images = self.binarize(x, self.draw_seed())
        code = self.encoded(images, y)
        z = self.posterior_of(code).sample(seed=self.draw_seed())
        return {"images": images, **code, "z": z, **self.decoded(z, y)}

    def elbo(self, x, y, seed=0):
        """The ELBO with one z per image, in nats: float32 [batch]. Gray images are binarized by the protocol."""
        nll, kl = self.elbo_terms(x, y, seed)
        return -(nll + kl)

    def elbo_terms(self, x, y, seed=0):
        """-log p(x|z, y) and KL(q(z|x, y) || p(z)), which add up to -`elbo`: float32 [batch] each."""
        x, y = self.tensors(x, y)
        images = self.binarize(x, stateless_seed(seed, 0))
        posterior = self.posterior(images, y)
        z = posterior.sample(seed=stateless_seed(seed, 1))
        return -self.likelihood(z, y).log_prob(images), self.kl_divergence(posterior, z)

    def log_prob(self, x, y, num_importance_samples=100, seed=0):
        """log p(x|y) by importance sampling from q(z|x, y), in nats: float32 [batch]; see `importance_estimate`."""
        return self.importance_estimate(x, y, num_importance_samples, seed).log_prob

    def importance_estimate(self, x, y, num_importance_samples=100, seed=0):
        """`zoo.importance.ImportanceEstimate` of log p(x|y), its standard error and its effective sample size.

        Args:
            x: images [batch, *event_shape]; gray ones are binarized by the protocol, once, from `seed`.
            y: their labels [batch].
            num_importance_samples: S >= 1; the memory does not grow with it.
        """
        at_least("num_importance_samples", num_importance_samples, 1)
        x, y = self.tensors(x, y)
        return self.compiled_importance_estimate(x, tf.constant(num_importance_samples), tf.constant(seed), y)

    def tensors(self, x, y):
        x = self.tensor(x)
        return x, tf.constant(checked_labels(y, len(x), self.labels), tf.int64)
