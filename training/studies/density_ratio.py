"""The ratio of two densities by a classifier: where it is right, and where it is not.

Three questions to `zoo.DensityRatio`, with answers in closed form beside its own:

    calibration   p = N(1, 1), q = N(0, 2^2), three times as many samples of p as of q: of the new samples to which the
                  classifier gives a probability of about s, a share of s should be of p;
    odds          the log ratio, its KL and JSD, with log n_p/n_q taken off the logits and without;
    chasm         p = N(0, 1), q = N(theta, 1), as many samples of each: KL(p || q) = theta^2 / 2 grows without end, the
                  estimates do not (Rhodes et al. 2020, "density chasm"). From n samples of q no lower bound can be
                  trusted beyond log n (McAllester and Stratos 2020): what they say there is extrapolation.
"""

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
from tensorflow_probability import distributions as tfd

import zoo
from training.command_line import show_table
from training.data import generator
from training.pictures import save_figure
from training.run_folder import PACKAGES
from training.studies import refuse_unpublished, write_result
from zoo.divergences import jensen_shannon, kl
from zoo.version import versions

SEEN = 1e-3  # the log ratio is compared where both densities are above it
BINS = 10  # of the reliability curve
LINE = np.linspace(-10.0, 10.0, 2001)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Protocol:
    num_p: int  # samples to train on; for the chasm, num_q of each
    num_q: int
    num_new: int  # samples of p, and as many of q, that the estimates are taken on
    hidden: tuple
    activation: str
    learning_rate: float  # of Adam, falling to 0 along half a cosine
    batch_size: int
    steps: int
    distances: tuple  # theta, of the chasm
    seed: int


FULL = Protocol(
    num_p=90_000,
    num_q=30_000,
    num_new=100_000,
    hidden=(32, 32),
    activation="softplus",
    learning_rate=1e-2,
    batch_size=1000,
    steps=3000,
    distances=(0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0, 12.0),
    seed=0,
)
QUICK = replace(FULL, num_p=3000, num_q=1000, num_new=2000, steps=100, distances=(1.0, 8.0))


def normal(loc, scale=1.0):
    return tfd.Normal(np.float64(loc), np.float64(scale))


def add_flags(parser):
    parser.add_argument("--quick", action="store_true", help="few samples and steps, to see that it runs")
    parser.add_argument("--seed", type=int, default=FULL.seed, help="of weights and samples (default: 0)")


def run(workdir, quick=False, seed=0, record=None):
    """All three; write WORKDIR/density_ratio.json and density_ratio.png, and with `record` RECORD/density_ratio.json.

    Returns what the JSON holds: protocol, versions, seconds, calibration (for each bin: predicted, observed,
    standard_error, count), odds (for "corrected", "not corrected" and "truth": rmse, kl, jensen_shannon) and chasm (for
    each distance theta: truth and the estimates plug_in, donsker_varadhan, nwj, and rmse).

    Raises:
        ValueError: for a `record` of anything but the protocol `FULL`.
    """
    protocol = replace(QUICK if quick else FULL, seed=seed)
    if record:
        refuse_unpublished(protocol, FULL)
    started = time.monotonic()
    p, q = normal(1.0, 1.0), normal(0.0, 2.0)
    ratio = train(p, q, protocol.num_p, protocol.num_q, protocol)
    result = {
        "study": "density_ratio",
        "protocol": asdict(protocol),
        "calibration": calibration(ratio, p, q, protocol),
        "odds": odds(ratio, p, q, protocol),
        "chasm": [chasm(theta, protocol) for theta in protocol.distances],
    }
    result |= {"versions": versions(*PACKAGES), "seconds": round(time.monotonic() - started, 1)}
    write_result(result, workdir, record)
    save_figure(draw(result, ratio, p, q), Path(workdir) / "density_ratio.png")
    return result


def draw_samples(distribution, count, purpose, protocol):
    """float32 [count, 1] of a `normal`: a function of the arguments."""
    noise = generator(f"density ratio, {purpose}", protocol.seed).standard_normal((count, 1))
    return (float(distribution.loc) + float(distribution.scale) * noise).astype("float32")


