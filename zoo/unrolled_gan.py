"""Unrolled Generative Adversarial Networks (Metz et al. 2017).

The generator descends the loss that it would meet after K more steps of the discriminator, and its gradient flows
through them:

    D^0 = D,    D^{k+1} = D^k after one step of its optimizer down the discriminator's loss at G
    f_K(G, D) = f(G, D^K(G, D))

    d f_K / dG = df/dG (G, D^K) + df/dD (G, D^K) dD^K/dG

The second term is how the discriminator would answer a move of the generator: it tells a generator that has fallen on
one mode that the discriminator is about to follow. The steps are virtual; the discriminator itself takes one real step,
or `discriminator_steps`, as in any GAN. K = 0 is the GAN, and K to infinity the divergence at the optimal D.

All K steps see the same minibatch and the same codes, on which f is evaluated, as in the code that the authors
published for two dimensions.
"""

import contextlib

import keras
import tensorflow as tf

from zoo.base import at_least
from zoo.gan import GAN
from zoo.objectives import OBJECTIVES

ZERO_SUM = ("minimax", "wasserstein", "wasserstein_gp")  # one f, which D descends and G ascends
SMALLEST_SQUARE = 1e-30  # under Adam's square root: far below epsilon^2, and its derivative is finite
NOT_UNROLLED = (
    "weight_decay",
    "clipnorm",
    "clipvalue",
    "global_clipnorm",
    "use_ema",
    "gradient_accumulation_steps",
    "momentum",
    "amsgrad",
)


@keras.saving.register_keras_serializable(package="zoo")
class UnrolledGAN(GAN):
    """GAN whose generator looks `unrolled_steps` steps of the discriminator ahead.

    The discriminator's optimizer is `keras.optimizers.SGD` without momentum, or `keras.optimizers.Adam`, whose virtual
    steps continue from its moments and its count of steps. With 5 of them a training step takes about 5 times as long
    as that of a `GAN`.

    Args:
        event_shape, latent_dim: as of `GAN`.
        unrolled_steps: K >= 0.
        kwargs: the other arguments of `GAN`, by name. In an objective of one f ("minimax", "wasserstein",
            "wasserstein_gp") the generator's loss holds f whole: its term of real examples depends on G through D^K. In
            another it is the generator's own loss at D^K. Penalties belong to the discriminator's steps. Under
            spectral normalization the singular vectors stand still during the virtual steps.

    Example:
        >>> points = np.random.default_rng(0).normal(size=(512, 2))
        >>> gan = UnrolledGAN(event_shape=(2,), latent_dim=2, unrolled_steps=2, discriminator_hidden=(16,))
        >>> gan.compile({"generator": "adam", "discriminator": keras.optimizers.Adam(1e-4, beta_1=0.5)})
        >>> history = gan.fit(points, epochs=2, verbose=0)
        >>> gan.sample(4, seed=0).shape
        (4, 2)

    Raises:
        ValueError: as of `GAN`; for `unrolled_steps` below 0; by `compile`: for an optimizer of the discriminator whose
            steps cannot be unrolled.

    References:
        Metz et al. 2017, Unrolled Generative Adversarial Networks.
    """

    def __init__(self, event_shape, latent_dim, unrolled_steps=5, **kwargs):
        super().__init__(event_shape, latent_dim, **kwargs)
        self.unrolled_steps = at_least("unrolled_steps", unrolled_steps, 0)

    def prepared(self, player, optimizer):
        optimizer = super().prepared(player, optimizer)
        if player == "discriminator" and self.unrolled_steps:
            check_unrolled(optimizer)
        return optimizer

    def generator_loss(self, real, z, training=True):
        """The generator's loss at D^K, for as many codes as real examples."""
        real, fake = self.judged_real(real, training), self.judged_fake(z, training)
        with self.discriminator_with(self.unrolled_discriminator(real, fake)):
            real_logits, fake_logits = self.packed_logits(real), self.packed_logits(fake)
        objective = OBJECTIVES[self.objective]
        if self.objective in ZERO_SUM:
            loss = -objective.discriminator(real_logits, fake_logits)
        else:
            loss = objective.generator(real_logits, fake_logits)
        self.g_loss.update_state(loss)
        return self.mean_over_batch(loss)

    def unrolled_discriminator(self, real, fake):
        """D^K: the values of the discriminator's variables after K virtual steps, as functions of `fake`."""
        values = [variable.value for variable in self.trained_by("discriminator")]
        if not self.unrolled_steps:
            return values
        step = STEPS[type(self.optimizers["discriminator"])](self.optimizers["discriminator"])
        for count in range(self.unrolled_steps):
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(values)
                with self.discriminator_with(values):
                    loss = self.loss_of_discriminator(real, fake)
            values = step(values, summed_over_replicas(tape.gradient(loss, values)), count)
            if self.objective == "wasserstein":
                values = [tf.clip_by_value(value, -self.clip, self.clip) for value in values]
        return values

    @contextlib.contextmanager
    def discriminator_with(self, values):
        """Within, the discriminator's variables have other values, and metrics stand still; draws count as ever."""
        with keras.StatelessScope(list(zip(self.trained_by("discriminator"), values, strict=True))) as scope:
            yield
        draws = scope.get_current_value(self.draws)
        if draws is not None:
            self.draws.assign(draws)

    def get_config(self):
        return {**super().get_config(), "unrolled_steps": self.unrolled_steps}


