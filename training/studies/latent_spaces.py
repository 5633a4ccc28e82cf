"""What shapes the latent space: two-dimensional codes of the test images, coloured by class, model beside model.

A plain VAE has to put the class of an image into its code, which then falls into about as many clusters as there are
classes. Where the label is given to encoder and decoder (the supervised VAE, Kingma et al. 2014; Sohn et al. 2015), the
code is left with the style alone, and the codes of every class are to form the one normal distribution of the prior.
The adversarial autoencoder (Makhzani et al. 2015) holds its codes to any prior that can be drawn from, with labels or
without (figures 2, 4 and 6), and the hyperspherical VAE (Davidson et al. 2018) to a sphere.

The table says how often the class can be read from a code, and how far the codes, and those of each class, are from the
prior (training/evaluation/latent.py). Under each picture of codes is the manifold: the images of codes that go through
the prior evenly, or, of a decoder that takes the label, of the same codes under each label.
"""

import dataclasses
import statistics
import time
from pathlib import Path

import numpy as np

import zoo
from training.command_line import show_table
from training.data import SPLITS, load_data
from training.evaluation.latent import codes_of, latent_metrics, prior_codes
from training.pictures import grid, save_figure
from training.recipe import Recipe
from training.run_folder import PACKAGES
from training.studies import refuse_unpublished, write_result
from training.train import train
from zoo.version import versions

FULL = Recipe(
    name="latent_spaces",
    summary="of the study latent_spaces",
    model="VAE",
    data="mnist",
    latent_dim=2,
    epochs=30,
    batch_size=128,
    decay=True,
)
QUICK = dataclasses.replace(FULL, data="digits", epochs=5, batch_size=32, hidden=(64, 32), jit=False)
ADVERSARIAL = {
    "model": "AAE",
    "binarization": "none",
    "input_noise": 0.1,
    "learning_rate": 1e-3,
    "discriminator_learning_rate": 2e-4,
    "beta_1": 0.5,
}
RING, ROLL = {"prior": "gaussian_mixture"}, {"prior": "swiss_roll"}

# name -> what the recipe has in place of that of the plain VAE
MODELS = {
    "VAE": {},
    "SupervisedVAE": {"model": "SupervisedVAE"},
    "HypersphericalVAE": {"model": "HypersphericalVAE"},
    "AAE, normal": {**ADVERSARIAL},
    "AAE, ring": {**ADVERSARIAL, **RING},
    "AAE, roll": {**ADVERSARIAL, **ROLL},
    "AAE, ring, labels judged": {**ADVERSARIAL, **RING, "labels_in": "discriminator"},
    "AAE, roll, labels judged": {**ADVERSARIAL, **ROLL, "labels_in": "discriminator"},
    "AAE, normal, labels decoded": {**ADVERSARIAL, "labels_in": "decoder"},
    "AAE, normal, labels in both": {**ADVERSARIAL, "labels_in": "both"},
}
EXPECTED = {  # of the share of the codes whose class is read from them; chance is 10 %
    "VAE": "> 60 %",
    "SupervisedVAE": "< 20 %",
}
SIDE = 10  # images in a row and in a column of a manifold
CODES = 5000  # drawn in a picture
METRICS = {  # in the table: name -> heading
    "neighbours_class_accuracy": "class from z, k-NN",
    "linear_class_accuracy": "class from z, linear",
    "mmd_squared": "MMD^2 of q(z)",
    "mmd_squared_floor": "its floor",
    "class_mmd_squared": "MMD^2 of q(z|y)",
    "class_mmd_squared_floor": "its floor",
}


def add_flags(parser):
    parser.add_argument("--quick", action="store_true", help="a few epochs of the digits, to see that it runs")
    parser.add_argument("--seed", type=int, default=FULL.seed, help=f"of every training (default: {FULL.seed})")


