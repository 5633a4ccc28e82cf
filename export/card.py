"""The card of an artifact, README.md: what it is and how to run it, for a reader who has nothing but the folder."""

import numpy as np

VALUES = {
    "standard_normal": "draws from a standard normal distribution",
    "uniform": "draws from the uniform distribution over [0, 1)",
    "binary": "0 and 1 only",
    "unit_interval": "numbers in [0, 1]",
    "real": "any finite numbers",
    "label": "classes, 0 to {last}",
}

CARD = """\
# {name}

A {model} of the generative zoo, as functions that run without its code. `{serving_default}` is the default one.

{samples}{endpoints}
Batches may have any size, 0 included. An endpoint draws nothing: noise is an input, and the same inputs give the same
outputs in every runtime.

## TensorFlow

No Keras is needed.

```python
import numpy as np
import tensorflow as tf

loaded = tf.saved_model.load("saved_model/1")
{inputs_code}
outputs = loaded.signatures["{serving_default}"]({tensors_code})
print({{name: tensor.shape for name, tensor in outputs.items()}})
```

## ONNX Runtime

The graphs are of opset {opset}, for ONNX Runtime {onnxruntime} or newer. IO binding keeps inputs and outputs on the
GPU; without a GPU, the same lines run on the CPU. `use_tf32` 0 makes the GPU compute in full float32.

```python
import numpy as np
import onnxruntime

on_gpu = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
providers = [("CUDAExecutionProvider", {{"use_tf32": 0}})] if on_gpu else []
session = onnxruntime.InferenceSession("onnx/{serving_default}.onnx", providers=[*providers, "CPUExecutionProvider"])
device = "cuda" if on_gpu else "cpu"
{inputs_code}

binding = session.io_binding()
{binding_code}
session.run_with_iobinding(binding)
{first_output} = binding.get_outputs()[0]  # on the device; .numpy() copies it
print({first_output}.shape())
```

## TensorFlow Serving

```sh
docker run --rm -p 8501:8501 -v "$PWD/saved_model:/models/{name}" -e MODEL_NAME={name} tensorflow/serving
curl http://localhost:8501/v1/models/{name}:predict -d \\
  '{{"signature_name": "{serving_default}", "inputs": {json_code}}}'
```

## Where it comes from

{provenance}

## Measured

{metrics}The largest errors found between Keras and the two files, over batches of 0 to 128 examples, random inputs and
inputs at the edges of their range. Relative is to 1 for outputs within [0, 1], else to the largest magnitude in the
example, at least {smallest_scale:g}; above {tolerance} there would have been no artifact.{index_errors}{pixel_errors}

| endpoint | output | file | absolute | relative |
|---|---|---|---|---|
{errors}

`python -m export.verify` of the zoo, or `sha256sum --check SHA256SUMS`, tells whether every file is as it was written;
test_data/ holds inputs and outputs to check a port against.

## Licence

The code that made this, and these files, are under the {licence} licence. The data has terms of its own.
"""

INDEX_ERRORS = (
    "\nAn index is as far off as the entry it points to lies above the smallest, on the scale of the entries."
)
PIXEL_ERRORS = (
    "\nA pixel of 8 bits may be rounded to either side: an error of 1 is 0 of its scale. `generate_uint8`, which"
    "\nholds another endpoint, was tried on batches of 0, 1 and 3 alone."
)


def card(manifest, has_samples):
    """The text of README.md for a finished manifest."""
    served = manifest["endpoints"][manifest["serving_default"]]
    return CARD.format(
        name=manifest["name"],
        model=manifest["model"]["class"],
        serving_default=manifest["serving_default"],
        samples="![samples](samples.png)\n\n" if has_samples else "",
        endpoints="".join(endpoint_text(*item) for item in manifest["endpoints"].items()),
        inputs_code="\n".join(input_code(*item) for item in served["inputs"].items()),
        tensors_code=", ".join(f"{name}=tf.constant({name})" for name in served["inputs"]),
        binding_code=binding_code(served),
        first_output=next(iter(served["outputs"])),
        json_code=json_code(served["inputs"]),
        opset=manifest["opset"],
        onnxruntime=manifest["minimum_runtimes"]["onnxruntime"],
        provenance=provenance_text(manifest),
        metrics=metrics_text(manifest["evaluation"]),
        tolerance=manifest["tolerance"]["relative"],
        smallest_scale=manifest["tolerance"]["smallest_scale"],
        index_errors=INDEX_ERRORS if has_output(manifest, lambda output: "smallest_of" in output) else "",
        pixel_errors=PIXEL_ERRORS if has_output(manifest, lambda output: output["dtype"] == "uint8") else "",
        errors="\n".join(error_rows(manifest["errors"])),
        licence=manifest["licence"],
    )


