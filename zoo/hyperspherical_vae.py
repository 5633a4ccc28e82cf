"""Hyperspherical Variational Auto-Encoders (Davidson et al. 2018): codes on the sphere S^d, d + 1 numbers of length 1.

    prior        p(z)   = uniform on S^d
    posterior    q(z|x), about the unit vector loc(x), with concentration kappa(x) > 1:

                 power spherical      ~ (1 + loc . z)^kappa             (de Cao and Aziz 2020), or
                 von Mises-Fisher     ~ exp(kappa loc . z)              (Davidson et al. 2018)

    ELBO(x) = E_q(z|x)[log p(x|z)] - KL(q(z|x) || p(z)),        KL = log area(S^d) - entropy(q), of kappa alone

For the von Mises-Fisher, with I the modified Bessel functions, n = d + 1 and A = I_{n/2}(kappa) / I_{n/2-1}(kappa),

    KL = kappa A + (n/2 - 1) log kappa - n/2 log(2 pi) - log I_{n/2-1}(kappa) + log area(S^d),
    d KL / d kappa = kappa (1 - A^2 - d/kappa A).

Draws. The plane tangent to the sphere at loc is mapped onto the sphere by the inverse stereographic projection,

    z = ((1 - |y|^2) loc + 2 y) / (1 + |y|^2),          loc . z = (1 - |y|^2) / (1 + |y|^2),

and both posteriors are y = r v / |v|, a radius r times a uniform direction in that plane: v is standard normal noise in
d + 1 numbers less its part along loc. It is smooth in loc everywhere. The power spherical is the image of Student's t,

    y = v / sqrt(2 gamma),          gamma ~ Gamma(d/2 + kappa, 1),

which tfp reparameterizes. The von Mises-Fisher's radius is drawn by tfp's rejection sampler, which is not
reparameterized but for d = 2. Its gradient is implicit (Figurnov et al. 2018), from the cumulative distribution F of r:

    d r / d kappa = -(d F(r) / d kappa) / F'(r),        an integral over the angle, by Gauss-Legendre quadrature.

Densities and the KL are computed in float64: at kappa = 1e4 they are differences of numbers near kappa.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from keras import layers
from tensorflow_probability import distributions as tfd

from zoo import networks
from zoo.base import Endpoint, Input, Output
from zoo.distributions import normal_noise
from zoo.vae import VAE

SMALLEST_CONCENTRATION = 1.0
SMALLEST_RADIUS = 1e-20  # keeps the logarithm of a radius finite
QUADRATURE_NODES, QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(48)  # on (-1, 1)
OF_A_PRIOR = ("prior", "num_components")  # arguments of VAE


@keras.saving.register_keras_serializable(package="zoo")
class HypersphericalVAE(VAE):
    """Variational autoencoder whose codes lie on a sphere, uniform there under the prior.

    Args:
        event_shape, network, hidden, activation, beta, warm_up_steps, binarization, likelihood, seed: of `zoo.VAE`.
            There is no `prior` to choose.
        latent_dim: d, the dimension of the sphere S^d, as the paper counts: 1 is a circle, 2 the surface of a ball.
            A code has d + 1 numbers.
        posterior: "power_spherical" or "von_mises_fisher". They are alike; the first one is drawn without rejection,
            and has a density of 0 at -loc.

    Call: images -> {"images", "loc": [batch, d + 1] of unit length, "concentration": [batch], "z": [batch, d + 1],
    "logits" or "mean"}; concentration = softplus(.) + 1.

    The decoder takes a code of any length but 0 as the point of the sphere in its direction. So its endpoint takes
    standard normal noise, whose directions are uniform. There is no endpoint `log_prob`: the noise of a posterior is
    not normal, and its draw from uniform numbers has no closed form.

    `kl` is the metric to watch: a concentration that does not leave its start leaves it constant.

    Example:
        >>> vae = HypersphericalVAE(event_shape=(8, 8, 1), latent_dim=2)
        >>> vae.compile("adam")
        >>> history = vae.fit(np.random.default_rng(0).random((256, 8, 8)), epochs=2, verbose=0)
        >>> vae.sample(4, seed=0).shape
        (4, 8, 8, 1)

    Raises:
        ValueError: as `VAE`, and for `prior` and `num_components`.

    References:
        Davidson et al. 2018, Hyperspherical Variational Auto-Encoders.
        de Cao and Aziz 2020, The Power Spherical distribution.
        Figurnov, Mohamed and Mnih 2018, Implicit Reparameterization Gradients.
    """

    def __init__(
        self,
        event_shape,
        latent_dim,
        posterior="power_spherical",
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
        for name in OF_A_PRIOR:
            if name in kwargs:
                raise ValueError(
                    f"HypersphericalVAE takes no {name}: its prior is uniform on the sphere; leave it out."
                )
        self.posterior_family = posterior  # `posterior` is the distribution
        super().__init__(
            event_shape,
            latent_dim,
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

    def check_arguments(self):
        super().check_arguments()
        if self.posterior_family not in POSTERIORS:
            raise ValueError(f"posterior is {self.posterior_family!r}; one of {tuple(POSTERIORS)} is wanted.")

    @property
    def code_size(self):
        """d + 1, the numbers that hold a point of S^d."""
        return self.latent_dim + 1

    def new_encoder(self):
        images = keras.Input(self.event_shape, name="images")
        hidden_units = networks.hidden_units_of(images, self.network, self.hidden, self.activation, self.dtype_policy)
        # A bias off zero, because an image without a pixel has no direction otherwise.
        bias = keras.initializers.RandomNormal(stddev=0.05)
        direction = layers.Dense(self.code_size, dtype="float32", bias_initializer=bias, name="direction")(hidden_units)
        loc = layers.UnitNormalization(dtype="float32", name="loc")(direction)
        raw = layers.Dense(1, "softplus", dtype="float32", name="raw_concentration")(hidden_units)
        raw = layers.Reshape((), dtype="float32")(raw)
        shifted = layers.Rescaling(1.0, offset=SMALLEST_CONCENTRATION, dtype="float32", name="concentration")(raw)
        return keras.Model(images, {"loc": loc, "concentration": shifted}, name="encoder")

    def new_decoder(self):
        z = keras.Input((self.code_size,), name="z")
        unit = layers.UnitNormalization(dtype="float32", name="unit")(z)
        convolutional = self.network == "convolutional"
        build = networks.convolutional_decoder if convolutional else networks.dense_decoder
        decoded = build(unit, self.event_shape, self.hidden, self.activation, self.dtype_policy, self.head)
        return keras.Model(z, {self.head: decoded}, name="decoder")

    @property
    def prior(self):
        """p(z), uniform on the sphere; event_shape [d + 1]. In nats of a density by area."""
        return tfd.SphericalUniform(self.code_size)

    def posterior_of(self, code):
        """q(z|x) of what the encoder gives, {"loc", "concentration"}."""
        return POSTERIORS[self.posterior_family](code["loc"], code["concentration"])

    def kl_divergence(self, posterior, z):
        """KL(q(z|x) || p(z)) in closed form: float32 [batch]."""
        return posterior.kl_to_uniform()

    def draw_prior(self, num_samples, seed):
        """z ~ p(z): float32 [num_samples, d + 1], of unit length."""
        return tf.math.l2_normalize(normal_noise((num_samples, self.code_size), seed), axis=-1)

    def endpoints(self):
        code = ("batch", self.code_size)
        kind = "real" if self.is_gaussian else "binary"
        decode, on_sphere = self.decode_endpoint(), "the directions of z ~ N(0, I)"
        return {
            "decode": dataclasses.replace(
                decode,
                inputs={"z": Input(code, "standard_normal")},
                summary=decode.summary.replace("codes z ~ N(0, I)", on_sphere),
            ),
            "encode": Endpoint(
                lambda images: dict(self.encoder(images, training=False)),
                inputs={"images": Input(("batch", *self.event_shape), kind)},
                outputs={"loc": Output(code), "concentration": Output(("batch",))},
                summary=f"q(z|x) of {kind} images, about the unit vector loc: {DENSITIES[self.posterior_family]}.",
            ),
        }

    def get_config(self):
        config = {name: value for name, value in super().get_config().items() if name not in OF_A_PRIOR}
        return {**config, "posterior": self.posterior_family}


# The posteriors: tfp's, with draws whose gradients are finite, and densities in float64.


class OnSphere:
    """What the two posteriors share; `family` is tfp's class."""

    def in_float64(self):
        """tfp's distribution, its loc of unit length to float64."""
        loc, concentration = unit_in_float64(self.mean_direction), tf.cast(self.concentration, tf.float64)
        return self.family(loc, concentration)

    def _log_prob(self, z):
        return tf.cast(self.in_float64().log_prob(unit_in_float64(z)), z.dtype)

    def tangent_normal(self, n, seed):
        """Standard normal noise in the tangent plane at loc: [n, batch, d + 1], orthogonal to loc."""
        loc = self.mean_direction
        noise = normal_noise(tf.concat([[n], tf.shape(loc)], axis=0), seed, dtype=loc.dtype)
        return noise - tf.reduce_sum(noise * loc, axis=-1, keepdims=True) * loc

    def from_tangent(self, y):
        """The inverse stereographic projection of y [..., d + 1], orthogonal to loc."""
        squared = tf.reduce_sum(y**2, axis=-1, keepdims=True)
        return tf.math.l2_normalize(((1.0 - squared) * self.mean_direction + 2.0 * y) / (1.0 + squared), axis=-1)


