"""The Dirac-GAN: which objectives converge on the smallest GAN there is, with and without R1.

The data are a point at 0, the generator is a point at theta, the discriminator is linear with slope psi:

    D(x) = c + psi x,   real logit D(0) = c,   fake logit D(theta) = c + psi theta

c is where the discriminator is undecided: 1/2 under least_squares, 0 elsewhere. Each player descends its own loss of
`zoo.objectives`, with R1 the discriminator also gamma/2 E ||grad_x D||^2 = gamma/2 psi^2:

    v(theta, psi) = (-d/dtheta g(c, c + psi theta),  -d/dpsi [d(c, c + psi theta) + gamma/2 psi^2])

Where theta = psi = 0 both have found their equilibrium, and with the derivatives g' and d' by the fake logit there

    v' = [[0, -g'], [-d', -gamma]],   eigenvalues lambda = -gamma/2 +- sqrt(gamma^2/4 + g' d')

Here g' d' < 0 always. So without R1 both are imaginary: near the equilibrium the players circle, and simultaneous
gradient descent with a learning rate of h, whose eigenvalues are 1 + h lambda, moves away. (Farther out the terms of
higher order in non_saturating, relativistic and least_squares pull inwards, more and more slowly.) With R1 the real
part is negative, and both kinds of descent converge where h is small (Mescheder et al. 2018, sections 2 to 4).

Clipping keeps psi in an interval, and the WGAN-GP penalty of weight lambda pushes |psi| to 1, against R1 as well: the
players circle, or wait at |theta| = 2 lambda, where the penalty holds psi up against the data.
"""

import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from training.command_line import show_table
from training.pictures import save_figure
from training.run_folder import PACKAGES
from training.studies import write_result
from zoo.objectives import OBJECTIVES, gradient_penalty, with_squared_slope
from zoo.version import versions

# (g', d') at the equilibrium: the derivatives of both losses by the fake logit.
SLOPES = {
    "minimax": (-0.5, 0.5),
    "non_saturating": (-0.5, 0.5),
    "least_squares": (-0.5, 0.5),
    "hinge": (-1.0, 1.0),
    "wasserstein": (-1.0, 1.0),
    "wasserstein_gp": (-1.0, 1.0),
    "relativistic": (-0.5, 0.5),
}
UNDECIDED = {"least_squares": 0.5}  # c, where it is not 0
DESCENTS = ("simultaneous", "alternating")


@dataclass(frozen=True)
class Protocol:
    start: tuple = (1.0, 1.0)  # theta, psi
    learning_rate: float = 0.1
    steps: int = 500
    r1: float = 0.5  # gamma, where it is on
    clip: float = 1.0  # of |psi|, under wasserstein
    gradient_penalty: float = 1.0  # lambda, under wasserstein_gp
    converged: float = 0.01  # distance from the equilibrium


# The vector field.


def losses(objective, theta, psi, r1=0.0, gp=0.0):
    """(g, d) of the generator and the discriminator, float64 scalars; `gp` weighs the WGAN-GP penalty."""
    undecided = tf.constant(UNDECIDED.get(objective, 0.0), tf.float64)

    def discriminate(x):
        return undecided + psi * x[:, 0]

    real, fake = tf.zeros((1, 1), tf.float64), tf.reshape(theta, (1, 1))
    real_logits, squared_slope = with_squared_slope(discriminate, real)
    fake_logits = discriminate(fake)
    of_discriminator = OBJECTIVES[objective].discriminator(real_logits, fake_logits) + 0.5 * r1 * squared_slope
    if gp:
        of_discriminator += gp * gradient_penalty(discriminate, real)  # the slope is the same everywhere
    return OBJECTIVES[objective].generator(real_logits, fake_logits)[0], of_discriminator[0]


def vector_field(objective, theta, psi, r1=0.0, gp=0.0):
    """v(theta, psi): what each player descends, (-dg/dtheta, -dd/dpsi)."""
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((theta, psi))
        of_generator, of_discriminator = losses(objective, theta, psi, r1, gp)
    return -tape.gradient(of_generator, theta), -tape.gradient(of_discriminator, psi)


def jacobian(objective, r1=0.0):
    """v' at the equilibrium, by automatic differentiation: float64 [2, 2]."""
    theta, psi = (tf.constant(0.0, tf.float64) for _ in range(2))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch((theta, psi))
        field = vector_field(objective, theta, psi, r1)
    zero = tf.UnconnectedGradients.ZERO
    return np.array([tape.gradient(each, (theta, psi), unconnected_gradients=zero) for each in field])


def eigenvalues(objective, r1=0.0):
    """Those of v' at the equilibrium in closed form: complex128 [2]."""
    of_generator, of_discriminator = SLOPES[objective]
    root = np.sqrt(complex(r1**2 / 4 + of_generator * of_discriminator))
    return np.array([-r1 / 2 + root, -r1 / 2 - root])


# Gradient descent.


