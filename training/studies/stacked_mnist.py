"""Stacked MNIST: how many of 1,000 modes a GAN finds, its discriminator half as large as its generator.

Three digits of MNIST, drawn independently, are the channels of one image. Its mode is the triple of their classes, as
the classifier of MNIST that comes with this project (training/evaluation/features.py) names them channel by channel.

The protocol of Metz et al. 2017 (Unrolled Generative Adversarial Networks, section 3.3.1), D = 1/2 G, as table 3 of Lin
et al. 2018 (PacGAN) has it, with networks and learning rates of this zoo: codes of 256 numbers; a dense layer to 4x4
images of 64 channels, doubled to 32 and 16 channels and to the image; a discriminator of 4, 8 and 16 channels; triples
drawn anew for every batch. 26,000 samples are measured, and as many real triples, whose KL is not 0: they are finite,
and MNIST has more ones than fives. Each run leaves WORKDIR/METHOD_SEED.json and .npz, and METHOD_SEED.checkpoint.npz
until then; a stopped study goes on where it stopped.
"""

import json
import logging
import math
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import zoo
from training import checkpoints
from training.callbacks import StopAtNotFiniteLoss
from training.command_line import show_table
from training.data import generator, load_data, near
from training.evaluation.features import classifier_of
from training.evaluation.modes import modes_of_classes
from training.files import locked, read_json, replacing, write_json
from training.pictures import grid
from training.run_folder import PACKAGES, refuse_other
from training.studies import refuse_unpublished, write_result
from training.studies.mode_collapse import mean_and_standard_error, optimizer, whole_numbers
from training.studies.mode_collapse_protocols import FALLING, Method, both
from training.studies.workers import Job, do_all
from zoo.version import versions

NUM_MODES, NUM_SAMPLES = 1000, 26_000
ITERATIONS, BATCH = 5000, 128  # packs, for a GAN of packs
TURN = 250  # iterations between two checkpoints, at the most
SEEDS = (0,)
DIGITS = {"modes": 1, "reverse_kl": 3, "cpu_seconds": 0}  # metrics of the table, and their decimals
PICTURED = 10  # samples of each method in the figure
NETWORKS = {
    "event_shape": (28, 28, 3),
    "latent_dim": 256,
    "network": "convolutional",
    "generator_hidden": (64, 32, 16),
    "discriminator_hidden": (4, 8, 16),
}
# As tuned with seed 101, each trial 2,500 iterations along a whole cosine. The published rates, 1e-4 and 2e-4 with
# beta_1 = 0.5, leave the non-saturating GAN at 6 modes after 10,000 iterations (seed 0), 1e-3 for both with
# beta_1 = 0.5 at 30; beta_1 = 0 and a discriminator, small as it is, with 4 times the generator's rate take it to 930,
# and R3GAN to 975, where one rate for both found 968.
FAST_DISCRIMINATOR = both(FALLING, replace(FALLING, learning_rate=4e-3))
# Five virtual steps at 4e-3 leave Unrolled's generator no slope (33 modes after 5,000 iterations, of nothing like
# digits). One rate for both, and beta_1 = 0.5 as published: 940 modes; 888 with beta_1 = 0. The non-saturating game in
# place of the minimax one: 10 after 1,000 iterations.
ONE_RATE = both(replace(FALLING, beta_1=0.5))
# A strong penalty keeps R3GAN's generator smooth: 971 modes at 1, 975 at 10.
R3GAN = {"objective": "relativistic", "r1": 10.0, "r2": 10.0, "average_decay": 0.999}
METHODS = {
    method.name: method
    for method in (
        Method("non_saturating", "GAN", FAST_DISCRIMINATOR, {"batch_normalization": True}),
        # Metz et al. 2017 unroll the minimax game.
        Method(
            "unrolled",
            "UnrolledGAN",
            ONE_RATE,
            {"batch_normalization": True, "unrolled_steps": 5, "objective": "minimax"},
        ),
        Method("pacgan3", "GAN", FAST_DISCRIMINATOR, {"batch_normalization": True, "pack": 3}),
        Method("r3gan", "GAN", FAST_DISCRIMINATOR, R3GAN),
    )
}
PUBLISHED = {  # table 3 of Lin et al. 2018: modes and KL, mean over the runs
    "non_saturating": {"modes": 628.0, "reverse_kl": 2.58},
    "unrolled": {"modes": 732.0, "reverse_kl": 1.66},
    "pacgan3": {"modes": 866.6, "reverse_kl": 0.90},
}
SOURCE = "Lin et al. 2018 (PacGAN), table 3, D = 1/2 G"

log = logging.getLogger(__name__)


def add_flags(parser):
    parser.add_argument("--methods", nargs="+", metavar="NAME", help=f"of {', '.join(METHODS)} (default: all)")
    parser.add_argument("--seeds", type=whole_numbers, default=SEEDS, help="such as 0-2 or 3,5 (default: 0)")
    parser.add_argument("--iterations", type=int, default=ITERATIONS, help=f"steps of the generator ({ITERATIONS})")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: 2; 0: this one)")


