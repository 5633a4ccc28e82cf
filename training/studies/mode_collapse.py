"""Mode collapse: which of the modes of a mixture of Gaussians a generative adversarial network finds, and how well.

Srivastava et al. 2017 (VEEGAN), table 1, and Lin et al. 2018 (PacGAN), table 1, corrected: the ring has 8 distinct
modes, and each metric stands beside what exact samples would have (training/evaluation/modes.py). The settings are in
training/studies/mode_collapse_protocols.py.

A run is one (method, data set, seed). Worker processes of one thread each do the runs; each run leaves

    WORKDIR/PROTOCOL/METHOD_DATA_SEED.json    its settings, the identity of the data, versions, metrics, seconds
    WORKDIR/PROTOCOL/METHOD_DATA_SEED.npz     some of its samples, for the figure

so that a stopped study goes on where it stopped. A run that diverges is a row as well: it has captured no mode.
"""

import logging
import math
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

import keras
import numpy as np

import zoo
from training.callbacks import StopAtNotFiniteLoss
from training.command_line import show_table
from training.data import load_data, near, training_batches
from training.evaluation.modes import CEILING, modes_of
from training.files import locked, read_json, replacing, write_json
from training.mixtures import MIXTURES
from training.pictures import save_figure
from training.run_folder import PACKAGES, refuse_other
from training.studies.mode_collapse_protocols import LIN, PROTOCOLS, PUBLISHED, Method, Protocol
from training.studies.workers import Job, do_all
from zoo.version import versions

TURN = 1000  # iterations that are one epoch to Keras; those of one execution are a part of it
EXECUTION = 50
PICTURED = 10_000  # samples kept of each run
METRICS = ("modes", "high_quality", "reverse_kl", "sigma_ratio", "cpu_seconds")  # that the tables show

log = logging.getLogger(__name__)


# The study.


def add_flags(parser):
    parser.add_argument("--protocol", choices=PROTOCOLS, default="quick", help="default: quick")
    parser.add_argument("--methods", nargs="+", metavar="NAME", help="of the protocol (default: all)")
    parser.add_argument("--data", nargs="+", metavar="NAME", help=f"of {', '.join(MIXTURES)} (default: the protocol's)")
    parser.add_argument("--seeds", type=whole_numbers, help="such as 0-9 or 3,5 (default: the protocol's)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2; 0: this one)")


def whole_numbers(text):
    """ "0-3,7" -> (0, 1, 2, 3, 7)."""
    numbers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return tuple(numbers)


@dataclass(frozen=True)
class Run(Job):
    """One training and its measurement, and where the result goes."""

    protocol: Protocol
    method: Method
    data: str
    seed: int
    folder: Path

    @property
    def name(self):
        return f"{self.method.name}_{self.data}_{self.seed}"


def run(workdir, protocol="quick", methods=None, data=None, seeds=None, workers=2, record=None):
    """Do the runs that are not there yet; write WORKDIR/mode_collapse_PROTOCOL.json and .png, with `record` RECORD/.

    Returns what the .json holds: study, protocol, settings (of each method), data (the identity of each data set),
    versions, summary (a row for each data set and method: mean and standard error over the seeds of each of `METRICS`),
    runs (a row each: method, data, seed, the results of `modes_of`, diverged, and the seconds and cpu_seconds that the
    training took), and failed (name of a run that ended in an error -> that error; the next call does it again).

    Raises:
        ValueError: one sentence, for names that there are not, runs of other settings in `workdir`, or a `record` of
            methods without all the data sets and seeds of the protocol. Methods recorded before stay beside them.
    """
    if workers < 0:
        raise ValueError(f"workers is {workers}; a number of processes is wanted, or 0 for this one.")
    whole = PROTOCOLS[protocol]
    protocol = chosen(whole, methods, data, seeds)
    if record:
        refuse_incomplete(protocol, whole)
    folder = Path(workdir) / protocol.name
    folder.mkdir(parents=True, exist_ok=True)
    runs = [
        Run(protocol, method, name, seed, folder)
        for seed in protocol.seeds
        for name in protocol.data
        for method in protocol.methods
    ]
    with locked(folder):
        refuse_other_runs(runs)
        failed = do_all([each for each in runs if not each.result_path.exists()], do, in_words, workers)
    rows = [read_json(each.result_path)["row"] for each in runs if each.result_path.exists()]
    result = gathered(protocol, rows, failed)
    write_json(Path(workdir) / f"{result['study']}.json", result)
    save_densities(protocol, runs, Path(workdir) / f"{result['study']}.png")
    if record:
        if failed:
            raise ValueError(f"{failures(failed)}; nothing is recorded, and the same command does them again.")
        path = Path(record) / f"{result['study']}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, beside_recorded(whole, result, path))
    return result


