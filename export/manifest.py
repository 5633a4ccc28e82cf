"""What an artifact holds and how it says so: the layout, manifest.json and SHA256SUMS. Standard library alone.

manifest.json  SHA256SUMS  README.md  samples.png (of image models)
saved_model/1/   onnx/<endpoint>.onnx   test_data/<endpoint>.npz
"""

import hashlib
import json
import os
import re
import stat
from pathlib import Path

SCHEMA = 1  # of manifest.json, the layout and the tolerance; a reader refuses any other

MANIFEST = "manifest.json"
CHECKSUMS = "SHA256SUMS"
CARD = "README.md"
SAMPLES = "samples.png"
SAVED_MODEL = "saved_model/1"
SAVED_MODEL_FILES = (
    "fingerprint.pb",
    "saved_model.pb",
    "variables/variables.data-00000-of-00001",
    "variables/variables.index",
)

NAME = re.compile(r"[a-z][a-z0-9_]*")  # of endpoints, their inputs and outputs, and dynamic axes
INPUT_DTYPES = ("float32", "int64")  # the latter of labels alone
OUTPUT_DTYPES = ("float32", "int64", "uint8")  # the last of images of 8 bits
NOISE = ("standard_normal", "uniform")  # values of inputs that are drawn, not given
CHECKSUM_LINE = re.compile(r"([0-9a-f]{64})  ((?:[A-Za-z0-9_-][A-Za-z0-9_.-]*/)*[A-Za-z0-9_-][A-Za-z0-9_.-]*)")
REPLACE_IT = "fetch the artifact again, or export it again."


def onnx_path(endpoint):
    return f"onnx/{endpoint}.onnx"


def golden_path(endpoint):
    return f"test_data/{endpoint}.npz"


def layout(endpoints):
    """Every file that an artifact with these endpoints must hold, but for SHA256SUMS and samples.png."""
    files = {MANIFEST, CARD, *(f"{SAVED_MODEL}/{name}" for name in SAVED_MODEL_FILES)}
    return files | {path(endpoint) for endpoint in endpoints for path in (onnx_path, golden_path)}


def one_line(error):
    """The message of an exception from elsewhere, short enough for one sentence."""
    return " ".join(str(error).split())[:300]


# manifest.json


def describe(endpoint):
    """A `zoo.Endpoint` as plain JSON: what every check and every reader of the artifact goes by."""
    return {
        "summary": endpoint.summary,
        "inputs": {name: describe_input(each) for name, each in endpoint.inputs.items()},
        "outputs": {name: describe_output(each) for name, each in endpoint.outputs.items()},
    }


def describe_input(each):
    description = {"shape": list(each.shape), "dtype": each.dtype, "values": each.values}
    return description if each.num_classes is None else {**description, "num_classes": each.num_classes}


def describe_output(output):
    description = {"shape": list(output.shape), "dtype": output.dtype}
    return description if output.smallest_of is None else {**description, "smallest_of": output.smallest_of}


def turns_noise_into_images(description):
    """Whether an endpoint takes noise, beside it labels at most, and its first output holds images in [0, 1]."""
    values = {each["values"] for each in description["inputs"].values()}
    output = next(iter(description["outputs"].values()))
    sizes = [size for each in description["inputs"].values() for size in each["shape"][1:]]
    return (
        bool(values.intersection(NOISE))
        and values <= {*NOISE, "label"}
        and all(isinstance(size, int) for size in sizes)
        and output["dtype"] == "float32"
        and len(output["shape"]) == 4
        and output["shape"][-1] in (1, 3)
    )