@dataclass(frozen=True)
class Run(Job):
    """One training and its measurement."""

    method: str
    seed: int
    iterations: int
    folder: Path

    @property
    def name(self):
        return f"{self.method}_{self.seed}"

    def settings(self):
        """Everything that the run depends on but data and seed, as JSON would hold it."""
        method = METHODS[self.method]
        settings = {
            "model": method.model,
            "arguments": {**NETWORKS, **method.arguments},
            "optimizers": {player: adam.settings() for player, adam in method.optimizers.items()},
            "iterations": self.iterations,
            "batch_size": self.batch_size,
            "num_samples": NUM_SAMPLES,
        }
        return json.loads(json.dumps(settings))

    @property
    def turn(self):
        """Iterations between two checkpoints: they divide those of the run."""
        return math.gcd(self.iterations, TURN)

    @property
    def checkpoint_path(self):
        return self.folder / f"{self.name}.checkpoint.npz"

    def refuse_other_settings(self):
        """A ValueError if the result or the checkpoint that is there is of other ones."""
        if self.result_path.exists():
            refuse_other("setting", self.result_path, read_json(self.result_path)["settings"], self.settings())
        elif checkpoint := checkpoints.read(self.checkpoint_path):
            refuse_other("setting", self.checkpoint_path, checkpoint[1]["settings"], self.settings())

    @property
    def batch_size(self):
        """Images a step: `BATCH` packs."""
        return BATCH * METHODS[self.method].arguments.get("pack", 1)


def run(workdir, methods=None, seeds=SEEDS, iterations=ITERATIONS, workers=2, record=None):
    """Do the runs that are not there yet; write WORKDIR/stacked_mnist.json and .png, with `record` RECORD/ as well.

    Returns what the .json holds: study, settings (of each method), data, classifier (its sha256), versions, real
    (`modes_of_classes` of as many real triples), summary (a row a method: mean and standard error over the seeds), runs
    (a row each) and failed (name of a run that ended in an error -> that error; the next call does it again).

    Raises:
        ValueError: one sentence, for methods that there are not, or runs of other settings in `workdir`.
    """
    for name in methods or ():
        if name not in METHODS:
            raise ValueError(f"There is no method {name!r}{near(name, METHODS)}; {', '.join(METHODS)} are there.")
    if workers < 0 or iterations < 1:
        raise ValueError(f"{workers} workers and {iterations} iterations came; at least 0 and at least 1 are wanted.")
    if record:
        refuse_unpublished(iterations, ITERATIONS)
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    runs = [Run(name, seed, iterations, workdir) for seed in seeds for name in methods or METHODS]
    with locked(workdir):
        for each in runs:
            each.refuse_other_settings()
        failed = do_all([each for each in runs if not each.result_path.exists()], do, in_words, workers)
    done = [each for each in runs if each.result_path.exists()]
    rows = [read_json(each.result_path)["row"] for each in done]
    classifier = classifier_of("mnist")
    result = {
        "study": "stacked_mnist",
        "settings": {each.method: each.settings() for each in runs},
        "data": load_data("mnist").identity("train", "none"),
        "classifier": {"sha256": classifier.sha256, "test_accuracy": classifier.card["test_accuracy"]},
        "versions": versions(*PACKAGES),
        "real": modes_of_images(real_triples(NUM_SAMPLES)),
        "summary": [summary(name, rows) for name in dict.fromkeys(row["method"] for row in rows)],
        "runs": rows,
        "failed": failed,
    }
    pictured = {each.method: each.samples_path for each in reversed(done)}
    write_result(result, workdir, None if failed else record, partial(save_grids, pictured))
    return result


# One run.


def do(run):
    """Train, measure, write; the row of the result."""
    keras.backend.clear_session()
    keras.utils.set_random_seed(run.seed)
    model = compiled(run)
    checkpoint = Checkpoint(run, model)
    diverged = False
    try:
        train(model, run, checkpoint)
    except FloatingPointError as error:
        log.info("%s: %s", run.name, error)
        diverged = True
    seconds = checkpoint.seconds()
    samples = np.nan_to_num(model.sample(NUM_SAMPLES, seed=run.seed))
    with replacing(run.samples_path) as temporary:
        np.savez(temporary, samples=samples[:PICTURED])
    row = {"method": run.method, "seed": run.seed, **modes_of_images(samples), "diverged": diverged}
    row |= {name: round(value, 1) for name, value in seconds.items()}
    write_json(run.result_path, {"settings": run.settings(), "versions": versions(*PACKAGES), "row": row})
    run.checkpoint_path.unlink(missing_ok=True)
    return row


def compiled(run):
    method = METHODS[run.method]
    model = getattr(zoo, method.model)(**NETWORKS, **method.arguments, seed=run.seed)
    model.compile(
        {player: optimizer(adam, run.iterations) for player, adam in method.optimizers.items()},
        jit_compile=False,  # on a CPU, XLA's convolutions are slower
    )
    return model


def train(model, run, checkpoint):
    model.fit(
        stacked_batches(load_data("mnist").images["train"], run.batch_size, run.seed, checkpoint.iterations),
        steps_per_epoch=run.turn,
        epochs=run.iterations // run.turn,
        initial_epoch=checkpoint.iterations // run.turn,
        callbacks=[StopAtNotFiniteLoss(), checkpoint],
        verbose=0,
    )


