"""The optimal discriminator by training: its logits against log p/q, its value against 2 JSD - log 4.

Goodfellow et al. 2014, proposition 1 and theorem 1: between data p and generated examples q, the logits

    D*(x) = log p(x) - log q(x)     have the highest value     V(D*) = 2 JSD(p, q) - log 4,
    V(D)  = E_p log sigmoid(D(x)) + E_q log(1 - sigmoid(D(x))).

A classifier (`zoo.DensityRatio`) trains on fresh samples of p and of q at every step, in one and in two dimensions. All
expectations are integrals over a grid, so that the numbers have no noise but that of training. The error of the logits
is their root mean square over the points of the grid where both densities are above 1e-3.
"""

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

import zoo
from training.command_line import show_table
from training.pictures import SIGNED, save_figure
from training.run_folder import PACKAGES
from training.studies import refuse_unpublished, write_result
from zoo.distributions import stateless_seed
from zoo.divergences import optimal_logits
from zoo.version import versions

SEEN = 1e-3  # the logits are compared where both densities are above it
TARGETS = {"rmse": 0.05, "value_error": 0.01}  # at most

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Protocol:
    steps: int
    batch_size: int  # half of it from p and half from q
    hidden: tuple
    activation: str
    learning_rate: float  # of Adam, falling to 0 along half a cosine
    average_decay: float  # of the weights that are kept
    seed: int


FULL = Protocol(
    steps=8000,
    batch_size=4096,
    hidden=(32, 32),
    activation="gelu",
    learning_rate=5e-3,
    average_decay=0.998,
    seed=0,
)
QUICK = replace(FULL, steps=300, batch_size=512, hidden=(32,), average_decay=0.9)


@dataclass(frozen=True)
class Problem:
    """Two densities and the axis of the grid over which they are integrated.

    p, q: in float32, scalar or over vectors of 2. axis: float64, the same one for every dimension.
    """

    name: str
    what: str
    p: tfd.Distribution
    q: tfd.Distribution
    axis: np.ndarray

    @property
    def dimensions(self):
        return 1 if self.p.event_shape.rank == 0 else self.p.event_shape[0]

    def grid(self):
        """Every point of the grid: float32 [points, dimensions]."""
        axes = np.meshgrid(*[self.axis] * self.dimensions, indexing="ij")
        return np.stack([axis.ravel() for axis in axes], axis=-1).astype("float32")

    def log_probs(self, x):
        """log p and log q of x [points, dimensions]: float64 [points]."""
        events = x[:, 0] if self.p.event_shape.rank == 0 else x
        return tuple(each.log_prob(events).numpy().astype("float64") for each in (self.p, self.q))


def problems():
    """The two of the study: the pair of Tiao's tutorial (2018), and a mixture of three against one Gaussian."""
    means = [[-1.5, 0.0], [1.2, 1.2], [1.2, -1.2]]
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.4, 0.3, 0.3]),
        tfd.MultivariateNormalDiag(means, [[0.7, 0.7], [0.6, 0.6], [0.8, 0.5]]),
    )
    broad = tfd.MultivariateNormalDiag([0.0, 0.0], [1.5, 1.5])
    return [
        Problem("1-D", "N(1, 1) and N(0, 2^2)", tfd.Normal(1.0, 1.0), tfd.Normal(0.0, 2.0), np.linspace(-14, 14, 2801)),
        Problem("2-D", "three Gaussians and N(0, 1.5^2 I)", mixture, broad, np.linspace(-9, 9, 361)),
    ]


def add_flags(parser):
    parser.add_argument("--quick", action="store_true", help="few steps, to see that it runs")
    parser.add_argument("--seed", type=int, default=FULL.seed, help="of weights and samples (default: 0)")


def run(workdir, quick=False, seed=0, record=None):
    """Train on both problems; write WORKDIR/optimal_discriminator.json and .png, and with `record` RECORD/....json.

    Returns what the JSON holds: protocol, targets, versions, seconds, and a row for each problem: name, what, rmse of
    the logits (rmse_under_p and rmse_under_q weigh the points by a density), value, optimal_value, value_error (how far
    it is below), seconds.

    Raises:
        ValueError: for a `record` of anything but the protocol `FULL`.
    """
    protocol = replace(QUICK if quick else FULL, seed=seed)
    if record:
        refuse_unpublished(protocol, FULL)
    started = time.monotonic()
    rows, pictures = [], []
    for problem in problems():
        row, logits = score(problem, protocol)
        rows.append(row)
        pictures.append((problem, logits))
    result = {
        "study": "optimal_discriminator",
        "protocol": asdict(protocol),
        "targets": TARGETS,
        "versions": versions(*PACKAGES),
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    write_result(result, workdir, record)
    save_figure(draw(pictures, rows), Path(workdir) / "optimal_discriminator.png")
    return result


def score(problem, protocol):
    """(row of the result, logits at every point of the grid) of a classifier trained on one problem."""
    started = time.monotonic()
    discriminator = train(problem, protocol)
    x = problem.grid()
    logits = discriminator.predict(x, batch_size=8192, verbose=0).astype("float64")
    row = {"name": problem.name, "what": problem.what, **measures(problem, x, logits)}
    row["seconds"] = round(time.monotonic() - started, 1)
    log.info("%s: RMSE %.4f, value off by %.5f", problem.name, row["rmse"], row["value_error"])
    return row, logits


def train(problem, protocol):
    """A `zoo.DensityRatio` trained on fresh samples: a function of the arguments."""
    keras.utils.set_random_seed(protocol.seed)
    half = protocol.batch_size // 2
    labels = tf.repeat([1.0, 0.0], half)

    def batch(step):
        sides = [
            each.sample(half, stateless_seed(protocol.seed, step, i)) for i, each in enumerate((problem.p, problem.q))
        ]
        return tf.reshape(tf.concat(sides, axis=0), (2 * half, problem.dimensions)), labels

    discriminator = zoo.DensityRatio((problem.dimensions,), protocol.hidden, protocol.activation)
    discriminator.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(protocol.learning_rate, protocol.steps),
            use_ema=True,
            ema_momentum=protocol.average_decay,
        ),
        jit_compile=True,
        steps_per_execution=50,
    )
    steps = tf.data.Dataset.range(protocol.steps).map(batch, num_parallel_calls=1).prefetch(50)
    discriminator.fit(steps, verbose=0)
    return discriminator