# Steps of an optimizer as functions of values and gradients, which a gradient flows through. Step `count` is the one
# that the optimizer would take after `count` more.


class VirtualSGD:
    """w <- w - rate g."""

    def __init__(self, optimizer):
        self.optimizer = optimizer

    def __call__(self, values, gradients, count):
        rate = learning_rate(self.optimizer, count)
        return [value - rate * gradient for value, gradient in zip(values, gradients, strict=True)]


class VirtualAdam:
    """Kingma and Ba 2015, algorithm 1, in the order of its section 2, from the moments that the optimizer holds.

    m <- m + (1 - beta_1) (g - m),    v <- v + (1 - beta_2) (g^2 - v),    w <- w - alpha m / (sqrt(v) + epsilon),
    alpha = rate sqrt(1 - beta_2^t) / (1 - beta_1^t) at step t = 1, 2, ...
    """

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.momentums = [each.value for each in optimizer._momentums]
        self.velocities = [each.value for each in optimizer._velocities]

    def __call__(self, values, gradients, count):
        beta_1, beta_2, epsilon = self.optimizer.beta_1, self.optimizer.beta_2, self.optimizer.epsilon
        t = tf.cast(self.optimizer.iterations + 1 + count, tf.float32)
        alpha = learning_rate(self.optimizer, count) * tf.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)
        self.momentums = [m + (1.0 - beta_1) * (g - m) for m, g in zip(self.momentums, gradients, strict=True)]
        self.velocities = [
            v + (1.0 - beta_2) * (tf.square(g) - v) for v, g in zip(self.velocities, gradients, strict=True)
        ]
        return [
            value - alpha * m / (tf.sqrt(tf.maximum(v, SMALLEST_SQUARE)) + epsilon)
            for value, m, v in zip(values, self.momentums, self.velocities, strict=True)
        ]


STEPS = {keras.optimizers.SGD: VirtualSGD, keras.optimizers.Adam: VirtualAdam}


def check_unrolled(optimizer):
    settings = optimizer.get_config()
    extras = [name for name in NOT_UNROLLED if settings.get(name)]
    if type(optimizer) not in STEPS or extras:
        raise ValueError(
            f"The discriminator's optimizer is {type(optimizer).__name__}"
            + (f" with {extras[0]}={settings[extras[0]]!r}" if extras else "")
            + ", whose steps cannot be unrolled; pass plain SGD or Adam, or unrolled_steps=0."
        )


def learning_rate(optimizer, count):
    """Of the optimizer after `count` more steps: a number, or what its schedule says then."""
    with keras.StatelessScope([(optimizer.iterations, optimizer.iterations.value + count)]):
        return tf.convert_to_tensor(optimizer.learning_rate)


def summed_over_replicas(gradients):
    """As the optimizer sums them."""
    if tf.distribute.get_strategy().num_replicas_in_sync == 1:
        return gradients
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
