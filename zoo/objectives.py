"""The objectives of adversarial training, and the penalties on the slope of the discriminator.

An `Objective` is two losses that descend, one for each player, functions of the logits D(x) of real examples and
D(G(z)) of generated ones. With D as a logit, the probability of "real" is sigmoid(D), and

    -log sigmoid(D) = softplus(-D),     -log(1 - sigmoid(D)) = softplus(D),

which neither overflow nor lose their gradient where sigmoid(D) rounds to 0 or 1.
"""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from zoo.distributions import uniform_noise

SMALLEST_SQUARE = 1e-12  # under a square root: where the slope is 0, its norm has a gradient of 0 and not of infinity


@dataclass(frozen=True)
class Objective:
    """What each player minimizes, of logits of real and of as many generated examples.

    discriminator, generator: (real_logits, fake_logits), each [batch] -> loss [batch]. Where an objective compares
        them, example i of one with example i of the other.
    diagnostic: the name of a number that shows in the progress bar.
    diagnose: (real_logits, fake_logits) -> that number for each example, [batch].
    source: paper and equation.
    """

    discriminator: Callable
    generator: Callable
    diagnostic: str
    diagnose: Callable
    source: str


def log_loss(real, fake):
    """-log sigmoid(D(x)) - log(1 - sigmoid(D(G(z)))): the classifier's cross-entropy, Goodfellow's discriminator."""
    return tf.nn.softplus(-real) + tf.nn.softplus(fake)


def half(boundary):
    """The share of each pair that falls on its side of `boundary`: 1/2 is chance."""
    return lambda real, fake: 0.5 * (tf.cast(real > boundary, tf.float32) + tf.cast(fake <= boundary, tf.float32))


def gap(real, fake):
    return real - fake


WASSERSTEIN = {
    "discriminator": lambda real, fake: fake - real,
    "generator": lambda real, fake: -fake,
    "diagnostic": "wasserstein",  # over the Lipschitz constant of D: the distance that D has found
    "diagnose": gap,
}

OBJECTIVES = {
    # min_G max_D  E log D(x) + E log(1 - D(G(z))); where D is sure of a fake, the generator's slope, -sigmoid(D), is 0.
    "minimax": Objective(
        discriminator=log_loss,
        generator=lambda real, fake: -tf.nn.softplus(fake),
        diagnostic="accuracy",
        diagnose=half(0.0),
        source="Goodfellow et al. 2014, equation 1",
    ),
    # The generator descends -E log D(G(z)): the same fixed point, and a gradient of 1 - sigmoid(D).
    "non_saturating": Objective(
        discriminator=log_loss,
        generator=lambda real, fake: tf.nn.softplus(-fake),
        diagnostic="accuracy",
        diagnose=half(0.0),
        source="Goodfellow et al. 2014, section 3",
    ),
    # 1/2 E (D(x) - 1)^2 + 1/2 E D(G(z))^2 and 1/2 E (D(G(z)) - 1)^2: a = 0, b = c = 1.
    "least_squares": Objective(
        discriminator=lambda real, fake: 0.5 * tf.square(real - 1.0) + 0.5 * tf.square(fake),
        generator=lambda real, fake: 0.5 * tf.square(fake - 1.0),
        diagnostic="accuracy",
        diagnose=half(0.5),
        source="Mao et al. 2017, equation 9",
    ),
    "hinge": Objective(
        discriminator=lambda real, fake: tf.nn.relu(1.0 - real) + tf.nn.relu(1.0 + fake),
        generator=lambda real, fake: -fake,
        diagnostic="accuracy",
        diagnose=half(0.0),
        source="Lim and Ye 2017; Miyato et al. 2018, equations 16 and 17",
    ),
    # E D(x) - E D(G(z)) for a D of bounded slope, held by clipping its weights,
    "wasserstein": Objective(**WASSERSTEIN, source="Arjovsky et al. 2017, algorithm 1"),
    # or by a penalty on its slope between real and generated examples.
    "wasserstein_gp": Objective(**WASSERSTEIN, source="Gulrajani et al. 2017, equation 3"),
    # f(D(x) - D(G(z))) with f(t) = softplus(-t), and the opposite for the generator: RpGAN.
    "relativistic": Objective(
        discriminator=lambda real, fake: tf.nn.softplus(-(real - fake)),
        generator=lambda real, fake: tf.nn.softplus(-(fake - real)),
        diagnostic="accuracy",
        diagnose=lambda real, fake: tf.cast(real > fake, tf.float32),
        source="Jolicoeur-Martineau 2019; Huang et al. 2024 (R3GAN), equation 2",
    ),
}


# Penalties. R1 and R2 are E ||grad_x D(x)||^2 at real and at generated examples (Mescheder et al. 2018, section 4.1);
# the others hold the slope itself near 1.


def with_squared_slope(discriminate, x):
    """(D(x), ||grad_x D(x)||^2) of x [batch, ...]: two tensors [batch]; one pass through the discriminator."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = discriminate(x)
    gradient = tape.gradient(logits, x)  # of the sum over the batch: row i holds the gradient of logit i alone
    return logits, tf.reduce_sum(tf.square(gradient), axis=range(1, len(x.shape)))


def gradient_penalty(discriminate, x):
    """(||grad_x D(x)|| - 1)^2 of x [batch, ...]: [batch] (Gulrajani et al. 2017, equation 3)."""
    _, squared_slope = with_squared_slope(discriminate, x)
    return tf.square(tf.sqrt(tf.maximum(squared_slope, SMALLEST_SQUARE)) - 1.0)


def between(real, fake, seed):
    """A point drawn uniformly on the line from each real to each generated example: where WGAN-GP holds the slope."""
    return real + uniform_for_each(real, seed) * (fake - real)


def uniform_for_each(x, seed):
    """One number in [0, 1) for each example of x, of a shape that broadcasts over it."""
    return uniform_noise((tf.shape(x)[0], *[1] * (len(x.shape) - 1)), seed)


def around(real, seed):
    """Each real example moved by noise of half the spread of the data: where DRAGAN holds the slope.

    x + 1/2 std(x) u, u ~ U(0, 1) for each number, std over the whole batch, as in the code of Kodali et al. 2017.
    """
    return real + 0.5 * tf.math.reduce_std(real) * uniform_noise(tf.shape(real), seed)