def chosen(protocol, methods, data, seeds):
    """`protocol`, or the part of it that was asked for."""
    for name in data or ():
        if name not in MIXTURES:
            raise ValueError(f"There is no mixture {name!r}{near(name, MIXTURES)}; {', '.join(MIXTURES)} is wanted.")
    return replace(
        protocol,
        methods=tuple(protocol.method_named(name) for name in methods) if methods else protocol.methods,
        data=tuple(data or protocol.data),
        seeds=tuple(seeds or protocol.seeds),
    )


def refuse_incomplete(protocol, whole):
    if protocol.name == "smoke":
        raise ValueError("The protocol smoke only shows that the study runs; leave --record out.")
    if (protocol.data, protocol.seeds) != (whole.data, whole.seeds):
        raise ValueError(
            f"Only a part of the data sets and seeds of the protocol {protocol.name} was asked for; leave --record out."
        )


def beside_recorded(whole, result, path):
    """`result` and the other methods of the protocol that the file at `path` holds, of the same settings and data."""
    if not path.exists():
        return result
    recorded = read_json(path)
    others = {name: settings for name, settings in recorded["settings"].items() if name not in result["settings"]}
    methods = tuple(method for method in whole.methods if method.name in others or method.name in result["settings"])
    refuse_other("protocol", path, others, {each.name: whole.settings(each) for each in methods if each.name in others})
    refuse_other("data set", path, recorded["data"], result["data"])
    refuse_other("set of versions", path, recorded["versions"], result["versions"])
    rows = [row for row in recorded["runs"] if row["method"] in others] + result["runs"]
    return gathered(replace(whole, methods=methods), rows, {})


def refuse_other_runs(runs):
    """Raise a ValueError for a result of other settings, data or versions than those of now."""
    identities = {name: train_identity(name) for name in {run.data for run in runs}}
    for run in runs:
        if run.result_path.exists():
            found = read_json(run.result_path)
            refuse_other("protocol", run.result_path, found["settings"], run.protocol.settings(run.method))
            refuse_other("data set", run.result_path, found["data"], identities[run.data])
            refuse_other("set of versions", run.result_path, found["versions"], versions(*PACKAGES))


def train_identity(name):
    return load_data(name).identity("train", "none")


# One run.


def do(run):
    """Train, measure, write; the row of the result."""
    identity = train_identity(run.data)
    row, samples = trained_and_measured(run)
    with replacing(run.samples_path) as temporary:
        np.savez(temporary, samples=samples[:PICTURED])
    settings = run.protocol.settings(run.method)
    write_json(
        run.result_path,
        {"settings": settings, "data": identity, "versions": versions(*PACKAGES), "row": row},
    )
    return row


def trained_and_measured(run):
    """(row, samples float32 [num_samples, 2]) of one run."""
    protocol = run.protocol
    keras.backend.clear_session()
    keras.utils.set_random_seed(run.seed)
    started, cpu_started = time.monotonic(), time.process_time()
    model = compiled(run)
    diverged = False
    try:
        train(model, run)
    except FloatingPointError as error:
        log.info("%s: %s", run.name, error)
        diverged = True
    seconds = {
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(time.process_time() - cpu_started, 1),
    }
    samples = np.asarray(model.sample(protocol.num_samples, seed=run.seed))
    diverged = diverged or not np.all(np.isfinite(samples))
    metrics = metrics_of_diverged(run) if diverged else modes_of(samples, MIXTURES[run.data])
    row = {"method": run.method.name, "data": run.data, "seed": run.seed, **metrics, "diverged": diverged}
    return {**row, **seconds}, samples


