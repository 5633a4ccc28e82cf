"""Exported ONNX on a GPU: how far from the golden outputs, and how fast beside the CPU of the same machine.

    python -m benchmarks.onnx_on_gpu dist/vae_mnist ... [--batches 1 64 1024] [--out results]

Needs an NVIDIA GPU, NumPy and onnxruntime-gpu: neither TensorFlow nor Keras, as where artifacts are used. This is why
inputs are drawn by the manifest here; `export.pipeline` draws them by the endpoints of a model.
"""

import argparse
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.timing import seconds_of
from export import manifest as artifact
from training.command_line import command
from training.files import write_json

CUDA, CPU = ("CUDAExecutionProvider", {"use_tf32": 0}), ("CPUExecutionProvider", {})  # full float32, as in the cards
SECONDS, FEWEST, MOST = 2.0, 3, 200  # of calls timed for one number: as many as the seconds hold, within these


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.onnx_on_gpu", description=__doc__.split("\n")[0])
    parser.add_argument("artifacts", nargs="+", type=Path, help="folders of artifacts")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 64, 1024], help="sizes (default: 1 64 1024)")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for onnx_on_gpu.json")
    arguments = parser.parse_args(argv)
    import onnxruntime

    if CUDA[0] not in onnxruntime.get_available_providers():
        raise ValueError("This ONNX Runtime knows no CUDA; pip install onnxruntime-gpu, on a machine with a GPU.")
    onnxruntime.preload_dlls()  # CUDA's libraries, where they came as Python packages
    machine = {"device": device(), "cores": os.cpu_count(), "load_before": os.getloadavg()[0], "versions": versions()}
    endpoints_of = {folder: artifact.read_manifest(folder)["endpoints"] for folder in arguments.artifacts}
    path, rows = arguments.out / "onnx_on_gpu.json", []
    path.parent.mkdir(parents=True, exist_ok=True)
    for folder, endpoints in endpoints_of.items():
        for endpoint, description in endpoints.items():
            rows.append(row(folder, endpoint, description, arguments.batches))
            print(text(rows[-1]), flush=True)
            write_json(path, {**machine, "endpoints": rows})  # each time: what is measured is not lost
    print(f"recorded: {path}")
    return 0


def row(folder, endpoint, description, batches):
    """One endpoint: its largest error on the golden data, and the median seconds of a call at each batch size."""
    path = folder / artifact.onnx_path(endpoint)
    on_gpu, on_cpu = session(path, CUDA, CPU), session(path, CPU)
    drawn = {size: draw(description["inputs"], size) for size in batches}
    return {
        "artifact": folder.name,
        "endpoint": endpoint,
        "providers": on_gpu.get_providers(),
        "largest_relative_error": golden_error(on_gpu, folder / artifact.golden_path(endpoint)),
        "gpu_seconds": {size: median_seconds(bound(on_gpu, inputs, "cuda")) for size, inputs in drawn.items()},
        "cpu_seconds": {size: median_seconds(bound(on_cpu, inputs, "cpu")) for size, inputs in drawn.items()},
    }


def session(path, *providers):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # it warns of each shape that is computed on the CPU, as shapes are
    return onnxruntime.InferenceSession(path, options, providers=list(providers))


def golden_error(ready, path):
    """The largest error relative to 1 for outputs within [0, 1], else to the largest magnitude of the output."""
    with np.load(path) as golden:
        inputs = {name.removeprefix("input_"): golden[name] for name in golden if name.startswith("input_")}
        names = [each.name for each in ready.get_outputs()]
        errors = []
        for name, found in zip(names, ready.run(names, inputs), strict=True):
            wanted = golden[f"output_{name}"].astype(np.float64)
            scale = 255.0 if found.dtype == np.uint8 else max(1.0, float(np.abs(wanted).max(initial=0.0)))
            errors.append(float(np.abs(wanted - found).max(initial=0.0)) / scale)
        return max(errors)


def draw(inputs, size, seed=0):
    """Inputs of `size` examples as the manifest describes them; other free axes are of size 1."""
    rng, arrays = np.random.default_rng(seed), {}
    for name, each in inputs.items():
        shape = [size, *(1 if isinstance(axis, str) else axis for axis in each["shape"][1:])]
        if each["values"] == "label":
            array = rng.integers(each["num_classes"], size=shape)
        elif each["values"] in ("standard_normal", "real"):
            array = rng.standard_normal(shape)
        elif each["values"] == "binary":
            array = rng.integers(2, size=shape)
        else:
            array = rng.random(shape)
        arrays[name] = array.astype(each["dtype"])
    return arrays


def bound(ready, inputs, where):
    """A function that runs the session once, inputs and outputs staying on the device `where`."""
    import onnxruntime

    binding = ready.io_binding()
    for name, array in inputs.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array, where, 0))
    for each in ready.get_outputs():
        binding.bind_output(each.name, where)

    def call():
        ready.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return call


def median_seconds(call):
    call()
    spent = []
    while len(spent) < FEWEST or (sum(spent) < SECONDS and len(spent) < MOST):
        spent.append(seconds_of(call))
    return statistics.median(spent)


def text(measured):
    times = ", ".join(
        f"{size}: {1e3 * seconds:.3g} ms (CPU {1e3 * measured['cpu_seconds'][size]:.3g})"
        for size, seconds in measured["gpu_seconds"].items()
    )
    name = f"{measured['artifact']} {measured['endpoint']}"
    return f"{name}: error {measured['largest_relative_error']:.1e}; {times}"


def device():
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()


def versions():
    import onnxruntime

    return {"python": platform.python_version(), "numpy": np.__version__, "onnxruntime-gpu": onnxruntime.__version__}


if __name__ == "__main__":
    sys.exit(main())
