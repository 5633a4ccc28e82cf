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
# relative to the largest magnitude in its example, and to SMALLEST_SCALE where that is less. An index of the smallest
# entry is as far off as the entry it points to lies above the smallest, on the scale of those entries: where two are
# equal to rounding, either index is right. A pixel of 8 bits may be rounded to either side: an error counts from there,
# on the scale of 255. Any other integer has to be equal.
TOLERANCE = 1e-5
SMALLEST_SCALE = 10.0
LARGEST_PIXEL = 255


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
                    errors = compare(outputs, function(inputs), endpoints[name]["outputs"])
                largest = larger(largest, errors)
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
        check_labels(arrays, wanted)
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
    """See that `arrays` have the declared dtypes and shapes, one size to a dynamic axis."""
    sizes = {}
    for name, tensor in tensors.items():
        shape = arrays[name].shape
        fits = arrays[name].dtype == np.dtype(tensor["dtype"]) and len(shape) == len(tensor["shape"])
        if not fits or any(
            size != (sizes.setdefault(axis, size) if isinstance(axis, str) else axis)
            for size, axis in zip(shape, tensor["shape"], strict=True)
        ):
            raise ValueError(f"{name} is {arrays[name].dtype} {shape}; {tensor['dtype']} {tensor['shape']} is declared")


def check_labels(arrays, tensors):
    """See that inputs which are labels hold classes that there are."""
    for name, tensor in tensors.items():
        labels = arrays[name]
        if tensor.get("values") != "label" or not labels.size:
            continue
        low, high, last = labels.min(), labels.max(), tensor["num_classes"] - 1
        if not 0 <= low <= high <= last:
            raise ValueError(f"{name} holds labels from {low} to {high}; 0 to {last} are wanted")


# Comparison.


@np.errstate(invalid="ignore")  # infinity - infinity; the NaN is refused
def compare(expected, found, tensors):
    """name -> (max absolute error, max error relative to its scale) of two dicts of outputs; see `TOLERANCE`.

    Args:
        expected, found: name -> array [batch, ...]; `expected` is as declared, as `check_sizes` sees to.
        tensors: name -> the output as the manifest describes it.

    Raises:
        ValueError: for outputs of another name, shape or dtype, for values that are not finite, for a relative error
            above `TOLERANCE`, for an index that points nowhere, and for any other integer that differs.
    """
    if set(found) != set(expected):
        raise ValueError(f"the outputs are {sorted(found)}, wanted are {sorted(expected)}")
    errors = {}
    for name, wanted in expected.items():
        came, tensor = found[name], tensors[name]
        if came.shape != wanted.shape or came.dtype != wanted.dtype:
            raise ValueError(f"{name} is {came.dtype} {came.shape}; {wanted.dtype} {wanted.shape} is wanted")
        if "smallest_of" in tensor:
            with naming(name):
                absolute, relative = index_errors(expected[tensor["smallest_of"]], wanted, came)
        elif tensor["dtype"] == "uint8":
            absolute, relative = pixel_errors(wanted, came)
        elif tensor["dtype"] == "int64":
            refuse_difference(name, wanted, came)
            absolute, relative = 0.0, 0.0
        else:
            absolute, relative = largest_errors(wanted, came)
        if not relative <= TOLERANCE:  # also where it is NaN
            raise ValueError(f"{name} is {absolute:.3g} off, {relative:.3g} of its scale; {TOLERANCE} is the tolerance")
        errors[name] = absolute, relative
    return errors


def largest_errors(expected, found):
    """Max absolute error, and max error relative to its scale; arrays [batch, ...] of real numbers."""
    return largest(np.abs(expected.astype(np.float64) - found), expected)


def pixel_errors(expected, found):
    """Max absolute error of pixels of 8 bits, and max of what is more than a rounding, on their scale."""
    absolute = int(np.abs(expected.astype(np.int64) - found).max(initial=0))
    return float(absolute), max(0, absolute - 1) / LARGEST_PIXEL


def index_errors(entries, expected, found):
    """The same of two indices of the smallest of `entries` along the last axis: how far above it either points."""
    entries = entries.astype(np.float64)
    pointed = np.maximum(entries_at(expected, entries), entries_at(found, entries))
    return largest(pointed - entries.min(axis=-1), entries)


def entries_at(index, entries):
    size = entries.shape[-1]
    if index.size and not (index.min() >= 0 and index.max() < size):
        raise ValueError(f"it holds indices from {index.min()} to {index.max()}; 0 to {size - 1} are wanted")
    return np.take_along_axis(entries, index[..., None], axis=-1)[..., 0]


def largest(differences, values):
    """Max of `differences`, and max relative to the scale of the `values` that they are between; [batch, ...]."""
    if differences.size == 0:
        return 0.0, 0.0
    differences, values = (array.reshape(len(array), -1) for array in (differences, values))
    scales = np.maximum(SMALLEST_SCALE, np.abs(values).max(axis=1, keepdims=True))
    if values.min() >= 0.0 and values.max() <= 1.0:
        scales = 1.0
    return float(differences.max()), float((differences / scales).max())


def refuse_difference(name, expected, found):
    places = np.argwhere(expected != found)
    if len(places):
        place = tuple(int(number) for number in places[0])
        raise ValueError(f"{name} at {list(place)} is {found[place]}; {expected[place]} is wanted")


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
