"""Auto-Encoding Variational Bayes (Kingma and Welling 2013).

    prior        p(z)   = N(0, I)
    likelihood   p(x|z) = prod_i Bernoulli(x_i | logits_i(z))       of binary x, or
                 p(x|z) = prod_i N(x_i | mean_i(z), noise_scale^2)  of real x
    posterior    q(z|x) = N(loc(x), diag(scale(x)^2))

    ELBO(x) = E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)) <= log p(x)

    KL(N(loc, scale^2) || N(0, I)) = -1/2 sum_j (1 + log scale_j^2 - loc_j^2 - scale_j^2)

Two other priors are trained with the rest (zoo/trainable_priors.py), a mixture of K Gaussians and the VampPrior:

    p(z) = sum_k weight_k N(z | loc_k, diag(scale_k^2)),        p(z) = 1/K sum_k q(z|u_k)

For these the KL is estimated by log q(z|x) - log p(z), at the z that the likelihood takes.

The loss is the mean of -ELBO over the batch, each term summed over pixels and latent dimensions, in nats.

Linear networks (hidden=()) and the Gaussian likelihood make the marginal a Gaussian,

    p(x) = N(bias, W W^T + noise_scale^2 I),

the model of probabilistic PCA, and its maximum likelihood is where the ELBO is largest (Lucas et al. 2019): there the
columns of W are orthogonal, the exact posterior is diagonal, and the bound is tight.
"""

import itertools
import math

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo import networks
from zoo.base import Endpoint, Generative, Input, Output, at_least, sizes
from zoo.distributions import (
    bernoulli,
    diag_gaussian,
    gaussian,
    normal_noise,
    standard_normal,
    stateless_seed,
    uniform_noise,
)
from zoo.importance import importance_estimate
from zoo.inputs import batches
from zoo.trainable_priors import PRIORS, MixturePrior, VampPrior

BINARIZATIONS = ("dynamic", "threshold", None)
LIKELIHOODS = {"bernoulli": "logits", "gaussian": "mean"}  # what the decoder gives of each
SMALLEST_FIRST_NOISE = 1e-3  # where the noise starts if the data do not vary


