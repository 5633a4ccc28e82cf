"""python -m export.verify DIR: is this artifact whole, harmless, and does it compute what it says it computes?

    1. SHA256SUMS covers every file exactly; no links, nothing missing, extra or altered.
    2. manifest.json, every ONNX graph and the SavedModel are what they declare, and hold allowed operations only.
    3. SavedModel and ONNX, at every optimization level, give the golden outputs for the golden inputs.

Each step runs only on what the step before found good. It needs numpy, onnx, onnxruntime and tensorflow; neither
Keras nor the code that trained the model. SHA256SUMS finds damage, not forgery: whoever can replace every file can
replace the sums too, so where an artifact comes from is for its sender to sign.
"""

import argparse
import contextlib
import os
import sys
import zipfile
from pathlib import Path

import numpy as np

from export import manifest as artifact
from export import onnx_graph, saved_model

# Two runtimes round and add in different orders. An output within [0, 1], such as a probability, has to agree to
# TOLERANCE itself. Any other is a sum, often of terms larger than itself: codes at 8 standard deviations put hundreds
# of nats of either sign into a log-likelihood of 3, and float32 keeps 7 digits of each term. So its error counts
# relative to the largest magnitude in its example, and to SMALLEST_SCALE where that is less.
TOLERANCE = 1e-5
SMALLEST_SCALE = 10.0


def verify(folder):
    """Verify the artifact in `folder`; return rows (endpoint, output, runtime, max absolute, max relative error).

    Raises:
        ValueError: one sentence that names the first file found wrong.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"There is no folder {folder}; name the folder of an artifact.")
    files = artifact.check_checksums(folder)
    return check_contents(folder, files)


def check_contents(folder, files):
    """Steps 2 and 3, on an artifact that holds `files` besides SHA256SUMS."""
    folder, manifest = Path(folder), artifact.read_manifest(folder)
    endpoints = manifest["endpoints"]
    check_layout(files, endpoints)
    golden = {name: read_golden(folder, name, description) for name, description in endpoints.items()}
    sessions = {name: open_onnx(folder, name, description) for name, description in endpoints.items()}
    signatures = open_saved_model(folder, endpoints, manifest["serving_default"])
    rows = []
    for name, (inputs, outputs) in golden.items():
        same = [name, saved_model.SERVING_DEFAULT] if name == manifest["serving_default"] else [name]
        functions = {"SavedModel": {key: signatures[key] for key in same}, "ONNX": sessions[name]}
        for runtime, variants in functions.items():
            largest = dict.fromkeys(outputs, (0.0, 0.0))
            for variant, function in variants.items():
                with naming(f"endpoint {name}, {runtime}, {variant}, on the golden data"):
                    largest = larger(largest, compare(outputs, function(inputs)))
            rows += [(name, output, runtime, *error) for output, error in largest.items()]
    return rows


@contextlib.contextmanager
def naming(what):
    """Begin the sentence of a ValueError raised inside with `what` it is about."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from None


def check_layout(files, endpoints):
    wanted = artifact.layout(endpoints)
    for path in sorted(wanted - files):
        raise ValueError(f"{path} is missing, though {artifact.MANIFEST} implies it; {artifact.REPLACE_IT}")
    for path in sorted(files - wanted - {artifact.SAMPLES}):
        raise ValueError(f"{path} does not belong to an artifact; remove it, or {artifact.REPLACE_IT}")


def open_onnx(folder, name, description):
    """Check onnx/<name>.onnx and return its sessions by optimization level."""
    path = artifact.onnx_path(name)
    content = (folder / path).read_bytes()
    with naming(path):
        onnx_graph.check(onnx_graph.parse(content), description)
        return onnx_graph.open_sessions(content)


def open_saved_model(folder, endpoints, serving_default):
    """Check the SavedModel, then load it; return its signatures by name."""
    with naming(f"{artifact.SAVED_MODEL}/saved_model.pb"):
        saved_model.check(folder / artifact.SAVED_MODEL, endpoints, serving_default)
    with naming(artifact.SAVED_MODEL):
        return saved_model.open_signatures(folder / artifact.SAVED_MODEL)


# Golden data.


