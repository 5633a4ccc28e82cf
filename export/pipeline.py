"""From a trained model to a verified artifact: everything is written and checked beside the target, then renamed.

A target that exists is never touched, and whatever stops an export, an error or an interrupt, leaves nothing behind.
"""

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

import zoo
from export import card, onnx_graph, saved_model, uint8_images, verify
from export import manifest as artifact
from zoo.version import versions

LICENCE = "MIT"
OLDEST_ONNX_RUNTIME = "1.15"  # the oldest that was tried on these graphs
PACKAGES = ("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "numpy")

# What the runtimes have to agree on: every batch size, with random inputs from every seed, and with each input in turn
# held at the edges of what it takes: codes at the mean of the prior and 8 standard deviations off, images black, white,
# real numbers far from those drawn, the first class and the last.
BATCH_SIZES = (0, 1, 3, 17, 128)
OTHER_SIZES = (1, 5)  # of every other dynamic axis
SEEDS = (0, 1, 2)
EDGES = {
    "standard_normal": (0.0, 8.0, -8.0),
    "uniform": (0.0, np.nextafter(np.float32(1), np.float32(0))),
    "binary": (0.0, 1.0),
    "unit_interval": (0.0, 1.0),
    "real": (0.0, 100.0, -100.0),
}
VALUES = (*EDGES, "label")  # what inputs may hold
REAL_SCALE = 3.0  # standard deviation of the real numbers drawn
GOLDEN_SIZES = {"batch": 4, "other": 5, "seed": 1234}
GRID = 8  # samples.png is a grid of so many rows and columns; of images of classes, with a column for each
MOST_COLUMNS = 16
CELL = 48  # pixels: images in the grid are enlarged by the largest whole factor that stays within it


def export_run(run, out):
    """Export the model in the run folder `run`, with its provenance and metrics; see `export_model`."""
    run = Path(run)
    if not run.is_dir():
        raise ValueError(f"There is no run folder {run}; train one first, with python -m training.")
    if not (run / "model.keras").is_file():
        raise ValueError(f"{run} has no finished epoch: it holds no model.keras; train it first.")
    provenance = read_json_object(run / "recipe.json", ("recipe", "data", "versions"))
    evaluation = None
    if (run / "evaluation.json").is_file():
        evaluation = read_json_object(run / "evaluation.json", ("data", "metrics"))
    refuse_occupied(Path(out))
    return export_model(zoo.load(run / "model.keras"), out, provenance, evaluation)


def export_model(model, out, run=None, evaluation=None):
    """Write the artifact of a model of the zoo to the folder `out`, and return its path.

    Args:
        model: a trained `zoo.Generative`, under any dtype policy; what is exported computes in float32.
        out: a folder that does not exist yet, or is empty.
        run: what recipe.json of the model's run holds: {"recipe", "data", "versions"}; None for a model without one.
        evaluation: what evaluation.json holds: {"data", "metrics", ...}; None for a model not evaluated.

    Raises:
        ValueError: where `out` holds something, the model has yet to see data, or a check fails; nothing is left
            behind then.
    """
    out = Path(out)
    refuse_occupied(out)
    model.check_ready()
    with staged(out) as folder:
        write_artifact(in_float32(model), folder, run or {}, evaluation)
        verify.verify(folder)
    return out


# Where it goes.


def refuse_occupied(out):
    empty_folder = out.is_dir() and not out.is_symlink() and not any(out.iterdir())
    if os.path.lexists(out) and not empty_folder:
        raise ValueError(f"{out} exists already and is left as it is; choose another --out, or remove it first.")


@contextlib.contextmanager
def staged(out):
    """A new folder beside `out`, renamed to `out` at the end; removed, with parents made for it, if that fails."""
    out = Path(os.path.abspath(out))
    new_parents = [parent for parent in out.parents if not parent.exists()]
    folder = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        make_folder(folder)
        yield folder
        os.rename(folder, out)  # fails, and replaces nothing, if `out` has been filled meanwhile
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            for parent in new_parents:
                parent.rmdir()
        raise


def make_folder(folder):
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ValueError(f"{folder.parent} cannot be written to ({error.strerror}); choose another --out.") from None


# What goes there.


def in_float32(model):
    """A copy of `model` that computes in float32, with the same weights."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float32")  # sub-networks take the global policy where they are given none
    try:
        copy = type(model).from_config({**model.get_config(), "dtype": "float32"})
    finally:
        keras.config.set_dtype_policy(policy)
    copy.set_weights(model.get_weights())
    return copy


def write_artifact(model, folder, run, evaluation):
    endpoints = checked_endpoints(model)
    manifest = new_manifest(model, endpoints, run, evaluation)
    for subfolder in ("onnx", "test_data"):
        (folder / subfolder).mkdir()
    saved_model.write(model, endpoints, folder / artifact.SAVED_MODEL)
    signatures = verify.open_saved_model(folder, manifest["endpoints"], manifest["serving_default"])

    errors = {}
    for name, endpoint in endpoints.items():
        session = write_onnx(folder, name, endpoint, manifest)
        runtimes = {"saved_model": signatures[name], "onnx": session}
        inputs = few_inputs(endpoint) if name == uint8_images.NAME else every_input(endpoint)
        errors[name] = measured_errors(name, endpoint, inputs, in_keras(endpoint, traced=True), runtimes)
        golden = draw_inputs(endpoint, **GOLDEN_SIZES)
        verify.write_golden(folder, name, golden, in_keras(endpoint)(golden))
        of_images = artifact.turns_noise_into_images(manifest["endpoints"][name])
        if of_images and not (folder / artifact.SAMPLES).exists():
            write_samples(folder / artifact.SAMPLES, endpoint, session)

    manifest["errors"] = errors
    artifact.write_manifest(folder, manifest)
    text = card.card(manifest, has_samples=(folder / artifact.SAMPLES).exists())
    (folder / artifact.CARD).write_text(text, encoding="utf-8")
    artifact.write_checksums(folder)


def checked_endpoints(model):
    """The model's endpoints; a ValueError for one that an artifact cannot describe."""
    endpoints = uint8_images.with_uint8_images(model.endpoints())
    for name, endpoint in endpoints.items():
        values = {each.values for each in endpoint.inputs.values()}
        if not artifact.is_description(name, artifact.describe(endpoint)) or not values <= {*VALUES}:
            raise ValueError(
                f"Endpoint {name!r} of {type(model).__name__} cannot be described: names are lower-case words, the "
                f"first axis of each tensor is 'batch', inputs hold one of {', '.join(VALUES)}, labels are ('batch',) "
                f"with num_classes, outputs are one of {', '.join(artifact.OUTPUT_DTYPES)}, and smallest_of, of an "
                "int64 output, names a float32 output with one more axis."
            )
    return endpoints


def new_manifest(model, endpoints, run, evaluation):
    config = {key: value for key, value in model.get_config().items() if key not in ("name", "dtype", "trainable")}
    recipe = {name: without_folders(setting) for name, setting in run.get("recipe", {}).items()}
    return {
        "schema": artifact.SCHEMA,
        "name": recipe.get("name", type(model).__name__.lower()),
        "model": {"class": type(model).__name__, "config": config},
        "licence": LICENCE,
        "endpoints": {name: artifact.describe(endpoint) for name, endpoint in endpoints.items()},
        "serving_default": next(iter(endpoints)),
        "opset": onnx_graph.OPSET,
        "minimum_runtimes": {"onnxruntime": OLDEST_ONNX_RUNTIME, "tensorflow": minor_version(tf.__version__)},
        "versions": versions(*PACKAGES),
        "recipe": recipe,
        "data": run.get("data", {}),
        "training_versions": run.get("versions", {}),
        "evaluation": evaluation,
        "tolerance": {"relative": verify.TOLERANCE, "smallest_scale": verify.SMALLEST_SCALE},
    }


def without_folders(setting):
    """A path in a recipe as its last name: where data lay on one machine concerns no other."""
    return Path(setting).name if isinstance(setting, str) and os.sep in setting else setting


def minor_version(version):
    return ".".join(version.split(".")[:2])


def write_onnx(folder, name, endpoint, manifest):
    """Convert and check one endpoint, write its file, and return its session at full optimization."""
    path, description = artifact.onnx_path(name), manifest["endpoints"][name]
    with verify.naming(path):
        model = onnx_graph.convert(name, endpoint.function, description, onnx_metadata(name, manifest))
    (folder / path).write_bytes(onnx_graph.serialize(model))
    return verify.open_onnx(folder, name, description)["ORT_ENABLE_ALL"]


def onnx_metadata(name, manifest):
    """What a deployer reads from the file alone (`session.get_modelmeta().custom_metadata_map`): str -> str."""
    description = manifest["endpoints"][name]
    tensors = {f"{kind[:-1]}_{key}": each for kind in ("inputs", "outputs") for key, each in description[kind].items()}
    return {
        "name": manifest["name"],
        "model": manifest["model"]["class"],
        "endpoint": name,
        "summary": description["summary"],
        "licence": manifest["licence"],
        "zoo_version": manifest["versions"]["generative-zoo"],
        "data": json.dumps(manifest["data"], sort_keys=True),
        **{key: card.tensor_text(tensor) for key, tensor in tensors.items()},
    }


# Inputs.


def draw_inputs(endpoint, batch, other, seed, held=None):
    """Inputs of `endpoint`, name -> array, with `held` in place of what would be drawn.

    Args:
        batch: size of the batch axis.
        other: size of every other dynamic axis.
        seed: of the draws.
        held: name -> number that fills the whole input, or an array of its shape.
    """
    generator, inputs = np.random.default_rng(seed), {}
    for name, each in endpoint.inputs.items():
        shape = [batch if size == "batch" else other if isinstance(size, str) else size for size in each.shape]
        inputs[name] = draw(generator, each, shape)
        if held and name in held:
            inputs[name] = np.full(shape, held[name], each.dtype)
    return inputs


def draw(generator, each, shape):
    """A random array of what the `zoo.Input` holds."""
    if each.values == "standard_normal":
        return generator.standard_normal(shape, dtype="float32")
    if each.values == "real":
        return REAL_SCALE * generator.standard_normal(shape, dtype="float32")
    if each.values in ("unit_interval", "uniform"):
        return generator.random(shape, dtype="float32")
    if each.values == "label":
        return generator.integers(0, each.num_classes, shape)
    return generator.integers(0, 2, shape).astype("float32")  # "binary"


def edges_of(each):
    return (0, each.num_classes - 1) if each.values == "label" else EDGES[each.values]


def every_input(endpoint):
    """All the inputs on which the runtimes have to agree; see the constants above."""
    has_other = any(isinstance(size, str) for each in endpoint.inputs.values() for size in each.shape[1:])
    edges = [{name: value} for name, each in endpoint.inputs.items() for value in edges_of(each)]
    for batch in BATCH_SIZES:
        for other in OTHER_SIZES if has_other else OTHER_SIZES[:1]:
            for seed in SEEDS:
                yield draw_inputs(endpoint, batch, other, seed)
            for held in edges:
                yield draw_inputs(endpoint, batch, other, SEEDS[0], held)


def few_inputs(endpoint):
    """Those for an endpoint that holds another one, on which all have been tried."""
    return (draw_inputs(endpoint, batch, OTHER_SIZES[0], SEEDS[0]) for batch in BATCH_SIZES[:3])


def in_keras(endpoint, traced=False):
    """The endpoint's own function on NumPy arrays, name -> array, in full float32.

    Run one operation at a time, or `traced`, once for any batch: a loop over the pixels of an image takes seconds to
    run, one operation at a time. The golden outputs come from there, so that a trace which errs is found as well.
    """
    function = saved_model.never_empty(endpoint)

    def run(**tensors):
        return function(*(tensors[name] for name in endpoint.inputs))  # a trace does not keep the order of keywords

    return saved_model.as_arrays(tf.function(run, reduce_retracing=True) if traced else run)


def measured_errors(name, endpoint, inputs, keras_function, runtimes):
    """runtime -> output -> largest absolute and relative error against Keras, over all `inputs`.

    Raises:
        ValueError: naming endpoint and runtime, for an error above the tolerance.
    """
    largest = {runtime: dict.fromkeys(endpoint.outputs, (0.0, 0.0)) for runtime in runtimes}
    description = artifact.describe(endpoint)
    for given in inputs:
        expected = keras_function(given)
        sizes = ", ".join(f"{key} {list(array.shape)}" for key, array in given.items())
        with verify.naming(f"endpoint {name}, {sizes}"):
            verify.check_sizes({**given, **expected}, {**description["inputs"], **description["outputs"]})
        for runtime, function in runtimes.items():
            with verify.naming(f"endpoint {name}, {runtime} against Keras, {sizes}"):
                errors = verify.compare(expected, function(given), description["outputs"])
            largest[runtime] = verify.larger(largest[runtime], errors)
    return {
        runtime: {key: dict(zip(("absolute", "relative"), error, strict=True)) for key, error in outputs.items()}
        for runtime, outputs in largest.items()
    }


# Samples.


def write_samples(path, endpoint, session):
    """A grid of images from the exported endpoint, the first output of which they are; labels in turn."""
    name = next(iter(endpoint.outputs))
    num_classes = {key: each.num_classes for key, each in endpoint.inputs.items() if each.values == "label"}
    columns = next((number for number in num_classes.values() if number <= MOST_COLUMNS), GRID)
    labels = {key: np.arange(GRID * columns) % number for key, number in num_classes.items()}
    images = session(draw_inputs(endpoint, batch=GRID * columns, other=1, seed=0, held=labels))[name]
    pixels = np.round(255 * np.clip(images, 0.0, 1.0)).astype("uint8")
    factor = max(1, CELL // max(pixels.shape[1:3]))
    pixels = pixels.repeat(factor, axis=1).repeat(factor, axis=2)
    pixels = np.pad(pixels, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=96)  # a gray line between the images
    rows = pixels.reshape(GRID, columns, *pixels.shape[1:]).swapaxes(1, 2)  # [row, height, column, width, channels]
    picture = rows.reshape(GRID * pixels.shape[1], columns * pixels.shape[2], -1)[:-1, :-1]
    Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(path)


def read_json_object(path, keys):
    """The JSON object in the file `path`, which must have `keys`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}); train or evaluate the run again.") from None
    if not isinstance(content, dict) or not all(key in content for key in keys):
        raise ValueError(f"{path} lacks one of {', '.join(keys)}; train or evaluate the run again.")
    return content