class PowerSpherical(OnSphere, tfd.PowerSpherical):
    """tfd.PowerSpherical, whose own draws have an infinite gradient where 1 - loc . z rounds to 0."""

    family = tfd.PowerSpherical

    def _sample_n(self, n, seed=None):
        of_gamma, of_direction = split(seed)
        shape = 0.5 * (self.mean_direction.shape[-1] - 1) + tf.cast(self.concentration, tf.float64)
        # float64: at 1e4, tfp's gradient by the shape is two percent off in float32.
        gamma = tfd.Gamma(shape, tf.ones([], tf.float64)).sample(n, seed=of_gamma)
        per_normal = tf.cast(tf.math.rsqrt(2.0 * gamma), self.dtype)
        return self.from_tangent(per_normal[..., None] * self.tangent_normal(n, of_direction))

    def kl_to_uniform(self):
        uniform = tfd.SphericalUniform(self.mean_direction.shape[-1], dtype=tf.float64)
        return tf.cast(tfd.kl_divergence(self.in_float64(), uniform), self.dtype)


class VonMisesFisher(OnSphere, tfd.VonMisesFisher):
    """tfd.VonMisesFisher, reparameterized in every dimension."""

    family = tfd.VonMisesFisher

    def _sample_n(self, n, seed=None):
        of_radius, of_direction = split(seed)
        size = self.mean_direction.shape[-1]
        concentration = tf.cast(self.concentration, tf.float64)
        held = tf.stop_gradient(concentration)
        about_first_axis = tfd.VonMisesFisher(tf.one_hot(tf.zeros_like(held, tf.int32), size, dtype=tf.float64), held)
        point = about_first_axis.sample(n, seed=of_radius)
        radius = tf.norm(point[..., 1:], axis=-1) / (1.0 + point[..., 0])
        radius = tf.stop_gradient(tf.maximum(radius, SMALLEST_RADIUS))
        slope = tf.stop_gradient(slope_of_log_radius(radius, held, size - 1))
        radius *= tf.exp((concentration - held) * slope)  # times 1: it is there for its gradient
        direction = tf.math.l2_normalize(self.tangent_normal(n, of_direction), axis=-1)
        return self.from_tangent(tf.cast(radius, self.dtype)[..., None] * direction)

    def kl_to_uniform(self):
        concentration = tf.cast(self.concentration, tf.float64)
        return tf.cast(kl_of_von_mises_fisher(concentration, self.mean_direction.shape[-1] - 1), self.dtype)