@keras.saving.register_keras_serializable(package="zoo")
class VAE(Generative):
    """Variational autoencoder with a Gaussian posterior and a Bernoulli or Gaussian decoder.

    A Bernoulli likelihood is a likelihood of binary pixels only. Gray pixels in [0, 1] are therefore binarized by
    the stated protocol before they meet it, and `loss`, `nll`, `elbo` and `log_prob` are nats of the binary image.
    Under a Gaussian likelihood they are nats of a density over real numbers, which may be of either sign.

    Args:
        event_shape: (height, width, channels), or (features,) with dense networks.
        latent_dim: size of z.
        network: "dense" or "convolutional" (3x3 convolutions of stride 2).
        hidden: units (dense) or filters (convolutional) of the encoder's hidden layers; the decoder mirrors them.
        activation: of the hidden layers, by Keras' name for it.
        beta: weight of the KL in the loss; 1 is the ELBO.
        warm_up_steps: the weight of the KL rises linearly from 0 to `beta` over this many training steps; evaluation
            always takes `beta` itself.
        binarization: "dynamic": a pixel of value v becomes 1 with probability v, drawn anew at each sight of it;
            "threshold": where v >= 0.5; None: the images are binary already, and any other value is refused.
        likelihood: "bernoulli", or "gaussian": of any finite numbers, with `binarization=None` and one trained
            `noise_scale` for all pixels.
        prior: "standard_normal"; "gaussian_mixture", of trained weights, means and scales; or "vamp", the mean of the
            posteriors of trained pseudo-inputs, which the first `fit` starts from examples of its own.
        num_components: K of either mixture, its Gaussians or its pseudo-inputs; Tomczak and Welling take 500 of these.
        seed: of the noise of training and evaluation, and of where a mixture starts.

    The first `fit` sets the output bias to the logit of each pixel's mean, clipped to [0.001, 0.999] (Burda et al.
    2015): over the whole array, or over the first 100 batches of a `tf.data.Dataset` or `PyDataset`. With a Gaussian
    likelihood it is the mean itself, and the noise starts at the standard deviation of the pixels about it.

    Call: images -> {"images": the binary images, "loc", "scale", "z", "logits"}, for one z drawn from q(z|x) per image;
    with a Gaussian likelihood "mean" in place of "logits".

    Example:
        >>> vae = VAE(event_shape=(8, 8, 1), latent_dim=2)
        >>> vae.compile("adam")
        >>> history = vae.fit(np.random.default_rng(0).random((256, 8, 8)), epochs=2, verbose=0)
        >>> vae.sample(4, seed=0).shape
        (4, 8, 8, 1)

    Raises:
        ValueError: for an argument out of its range; by `fit`, `evaluate`, `predict`: for examples of another shape,
            for integers, and for values outside [0, 1].

    References:
        Kingma and Welling 2013, Auto-Encoding Variational Bayes, sections 2.3 and 3, appendices B and C.
        Burda et al. 2015, Importance Weighted Autoencoders, equation 8, for `log_prob`.
        Higgins et al. 2017, beta-VAE, for `beta`.
        Lucas et al. 2019, Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse, for `hidden=()` with
        `likelihood="gaussian"`.
        Tomczak and Welling 2018, VAE with a VampPrior, for `prior="vamp"`.
    """

    def __init__(
        self,
        event_shape,
        latent_dim,
        network="dense",
        hidden=(256, 128),
        activation="relu",
        beta=1.0,
        warm_up_steps=0,
        binarization="dynamic",
        likelihood="bernoulli",
        prior="standard_normal",
        num_components=10,
        seed=0,
        **kwargs,
    ):
        super().__init__(event_shape=event_shape, seed=seed, **kwargs)
        self.latent_dim = at_least("latent_dim", latent_dim, 1)
        self.hidden = sizes("hidden", hidden)
        self.warm_up_steps = at_least("warm_up_steps", warm_up_steps, 0)
        self.beta = float(beta)
        self.network, self.activation, self.binarization = network, activation, binarization
        self.likelihood_family, self.prior_family = likelihood, prior  # `likelihood` and `prior` are distributions
        self.num_components = at_least("num_components", num_components, 1)
        self.check_arguments()

        self.encoder, self.decoder = self.new_encoder(), self.new_decoder()
        if self.is_gaussian:
            self.log_noise_scale = self.add_weight(
                shape=(), initializer="zeros", dtype="float32", autocast=False, name="log_noise_scale"
            )
        self.trainable_prior = self.new_trainable_prior()
        self.built = True

        self.nll = keras.metrics.Mean(name="nll")
        self.kl = keras.metrics.Mean(name="kl")

    def new_encoder(self):
        return networks.encoder(*self.shape_and_layers())

    def new_decoder(self):
        return networks.decoder(*self.shape_and_layers(), head=self.head)

    def new_trainable_prior(self):
        """The layer that holds the prior's variables; None for N(0, I), which has none."""
        if self.prior_family == "gaussian_mixture":
            return MixturePrior(self.num_components, self.latent_dim, self.seed)
        if self.prior_family == "vamp":
            return VampPrior(self.num_components, self.event_shape, not self.is_gaussian, self.seed)
        return None

    def shape_and_layers(self):
        return (self.event_shape, self.latent_dim, self.network, self.hidden, self.activation, self.dtype_policy)

    def check_arguments(self):
        if self.network not in networks.NETWORKS:
            raise ValueError(f"network is {self.network!r}; one of {networks.NETWORKS} is wanted.")
        if self.network == "convolutional" and (len(self.event_shape) != 3 or not self.hidden):
            raise ValueError(
                "A convolutional network needs event_shape (height, width, channels) and at least one entry in hidden; "
                f"they are {self.event_shape} and {self.hidden}."
            )
        if not isinstance(self.activation, str):
            raise ValueError(f"activation is {self.activation!r}; Keras' name of one is wanted, such as 'relu'.")
        if self.binarization not in BINARIZATIONS:
            raise ValueError(f"binarization is {self.binarization!r}; one of {BINARIZATIONS} is wanted.")
        if self.likelihood_family not in LIKELIHOODS:
            raise ValueError(f"likelihood is {self.likelihood_family!r}; one of {tuple(LIKELIHOODS)} is wanted.")
        if self.is_gaussian and self.binarization is not None:
            raise ValueError(
                f"binarization is {self.binarization!r}, but a Gaussian likelihood is of real numbers; pass "
                "binarization=None."
            )
        if self.prior_family not in PRIORS:
            raise ValueError(f"prior is {self.prior_family!r}; one of {PRIORS} is wanted.")
        if not 0.0 <= self.beta < np.inf:
            raise ValueError(f"beta is {self.beta}; a finite number >= 0 is wanted.")

    @property
    def is_gaussian(self):
        return self.likelihood_family == "gaussian"

    @property
    def head(self):
        """What the decoder gives: "logits" or "mean"; also the name of its last layer."""
        return LIKELIHOODS[self.likelihood_family]

    @property
    def values(self):
        if self.is_gaussian:
            return "real"
        return "binary" if self.binarization is None else "unit_interval"

    @property
    def noise_scale(self):
        """The standard deviation of every pixel about its mean, under a Gaussian likelihood; float32 scalar."""
        return tf.exp(self.log_noise_scale)

    # Distributions.

    @property
    def prior(self):
        """p(z); event_shape [latent_dim]. That of "vamp" encodes its pseudo-inputs each time it is asked for."""
        if self.trainable_prior is None:
            return standard_normal(self.latent_dim)
        return self.trainable_prior.distribution(self.encoder)

    def posterior(self, x):
        """q(z|x) of images x [batch, *event_shape], such as the likelihood is of; event_shape [latent_dim]."""
        return self.posterior_of(self.encoder(x))

    def posterior_of(self, code):
        """q(z|x) of what the encoder gives, {"loc", "scale"}."""
        return diag_gaussian(code["loc"], code["scale"])

    def likelihood(self, z):
        """p(x|z) of codes z [batch, latent_dim]; event_shape of the images; its mean is the gray picture."""
        return self.likelihood_of(self.decoder(z))

    def likelihood_of(self, decoded):
        """p(x|z) of what the decoder gives, {"logits"} or {"mean"}."""
        if self.is_gaussian:
            return gaussian(decoded["mean"], self.noise_scale, len(self.event_shape))
        return bernoulli(decoded["logits"], len(self.event_shape))

    def binarize(self, x, seed):
        """Binary images from gray ones, by the protocol `binarization`. Binary images pass unchanged."""
        if self.binarization is None:
            return x
        if self.binarization == "threshold":
            return tf.cast(x >= 0.5, tf.float32)
        return tf.cast(uniform_noise(tf.shape(x), seed, dtype=x.dtype) < x, tf.float32)

    # The objective.

    def call(self, x, training=None):
        images = self.binarize(x, self.draw_seed())
        code = self.encoder(images, training=training)
        z = self.posterior_of(code).sample(seed=self.draw_seed())
        return {"images": images, **code, "z": z, **self.decoder(z, training=training)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        posterior, likelihood = self.posterior_of(y_pred), self.likelihood_of(y_pred)

        # -ELBO(x) = -log p(x|z) + KL(q(z|x) || p(z)),  z ~ q(z|x)
        nll = -likelihood.log_prob(y_pred["images"])
        kl = self.kl_divergence(posterior, y_pred["z"])
        loss = nll + (self.warmed_up_beta() if training else self.beta) * kl

        self.nll.update_state(nll, sample_weight)
        self.kl.update_state(kl, sample_weight)
        return self.mean_over_batch(loss, sample_weight)

    def kl_divergence(self, posterior, z):
        """KL(q(z|x) || p(z)): float32 [batch]; in closed form for N(0, I), else estimated at `z`, drawn from q(z|x)."""
        if self.trainable_prior is None:
            return tfd.kl_divergence(posterior, self.prior)
        return posterior.log_prob(z) - self.prior.log_prob(z)

    def warmed_up_beta(self):
        if not self.warm_up_steps:
            return self.beta
        step = tf.cast(self.optimizer.iterations, tf.float32)
        return self.beta * tf.minimum(1.0, step / self.warm_up_steps)

    def adapt_to(self, x):
        """Set the output bias, and the noise if there is any, to what fits best without z, if still untouched.

        The pseudo-inputs of a VampPrior start with them.
        """
        bias = self.decoder.get_layer(self.head).bias
        if np.any(bias.numpy()) or (self.is_gaussian and self.log_noise_scale.numpy()):
            return
        mean = mean_of_examples(x)
        if self.trainable_prior is not None:
            self.trainable_prior.adapt_to(x, self.seed)
        if not self.is_gaussian:
            mean = np.clip(mean, 0.001, 0.999)
        if self.network == "convolutional":
            mean = mean.mean(axis=(0, 1))  # a convolution has one bias per channel
        if self.is_gaussian:
            bias.assign(mean.reshape(bias.shape))
            variance = np.mean(mean_of_examples(x, lambda images: np.square(images - mean, dtype="float32")))
            self.log_noise_scale.assign(np.log(max(variance**0.5, SMALLEST_FIRST_NOISE)))
        else:
            bias.assign(np.log(mean / (1.0 - mean)).reshape(bias.shape))

    def elbo(self, x, seed=0):
        """The ELBO with one z per image, in nats: float32 [batch]. Gray images are binarized by the protocol."""
        nll, kl = self.elbo_terms(x, seed)
        return -(nll + kl)

    def elbo_terms(self, x, seed=0):
        """-log p(x|z) and KL(q(z|x) || p(z)), which add up to -`elbo`: float32 [batch] each."""
        images = self.binarize(self.tensor(x), stateless_seed(seed, 0))
        posterior = self.posterior(images)
        z = posterior.sample(seed=stateless_seed(seed, 1))
        return -self.likelihood(z).log_prob(images), self.kl_divergence(posterior, z)

    def log_prob(self, x, num_importance_samples=100, seed=0):
        """log p(x) by importance sampling from q(z|x), in nats: float32 [batch]; see `importance_estimate`."""
        return self.importance_estimate(x, num_importance_samples, seed).log_prob

    def importance_estimate(self, x, num_importance_samples=100, seed=0):
        """`zoo.importance.ImportanceEstimate` of log p(x), its standard error and its effective sample size.

        Args:
            x: images [batch, *event_shape]; gray ones are binarized by the protocol, once, from `seed`.
            num_importance_samples: S >= 1; the memory does not grow with it.
        """
        at_least("num_importance_samples", num_importance_samples, 1)
        return self.compiled_importance_estimate(self.tensor(x), tf.constant(num_importance_samples), tf.constant(seed))

    @tf.function(reduce_retracing=True)
    def compiled_importance_estimate(self, x, num_importance_samples, seed, *condition):
        images = self.binarize(x, stateless_seed(seed, 0))
        posterior, prior = self.posterior(images, *condition), self.prior  # once for all samples

        def log_weights(s):
            z = posterior.sample(seed=stateless_seed(seed, 1, s))
            return self.log_weights(images, z, posterior, *condition, prior=prior)

        return importance_estimate(log_weights, num_importance_samples)

    def log_weights(self, images, z, posterior, *condition, prior=None):
        """log p(x|z) + log p(z) - log q(z|x): float32, of the shape of `z` without its last axis.

        `condition`: what p(x|z) and q(z|x) take besides, as the labels of `zoo.SupervisedVAE`.
        `prior`: `self.prior`, from where it is at hand already.
        """
        prior = self.prior if prior is None else prior
        return self.likelihood(z, *condition).log_prob(images) + prior.log_prob(z) - posterior.log_prob(z)

    def tensor(self, x):
        return tf.constant(self.checked(x), tf.float32)

    # Generation.

    def draw_prior(self, num_samples, seed):
        """z ~ p(z): float32 [num_samples, latent_dim]."""
        noise = normal_noise((num_samples, self.latent_dim), seed)
        if self.trainable_prior is None:
            return noise
        uniform = uniform_noise((num_samples,), tf.random.experimental.stateless_fold_in(seed, 1))
        return self.prior.transform(noise, uniform)

    def decode(self, z):
        """E[x|z] of codes z [batch, latent_dim]: pixel probabilities, or means, [batch, *event_shape]."""
        decoded = self.decoder(z)
        return decoded["mean"] if self.is_gaussian else tf.sigmoid(decoded["logits"])

    def sample(self, num_samples, seed=0, noise=False, labels=None):
        """Images from the model, float32 [num_samples, *event_shape], in [0, 1] but for a Gaussian likelihood.

        z ~ p(z); then E[x|z], the gray picture, or with `noise` a draw from p(x|z). The same arguments give the
        same images.
        """
        self.refuse_labels(labels)
        at_least("num_samples", num_samples, 1)
        return self.images_of(self.draw_prior(num_samples, stateless_seed(seed, 0)), seed=seed, noise=noise)

    def images_of(self, *code, seed, noise):
        """E[x|z] of what `decode` takes, or with `noise` a draw from p(x|z): float32 [batch, *event_shape]."""
        images = self.in_batches(self.decode, *code)
        if noise and self.is_gaussian:
            normal = normal_noise(images.shape, stateless_seed(seed, 1)).numpy()
            images += self.noise_scale.numpy() * normal
        elif noise:
            uniform = uniform_noise(images.shape, stateless_seed(seed, 1)).numpy()
            images = (uniform < images).astype("float32")
        return images

    def reconstruct(self, x):
        """E[x|z] at z = the posterior's mean: float32 [batch, *event_shape]. `x` as the posterior takes it."""
        return self.in_batches(lambda images: self.decode(self.posterior(images).mean()), self.tensor(x))

    # Deployment.

    def endpoints(self):
        code = ("batch", self.latent_dim)
        images = Input(("batch", *self.event_shape), "real" if self.is_gaussian else "binary")
        noise = Input(("batch", "num_importance_samples", self.latent_dim), "standard_normal")
        kind = "real" if self.is_gaussian else "binary"
        endpoints = {
            "decode": self.decode_endpoint(),
            "encode": Endpoint(
                lambda images: dict(self.encoder(images, training=False)),
                inputs={"images": images},
                outputs={"loc": Output(code), "scale": Output(code)},
                summary=f"q(z|x) = N(loc, diag(scale^2)) of {kind} images.",
            ),
            "log_prob": Endpoint(
                self.log_prob_endpoint,
                inputs={"images": images, "noise": noise},
                outputs={"log_prob": Output(("batch",))},
                summary=f"log p(x) in nats of {kind} images, importance-weighted over z = loc + scale * noise.",
            ),
        }
        if self.trainable_prior is None:
            return endpoints
        return {**endpoints, "prior": self.prior_endpoint(), "generate": self.generate_endpoint(endpoints["decode"])}

    def prior_endpoint(self):
        code = ("batch", self.latent_dim)
        return Endpoint(
            lambda noise, uniform: {"z": self.prior.transform(noise, uniform)},
            inputs={"noise": Input(code, "standard_normal"), "uniform": Input(("batch",), "uniform")},
            outputs={"z": Output(code)},
            summary=f"Codes z ~ p(z), a mixture of {self.num_components} Gaussians: `uniform` picks one, and "
            "z = loc + scale * noise.",
        )

    def generate_endpoint(self, decode):
        """The endpoints "prior" and "decode" as one."""
        prior = self.prior_endpoint()
        return Endpoint(
            lambda noise, uniform: decode.function(**prior.function(noise, uniform)),
            inputs=prior.inputs,
            outputs=decode.outputs,
            summary="p(x|z) of codes z ~ p(z), drawn by the noise: what `decode` gives of what `prior` does.",
        )

    def decode_endpoint(self):
        trained = self.trainable_prior is not None
        codes = {"z": Input(("batch", self.latent_dim), "real" if trained else "standard_normal")}
        images, origin = ("batch", *self.event_shape), "of the endpoint prior" if trained else "~ N(0, I)"
        if self.is_gaussian:
            noise_scale = f"{self.noise_scale.numpy():.6g}"
            return Endpoint(
                lambda z: self.pixels_of(self.decoder(z, training=False)),
                inputs=codes,
                outputs={"mean": Output(images)},
                summary=f"p(x|z) = N(mean, {noise_scale}^2 I): the mean of each pixel, for codes z {origin}.",
            )

        return Endpoint(
            lambda z: self.pixels_of(self.decoder(z, training=False)),
            inputs=codes,
            outputs={"probabilities": Output(images), "logits": Output(images)},
            summary=f"p(x|z): the probability of each pixel, and its logit, for codes z {origin}.",
        )

    def pixels_of(self, decoded):
        """What the endpoint gives of what the decoder gives."""
        return dict(decoded) if self.is_gaussian else {"probabilities": tf.sigmoid(decoded["logits"]), **decoded}

    def log_prob_endpoint(self, images, noise):
        return self.importance_weighted(images, noise, self.encoder, self.decoder)

    def importance_weighted(self, images, noise, encoder, decoder):
        # log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x), all S samples at once. The densities are written out: the graphs
        # that tfp makes of them hold BroadcastArgs and MulNoNan, which ONNX does not have.
        code = encoder(images)
        loc, scale = code["loc"][:, None], code["scale"][:, None]  # [batch, 1, latent_dim]
        z = loc + scale * noise
        decoded = decoder(tf.reshape(z, (-1, self.latent_dim)))[self.head]
        batch, num_importance_samples = tf.shape(noise)[0], tf.shape(noise)[1]
        pixels = int(np.prod(self.event_shape))
        decoded = tf.reshape(decoded, (batch, num_importance_samples, pixels))
        x = tf.reshape(images, (batch, 1, pixels))
        log_likelihood = tf.reduce_sum(self.log_likelihood(x, decoded), axis=-1)
        log_normalizer = 0.5 * math.log(2.0 * math.pi)
        log_posterior = tf.reduce_sum(-0.5 * noise**2 - tf.math.log(scale) - log_normalizer, axis=-1)
        if self.trainable_prior is None:
            log_prior = tf.reduce_sum(-0.5 * z**2 - log_normalizer, axis=-1)
        else:
            log_prior = self.prior.log_prob(z)
        log_weights = log_likelihood + log_prior - log_posterior
        samples = tf.cast(num_importance_samples, tf.float32)
        return {"log_prob": tf.reduce_logsumexp(log_weights, axis=1) - tf.math.log(samples)}

    def log_likelihood(self, x, decoded):
        """log p(x_i|z) of each pixel, from its logit or mean."""
        if self.is_gaussian:
            log_normalizer = self.log_noise_scale + 0.5 * math.log(2.0 * math.pi)
            return -0.5 * tf.square((x - decoded) / self.noise_scale) - log_normalizer
        return x * decoded - tf.nn.softplus(decoded)

    def get_config(self):
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "network": self.network,
            "hidden": self.hidden,
            "activation": self.activation,
            "beta": self.beta,
            "warm_up_steps": self.warm_up_steps,
            "binarization": self.binarization,
            "likelihood": self.likelihood_family,
            "prior": self.prior_family,
            "num_components": self.num_components,
        }


def mean_of_examples(x, function=np.asarray, num_batches=100):
    """The mean of `function(examples)` over an array, or the first `num_batches` batches of a dataset; float64."""
    if isinstance(x, np.ndarray):
        return function(x).mean(axis=0, dtype=np.float64)
    total, count = 0.0, 0
    for images in itertools.islice(batches(x), num_batches):
        total, count = total + np.sum(function(images), axis=0, dtype=np.float64), count + len(images)
    if not count:
        raise ValueError("The dataset is empty; at least 1 example is needed.")
    return total / count