def train(p, q, num_p, num_q, protocol):
    """A `zoo.DensityRatio` of a fixed set of samples."""
    keras.utils.set_random_seed(protocol.seed)
    x = np.concatenate([draw_samples(p, num_p, "p", protocol), draw_samples(q, num_q, "q", protocol)])
    y = np.repeat([1.0, 0.0], [num_p, num_q])
    ratio = zoo.DensityRatio((1,), protocol.hidden, protocol.activation)
    schedule = keras.optimizers.schedules.CosineDecay(protocol.learning_rate, protocol.steps)
    ratio.compile(keras.optimizers.Adam(schedule), jit_compile=False, steps_per_execution=10)
    batches = len(x) // protocol.batch_size
    ratio.fit(x, y, batch_size=protocol.batch_size, epochs=max(1, protocol.steps // batches), verbose=0)
    return ratio


def new_samples(p, q, protocol):
    """Samples of both that no classifier has seen."""
    return tuple(draw_samples(each, protocol.num_new, f"new {name}", protocol) for name, each in (("p", p), ("q", q)))


# The three parts.


def calibration(ratio, p, q, protocol):
    """A list of bins of the predicted probability, in the proportion of the training samples."""
    from_p, from_q = new_samples(p, q, protocol)
    from_q = from_q[: len(from_p) * protocol.num_q // protocol.num_p]
    logits = ratio.predict(np.concatenate([from_p, from_q]), batch_size=8192, verbose=0)
    labels = np.repeat([1.0, 0.0], [len(from_p), len(from_q)])
    predicted = 1.0 / (1.0 + np.exp(-logits.astype("float64")))
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1)
    return [reliability(predicted[bins == index], labels[bins == index]) for index in np.unique(bins)]


def reliability(predicted, labels):
    """One bin; its standard error is that of a share if the predictions are right."""
    error = np.sqrt(np.sum(predicted * (1.0 - predicted))) / len(predicted)
    return {
        "predicted": float(predicted.mean()),
        "observed": float(labels.mean()),
        "standard_error": float(error),
        "count": len(predicted),
    }


def odds(ratio, p, q, protocol):
    """The log ratio and the divergences, with the odds of the labels taken off and left in."""
    from_p, from_q = new_samples(p, q, protocol)
    kl_estimate, jsd_estimate = ratio.kl(from_p, from_q), ratio.jensen_shannon(from_p, from_q)
    shift = ratio.log_prior_odds()
    r_p, r_q = (
        log_ratio.astype("float64") + shift for log_ratio in (ratio.log_ratio(x).numpy() for x in (from_p, from_q))
    )
    jsd_uncorrected = np.log(2.0) - 0.5 * (np.logaddexp(0.0, -r_p).mean() + np.logaddexp(0.0, r_q).mean())
    return {
        "log_prior_odds": shift,
        "corrected": {
            "rmse": rmse(ratio, p, q),
            "kl": float(kl_estimate.value),
            "kl_standard_error": float(kl_estimate.standard_error),
            "kl_plug_in": float(r_p.mean() - shift),
            "jensen_shannon": float(jsd_estimate.value),
            "jensen_shannon_standard_error": float(jsd_estimate.standard_error),
        },
        "not corrected": {
            "rmse": rmse(ratio, p, q, shift),
            "kl_plug_in": float(r_p.mean()),
            "jensen_shannon": float(jsd_uncorrected),
        },
        "truth": {"rmse": 0.0, "kl": float(kl(p, q)), "jensen_shannon": float(jensen_shannon(p, q))},
    }


def rmse(ratio, p, q, shift=0.0):
    """The error of the log ratio plus `shift` over the points where both densities are seen; None if nowhere."""
    x = LINE[np.minimum(p.prob(LINE), q.prob(LINE)) > SEEN]
    if not len(x):
        return None
    error = ratio.log_ratio(x[:, None]).numpy() + shift - (p.log_prob(x) - q.log_prob(x))
    return float(np.sqrt(np.mean(np.square(error))))


def chasm(theta, protocol):
    """The KL between two Gaussians at a distance of theta, and its estimates."""
    p, q = normal(0.0), normal(theta)
    ratio = train(p, q, protocol.num_q, protocol.num_q, protocol)
    from_p, from_q = new_samples(p, q, protocol)
    row = {
        "theta": theta,
        "truth": float(kl(p, q)),
        "plug_in": float(np.mean(ratio.log_ratio(from_p))),
        "donsker_varadhan": float(ratio.kl(from_p, from_q).value),
        "nwj": float(ratio.kl(from_p, from_q, "nwj").value),
        "rmse": rmse(ratio, p, q),
    }
    log.info("distance %g: KL %.2f, by the mean log ratio %.2f", theta, row["truth"], row["plug_in"])
    return row


def show(result):
    protocol, of_odds = result["protocol"], result["odds"]
    rows = [["", "RMSE of log p/q", "mean log ratio under p", "KL, lower bound", "JSD, lower bound"]]
    for name in ("corrected", "not corrected"):
        row = of_odds[name]
        bound = f"{row['kl']:.4f} +- {row['kl_standard_error']:.4f}" if "kl" in row else ""
        rows.append([name, f"{row['rmse']:.3f}", f"{row['kl_plug_in']:.4f}", bound, f"{row['jensen_shannon']:.4f}"])
    truth = of_odds["truth"]
    rows.append(["truth", "0", f"{truth['kl']:.4f}", f"{truth['kl']:.4f}", f"{truth['jensen_shannon']:.4f}"])
    title = f"{protocol['num_p']:,} samples of p = N(1, 1), {protocol['num_q']:,} of q = N(0, 2^2)"
    show_table(title, rows, f"log n_p/n_q = {of_odds['log_prior_odds']:.4f} is taken off the logits, or not")

    rows = [["theta", "KL(p || q)", "mean log ratio", "Donsker-Varadhan", "NWJ"]]
    for row in result["chasm"]:
        numbers = (row[name] for name in ("truth", "plug_in", "donsker_varadhan", "nwj"))
        rows.append([f"{row['theta']:g}", *(f"{number:.2f}" for number in numbers)])
    bound = f"no bound can be trusted above log n = {np.log(protocol['num_new']):.2f}, n samples of q"
    show_table("The density chasm: p = N(0, 1), q = N(theta, 1)", rows, bound)


# The figure: the curve of the log ratio, the reliability curve, the chasm.


def draw(result, ratio, p, q):
    from matplotlib import pyplot

    figure, (curve, reliable, far) = pyplot.subplots(1, 3, figsize=(14, 4), layout="constrained")
    draw_log_ratio(curve, ratio, p, q, result["odds"])
    draw_reliability(reliable, result["calibration"])
    draw_chasm(far, result)
    return figure


def draw_log_ratio(axis, ratio, p, q, of_odds):
    x = LINE[(LINE > -6) & (LINE < 8)]
    estimate = ratio.log_ratio(x[:, None]).numpy()
    axis.plot(x, estimate + of_odds["log_prior_odds"], "tab:orange", label="logits, not corrected")
    axis.plot(x, estimate, "tab:red", label="logits - log n_p/n_q")
    axis.plot(x, p.log_prob(x) - q.log_prob(x), "k--", label="log p/q")
    is_seen = np.minimum(p.prob(x), q.prob(x)) > SEEN
    axis.axvspan(*x[is_seen][[0, -1]], color="tab:blue", alpha=0.1, label="both densities > 0.001")
    axis.set(xlabel="x", ylim=(-12, 4), title=f"Three times as many of p: RMSE {of_odds['corrected']['rmse']:.3f}")
    axis.legend(loc="lower center", fontsize=8)


def draw_reliability(axis, bins):
    predicted, observed, error = (
        np.array([each[name] for each in bins]) for name in ("predicted", "observed", "standard_error")
    )
    axis.plot([0, 1], [0, 1], "k--", linewidth=0.8)
    axis.errorbar(predicted, observed, 2 * error, fmt="o", color="tab:red", markersize=4, label="+- 2 standard errors")
    axis.set(
        xlabel="predicted probability of p", ylabel="share of p", title="Calibration on new samples", aspect="equal"
    )
    axis.legend(loc="upper left")


def draw_chasm(axis, result):
    theta = [row["theta"] for row in result["chasm"]]
    for name, label, style in (
        ("truth", "KL(p || q) = theta^2 / 2", "k--"),
        ("plug_in", "mean log ratio under p", "o-"),
        ("donsker_varadhan", "Donsker-Varadhan bound", "s-"),
        ("nwj", "NWJ bound", "^-"),
    ):
        axis.plot(theta, [row[name] for row in result["chasm"]], style, label=label, markersize=4)
    log_n = np.log(result["protocol"]["num_new"])
    axis.axhline(log_n, color="gray", linestyle=":", label="log n: no bound can be trusted above")
    axis.set(xlabel="distance theta", ylabel="nats", title="The density chasm")
    axis.set_ylim(-3, 1.05 * max(row["truth"] for row in result["chasm"]))
    axis.legend(loc="upper left", fontsize=8)
