"""The settings of the study mode_collapse: its protocols, their methods, and the published numbers beside them.

`PROTOCOLS` is the one home of every setting. Numbers of different protocols are never in one table.
"""

import json
from dataclasses import asdict, dataclass, field, replace

from training.data import near

VERSION = 1  # of what the study does with these settings: runs of another one are refused


@dataclass(frozen=True)
class Adam:
    """Of one player. The learning rate falls to `decay` times itself, 1 is no fall: along half a cosine, or, if
    `exponential`, by the same factor at each step, which leaves more steps to the small rates."""

    learning_rate: float
    beta_1: float = 0.9
    beta_2: float = 0.999
    decay: float = 1.0
    exponential: bool = False

    def settings(self):
        """As a dict; `exponential` only where it is so: the runs that were recorded first do not name it."""
        return {name: value for name, value in asdict(self).items() if name != "exponential" or value}


@dataclass(frozen=True)
class Method:
    """What is trained. model: a class of `zoo`. optimizers: player -> `Adam`. arguments: of the model, beside those of
    the protocol. batch_size: points of a discriminator step, if not as many as the protocol says."""

    name: str
    model: str
    optimizers: dict
    arguments: dict = field(default_factory=dict)
    batch_size: int | None = None


@dataclass(frozen=True)
class Protocol:
    """How it is trained and measured: `iterations` are steps of the generator, `batch_size` points a step of the
    discriminator, `num_samples` those that are measured, `arguments` those of every model."""

    name: str
    summary: str
    iterations: int
    batch_size: int
    num_samples: int
    seeds: tuple
    data: tuple
    arguments: dict
    methods: tuple

    def method_named(self, name):
        """The method; a ValueError with near names if there is none."""
        for method in self.methods:
            if method.name == name:
                return method
        names = [method.name for method in self.methods]
        raise ValueError(f"Protocol {self.name} has no method {name!r}{near(name, names)}; {', '.join(names)}.")

    def settings(self, method):
        """Everything that a run depends on but data and seed, as JSON would hold it."""
        settings = {
            "version": VERSION,
            "protocol": self.name,
            "iterations": self.iterations,
            "batch_size": method.batch_size or self.batch_size,
            "num_samples": self.num_samples,
            "model": method.model,
            "arguments": {**self.arguments, **method.arguments},
            "optimizers": {player: adam.settings() for player, adam in method.optimizers.items()},
        }
        return json.loads(json.dumps(settings))


def both(generator, discriminator=None):
    return {"generator": generator, "discriminator": discriminator or generator}


def dense(*hidden):
    return {"latent_dim": 2, "generator_hidden": hidden, "discriminator_hidden": hidden}


# One optimizer for every method of the protocol quick, as tuned with seed 100: of three, the best for the plain GAN as
# well. (Adam 2e-4 with beta_1 0.5 and 1e-3 with beta_1 0.5, falling, were the others.)
FALLING = Adam(1e-3, beta_1=0.0, beta_2=0.99, decay=0.02)

R3GAN = Method(
    "r3gan", "GAN", both(FALLING), {"objective": "relativistic", "r1": 0.1, "r2": 0.1, "average_decay": 0.999}
)

QUICK = Protocol(
    name="quick",
    summary="25,000 iterations of 2x128 networks",
    iterations=25_000,
    batch_size=128,
    num_samples=100_000,
    seeds=tuple(range(10)),
    data=("ring", "unit_grid"),
    arguments=dense(128, 128),
    methods=(
        Method("minimax", "GAN", both(FALLING), {"objective": "minimax"}),
        Method("non_saturating", "GAN", both(FALLING), {"objective": "non_saturating"}),
        Method("ali", "BiGAN", both(FALLING), {"stochastic_encoder": True}),
        # Metz et al. 2017 unroll the minimax game.
        Method("unrolled", "UnrolledGAN", both(FALLING), {"unrolled_steps": 5, "objective": "minimax"}),
        # d = -log p(z|x) and a constant; the code of Srivastava et al. 2017 has unit variance and half the square.
        Method("veegan", "VEEGAN", {**both(FALLING), "reconstructor": FALLING}, {"noise_scale": 0.5**0.5}),
        Method("pacgan2", "GAN", both(FALLING), {"pack": 2}),
        Method("pacgan4", "GAN", both(FALLING), {"pack": 4}),
        # Gulrajani et al. 2017, gan_toy.py, has a penalty of 0.1 on data of this size, and 5 steps of the critic.
        Method(
            "wasserstein_gp",
            "GAN",
            both(FALLING),
            {"objective": "wasserstein_gp", "discriminator_steps": 5, "gradient_penalty": 0.1},
        ),
        R3GAN,
    ),
)