def metrics_of_diverged(run):
    """What `modes_of` gives where no sample is of high quality."""
    nowhere = np.full((run.protocol.num_samples, 2), 1e9)
    return modes_of(nowhere, MIXTURES[run.data])


def compiled(run):
    settings = run.protocol.settings(run.method)
    if not hasattr(zoo, settings["model"]):
        raise ValueError(f"The zoo has no model {settings['model']}.")
    model = getattr(zoo, settings["model"])(event_shape=(2,), seed=run.seed, **settings["arguments"])
    steps = {"discriminator": settings["iterations"] * settings["arguments"].get("discriminator_steps", 1)}
    model.compile(
        {
            player: optimizer(adam, steps.get(player, settings["iterations"]))
            for player, adam in run.method.optimizers.items()
        },
        jit_compile=True,
        steps_per_execution=math.gcd(settings["iterations"], EXECUTION),
    )
    return model


def optimizer(adam, steps):
    learning_rate, schedules = adam.learning_rate, keras.optimizers.schedules
    if adam.exponential:
        learning_rate = schedules.ExponentialDecay(learning_rate, steps, adam.decay)
    elif adam.decay != 1.0:
        learning_rate = schedules.CosineDecay(learning_rate, steps, alpha=adam.decay)
    return keras.optimizers.Adam(learning_rate, adam.beta_1, adam.beta_2)


def train(model, run):
    """`fit` to batches of the fixed training points, in an order that is a function of the seed.

    A batch holds the points of all discriminator steps of one iteration; whole epochs are cut into batches at once,
    which costs nothing a step.
    """
    data, iterations = load_data(run.data), run.protocol.iterations
    points = (run.method.batch_size or run.protocol.batch_size) * model.discriminator_steps
    epochs = training_batches(data, "none", len(data.images["train"]), run.seed)
    turn = math.gcd(iterations, TURN)
    model.fit(
        epochs.rebatch(points, drop_remainder=True),
        steps_per_epoch=turn,
        epochs=iterations // turn,
        callbacks=[StopAtNotFiniteLoss()],
        shuffle=False,
        verbose=0,
    )


# The result.


def gathered(protocol, rows, failed):
    """What mode_collapse_PROTOCOL.json holds, see `run`."""
    return {
        "study": f"mode_collapse_{protocol.name}",
        "protocol": {"name": protocol.name, "summary": protocol.summary, "seeds": list(protocol.seeds)},
        "settings": {method.name: protocol.settings(method) for method in protocol.methods},
        "data": {name: train_identity(name) for name in protocol.data},
        "versions": versions(*PACKAGES),
        "summary": [row for name in protocol.data for row in summaries(protocol, name, rows)],
        "runs": rows,
        "failed": failed,
    }


def summaries(protocol, data, rows):
    for method in protocol.methods:
        found = [row for row in rows if (row["method"], row["data"]) == (method.name, data)]
        if found:
            published = PUBLISHED.get((method.name, data)) if protocol.name == "pacgan" else None
            yield {
                "method": method.name,
                "data": data,
                "num_modes": len(MIXTURES[data].centers),
                "num_seeds": len(found),
                "num_diverged": sum(row["diverged"] for row in found),
                "num_all_modes": sum(row["modes"] == len(MIXTURES[data].centers) for row in found),
                **{name: mean_and_standard_error([row[name] for row in found]) for name in METRICS},
                "high_quality_ceiling": CEILING,
                "reverse_kl_floor": found[0]["reverse_kl_floor"],
                "published": {**published, "source": LIN} if published else None,
            }


def mean_and_standard_error(values):
    """[mean, standard error] over the seeds that have a value: None where there are none, or just one."""
    values = [value for value in values if value is not None]
    return [
        mean(values) if values else None,
        stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None,
    ]