POSTERIORS = {"power_spherical": PowerSpherical, "von_mises_fisher": VonMisesFisher}
DENSITIES = {"power_spherical": "~ (1 + loc . z)^concentration", "von_mises_fisher": "~ exp(concentration loc . z)"}


def kl_of_von_mises_fisher(concentration, dim):
    """KL(vMF || uniform) on S^dim: float64 of the shape of `concentration`, which is float64.

    The gradient is written out: that of tfp's Bessel functions runs through a loop that XLA does not compile.
    """

    @tf.custom_gradient
    def kl(concentration):
        half = tf.constant(0.5 * (dim + 1), tf.float64)
        resultant = tfp.math.bessel_iv_ratio(half, concentration)  # E[loc . z]
        log_bessel = tfp.math.log_bessel_ive(half - 1.0, concentration) + concentration
        log_constant = (half - 1.0) * tf.math.log(concentration) - half * np.log(2.0 * np.pi) - log_bessel
        log_area = np.log(2.0) + half * np.log(np.pi) - tf.math.lgamma(half)

        def gradient(upstream):
            return upstream * concentration * (1.0 - resultant**2 - dim / concentration * resultant)

        return concentration * resultant + log_constant + log_area, gradient

    return kl(concentration)


def slope_of_log_radius(radius, concentration, dim):
    """d log r / d kappa of draws r [n, batch] of the von Mises-Fisher's radius on S^dim, at equal F(r); float64.

    With t = loc . z of r and p(t) ~ exp(kappa t) (1 - t^2)^(dim/2 - 1), whose mean is A,

        d F(r) / d kappa = integral from t(r) to 1 of (t - A) p(t) dt,          F'(r) r = p(t) (1 - t^2).

    The integral from -1 is its negative, and the one is taken whose integrand has one sign. The angle phi in (0, pi/2),
    tan(phi) = r / sqrt(b), with b of Wood's (1994) proposal, spreads p over its interval at every concentration.
    """
    root_b = tf.sqrt(dim / (2.0 * concentration + tf.sqrt(4.0 * concentration**2 + dim**2)))

    def shortfall(radius):
        """1 - t."""
        return 2.0 * radius**2 / (1.0 + radius**2)

    def log_density(radius, concentration):
        """Of log r, but for a constant: kappa t + dim/2 log(1 - t^2), less kappa."""
        return dim * (tf.math.log(radius) - tf.math.log1p(radius**2)) - concentration * shortfall(radius)

    def nodes(start, end):
        """Radii between two angles [...], and d log r about each: [..., nodes]."""
        phi = start[..., None] + (end - start)[..., None] * 0.5 * (1.0 + QUADRATURE_NODES)
        measure = 0.5 * (end - start)[..., None] * QUADRATURE_WEIGHTS / (tf.sin(phi) * tf.cos(phi))
        return root_b[..., None] * tf.tan(phi), measure

    quarter_turn = tf.fill(tf.shape(concentration), tf.constant(0.5 * np.pi, tf.float64))
    radii, measure = nodes(tf.zeros_like(quarter_turn), quarter_turn)
    weights = measure * tf.exp(log_density(radii, concentration[..., None]))
    mean = tf.reduce_sum(weights * shortfall(radii), axis=-1) / tf.reduce_sum(weights, axis=-1)  # 1 - A

    phi = tf.atan(radius / root_b)
    inside = shortfall(radius) < mean
    radii, measure = nodes(tf.where(inside, tf.zeros_like(phi), phi), tf.where(inside, phi, quarter_turn))
    relative = tf.exp(log_density(radii, concentration[..., None]) - log_density(radius, concentration)[..., None])
    return -tf.reduce_sum(measure * relative * tf.abs(shortfall(radii) - mean[..., None]), axis=-1)


def unit_in_float64(vectors):
    return tf.math.l2_normalize(tf.cast(vectors, tf.float64), axis=-1)


def split(seed):
    """Two seeds from one."""
    return tf.unstack(tf.random.experimental.stateless_split(seed, 2))
