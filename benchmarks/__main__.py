"""python -m benchmarks [--quick] [--rounds N] [--out results/bench_vae.json]"""

import argparse
import importlib.util
import logging
import os
import sys
from pathlib import Path

THREADS = 2  # for each contender alike
PACKAGES = ("torch", "pythae", "onnx", "onnxruntime", "tf2onnx")  # beside those of every result
BUSY = 0.5  # processes at work beside this one, on average over the last minute
OUT = Path("results") / "bench_vae.json"


def main(argv=None):
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time this project against its peers, in turns, in one run."
    )
    parser.add_argument(
        "--quick", action="store_true", help="short rounds on the digits, to see that it runs; not recorded"
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender, after a warm-up (default: 5)")
    parser.add_argument("--out", type=Path, help=f"where to record the numbers (default: {OUT}; with --quick nowhere)")
    arguments = parser.parse_args(argv)
    if arguments.rounds < 1:
        parser.error(f"--rounds is {arguments.rounds}; at least 1 is wanted")
    missing = [package for package in PACKAGES if importlib.util.find_spec(package) is None]
    if missing:
        print(f"error: there is no {', '.join(missing)} here; pip install '.[bench]' brings them", file=sys.stderr)
        return 1

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["TQDM_DISABLE"] = "1"  # pythae has no other switch for its progress bars
    import pythae.trainers  # noqa: F401 (before the level is set: it sets levels of its own)

    logging.disable(logging.INFO)
    set_threads()
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, {THREADS} threads for each contender, load {load:.1f} before the start")
    if load > BUSY:
        print("The machine is busy: threads that wait for each other, PyTorch's above all, lose more than others.")
    comparisons = []
    for comparison in compare(**effort(arguments.quick, arguments.rounds)):
        print_comparison(comparison)
        comparisons.append(comparison)
    out = arguments.out or (None if arguments.quick else OUT)
    if out:
        record(comparisons, load, out)
        print(f"recorded: {out}")
    return 0


def effort(quick, rounds):
    """How much is timed: data, rounds and epochs a turn of training, rounds and calls a turn of decoding."""
    if quick:
        return {"training": {"data_name": "digits", "rounds": 2, "epochs": 1}, "decoding": {"rounds": 3, "calls": 50}}
    return {
        "training": {"data_name": "mnist", "rounds": rounds, "epochs": 4},
        "decoding": {"rounds": 4 * rounds, "calls": 200},
    }


def set_threads():
    import tensorflow as tf
    import torch

    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    torch.set_num_threads(THREADS)


def compare(training, decoding):
    """Each `Comparison` as soon as it is made."""
    from benchmarks.vae_decoding import compare_decoding
    from benchmarks.vae_training import compare_training

    yield from compare_decoding(**decoding, threads=THREADS)
    yield compare_training(**training, threads=THREADS)


def print_comparison(comparison):
    from rich.console import Console
    from rich.table import Table

    ours = comparison.ours
    table = Table(comparison.title, comparison.unit, f"{ours} takes", "asked", "", caption=comparison.note)
    for name in comparison.seconds:
        asked = comparison.asked.get(name)
        table.add_row(
            name,
            f"{comparison.median(name) * comparison.scale:.4g}",
            "" if name == ours else f"{comparison.ratio(name):.2f} x",
            "" if asked is None else f"<= {asked:.2f} x",
            "" if asked is None else "met" if comparison.is_met(name) else "missed",
        )
    Console().print(table)


def record(comparisons, load, out):
    from training.files import write_json
    from training.run_folder import PACKAGES as ZOO_PACKAGES
    from zoo.version import versions

    out.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": "vae",
        "versions": versions(*ZOO_PACKAGES, *PACKAGES),
        "cores": os.cpu_count(),
        "threads": THREADS,
        "load_before": load,
        "comparisons": [comparison.to_json() for comparison in comparisons],
    }
    write_json(out, content)


if __name__ == "__main__":
    sys.exit(main())