def failures(failed):
    return f"{len(failed)} runs failed, {', '.join(failed)}"


FORMATS = {
    "modes": lambda value: f"{value:.1f}",
    "high_quality": lambda value: f"{100 * value:.1f}",
    "reverse_kl": lambda value: f"{value:.4f}",
    "sigma_ratio": lambda value: f"{value:.2f}",
    "cpu_seconds": lambda value: f"{value:.0f}",
}


def in_words(row):
    if row["diverged"]:
        return "diverged"
    return ", ".join(f"{name} {FORMATS[name](row[name])}" for name in METRICS if row[name] is not None)


def cell(name, value):
    """ "mean +- standard error" of the metric called `name`, of a pair as in a summary; "-" where there is none."""
    center, error = value
    if center is None:
        return "-"
    return FORMATS[name](center) + (f" +- {FORMATS[name](error)}" if error is not None else "")


def caption(result, row):
    """What a table of the rows like `row`, those of one data set, has to say beside its numbers."""
    return (
        f"Protocol {result['protocol']['name']}: {result['protocol']['summary']}; "
        f"{row['num_modes']} modes; mean +- standard error over the seeds. Exact samples: high quality "
        f"{100 * row['high_quality_ceiling']:.2f} %, reverse KL {row['reverse_kl_floor']:.2g} nats, sigma ratio 1."
    )


def show(result):
    for data in result["data"]:
        rows = [row for row in result["summary"] if row["data"] == data]
        lines = [["method", "runs", "modes", "% high quality", "reverse KL", "sigma ratio", "CPU seconds"]]
        for row in rows:
            diverged = f", {row['num_diverged']} diverged" if row["num_diverged"] else ""
            lines.append([row["method"], f"{row['num_seeds']}{diverged}", *(cell(name, row[name]) for name in METRICS)])
            if row["published"]:
                published = (cell(name, row["published"].get(name, (None, None))) for name in METRICS)
                lines.append(["  published", "10", *published])
        show_table(data, lines, caption(result, rows[0]) if rows else "")
    if result["failed"]:
        raise ValueError(f"{failures(result['failed'])}; the same command does them again.")


# The figure.

BINS = 160


def save_densities(protocol, runs, path):
    """The density of the data, then of each method's samples of the first seed: a row for each data set.

    The colour is the logarithm of the number of samples in a bin, so that a single stray one is seen.
    """
    from matplotlib import colors, pyplot

    columns, rows = 1 + len(protocol.methods), len(protocol.data)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(1.9 * columns, 2.1 * rows + 0.4), squeeze=False, layout="constrained"
    )
    for row, data in zip(axes, protocol.data, strict=True):
        pictured = {
            each.method.name: each.samples_path for each in runs if (each.data, each.seed) == (data, protocol.seeds[0])
        }
        images = {"data": load_data(data).images["train"][: min(PICTURED, protocol.num_samples)]}
        images |= {name: read_samples(path) for name, path in pictured.items()}
        for axis, (name, samples) in zip(row, images.items(), strict=True):
            extent = 1.3 * np.abs(MIXTURES[data].centers).max() * np.array([[-1, 1], [-1, 1]])
            if samples is not None:
                counts, _, _ = np.histogram2d(*np.nan_to_num(samples, nan=np.inf).T, BINS, extent)
                scale = colors.LogNorm(1, max(2, counts.max()))
                axis.imshow(counts.T, cmap="magma", norm=scale, extent=extent.ravel(), origin="lower")
            else:
                axis.text(0.5, 0.5, "not run", color="white", ha="center", transform=axis.transAxes)
            axis.set(xticks=[], yticks=[], facecolor="black", box_aspect=1)
            axis.set_title(name, fontsize=10)
        row[0].set_ylabel(data)
    shown = min(PICTURED, protocol.num_samples)
    figure.suptitle(f"{shown:,} samples, seed {protocol.seeds[0]}, protocol {protocol.name}", fontsize=11)
    save_figure(figure, path)


def read_samples(path):
    """float32 [n, 2]; None if the run is not there."""
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as file:
        return file["samples"]