def write_manifest(folder, manifest):
    text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False)
    (Path(folder) / MANIFEST).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder):
    """manifest.json as a dict whose endpoints are well-formed; a ValueError that says what is wrong otherwise."""
    try:
        manifest = json.loads((Path(folder) / MANIFEST).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{MANIFEST} is not JSON ({error}); {REPLACE_IT}") from None
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{MANIFEST} has schema {schema!r}; this verifier reads schema {SCHEMA}.")
    endpoints = manifest.get("endpoints")
    if not isinstance(endpoints, dict) or not endpoints or manifest.get("serving_default") not in list(endpoints):
        raise ValueError(f"{MANIFEST} does not say which endpoints there are and which one is served; {REPLACE_IT}")
    for name, description in endpoints.items():
        if not is_description(name, description):
            raise ValueError(f"{MANIFEST} describes endpoint {name!r} in a way that cannot be read; {REPLACE_IT}")
    return manifest


def is_description(name, description):
    """Whether `description` has the form that `describe` gives."""
    if not NAME.fullmatch(name) or not isinstance(description, dict):
        return False
    inputs, outputs = description.get("inputs"), description.get("outputs")
    return (
        are_tensors(inputs, INPUT_DTYPES)
        and are_tensors(outputs, OUTPUT_DTYPES)
        and all(is_label(each) for each in inputs.values() if each["dtype"] == "int64" or each.get("values") == "label")
        and all(is_index(each, outputs) for each in outputs.values() if "smallest_of" in each)
    )


def are_tensors(tensors, dtypes):
    named = isinstance(tensors, dict) and tensors and all(NAME.fullmatch(name) for name in tensors)
    return bool(named) and all(is_tensor(each, dtypes) for each in tensors.values())


def is_tensor(tensor, dtypes):
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    return (
        isinstance(shape, list)
        and shape[:1] == ["batch"]
        and tensor.get("dtype") in dtypes
        and all(NAME.fullmatch(size) if isinstance(size, str) else type(size) is int and size > 0 for size in shape)
    )


def is_label(tensor):
    """Whether an input is one class an example, 0 ... num_classes - 1."""
    num_classes = tensor.get("num_classes")
    return (
        tensor.get("values") == "label"
        and (tensor["shape"], tensor["dtype"]) == (["batch"], "int64")
        and type(num_classes) is int
        and num_classes > 0
    )


def is_index(tensor, outputs):
    """Whether `tensor` can be the index of the smallest entry along the last axis of the output it names."""
    name = tensor["smallest_of"]
    of = outputs.get(name) if isinstance(name, str) else None
    return (
        of is not None
        and (tensor["dtype"], of["dtype"]) == ("int64", "float32")
        and of["shape"][:-1] == tensor["shape"]
    )


# SHA256SUMS


def write_checksums(folder):
    """List the SHA-256 of every file in `folder`, in the form that `sha256sum --check SHA256SUMS` reads."""
    lines = [f"{sha256(Path(folder) / path)}  {path}\n" for path in sorted(regular_files(folder) - {CHECKSUMS})]
    (Path(folder) / CHECKSUMS).write_text("".join(lines), encoding="ascii", newline="\n")


def check_checksums(folder):
    """The set of files in `folder`, each as SHA256SUMS lists it.

    Raises:
        ValueError: naming the first file that is missing, not listed, altered, or no regular file.
    """
    listed, found = read_checksums(folder), regular_files(folder) - {CHECKSUMS}
    for path in sorted(listed.keys() - found):
        raise ValueError(f"{path} is listed in {CHECKSUMS} but is not there; {REPLACE_IT}")
    for path in sorted(found - listed.keys()):
        raise ValueError(f"{path} is not listed in {CHECKSUMS}; remove it, or {REPLACE_IT}")
    for path, digest in sorted(listed.items()):
        if sha256(Path(folder) / path) != digest:
            raise ValueError(f"{path} does not match {CHECKSUMS}: one of the two was altered; {REPLACE_IT}")
    return found


def read_checksums(folder):
    """SHA256SUMS as path -> digest."""
    path = Path(folder) / CHECKSUMS
    if not path.is_file() or path.is_symlink():
        raise ValueError(f"{folder} is not an artifact: it holds no file {CHECKSUMS}.")
    *lines, rest = path.read_bytes().decode("latin-1").split("\n")
    matches = [CHECKSUM_LINE.fullmatch(line) for line in lines]
    if rest or not lines or not all(matches):
        number = max(1, len(lines)) if all(matches) else matches.index(None) + 1
        raise ValueError(f"{CHECKSUMS} was altered: line {number} is no SHA-256 and path; {REPLACE_IT}")
    listed = {match[2]: match[1] for match in matches}
    if len(listed) != len(lines):
        raise ValueError(f"{CHECKSUMS} was altered: it lists a file twice; {REPLACE_IT}")
    return listed


def regular_files(folder):
    """Paths of the files in `folder`, relative to it, with "/"; a ValueError for anything that is no plain file."""
    folder, found = Path(folder), set()
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            path = Path(root, name)
            relative = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
                raise ValueError(f"{relative} is a link or a device, not a file; an artifact holds plain files only.")
            if stat.S_ISREG(mode):
                found.add(relative)
    return found


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
