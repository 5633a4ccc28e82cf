"""The table of the zoo: every family on MNIST and on Fashion-MNIST, by the same measures on the same data.

Each family's recipe is trained in WORKDIR/DATA_FAMILY, or taken from there: the same command goes on where it stopped.
Its evaluation (training/evaluate.py) stands in one row: the likelihood, where the family has one; how near 10,000
samples are to the test images in the features of the classifier of the data, and how varied; cost. The first rows hold
the floors, those of training images in the place of samples: gray ones, and binary ones for the families whose samples
are binary.

log p(x) of PixelCNN and PixelRNN is exact; that of a VAE is importance-sampled, a lower bound, marked ">=". Both are of
dynamically binarized images; PCA and k-means are densities of gray values, which compare with one another alone, and a
GAN and an AAE have none.
"""

import dataclasses
import time
from functools import partial
from pathlib import Path

import numpy as np

from training.command_line import show_table
from training.data import load_data, near
from training.evaluate import evaluate
from training.files import read_json
from training.pictures import save_grid
from training.recipes import recipe_named
from training.run_folder import PACKAGES, RunFolder
from training.studies import refuse_unpublished, write_result
from training.train import train
from zoo.version import versions

DATA = ("mnist", "fashion_mnist")
FAMILIES = {  # name in the table -> recipe
    "PCA": "pca_mnist",
    "k-means": "kmeans_mnist",
    "VAE": "vae_mnist",
    "IWAE": "iwae_mnist_k5_short",
    "AAE": "aae_mnist",
    "GAN": "gan_mnist",
    "PixelCNN": "pixel_cnn_mnist",
    "PixelRNN": "pixel_rnn_mnist",
}
OF_GRAY = ("PCA", "k-means")  # families whose log p(x) is a density of gray values
OF_BINARY = ("PixelCNN", "PixelRNN")  # families whose samples are binary
EXACT = ("PCA", "k-means", "PixelCNN", "PixelRNN")  # families whose log p(x) is no bound
DISTANCES = ("frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage")
COLUMNS = 10  # samples of each family in the figure


def add_flags(parser):
    parser.add_argument("--families", nargs="+", metavar="NAME", help=f"of {', '.join(FAMILIES)} (default: all)")
    parser.add_argument("--data", nargs="+", choices=DATA, default=DATA, help="default: both")


def run(workdir, families=None, data=DATA, record=None):
    """Train what is not trained, measure what is not measured; write WORKDIR/zoo_table_DATA.json and .png of each data
    set, with `record` the same in RECORD.

    Returns what they hold, in a list: study, seconds, versions, and rows, of each family: family, recipe, seed, data
    (the identity of the test split), minutes, epochs, parameters, seconds_per_sample, features (network and sha256),
    metrics (see `training.evaluate.evaluate`).

    Raises:
        ValueError: one sentence, for families that there are not, for a record of some families only, or a run of
            another recipe in `workdir`.
    """
    for name in families or ():
        if name not in FAMILIES:
            raise ValueError(f"There is no family {name!r}{near(name, FAMILIES)}; {', '.join(FAMILIES)} are there.")
    families = families or list(FAMILIES)
    if record:
        refuse_unpublished(set(families), set(FAMILIES))
    return [table_of(data_name, families, Path(workdir), record) for data_name in data]


def table_of(data_name, families, workdir, record):
    """The result of one data set: its rows and, in the figure, ten test images and ten samples of each family."""
    started, rows, pictured = time.monotonic(), [], [load_data(data_name).gray("test")[:COLUMNS]]
    for family in families:
        folder = workdir / f"{data_name}_{FAMILIES[family]}"
        rows.append({"family": family, **evaluated(recipe_of(family, data_name), folder)})
        pictured.append(draw(RunFolder(folder).model()))
    result = {
        "study": f"zoo_table_{data_name}",
        "seconds": round(time.monotonic() - started, 1),
        "versions": versions(*PACKAGES),
        "rows": rows,
    }
    write_result(result, workdir, record, partial(save_grid, np.concatenate(pictured), columns=COLUMNS))
    return result


def recipe_of(family, data_name):
    """The recipe of the family, of images of `data_name`."""
    return dataclasses.replace(recipe_named(FAMILIES[family]), data=data_name)


def evaluated(recipe, folder):
    """The evaluation of a run of `recipe` in `folder`, which is trained and measured if it is not yet: a dict."""
    run = train(recipe, folder)  # a finished run is left as it is
    if not run.evaluation_path.exists():
        return evaluate(folder)
    return read_json(run.evaluation_path)


def draw(model):
    return np.clip(model.sample(COLUMNS, seed=0), 0.0, 1.0)


def table_rows(result):
    """Lists of cells, of a header and a line each: family, log p(x), the distances, ..."""
    yield ["", "log p(x), nats", *(name.replace("_", " ") for name in DISTANCES), *TRAILING]
    binary = [row for row in result["rows"] if row["family"] in OF_BINARY]
    gray = [row for row in result["rows"] if row["family"] not in OF_BINARY]
    for name, rows in (("training images", gray), ("training images, binary", binary)):
        if rows:
            floors = [number(rows[0]["metrics"][f"{distance}_of_train"]) for distance in DISTANCES]
            yield [name, "", *floors, *[""] * len(TRAILING)]
    for row in result["rows"]:
        metrics = row["metrics"]
        cost = (
            f"{1e3 * row['seconds_per_sample']:.2g}",
            f"{row['parameters']:,}",
            f"{row['minutes']:.0f}",
            f"{row['seed']}",
        )
        distances = (number(metrics[name]) for name in DISTANCES)
        yield [row["family"], likelihood_text(row), *distances, number(metrics["nearer_than_test"]), *cost]


TRAILING = ("nearer than test", "ms a sample", "parameters", "minutes", "seed")


def likelihood_text(row):
    log_prob = row["metrics"].get("log_prob")
    if log_prob is None:
        return ""
    return f"{'' if row['family'] in EXACT else '>= '}{log_prob:.2f}{' (gray)' if row['family'] in OF_GRAY else ''}"


def number(value):
    return f"{value:.3g}" if abs(value) < 1 else f"{value:.2f}"


def caption(result):
    row = result["rows"][0]
    data = row["data"]
    return (
        f"{data['name']} test, {data['num_examples']:,} images, sha256 {data['sha256'][:8]}; "
        f"{row['metrics']['num_samples']:,} samples of each; "
        f"features of {row['features']['network']}, sha256 {row['features']['sha256'][:8]}; log p(x) in nats of "
        "dynamically binarized images, or of gray ones where marked; >= is a lower bound; samples of "
        f"{' and '.join(OF_BINARY)} are binary, and measured against binary images"
    )


def show(results):
    for result in results:
        show_table(result["rows"][0]["data"]["name"], table_rows(result), caption(result))
