"""Fixed priors over codes: what an adversarial autoencoder shapes its codes to (Makhzani et al. 2015).

    standard_normal     z = scale noise,                                                      noise ~ N(0, I)
    gaussian_mixture    z = scale R(2 pi k / K) [2 + 0.5 noise_1, 0.2 noise_2],               k uniform on 0 ... K - 1
    swiss_roll          z = scale (3 t [cos(4 pi t), sin(4 pi t)] + 0.1 noise),  t = sqrt(u), u ~ U(0, 1)

R(a) turns the plane by the angle a: the mixture is a ring of K Gaussians, each longer along the radius. Along the roll,
two turns of a spiral, u is nearly proportional to the length of the curve; the noise gives it a width, since two
densities on a curve and beside it could be told apart without fail. The paper shows both in figure 4 and gives no
numbers; these are the zoo's.

Where codes carry labels, a class has its own place: label k the Gaussian k of the ring, or u in [k / K, (k + 1) / K),
the k-th of K segments of the roll. Label -1 is the whole prior.

A draw is a function of noise that comes from outside, so that an exported model can draw with no random operator.
"""

import math
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

from zoo.base import Input
from zoo.distributions import diag_gaussian, normal_noise, uniform_noise

RADIUS, RADIAL_SCALE, TANGENTIAL_SCALE = 2.0, 0.5, 0.2
ROLL_RADIUS, ROLL_TURNS, ROLL_WIDTH = 3.0, 2.0, 0.1


@dataclass(frozen=True)
class FixedPrior:
    """A distribution of codes.

    latent_dim: size of a code.
    scale: every code is multiplied by it.
    num_components: K, for those that have components or segments.
    """

    latent_dim: int
    scale: float = 1.0
    num_components: int = 10

    has_components = True

    def from_noise(self, noise, uniform=None, labels=None):
        """z [batch, latent_dim] of noise [batch, latent_dim] and, with components, uniform numbers and labels [batch].

        `labels` None is -1 for all; `uniform` is looked at where a label is -1, and by the roll everywhere.
        """
        raise NotImplementedError

    @property
    def distribution(self):
        """The whole prior as a tfp distribution, event_shape [latent_dim]."""
        raise NotImplementedError

    def draw(self, num_samples, seed, labels=None):
        """z: float32 [num_samples, latent_dim]; `seed` as tfp takes it, int32[2]; row i from the place of label i."""
        normal_seed, uniform_seed = tf.unstack(tf.random.split(seed))
        noise = normal_noise((num_samples, self.latent_dim), normal_seed)
        uniform = uniform_noise((num_samples,), uniform_seed) if self.has_components else None
        return self.from_noise(noise, uniform, labels)

    def log_prob(self, z):
        """log p(z) of the whole prior, in nats: float32 [batch]."""
        return self.distribution.log_prob(z)

    def inputs(self, by_label=False):
        """name -> `zoo.base.Input`: the noise that an endpoint needs, given a label or not."""
        noise = {"noise": Input(("batch", self.latent_dim), "standard_normal")}
        return {**noise, "uniform": Input(("batch",), "uniform")} if self.needs_uniform(by_label) else noise

    def needs_uniform(self, by_label):
        return self.has_components


class StandardNormal(FixedPrior):
    """N(0, scale^2 I); it has no components, and labels do not matter to it."""

    has_components = False

    def from_noise(self, noise, uniform=None, labels=None):
        return self.scale * noise

    @property
    def distribution(self):
        return diag_gaussian(tf.zeros(self.latent_dim), tf.fill([self.latent_dim], self.scale))


@dataclass(frozen=True)
class PlanePrior(FixedPrior):
    """A prior that is a picture in the plane."""

    def __post_init__(self):
        if self.latent_dim != 2:
            raise ValueError(
                f"latent_dim is {self.latent_dim}, but this prior lies in the plane: pass latent_dim=2, or "
                "prior='standard_normal'."
            )


class GaussianMixture(PlanePrior):
    """K equally likely Gaussians on a ring."""

    def from_noise(self, noise, uniform=None, labels=None):
        component = self.component(uniform, labels)
        angle = 2 * math.pi / self.num_components * component
        along = RADIUS + RADIAL_SCALE * noise[:, 0]
        across = TANGENTIAL_SCALE * noise[:, 1]
        return self.scale * turned(along, across, angle)

    def component(self, uniform, labels):
        if uniform is None:
            return tf.cast(labels, tf.float32)
        drawn = tf.floor(self.num_components * uniform)
        return drawn if labels is None else tf.where(labels < 0, drawn, tf.cast(labels, tf.float32))

    def needs_uniform(self, by_label):
        return not by_label

    @property
    def distribution(self):
        angles = 2 * math.pi / self.num_components * np.arange(self.num_components)
        turns = np.stack([[np.cos(angles), -np.sin(angles)], [np.sin(angles), np.cos(angles)]]).transpose(2, 0, 1)
        covariances = turns @ np.diag([RADIAL_SCALE**2, TANGENTIAL_SCALE**2]) @ turns.transpose(0, 2, 1)
        components = tfd.MultivariateNormalTriL(
            loc=tf.constant(self.scale * turns @ [RADIUS, 0.0], tf.float32),
            scale_tril=tf.constant(self.scale * np.linalg.cholesky(covariances), tf.float32),
        )
        return tfd.MixtureSameFamily(tfd.Categorical(logits=tf.zeros(self.num_components)), components)


class SwissRoll(PlanePrior):
    """A spiral of two turns."""

    def from_noise(self, noise, uniform=None, labels=None):
        if labels is not None:
            segment = (tf.cast(labels, tf.float32) + uniform) / self.num_components
            uniform = tf.where(labels < 0, uniform, segment)
        t = tf.sqrt(uniform)
        radius = ROLL_RADIUS * t
        return self.scale * (turned(radius, tf.zeros_like(t), 2 * math.pi * ROLL_TURNS * t) + ROLL_WIDTH * noise)

    @property
    def distribution(self):
        raise ValueError("The swiss roll has no density in closed form: draw from it with draw_prior instead.")


def turned(x, y, angle):
    """The points (x, y) turned by `angle` about the origin: [batch, 2] of three [batch]."""
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return tf.stack([cosine * x - sine * y, sine * x + cosine * y], axis=1)


PRIORS = {"standard_normal": StandardNormal, "gaussian_mixture": GaussianMixture, "swiss_roll": SwissRoll}
