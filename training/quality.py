"""python -m training.quality SAMPLES.npz REFERENCE.npz: how near two sets of features, or of images, are.

Each file holds one array: `features` [N, width], of whatever network; or `images` [N, height, width, channels] in
[0, 1], of which --features ONNX, or --classifier mnist or fashion_mnist, gives the features. Floors are yours to
measure: with two halves of the reference in the place of both.
"""

import argparse
import sys
import zipfile
from pathlib import Path

import numpy as np

from training.command_line import command


def distances_of_files(samples, reference, network=None):
    """What `training.evaluation.quality.distances` gives of the features in two .npz files: a dict of numbers.

    Args:
        samples, reference: paths.
        network: a `training.evaluation.features.Network`, for files of images.

    Raises:
        ValueError: one sentence, for files that hold neither features nor images, or images without a network.
    """
    from training.evaluation.quality import distances

    return distances(*(features_of(path, network) for path in (samples, reference)))


def features_of(path, network):
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("features", "images") if name in file}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read as .npz ({error}).") from None
    if "features" in arrays:
        return arrays["features"]
    if "images" not in arrays:
        raise ValueError(f"{path} holds no array features, nor images; np.savez(path, features=...) makes such a file.")
    if network is None:
        raise ValueError(f"{path} holds images; name the network of their features by --features or --classifier.")
    return network.features(arrays["images"])


@command
def main(argv=None):
    from training.evaluation.features import CLASSIFIED, Network, classifier_of

    parser = argparse.ArgumentParser(prog="python -m training.quality", description="Compare two sets of features.")
    parser.add_argument("samples", type=Path, metavar="SAMPLES", help="an .npz of features, or images")
    parser.add_argument("reference", type=Path, metavar="REFERENCE", help="the same of real examples")
    network = parser.add_mutually_exclusive_group()
    network.add_argument("--features", type=Path, metavar="ONNX", help="a network for files of images")
    network.add_argument("--classifier", choices=CLASSIFIED, help="that of this project for files of images")
    arguments = parser.parse_args(argv)
    given = Network(arguments.features) if arguments.features else None
    given = classifier_of(arguments.classifier) if arguments.classifier else given
    for name, value in distances_of_files(arguments.samples, arguments.reference, given).items():
        print(f"{name:34} {value:.6g}")
    if given:
        print(f"features of {given.path.name}, SHA-256 {given.sha256}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
