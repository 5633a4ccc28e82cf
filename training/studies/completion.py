"""Occluded digits, completed: the top half of a test image is given, an autoregressive model draws the rest.

After van den Oord et al. 2016a, figure 1. A row for each image: the original, what is given of it, and several draws.
The table says, in nats, how likely the original lower half is given the upper one, and how likely the draws are:
log p(lower | upper) = sum over the lower pixels of log p(x_i | x_<i), exact.
"""

import dataclasses
import time
from functools import partial
from pathlib import Path

import numpy as np

from training.command_line import show_table
from training.data import load_data
from training.pictures import save_grid
from training.recipes import recipe_named
from training.run_folder import PACKAGES
from training.studies import refuse_unpublished, write_result
from training.train import train
from zoo.version import versions

DEFAULT = "diagonal_bilstm_binarized_mnist_short"
QUICK = {"recipe": "pixel_rnn_digits", "epochs": 3}
IMAGES, COMPLETIONS = 10, 8
MEASURED = 500  # test images of the table, or all if they are fewer


def add_flags(parser):
    parser.add_argument("--recipe", default=DEFAULT, help=f"of an autoregressive model (default: {DEFAULT})")
    parser.add_argument("--run", type=Path, help="a finished run of it; else it is trained in WORKDIR/run")
    parser.add_argument("--quick", action="store_true", help="a few epochs of the digits, to see that it runs")


def run(workdir, recipe=DEFAULT, run=None, quick=False, record=None):
    """Train the recipe, or take the model of `run`; measure and draw completions of test images.

    Writes WORKDIR/completion.json and .png, and with `record` the same in RECORD. Returns what the JSON holds:
    recipe, data (the identity of the test split), versions, seconds, metrics.
    """
    started = time.monotonic()
    recipe = recipe_named(QUICK["recipe"] if quick else recipe)
    if quick:
        recipe = dataclasses.replace(recipe, epochs=QUICK["epochs"])
    if record:
        refuse_unpublished(recipe.name, DEFAULT)
    model = train(recipe, run or Path(workdir) / "run", verbose=0).model()
    if not hasattr(model, "complete"):
        raise ValueError(f"{recipe.name} trains a {recipe.model}, which completes no images; choose another --recipe.")
    data = load_data(recipe.data, recipe.data_path)
    images = data.examples("test", recipe.binarization).astype("float32")
    measured = evenly(len(images), MEASURED)  # the fixed binarization comes sorted by class
    images, labels = images[measured], data.labels_of("test")[measured] if model.num_classes else None
    mask = np.zeros(model.event_shape, "float32")
    mask[: model.event_shape[0] // 2] = 1.0

    drawn = model.complete(images, mask, labels=labels, seed=recipe.seed)
    metrics = {
        f"{name}_of_{which}": value
        for which, examples in (("originals", images), ("draws", drawn))
        for name, value in halves(model, examples, mask, labels).items()
    }
    result = {
        "study": "completion",
        "recipe": recipe.name,
        "seed": recipe.seed,
        "data": data.identity("test", recipe.binarization),
        "versions": versions(*PACKAGES),
        "seconds": round(time.monotonic() - started, 1),
        "metrics": {"num_images": len(images), **metrics},
    }
    figure = rows_of_figure(model, images, mask, labels, recipe.seed)
    write_result(result, workdir, record, partial(save_grid, figure, columns=COMPLETIONS + 2))
    return result


def evenly(count, wanted):
    """`wanted` indices of `count` examples, spread evenly, or all of them."""
    return np.linspace(0, count - 1, min(count, wanted)).round().astype(int)


def halves(model, images, mask, labels):
    """Means over the images: log p(upper half) and log p(lower half | upper half), in nats."""
    given = () if labels is None else (labels,)
    conditional = -nats_of_pixels(model.logits(images, *given), images, model.num_levels)
    upper = (conditional * mask).sum(axis=(1, 2, 3))
    lower = (conditional * (1.0 - mask)).sum(axis=(1, 2, 3))
    return {"upper": float(upper.mean()), "lower_given_upper": float(lower.mean())}


def nats_of_pixels(logits, images, num_levels):
    """-log p(x_i | x_<i), of the shape of the images, in float64."""
    logits = logits.astype("float64")
    if num_levels == 2:
        return np.logaddexp(0.0, logits) - images * logits
    levels = np.round(images * (num_levels - 1)).astype(int)
    chosen = np.take_along_axis(logits, levels[..., None], axis=-1)[..., 0]
    return np.logaddexp.reduce(logits, axis=-1) - chosen


def rows_of_figure(model, images, mask, labels, seed):
    """A row for each of `IMAGES`, a class each if labelled: original, given half on gray, `COMPLETIONS` draws."""
    first = [] if labels is None else [np.flatnonzero(labels == y)[0] for y in range(IMAGES)]
    chosen = np.array(first or evenly(len(images), IMAGES))
    repeated = np.repeat(images[chosen], COMPLETIONS, axis=0)
    given = None if labels is None else np.repeat(labels[chosen], COMPLETIONS)
    completed = model.complete(repeated, mask, labels=given, seed=seed + 1)
    rows = [
        np.concatenate([images[index][None], (images[index] * mask + 0.4 * (1.0 - mask))[None], draws])
        for index, draws in zip(chosen, np.split(completed, IMAGES), strict=True)
    ]
    return np.concatenate(rows)


def show(result):
    show_table(f"Completions by {result['recipe']}", table_rows(result), caption(result))


def table_rows(result):
    """A list of cells, of a header and of a line for the originals and one for the draws."""
    yield ["images", "log p(upper half)", "log p(lower half given upper)"]
    metrics = result["metrics"]
    for which in ("originals", "draws"):
        yield [which, f"{metrics[f'upper_of_{which}']:.2f}", f"{metrics[f'lower_given_upper_of_{which}']:.2f}"]


def caption(result):
    data = result["data"]
    return (
        f"{data['name']} {data['split']}, {result['metrics']['num_images']} images, sha256 "
        f"{data['sha256'][:8]}; {result['recipe']}, seed {result['seed']}; nats"
    )
