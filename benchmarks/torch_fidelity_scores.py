"""An exported generator under torch-fidelity's own command, beside what this project measures of it.

    python -m benchmarks.torch_fidelity_scores dist/gan_mnist [--data mnist] [--out results]

Both judge the same images of `generate_uint8`, of the noise that torch-fidelity draws, against the same test images in
the same features. What remains between them is how each computes; the kernel distance and the classifier score also
depend on the parts into which each divides the samples.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from export import manifest as artifact
from export import uint8_images, verify
from training.command_line import command

NUM_SAMPLES, BATCH, SEED = 10_000, 500, 0
NOISE = {"standard_normal": "normal", "uniform": "uniform_0_1"}  # the same distributions, as torch-fidelity calls them
METRICS = {  # torch-fidelity's name -> ours
    "frechet_inception_distance": "frechet_distance",
    "kernel_inception_distance_mean": "kernel_distance",
    "inception_score_mean": "classifier_score",
    "precision": "precision",
    "recall": "recall",
}


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.torch_fidelity_scores", description=__doc__)
    parser.add_argument("artifact", type=Path, help="folder of the artifact of a generator of images")
    parser.add_argument("--data", default="mnist", help="mnist (default) or fashion_mnist")
    parser.add_argument("--out", type=Path, default=Path("results"), help="folder for torch_fidelity_NAME.json")
    arguments = parser.parse_args(argv)
    result = scores(arguments.artifact, arguments.data)
    for name, row in result["metrics"].items():
        print(f"{name}: torch-fidelity {row['torch_fidelity']:.5g}, this project {row['zoo']:.5g}")
    print(f"recorded: {record(result, arguments.out)}")
    return 0


def scores(folder, data_name):
    """What results/torch_fidelity_NAME.json holds: the artifact and the metrics of both.

    Raises:
        ValueError: one sentence, for a folder that is no artifact, for one without `generate_uint8` or whose endpoint
            takes labels, and for data that no classifier of this project knows.
    """
    from training.data import load_data
    from training.evaluation import quality
    from training.evaluation.features import classifier_of
    from zoo.version import versions

    artifact.check_checksums(folder)
    manifest = artifact.read_manifest(folder)
    if uint8_images.NAME not in manifest["endpoints"]:
        raise ValueError(f"{folder} has no endpoint {uint8_images.NAME}; it has {', '.join(manifest['endpoints'])}.")
    data, network, started = load_data(data_name), classifier_of(data_name), time.monotonic()
    description = manifest["endpoints"][uint8_images.NAME]
    if "labels" in description["inputs"]:
        raise ValueError(f"{folder} takes labels, which torch-fidelity 0.4 cannot draw with NumPy 2.")
    theirs = of_torch_fidelity(folder, description["inputs"]["noise"], data, network.path.stem)
    ours = quality.quality_metrics(quality.seen(network, same_images(folder, description), data, "none"))
    return {
        "artifact": manifest["name"],
        "model": manifest["model"]["class"],
        "sha256": artifact.sha256(folder / artifact.CHECKSUMS),
        "data": data.identity("test", "none"),
        "features": {"network": network.path.name, "sha256": network.sha256},
        "num_samples": NUM_SAMPLES,
        "seed": SEED,
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions("torch", "torch-fidelity", "onnxruntime", "numpy"),
        "metrics": {
            name: {"torch_fidelity": theirs[key], "zoo": ours[name], "floor": ours.get(f"{name}_of_train")}
            for key, name in METRICS.items()
        },
    }


def of_torch_fidelity(folder, noise, data, classifier):
    """What its command prints, as a dict, run in a process of its own: TensorFlow and PyTorch do not share one well."""
    with tempfile.TemporaryDirectory() as images:
        write_images(np.round(255 * data.gray("test")).astype("uint8"), Path(images))
        command = [sys.executable, "-m", "benchmarks.torch_fidelity_command", "--cpu", "--json", "--silent"]
        command += ["--isc", "--fid", "--kid", "--prc", "--feature-extractor", classifier]
        command += ["--input1", str(folder / artifact.onnx_path(uint8_images.NAME))]
        command += ["--input1-model-z-type", NOISE[noise["values"]], "--input1-model-z-size", str(noise["shape"][1])]
        command += ["--input1-model-num-samples", str(NUM_SAMPLES), "--rng-seed", str(SEED)]
        command += ["--input2", images, "--no-cache"]
        ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise ValueError(f"torch-fidelity ended with status {ended.returncode}: {ended.stderr.strip()[-500:]}")
    return json.loads(ended.stdout)


def same_images(folder, description):
    """What torch-fidelity draws, by its generator of random numbers: float32 [N, height, width, 1] in [0, 1]."""
    noise = description["inputs"]["noise"]
    draws = np.random.RandomState(SEED)
    draw = draws.randn if noise["values"] == "standard_normal" else draws.rand
    generate = verify.open_onnx(folder, uint8_images.NAME, description)["ORT_ENABLE_ALL"]
    parts = np.array_split(draw(NUM_SAMPLES, noise["shape"][1]).astype("float32"), NUM_SAMPLES // BATCH)
    pixels = np.concatenate([generate({"noise": part})["images"][:, :1] for part in parts])
    return pixels.transpose(0, 2, 3, 1) / np.float32(255)


def write_images(images, folder):
    """A .png of each of `images`, uint8 [N, height, width, 1]."""
    from PIL import Image

    for index, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{index:05}.png")


def record(result, folder):
    from training.files import write_json

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"torch_fidelity_{result['artifact']}.json"
    write_json(path, result)
    return path


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