def measures(problem, x, logits):
    """How far `logits` at the points x of the grid are from the optimum."""
    log_p, log_q = problem.log_probs(x)
    cell = (problem.axis[1] - problem.axis[0]) ** problem.dimensions
    p, q = np.exp(log_p) * cell, np.exp(log_q) * cell
    is_seen = np.minimum(log_p, log_q) > np.log(SEEN)
    squared = np.square(logits - (log_p - log_q))[is_seen]
    value, optimal = (value_of(each, p, q) for each in (logits, log_p - log_q))
    return {
        "rmse": float(np.sqrt(squared.mean())),
        "rmse_under_p": float(np.sqrt(np.average(squared, weights=p[is_seen]))),
        "rmse_under_q": float(np.sqrt(np.average(squared, weights=q[is_seen]))),
        "value": value,
        "optimal_value": optimal,
        "value_error": optimal - value,
    }


def value_of(logits, p, q):
    """V(D) with the probabilities p and q of each cell."""
    return float(-np.sum(p * np.logaddexp(0.0, -logits)) - np.sum(q * np.logaddexp(0.0, logits)))


def show(result):
    targets, protocol = result["targets"], result["protocol"]
    rows = [["", "RMSE of logits", "V(D)", "2JSD-log 4", "below it by", "s"]]
    for row in result["rows"]:
        rows.append(
            [
                row["name"],
                f"{row['rmse']:.4f} (<= {targets['rmse']:g})",
                f"{row['value']:.6f}",
                f"{row['optimal_value']:.6f}",
                f"{row['value_error']:.6f} (<= {targets['value_error']:g})",
                f"{row['seconds']:.0f}",
            ]
        )
    densities = "; ".join(f"{row['name']}: {row['what']}" for row in result["rows"])
    steps = f"{protocol['steps']:,} steps on {protocol['batch_size']:,} fresh samples, half of p and half of q"
    show_table("A trained discriminator and the optimal one", rows, f"{densities}; {steps}")


# The figure: the logits over the line; over the plane the two maps and their difference.


def draw(pictures, rows):
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 4, figsize=(16, 4), layout="constrained")
    (line, line_logits), (plane, plane_logits) = pictures
    draw_line(axes[0], line, line_logits)
    axes[0].set_title(f"{line.what}: RMSE {rows[0]['rmse']:.3f}")
    draw_maps(figure, axes[1:], plane, plane_logits, rows[1]["rmse"])
    return figure


def draw_line(axis, problem, logits):
    log_p, log_q = problem.log_probs(problem.grid())
    is_seen = np.minimum(log_p, log_q) > np.log(SEEN)
    shown = (problem.axis > -8) & (problem.axis < 8)
    axis.plot(problem.axis[shown], (log_p - log_q)[shown], "k--", label="log p/q")
    axis.plot(problem.axis[shown], logits[shown], "tab:red", label="trained logits")
    edges = problem.axis[is_seen][[0, -1]]
    axis.axvspan(*edges, color="tab:blue", alpha=0.1, label="both densities > 0.001")
    axis.set(xlabel="x", ylabel="logit", ylim=(-12, 3))
    axis.legend(loc="lower center")


def draw_maps(figure, axes, problem, logits, rmse):
    """The optimal logits, the trained ones and their difference, where both densities are high enough."""
    log_p, log_q = problem.log_probs(problem.grid())
    is_seen = np.minimum(log_p, log_q) > np.log(SEEN)
    optimal = optimal_logits(problem.p, problem.q)(problem.grid()).numpy()
    maps = (
        ("log p/q", optimal, 3.0),
        ("trained logits", logits, 3.0),
        (f"difference: RMSE {rmse:.3f}", logits - optimal, 0.2),
    )
    low, high = problem.axis[[0, -1]]
    for axis, (title, values, largest) in zip(axes, maps, strict=True):
        picture = np.where(is_seen, values, np.nan).reshape(len(problem.axis), -1).T
        drawn = axis.imshow(
            picture, origin="lower", extent=(low, high, low, high), cmap=SIGNED, vmin=-largest, vmax=largest
        )
        axis.set(title=title, xlim=(-5, 5), ylim=(-5, 5), xlabel="x1", ylabel="x2")
        figure.colorbar(drawn, ax=axis, shrink=0.8)
