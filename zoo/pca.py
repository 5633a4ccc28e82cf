"""Principal component analysis, and the Gaussian of which it is the fit (Tipping and Bishop 1999).

    prior        p(z)   = N(0, I)
    likelihood   p(x|z) = N(W z + mean, noise_variance I)
    marginal     p(x)   = N(mean, W W^T + noise_variance I)
    posterior    p(z|x) = N(M^-1 W^T (x - mean), noise_variance M^-1),      M = W^T W + noise_variance I

    W = U (Lambda - noise_variance I)^(1/2),      noise_variance = 1/(D - d) sum_{j > d} lambda_j

U [D, d] holds the leading eigenvectors of the sample covariance, the principal components, and Lambda their
eigenvalues, the explained variance. With this W, M is Lambda: the posterior is diagonal, and every formula is closed.
"""

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo import eigen
from zoo.base import Endpoint, Input, Output, WithoutGradient, at_least
from zoo.distributions import diag_gaussian, gaussian, normal_noise, standard_normal, stateless_seed
from zoo.inputs import blocks, check_shape

SOLVERS = ("auto", "covariance", "randomized")
LARGEST_COVARIANCE = 10_000  # features: 800 MB, and some minutes for its eigenvectors; "auto" is randomized above


@keras.saving.register_keras_serializable(package="zoo")
class PCA(WithoutGradient):
    """Principal component analysis; as a generative model, probabilistic PCA.

    `adapt(x)` learns all there is in one pass; `fit(x)` does that and then reports the loss, -log p(x) in nats per
    example, through Keras' loop. Sums are taken in float64 and the covariance about the mean, so that a large mean does
    not destroy small components; the model computes in float64 whatever its dtype policy, its endpoints in float32.

    Args:
        event_shape: (height, width, channels), or (features,). Examples are any finite numbers.
        latent_dim: number of components, at most the number of features and the rank of the data.
        whiten: divide the code by the standard deviation of each component, so that it has unit variance.
        solver: "covariance" (exact, one pass, features^2 numbers of memory), "randomized" (`passes` passes, features x
            latent_dim numbers), or "auto": randomized above 10,000 features.
        passes: of the randomized solver over the data.
        seed: of the randomized solver.

    Variances divide by N - 1, as scikit-learn's do; the likelihood is the highest where they divide by N.

    Attributes, after `adapt`:
        mean: [features]. components: [latent_dim, features], orthonormal rows, the largest entry of each positive.
        explained_variance: [latent_dim], largest first. explained_variance_ratio: [latent_dim], of total_variance.
        noise_variance: mean variance of the directions left out, at least what float64 tells from 0.

    Call: images -> {"code": [batch, latent_dim]}.

    Example:
        >>> pca = PCA(event_shape=(8, 8, 1), latent_dim=3)
        >>> pca.adapt(np.random.default_rng(0).random((256, 8, 8)))
        >>> pca.sample(4, seed=0).shape
        (4, 8, 8, 1)

    Raises:
        ValueError: for an argument out of its range; for data with no more examples than components, of lower rank than
            `latent_dim`, or not finite; where the model is used before `adapt` or `fit`.

    References:
        Tipping and Bishop 1999, Probabilistic Principal Component Analysis, sections 3.2 and 3.3.
        Musco and Musco 2015, Randomized Block Krylov Methods for Stronger and Faster Approximate Singular Value
        Decomposition, for `solver="randomized"`.
    """

    values = "real"
    precision = "float64"

    def __init__(self, event_shape, latent_dim, whiten=False, solver="auto", passes=5, seed=0, **kwargs):
        super().__init__(event_shape=event_shape, seed=seed, **kwargs)
        self.features = int(np.prod(self.event_shape))
        self.latent_dim = at_least("latent_dim", latent_dim, 1)
        self.passes = at_least("passes", passes, 1)
        self.whiten, self.solver = bool(whiten), solver
        if self.latent_dim > self.features:
            raise ValueError(f"latent_dim is {latent_dim}, but an example has {self.features} features; ask for fewer.")
        if solver not in SOLVERS:
            raise ValueError(f"solver is {solver!r}; one of {SOLVERS} is wanted.")

        self.num_examples = self.statistic("num_examples", ())
        self.mean = self.statistic("mean", (self.features,))
        self.components = self.statistic("components", (self.latent_dim, self.features))
        self.explained_variance = self.statistic("explained_variance", (self.latent_dim,), "ones")
        self.total_variance = self.statistic("total_variance", ())
        self.noise_variance = self.statistic("noise_variance", (), "ones")
        self.built = True

    def statistic(self, name, shape, initializer="zeros"):
        return self.add_weight(
            shape=shape, initializer=initializer, dtype="float64", trainable=False, autocast=False, name=name
        )

    @property
    def explained_variance_ratio(self):
        return self.explained_variance.numpy() / self.total_variance.numpy()

    # Learning.

    def adapt_to(self, x):
        """Set mean, components and variances to those of the examples; what was learned before is replaced."""
        randomized = self.solver == "randomized" or (self.solver == "auto" and self.features > LARGEST_COVARIANCE)
        if randomized:
            spectrum = eigen.randomized(lambda: blocks(x), self.latent_dim, self.passes, self.seed)
        else:
            spectrum = eigen.exact(blocks(x))
        self.check_rank(spectrum)
        variances = spectrum.variances[: self.latent_dim]
        left_out = self.features - self.latent_dim
        # Without a direction left out any noise gives the same p(x): W takes up what it leaves of each variance.
        noise = (spectrum.total_variance - variances.sum()) / left_out if left_out else variances[-1]
        self.num_examples.assign(spectrum.count)
        self.mean.assign(spectrum.mean)
        self.components.assign(spectrum.components[: self.latent_dim])
        self.explained_variance.assign(variances)
        self.total_variance.assign(spectrum.total_variance)
        self.noise_variance.assign(np.clip(noise, spectrum.smallest, variances[-1]))

    def check_rank(self, spectrum):
        if spectrum.count <= self.latent_dim:
            raise ValueError(
                f"There are {spectrum.count} examples; more than latent_dim = {self.latent_dim} are needed."
            )
        rank = int(np.sum(spectrum.variances > spectrum.smallest))
        if rank < self.latent_dim:
            raise ValueError(
                f"The {spectrum.count} examples vary in {rank} directions only (their rank), fewer than latent_dim = "
                f"{self.latent_dim}; ask for at most {rank}, or look for constant or duplicated data."
            )

    def check_ready(self):
        if tf.executing_eagerly() and self.num_examples.numpy() == 0:
            raise ValueError("This PCA has seen no data; call adapt(x) or fit(x) first.")

    # Distributions, in float64.

    @property
    def prior(self):
        """p(z) = N(0, I); event_shape [latent_dim]."""
        return standard_normal(self.latent_dim, tf.float64)

    def posterior(self, x):
        """p(z|x) of examples x [batch, *event_shape], exact; event_shape [latent_dim]."""
        self.check_ready()
        code = self.project(self.flat(x))
        loc = code * tf.sqrt(self.explained_variance - self.noise_variance) / self.explained_variance
        return diag_gaussian(loc, tf.broadcast_to(tf.sqrt(self.noise_variance / self.explained_variance), loc.shape))

    def likelihood(self, z):
        """p(x|z) of codes z [batch, latent_dim] from the prior; event_shape of the examples."""
        self.check_ready()
        loc = tf.matmul(tf.cast(z, tf.float64), self.loadings(), transpose_b=True) + self.mean
        loc = tf.reshape(loc, (-1, *self.event_shape))
        return gaussian(loc, tf.sqrt(self.noise_variance), len(self.event_shape))

    def marginal(self):
        """p(x) over flat examples, event_shape [features]: a diagonal plus a matrix of rank latent_dim."""
        return tfd.MultivariateNormalDiagPlusLowRankCovariance(
            loc=self.mean.value,
            cov_diag_factor=tf.fill((self.features,), self.noise_variance.value),
            cov_perturb_factor=self.loadings(),
        )

    def loadings(self):
        """W [features, latent_dim]."""
        return tf.transpose(self.components) * tf.sqrt(self.explained_variance - self.noise_variance)

    def log_prob(self, x):
        """log p(x), exact, in nats: float64 [batch]."""
        self.check_ready()
        return self.marginal().log_prob(self.flat(x))

    # The objective: nothing follows it, but it says how good the fit is.

    def call(self, x, training=None):
        return {"code": self.encode(x)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return self.mean_over_batch(-self.log_prob(x), sample_weight)

    def train_step(self, data):
        return self.test_step(data)

    # Codes.

    def encode(self, x):
        """The code U^T (x - mean) of examples, with `whiten` over its standard deviations: [batch, latent_dim]."""
        self.check_ready()
        code = self.project(self.flat(x))
        return code / self.code_scale(code.dtype)

    def decode(self, code):
        """The nearest point to a code in the space that the components span: [batch, *event_shape]."""
        self.check_ready()
        code = tf.convert_to_tensor(code)
        code = code * self.code_scale(code.dtype)
        flat = tf.matmul(code, tf.cast(self.components, code.dtype)) + tf.cast(self.mean, code.dtype)
        return tf.reshape(flat, (-1, *self.event_shape))

    def project(self, flat):
        centered = flat - tf.cast(self.mean, flat.dtype)
        return tf.matmul(centered, tf.cast(self.components, flat.dtype), transpose_b=True)

    def code_scale(self, dtype):
        return tf.cast(tf.sqrt(self.explained_variance), dtype) if self.whiten else tf.ones((), dtype)

    def flat(self, x, dtype=tf.float64):
        x = tf.cast(x, dtype)
        check_shape(tuple(x.shape), self.event_shape)
        return tf.reshape(x, (-1, self.features))

    def reconstruct(self, x):
        """The nearest points to examples in the space that the components span: float64 [batch, *event_shape]."""
        return self.in_batches(lambda images: self.decode(self.encode(images)), self.checked(x))

    # Generation.

    def sample(self, num_samples, seed=0, noise=True, labels=None):
        """Examples from p(x), float32 [num_samples, *event_shape], or without `noise` the means of p(x|z).

        Not clipped: a Gaussian knows nothing of [0, 1]. The same arguments give the same examples.
        """
        self.refuse_labels(labels)
        at_least("num_samples", num_samples, 1)
        z = self.prior.sample(num_samples, seed=stateless_seed(seed, 0))
        x = self.in_batches(lambda z: self.likelihood(z).mean(), z)
        if noise:
            normal = normal_noise(x.shape, stateless_seed(seed, 1), dtype=tf.float64)
            x += self.noise_variance.numpy() ** 0.5 * normal.numpy()
        return x.astype("float32")

    # Deployment.

    def endpoints(self):
        images = Input(("batch", *self.event_shape), "real")
        code = Input(("batch", self.latent_dim), "standard_normal" if self.whiten else "real")
        return {
            "encode": Endpoint(
                lambda images: {"code": self.project(self.flat(images, tf.float32)) / self.code_scale(tf.float32)},
                inputs={"images": images},
                outputs={"code": Output(code.shape)},
                summary="The code of each image: its coordinates along the principal components"
                + (", of unit variance." if self.whiten else "."),
            ),
            "decode": Endpoint(
                lambda code: {"images": self.decode(code)},
                inputs={"code": code},
                outputs={"images": Output(images.shape)},
                summary="The image of each code: the nearest one in the space of the principal components.",
            ),
            "log_prob": Endpoint(
                lambda images: {"log_prob": self.log_prob_endpoint(self.flat(images, tf.float32))},
                inputs={"images": images},
                outputs={"log_prob": Output(("batch",))},
                summary="log p(x) in nats of the Gaussian that probabilistic PCA fits, exact.",
            ),
        }

    def log_prob_endpoint(self, flat):
        # Along the components each coordinate has its own variance, across them each has the noise's. The part across
        # is taken as a vector: as a difference of two squared lengths it would lose its digits in float32.
        variance, noise = tf.cast(self.explained_variance, tf.float32), tf.cast(self.noise_variance, tf.float32)
        components = tf.cast(self.components, tf.float32)
        code = self.project(flat)
        across = flat - tf.cast(self.mean, tf.float32) - tf.matmul(code, components)
        distance = tf.reduce_sum(code**2 / variance, axis=-1) + tf.reduce_sum(across**2, axis=-1) / noise
        left_out = self.features - self.latent_dim
        log_determinant = tf.reduce_sum(tf.math.log(variance)) + left_out * tf.math.log(noise)
        return -0.5 * (distance + log_determinant + self.features * np.log(2.0 * np.pi))

    def get_config(self):
        return {
            **super().get_config(),
            "latent_dim": self.latent_dim,
            "whiten": self.whiten,
            "solver": self.solver,
            "passes": self.passes,
        }