# As tuned with seeds from 100 on, ring and grid. Modes are hit the better the more steps there are at a large learning
# rate; but there the samples of a mode draw together, and spread to its true width only at small ones. A weak penalty
# lets the discriminator be steep enough. Of the grid, 0.01 left a mode three quarters of its width, at 97.4 % high
# quality, which a first table of seeds 0 to 2 showed; 0.002 gave 0.87 and 94.6 % with seeds 101 and 102; 0.003 lies
# between.
SHARP_ADAM = replace(FALLING, decay=1e-3, exponential=True)

SHARP = replace(
    QUICK,
    name="sharp",
    summary="the best method, longer and with deeper networks",
    iterations=250_000,
    seeds=tuple(range(5)),
    arguments=dense(128, 128, 128, 128),
    methods=(replace(R3GAN, optimizers=both(SHARP_ADAM), arguments={**R3GAN.arguments, "r1": 0.003, "r2": 0.003}),),
)

# 400 epochs of 100,000 examples in batches of 100, where an example of m packed ones has m points (Lin et al. 2018,
# section 4.1 and code).
PACGAN_ADAM = both(Adam(1e-4, beta_1=0.8))
PACGAN = Protocol(
    name="pacgan",
    summary="the published one: 400,000 iterations, a generator of 4x400, 2,500 samples",
    iterations=400_000,
    batch_size=100,
    num_samples=2500,
    seeds=tuple(range(10)),
    data=("ring", "grid"),
    arguments={
        "latent_dim": 2,
        "generator_hidden": (400, 400, 400, 400),
        "activation": "relu",
        "batch_normalization": True,
        "discriminator_hidden": (200, 200, 200),
        "discriminator_activation": "maxout",
        "initial_stddev": 0.02,
    },
    methods=(
        Method("gan", "GAN", PACGAN_ADAM),
        Method("ali", "BiGAN", PACGAN_ADAM, {"stochastic_encoder": True, "encoder_hidden": (400, 400)}),
        *(Method(f"pacgan{m}", "GAN", PACGAN_ADAM, {"pack": m}, batch_size=100 * m) for m in (2, 3, 4)),
    ),
)

SMOKE = replace(
    QUICK,
    name="smoke",
    summary="50 iterations of tiny networks, to see that it runs",
    iterations=50,
    batch_size=20,
    num_samples=1000,
    seeds=(0,),
    arguments=dense(8),
)

PROTOCOLS = {protocol.name: protocol for protocol in (QUICK, PACGAN, SHARP, SMOKE)}

# (method, data) of the protocol pacgan -> metric -> mean, standard error over 10 runs: Lin et al. 2018, table 1.
LIN = "Lin et al. 2018 (PacGAN), table 1"
PUBLISHED = {
    ("gan", "ring"): {"modes": (6.3, 0.5), "high_quality": (0.982, 0.002), "reverse_kl": (0.45, 0.09)},
    ("ali", "ring"): {"modes": (6.6, 0.3), "high_quality": (0.976, 0.004), "reverse_kl": (0.36, 0.04)},
    ("pacgan2", "ring"): {"modes": (7.9, 0.1), "high_quality": (0.956, 0.020), "reverse_kl": (0.07, 0.03)},
    ("pacgan3", "ring"): {"modes": (7.8, 0.1), "high_quality": (0.977, 0.003), "reverse_kl": (0.10, 0.02)},
    ("pacgan4", "ring"): {"modes": (7.8, 0.1), "high_quality": (0.959, 0.014), "reverse_kl": (0.07, 0.02)},
    ("gan", "grid"): {"modes": (17.3, 0.8), "high_quality": (0.948, 0.007), "reverse_kl": (0.70, 0.07)},
    ("ali", "grid"): {"modes": (24.1, 0.4), "high_quality": (0.957, 0.006), "reverse_kl": (0.14, 0.03)},
    ("pacgan2", "grid"): {"modes": (23.8, 0.7), "high_quality": (0.913, 0.008), "reverse_kl": (0.13, 0.04)},
    ("pacgan3", "grid"): {"modes": (24.6, 0.4), "high_quality": (0.942, 0.004), "reverse_kl": (0.06, 0.02)},
    ("pacgan4", "grid"): {"modes": (24.8, 0.2), "high_quality": (0.936, 0.006), "reverse_kl": (0.04, 0.01)},
}