class Checkpoint(keras.callbacks.Callback):
    """After each turn: the state of the model, the iterations that are done, and the time that they took."""

    def __init__(self, run, model):
        super().__init__()
        self.run = run
        progress = checkpoints.restore(run.checkpoint_path, model)
        self.iterations = progress["iterations"] if progress else 0
        if progress:
            log.info("%s: going on after iteration %d", run.name, self.iterations)
        self.before = progress["seconds"] if progress else {"seconds": 0.0, "cpu_seconds": 0.0}
        self.started = {"seconds": time.monotonic(), "cpu_seconds": time.process_time()}

    def seconds(self):
        now = {"seconds": time.monotonic(), "cpu_seconds": time.process_time()}
        return {name: self.before[name] + now[name] - self.started[name] for name in now}

    def on_epoch_end(self, epoch, logs=None):
        iterations = (epoch + 1) * self.run.turn
        progress = {"settings": self.run.settings(), "iterations": iterations, "seconds": self.seconds()}
        checkpoints.save(self.run.checkpoint_path, self.model, progress)


def stacked_batches(digits, batch_size, seed, first=0):
    """Endless batches of triples of `digits` uint8 [N, height, width, 1]: float32 [batch_size, height, width, 3].

    first: how many batches are left out, as a training that goes on has seen them.
    """
    digits = tf.constant(digits[..., 0])

    def batch(step):
        index = tf.random.stateless_uniform((batch_size, 3), (seed, step), maxval=len(digits), dtype=tf.int32)
        return tf.cast(tf.transpose(tf.gather(digits, index), (0, 2, 3, 1)), tf.float32) / 255.0

    return tf.data.Dataset.counter(first).map(batch).prefetch(2)


# The measure.


def real_triples(count):
    """float32 [count, 28, 28, 3] of MNIST's training images."""
    digits = load_data("mnist").gray("train")
    index = generator("triples", 0).integers(len(digits), size=(count, 3))
    return np.stack([digits[column, ..., 0] for column in index.T], axis=-1)


def modes_of_images(images):
    """`modes_of_classes` of images [N, 28, 28, 3] in [0, 1]: the classifier's three answers are the mode's digits."""
    classifier = classifier_of("mnist")
    first, second, third = (classifier.probabilities(images[..., channel, None]).argmax(axis=1) for channel in range(3))
    return modes_of_classes(100 * first + 10 * second + third, NUM_MODES)


def summary(method, rows):
    found = [row for row in rows if row["method"] == method]
    return {
        "method": method,
        "num_seeds": len(found),
        "num_diverged": sum(row["diverged"] for row in found),
        **{name: mean_and_standard_error([row[name] for row in found]) for name in DIGITS},
        "published": PUBLISHED.get(method) and {**PUBLISHED[method], "source": SOURCE},
    }


# The result.


def in_words(row):
    return "diverged" if row["diverged"] else f"{row['modes']} modes, KL {row['reverse_kl']:.3f}"


def table_rows(result):
    """A list of cells, of a header and of a line for each method and the real triples."""
    yield ["method", "modes", "KL", "KL above that of real triples", "CPU seconds", "published"]
    floor = result["real"]["reverse_kl"]
    for row in result["summary"]:
        modes, reverse_kl, cpu_seconds = (plus_minus(row[name], digits) for name, digits in DIGITS.items())
        above = f"{row['reverse_kl'][0] - floor:.3f}"
        published = row["published"]
        text = f"{published['modes']:g} modes, KL {published['reverse_kl']:g}" if published else ""
        yield [row["method"], modes, reverse_kl, above, cpu_seconds, text]
    yield ["real triples", f"{result['real']['modes']}", f"{floor:.4f}", "0", "", ""]


def plus_minus(value, digits):
    center, error = value
    return f"{center:.{digits}f}" + (f" +- {error:.{digits}f}" if error is not None else "")


def caption(result):
    seeds = sorted({row["num_seeds"] for row in result["summary"]})
    counted = "1 seed" if seeds == [1] else f"mean +- standard error over {' or '.join(map(str, seeds))} seeds"
    return (
        f"{NUM_SAMPLES:,} samples, {NUM_MODES:,} modes, {counted}; KL of the modes from uniform, in nats; "
        f"published: {SOURCE}"
    )


def show(result):
    show_table("Stacked MNIST", table_rows(result), caption(result))
    if result["failed"]:
        raise ValueError(f"{', '.join(result['failed'])} failed; the same command does them again.")


def save_grids(samples, path):
    """Real triples in the first row, then a row of each method's samples, in the order of the log."""
    from PIL import Image

    rows = [real_triples(PICTURED)]
    for name in METHODS:
        if name in samples and samples[name].exists():
            with np.load(samples[name], allow_pickle=False) as file:
                rows.append(file["samples"])
    with replacing(path) as temporary:
        Image.fromarray(grid(np.concatenate(rows), columns=PICTURED)).save(temporary)