def tensor_text(tensor):
    """For example "float32 [batch, 10], draws from a standard normal distribution"."""
    text = f"{tensor['dtype']} [{', '.join(map(str, tensor['shape']))}]"
    if "smallest_of" in tensor:
        return f"{text}, index of the smallest of `{tensor['smallest_of']}`"
    if "values" not in tensor:
        return text
    return f"{text}, {VALUES[tensor['values']].format(last=tensor.get('num_classes', 0) - 1)}"


def endpoint_text(name, description):
    lines = [f"* `{name}`: {description['summary']}"]
    lines += [f"  * input `{key}`: {tensor_text(tensor)}" for key, tensor in description["inputs"].items()]
    lines += [f"  * output `{key}`: {tensor_text(tensor)}" for key, tensor in description["outputs"].items()]
    return "\n".join(lines) + "\n"


# The examples: two inputs at a time, drawn as the endpoint takes them.


def example_shape(tensor):
    return tuple(2 if isinstance(size, str) else size for size in tensor["shape"])


def input_code(name, tensor):
    shape = example_shape(tensor)
    draw = {
        "standard_normal": f'standard_normal({shape}, "float32")',
        "uniform": f'random({shape}, "float32")',
        "binary": f'integers(0, 2, {shape}).astype("float32")',
        "unit_interval": f'random({shape}, "float32")',
        "real": f'standard_normal({shape}, "float32")',
        "label": f'integers(0, {tensor.get("num_classes")}, {shape}, "int64")',
    }[tensor["values"]]
    return f"{name} = np.random.default_rng(0).{draw}"


def binding_code(description):
    lines = [
        f'binding.bind_ortvalue_input("{name}", onnxruntime.OrtValue.ortvalue_from_numpy({name}, device, 0))'
        for name in description["inputs"]
    ]
    return "\n".join([*lines, *(f'binding.bind_output("{name}", device)' for name in description["outputs"])])


def json_code(inputs):
    """A request of one example, all zeros."""
    examples = {name: np.zeros((1, *example_shape(tensor)[1:]), int).tolist() for name, tensor in inputs.items()}
    return str(examples).replace("'", '"')


# Provenance and measurements.


def has_output(manifest, of_kind):
    return any(of_kind(output) for each in manifest["endpoints"].values() for output in each["outputs"].values())


def provenance_text(manifest):
    if not manifest["recipe"]:
        return "It was exported from a model in memory; there is no record of its training."
    lines = [
        f"Recipe `{manifest['name']}`, seed {manifest['recipe'].get('seed')}. Trained, validated and tested on:",
        "",
    ]
    lines += [f"* {split}: {identity_text(identity)}" for split, identity in sorted(manifest["data"].items())]
    trained = ", ".join(f"{package} {version}" for package, version in sorted(manifest["training_versions"].items()))
    return "\n".join([*lines, "", f"Trained with {trained}; all settings are in manifest.json."])


def identity_text(identity):
    text = f"{identity['name']}, {identity['num_examples']} examples, binarization {identity['binarization']}"
    return f"{text}, SHA-256 {identity['sha256']}"


def metrics_text(evaluation):
    if evaluation is None:
        return "It has not been evaluated.\n\n"
    rows = [f"| {name} | {number_text(value)} |" for name, value in evaluation["metrics"].items()]
    nats = "; likelihoods in nats per example" if "log_prob" in evaluation["metrics"] else ""
    heading = f"On {identity_text(evaluation['data'])}{nats}:\n\n| metric | value |\n|---|---|\n"
    return heading + "\n".join(rows) + "\n\n"


def number_text(value):
    if value is None:
        return "none"
    return ", ".join(f"{each:.4g}" for each in value) if isinstance(value, list) else f"{value:.6g}"


def error_rows(errors):
    for endpoint, runtimes in errors.items():
        for runtime, outputs in runtimes.items():
            for output, error in outputs.items():
                yield f"| {endpoint} | {output} | {runtime} | {error['absolute']:.1e} | {error['relative']:.1e} |"