def run(workdir, quick=False, seed=FULL.seed, record=None):
    """Train every model in WORKDIR/runs, where stopped runs go on; measure and draw their codes.

    Writes WORKDIR/latent_spaces.json and .png, and with `record` RECORD/latent_spaces.json. Returns what the JSON
    holds: protocol (the recipe of the plain VAE), data (the identity of each split), versions, seconds, and rows: name,
    recipe (what differs), minutes of training, expected, and what `latent_metrics` gives.
    """
    base = dataclasses.replace(QUICK if quick else FULL, seed=seed)
    if record:
        refuse_unpublished(base, FULL)
    started = time.monotonic()
    data, rows, models = load_data(base.data), [], {}
    for name, different in MODELS.items():
        recipe = dataclasses.replace(base, **different)
        finished = train(recipe, Path(workdir) / "runs" / name.replace(", ", "_").replace(" ", "_"), verbose=0)
        models[name] = finished.model()
        rows.append(
            {
                "name": name,
                "recipe": different,
                "minutes": round(finished.progress()[1] / 60, 2),
                "expected": EXPECTED.get(name),
                **latent_metrics(models[name], data, recipe.binarization),
            }
        )
    result = {
        "study": "latent_spaces",
        "protocol": base.settings(),
        "data": {split: data.identity(split, base.binarization) for split in SPLITS},
        "versions": versions(*PACKAGES),
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    write_result(result, workdir, record)
    save_figure(draw(rows, models, data), Path(workdir) / "latent_spaces.png")
    return result


def show(result):
    show_table("What two-dimensional codes tell, and how they lie", table_rows(result), caption(result))


def table_rows(result):
    """A list of cells, of a header and of a line for each model."""
    yield ["model", *METRICS.values(), "expected"]
    for row in result["rows"]:
        yield [row["name"], *(cell(name, row[name]) for name in METRICS), row["expected"] or ""]


def cell(name, value):
    return f"{value:.1%}" if name.endswith("accuracy") else f"{value:.4f}"


def caption(result):
    test, epochs = result["data"]["test"], result["protocol"]["epochs"]
    return (
        f"{test['name']} {test['split']}, {test['num_examples']:,} images; always naming the most frequent class is "
        f"right in {result['rows'][0]['chance']:.1%}; {epochs} epochs, sha256 {test['sha256'][:8]}"
    )


# The figure.


def draw(rows, models, data):
    """The codes of the test images, a colour for each class, and under them the manifold."""
    from matplotlib import pyplot

    columns = len(rows)
    figure = pyplot.figure(figsize=(3.2 * columns, 6.6), layout="constrained")
    labels = data.labels_of("test")[:CODES]
    for column, row in enumerate(rows, start=1):
        model = models[row["name"]]
        binarization = row["recipe"].get("binarization", FULL.binarization)
        codes = codes_of(model, data, "test", binarization)[:CODES]
        on_sphere = isinstance(model, zoo.HypersphericalVAE)
        axis = figure.add_subplot(2, columns, column, projection="mollweide" if on_sphere else None)
        points = to_map(codes) if on_sphere else codes
        drawn = axis.scatter(*points.T, c=labels, cmap="tab10", vmin=-0.5, vmax=9.5, s=2, linewidths=0)
        if not on_sphere:
            axis.set_aspect("equal", adjustable="datalim")
        axis.set_title(f"{row['name']}\nclass from z: {row['neighbours_class_accuracy']:.0%}", fontsize=10)
        axis.tick_params(labelsize=7)
        if on_sphere:
            axis.set_xticklabels([])
        axis = figure.add_subplot(2, columns, columns + column)
        axis.imshow(manifold(model), cmap="gray", vmin=0, vmax=255)
        axis.set_axis_off()
    colours = figure.colorbar(drawn, ax=figure.axes, ticks=range(10), shrink=0.5, pad=0.005)
    colours.set_label("class")
    return figure


def manifold(model):
    """uint8 picture of `SIDE` rows and columns: decoded codes that go evenly through the prior.

    Of a decoder that takes labels: a column for each label, a row for each code.
    """
    if model.labels is not None and not model.labels.some:
        codes = prior_codes(model, SIDE).repeat(SIDE, axis=0)
        images = model.decode(codes, np.tile(np.arange(SIDE), SIDE))
    else:
        images = model.decode(even_codes(model))
    return grid(np.asarray(images), columns=SIDE)[..., 0]


def even_codes(model):
    """[SIDE * SIDE, 2], or [SIDE * SIDE, 3] on a sphere: from the upper left, row by row."""
    middles = (np.arange(SIDE) + 0.5) / SIDE  # of equal shares of 1
    reference = prior_codes(model, 10_000)
    if isinstance(model, zoo.HypersphericalVAE):  # equal areas of the sphere
        longitudes, heights = np.meshgrid(2.0 * np.pi * (middles - 0.5), 1.0 - 2.0 * middles)
        rings = np.sqrt(1.0 - heights**2)
        codes = np.stack([rings * np.cos(longitudes), rings * np.sin(longitudes), heights], axis=-1)
    elif getattr(model, "prior_family", "standard_normal") == "standard_normal":
        quantiles = reference.std() * np.vectorize(statistics.NormalDist().inv_cdf)(middles)
        codes = np.stack(np.meshgrid(quantiles, quantiles[::-1]), axis=-1)
    else:  # a square about the codes of the prior
        low, high = reference.min(axis=0), reference.max(axis=0)
        codes = np.stack(np.meshgrid(*(low + np.outer(middles, high - low)).T), axis=-1)[::-1]
    return codes.reshape(SIDE * SIDE, -1).astype("float32")


def to_map(codes):
    """Longitude and latitude of points on the sphere: [N, 3] -> [N, 2], in radians."""
    return np.stack([np.arctan2(codes[:, 1], codes[:, 0]), np.arcsin(np.clip(codes[:, 2], -1, 1))], axis=1)