def trajectory(objective, descent, protocol, r1=0.0):
    """(theta, psi) from the start on, float64 [1 + steps, 2].

    descent: "simultaneous", or "alternating": the discriminator moves first, the generator sees where it went.
    """
    gp = protocol.gradient_penalty if objective == "wasserstein_gp" else 0.0
    clip = protocol.clip if objective == "wasserstein" else np.inf

    @tf.function
    def step(point, _):
        theta, psi = tf.unstack(point)
        by_generator, by_discriminator = vector_field(objective, theta, psi, r1, gp)
        psi = tf.clip_by_value(psi + protocol.learning_rate * by_discriminator, -clip, clip)
        if descent == "alternating":
            by_generator, _ = vector_field(objective, theta, psi, r1, gp)
        return tf.stack([theta + protocol.learning_rate * by_generator, psi])

    start = tf.constant(protocol.start, tf.float64)
    points = tf.scan(step, tf.range(protocol.steps), initializer=start)
    return np.concatenate([[protocol.start], points.numpy()])


# The study.


def add_flags(parser):
    """None: the study takes seconds and draws nothing."""


def run(workdir, record=None):
    """Follow every objective; write WORKDIR/dirac_gan.json and dirac_gan.png, and with `record` RECORD/dirac_gan.json.

    Returns what the JSON holds: protocol, versions, seconds, and a row for each objective and gamma: objective, r1,
    eigenvalues (each [real, imaginary], in closed form; None under the WGAN-GP penalty, which has a kink at psi = 0),
    and for each descent the distances from the equilibrium at the end: the last one, and the largest of the last tenth.
    """
    protocol, started = Protocol(), time.monotonic()
    rows, paths = [], {}
    for objective in OBJECTIVES:
        for r1 in (0.0, protocol.r1):
            values = None if objective == "wasserstein_gp" else as_pairs(eigenvalues(objective, r1))
            row = {"objective": objective, "r1": r1, "eigenvalues": values}
            for descent in DESCENTS:
                paths[objective, r1, descent] = path = trajectory(objective, descent, protocol, r1)
                distances = np.linalg.norm(path, axis=-1)
                late = float(distances[-len(path) // 10 :].max())
                row[descent] = {"last": float(distances[-1]), "late": late, "converged": late < protocol.converged}
            rows.append(row)
    result = {
        "study": "dirac_gan",
        "protocol": asdict(protocol),
        "versions": versions(*PACKAGES),
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    write_result(result, workdir, record)
    save_figure(draw(paths, protocol), Path(workdir) / "dirac_gan.png")
    return result


def as_pairs(numbers):
    return [[float(number.real), float(number.imag)] for number in numbers]


def show(result):
    protocol = result["protocol"]
    rows = [["objective", "R1", "eigenvalues", *DESCENTS]]
    for row in result["rows"]:
        late = (f"{row[each]['late']:.4f}{' converged' if row[each]['converged'] else ''}" for each in DESCENTS)
        r1 = f"{row['r1']:g}" if row["r1"] else ""
        rows.append([row["objective"], r1, eigenvalues_as_text(row["eigenvalues"]), *late])
    caption = (
        f"{protocol['steps']} steps of {protocol['learning_rate']:g}; the largest distance of the last tenth. "
        f"wasserstein: |psi| <= {protocol['clip']:g}; wasserstein_gp: lambda = {protocol['gradient_penalty']:g}"
    )
    show_table("The Dirac-GAN: distance from the equilibrium after descent (start: 1.41)", rows, caption)


def eigenvalues_as_text(pairs):
    if pairs is None:
        return "none: a kink"
    (real, imaginary), _ = pairs
    return f"{real:.3g} +- {imaginary:.3g}i" if imaginary else f"{real:.3g}, {pairs[1][0]:.3g}"


def draw(paths, protocol):
    """A column for each objective, a row for each kind of descent; red without R1, blue with it."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        len(DESCENTS),
        len(OBJECTIVES),
        figsize=(2.5 * len(OBJECTIVES), 5.6),
        sharex=True,
        sharey=True,
        layout="constrained",
    )
    for row, descent in zip(axes, DESCENTS, strict=True):
        row[0].set_ylabel(f"{descent}\npsi")
        for axis, objective in zip(row, OBJECTIVES, strict=True):
            for r1, colour in ((0.0, "tab:red"), (protocol.r1, "tab:blue")):
                theta, psi = paths[objective, r1, descent].T
                axis.plot(theta, psi, color=colour, linewidth=0.8, label=f"R1, gamma = {r1:g}" if r1 else "without R1")
                axis.plot(theta[-1], psi[-1], "o", color=colour, markersize=4)
            axis.plot(*protocol.start, "k.")
            axis.plot(0, 0, "k+", markersize=10)
            axis.set(xlim=(-3, 3), ylim=(-3, 3), aspect="equal")
    for axis, objective in zip(axes[0], OBJECTIVES, strict=True):
        axis.set_title(objective)
    for axis in axes[-1]:
        axis.set_xlabel("theta")
    axes[0, 0].legend(loc="upper left", fontsize=7)
    return figure