def write_golden(folder, name, inputs, outputs):
    arrays = {f"input_{key}": array for key, array in inputs.items()}
    arrays |= {f"output_{key}": array for key, array in outputs.items()}
    np.savez(folder / artifact.golden_path(name), **arrays)


def read_golden(folder, name, description):
    """(inputs, outputs) of test_data/<name>.npz, each name -> array, as the manifest declares them."""
    path = artifact.golden_path(name)
    wanted = {
        f"{kind[:-1]}_{key}": tensor for kind in ("inputs", "outputs") for key, tensor in description[kind].items()
    }
    with naming(path):
        arrays = read_arrays(folder / path, wanted)
        check_sizes(arrays, wanted)
    return tuple({key: arrays[f"{kind[:-1]}_{key}"] for key in description[kind]} for kind in ("inputs", "outputs"))


def read_arrays(path, names):
    """The arrays called `names` in an uncompressed .npz: what is stored as it is cannot inflate."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member.compress_type for member in archive.infolist()}
        if members != {f"{name}.npy": zipfile.ZIP_STORED for name in names}:
            raise ValueError(f"members {sorted(members)}, wanted uncompressed {sorted(names)}")
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except Exception as error:  # zipfile, zlib and NumPy raise a dozen classes on damaged files
        raise ValueError(f"it does not hold the golden data ({artifact.one_line(error)})") from None


def check_sizes(arrays, tensors):
    """See that `arrays` are float32 and fit the declared shapes, one size to a dynamic axis."""
    sizes = {}
    for name, tensor in tensors.items():
        shape = arrays[name].shape
        fits = arrays[name].dtype == np.float32 and len(shape) == len(tensor["shape"])
        if not fits or any(
            size != (sizes.setdefault(axis, size) if isinstance(axis, str) else axis)
            for size, axis in zip(shape, tensor["shape"], strict=True)
        ):
            raise ValueError(f"{name} is {arrays[name].dtype} {shape}; float32 {tensor['shape']} is declared")


# Comparison.


def compare(expected, found):
    """name -> (max absolute error, max error relative to its example) of two dicts of outputs.

    Raises:
        ValueError: for outputs of another name, shape or dtype, for values that are not finite, and for a relative
            error above `TOLERANCE`.
    """
    if set(found) != set(expected):
        raise ValueError(f"the outputs are {sorted(found)}, wanted are {sorted(expected)}")
    errors = {}
    for name, wanted in expected.items():
        came = found[name]
        if came.shape != wanted.shape or came.dtype != wanted.dtype:
            raise ValueError(f"{name} is {came.dtype} {came.shape}; {wanted.dtype} {wanted.shape} is wanted")
        absolute, relative = errors[name] = largest_errors(wanted, came)
        if not relative <= TOLERANCE:  # also where it is NaN
            raise ValueError(f"{name} is {absolute:.3g} off, {relative:.3g} of its scale; {TOLERANCE} is the tolerance")
    return errors


def largest_errors(expected, found):
    """Max absolute error, and max error relative to its scale, as described at `TOLERANCE`; arrays [batch, ...]."""
    if expected.size == 0:
        return 0.0, 0.0
    expected, found = (array.reshape(len(array), -1).astype(np.float64) for array in (expected, found))
    with np.errstate(invalid="ignore"):  # infinity - infinity; the NaN is refused
        difference = np.abs(expected - found)
        scale = np.maximum(SMALLEST_SCALE, np.abs(expected).max(axis=1, keepdims=True))
        if expected.min() >= 0.0 and expected.max() <= 1.0:
            scale = 1.0
        return float(difference.max()), float((difference / scale).max())


def larger(errors, others):
    """The larger of two results of `compare`, number by number."""
    return {name: tuple(map(max, errors[name], others[name])) for name in errors}


# The command line.


def print_rows(rows):
    table = [("endpoint", "output", "runtime", "max error", "relative")]
    table += [(*row[:3], f"{row[3]:.1e}", f"{row[4]:.1e}") for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def main(argv=None):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(prog="python -m export.verify", description="Verify an exported artifact.")
    parser.add_argument("folder", metavar="DIR", help="the folder of the artifact")
    arguments = parser.parse_args(argv)
    try:
        rows = verify(arguments.folder)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_rows(rows)
    print(f"{arguments.folder} is whole and computes what it says: every error is within {TOLERANCE}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
