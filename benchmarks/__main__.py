"""python -m benchmarks [SUITE ...] [--quick] [--rounds N] [--out FOLDER]; the suites are `SUITES`, all by default"""

import argparse
import importlib.util
import logging
import os
import sys
from pathlib import Path

from training.command_line import show_table

THREADS = 2  # for each contender alike
PACKAGES = {  # beside those of every result
    "vae": ("torch", "pythae", "onnx", "onnxruntime", "tf2onnx"),
    "baselines": ("scikit-learn", "scipy"),
    "gan": ("torch",),
    "pixels": ("torch", "onnx", "onnxruntime", "tf2onnx"),
    "neighbours": ("torch", "threadpoolctl"),
}
MODULES = {"scikit-learn": "sklearn"}
BUSY = 0.5  # processes at work beside this one, on average over the last minute


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time this project against its peers, in turns, in one run."
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"of {', '.join(SUITES)} (default: all)")
    parser.add_argument(
        "--quick", action="store_true", help="short rounds on the digits, to see that it runs; not recorded"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender, after a warm-up (default: 5)")
    parser.add_argument(
        "--out", type=Path, default=Path("results"), help="folder for bench_SUITE.json (default: results)"
    )
    arguments = parser.parse_args(argv)
    suites = arguments.suites or list(SUITES)
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}; at least 1 is wanted")
    if not set(suites) <= set(SUITES):
        parser.error(f"there is no suite {', '.join(set(suites) - set(SUITES))}; {', '.join(SUITES)} are there")
    packages = [package for suite in suites for package in PACKAGES[suite]]
    missing = [package for package in packages if importlib.util.find_spec(MODULES.get(package, package)) is None]
    if missing:
        print(f"error: there is no {', '.join(missing)} here; pip install '.[bench]' brings them", file=sys.stderr)
        return 1

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, {THREADS} threads for each contender, load {load:.1f} before the start")
    if load > BUSY:
        print("The machine is busy: threads that wait for each other, PyTorch's above all, lose more than others.")
    set_threads()
    for suite in suites:
        measured = SUITES[suite](arguments.quick, arguments.rounds)
        if not arguments.quick:
            print(f"recorded: {record(suite, measured, load, arguments.out)}")
    return 0


def set_threads():
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)


def vae(quick, rounds):
    """Decoding and an epoch of training of `vae_mnist`, against PyTorch and pythae."""
    os.environ["TQDM_DISABLE"] = "1"  # pythae has no other switch for its progress bars
    import pythae.trainers  # noqa: F401 (before the level is set: it sets levels of its own)
    import torch

    logging.disable(logging.INFO)
    torch.set_num_threads(THREADS)
    from benchmarks.vae_decoding import compare_decoding
    from benchmarks.vae_training import compare_training

    data_name, epochs = ("digits", 1) if quick else ("mnist", 4)
    decoding_rounds, calls = (3, 50) if quick else (4 * rounds, 200)
    comparisons = shown(compare_decoding(rounds=decoding_rounds, calls=calls, threads=THREADS))
    training_rounds = 2 if quick else rounds
    training = compare_training(data_name=data_name, rounds=training_rounds, epochs=epochs, threads=THREADS)
    return {"comparisons": [*comparisons, *shown([training])]}


def baselines(quick, rounds):
    """PCA and k-means against scikit-learn on MNIST's 60,000 training images; their memory; what leaves of them."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    from benchmarks.data import data_or_digits
    from benchmarks.deployment import compare_deployment
    from benchmarks.scikit_learn import compare_kmeans, compare_pca, measure_memory

    data = data_or_digits("digits" if quick else "mnist")
    images = np.concatenate([data.gray(split) for split in ("validation", "train")])
    rounds, iterations, examples = (1, 5, 2000) if quick else (rounds, 50, 60_000)
    with threadpool_limits(THREADS):
        comparisons = shown(compare_pca(images, rounds)) + shown(compare_kmeans(images, rounds, iterations))
    memory = list(measure_memory(examples))
    for row in memory:
        small, large = row["peak_megabytes"]
        print(f"{row['title']}: {small} MB, {large} MB on ten times as many, {row['ratio']:.2f} x; asked <= 1.10 x")
    deployment = list(compare_deployment(images, data.gray("test")))
    for row in deployment:
        print(f"{row['title']}: {row['found']}, asked <= {row['asked']}", *row["ties"], sep="\n  ")
    return {"comparisons": comparisons, "memory": memory, "deployment": deployment}


def gan(quick, rounds):
    """A training step of `gan_mnist`, the discriminator's and the generator's, against PyTorch."""
    import torch

    torch.set_num_threads(THREADS)
    from benchmarks.gan_training import compare_gan

    arguments = ("digits", 2, 1, 5) if quick else ("mnist", rounds, 15, 20)
    return {"comparisons": shown(compare_gan(*arguments))}


def pixels(quick, rounds):
    """Drawing from caches against full passes and ONNX Runtime; the Diagonal BiLSTM's training step against PyTorch."""
    import torch

    torch.set_num_threads(THREADS)
    from benchmarks.pixel_models import compare_sampling, compare_scan

    side, rounds, naive_rounds, calls = (8, 1, 1, 3) if quick else (28, rounds, 1, 10)
    scan = shown(compare_scan(side, rounds, calls))
    return {"comparisons": scan + shown(compare_sampling(side, rounds, naive_rounds, THREADS))}


def neighbours(quick, rounds):
    """Precision and recall of 50,000 samples and as many examples, against PyTorch."""
    import torch

    torch.set_num_threads(THREADS)
    from benchmarks.neighbours import compare_neighbours

    return {"comparisons": shown(compare_neighbours(*((2_000, 1) if quick else (50_000, rounds))))}


def shown(comparisons):
    """The comparisons, each printed as soon as it is made."""
    made = []
    for comparison in comparisons:
        print_comparison(comparison)
        made.append(comparison)
    return made


def print_comparison(comparison):
    ours = comparison.ours
    rows = [["", comparison.unit, f"{ours} takes", "asked", ""]]
    for name in comparison.seconds:
        asked = comparison.asked.get(name)
        ratio = "" if name == ours else f"{comparison.ratio(name):.2f} x"
        wanted = ("", "") if asked is None else (f"<= {asked:.2f} x", "met" if comparison.is_met(name) else "missed")
        rows.append([name, f"{comparison.median(name) * comparison.scale:.4g}", ratio, *wanted])
    show_table(comparison.title, rows, comparison.note)


def record(suite, measured, load, folder):
    from training.files import write_json
    from training.run_folder import PACKAGES as ZOO_PACKAGES
    from zoo.version import versions

    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": suite,
        "versions": versions(*ZOO_PACKAGES, *PACKAGES[suite]),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "load_before": load,
        **measured,
        "comparisons": [comparison.to_json() for comparison in measured["comparisons"]],
    }
    path = folder / f"bench_{suite}.json"
    write_json(path, content)
    return path


SUITES = {"vae": vae, "baselines": baselines, "gan": gan, "pixels": pixels, "neighbours": neighbours}


if __name__ == "__main__":
    sys.exit(main())
