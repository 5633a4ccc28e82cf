"""A metric that lies: the Parzen-window log-likelihood of real images, of k-means, of PCA, on one protocol.

Theis, van den Oord and Bethge 2016, A note on the evaluation of generative models, table 1: samples of the true
distribution, that is images of the training set, score 243 +- 2 on MNIST, and k-means scores 313 +- 2. Samples of
k-means may be each centroid once or centroids drawn at random, some of them several times and others never; both are
here, beside the same published number.

Each contender brings as many "samples"; windows around them are the density of the gray test images, their width
chosen on the validation images (training/evaluation/parzen.py).
"""

import logging
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

import zoo
from training.command_line import show_table
from training.data import SPLITS, generator, load_data
from training.evaluation.parzen import parzen
from training.files import replacing
from training.pictures import grid
from training.recipes import recipe_named
from training.run_folder import PACKAGES, RunFolder
from training.studies import write_result
from zoo.version import versions

BATCH = 1000  # images drawn at a time from a trained model
COLUMNS = 12  # of the figure

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Protocol:
    data: str
    num_samples: int  # of each contender
    num_clusters: int
    iterations: int  # of Lloyd's algorithm
    latent_dim: int  # of PCA
    seed: int  # of every draw


FULL = Protocol(data="mnist", num_samples=10_000, num_clusters=10_000, iterations=10, latent_dim=50, seed=0)
QUICK = Protocol(data="digits", num_samples=300, num_clusters=300, iterations=5, latent_dim=10, seed=0)

THEIS = "Theis et al. 2016, table 1"
PUBLISHED = {
    "training images": {"value": 243.0, "standard_error": 2.0, "source": THEIS},
    "k-means, each centroid": {"value": 313.0, "standard_error": 2.0, "source": THEIS},
    "k-means, centroids drawn": {"value": 313.0, "standard_error": 2.0, "source": THEIS},
}


@dataclass(frozen=True)
class Contender:
    name: str
    what: str
    samples: np.ndarray  # float32 [num_samples, height, width, channels]


def add_flags(parser):
    parser.add_argument("--data", help="data set, .npz file or folder (default: mnist; with --quick digits)")
    parser.add_argument("--quick", action="store_true", help="few samples of the digits, to see that it runs")
    parser.add_argument("--vae", type=Path, metavar="RUN", help="a run folder whose model contends as well")
    parser.add_argument("--seed", type=int, default=FULL.seed, help="of every draw (default: 0)")


def run(workdir, data=None, quick=False, vae=None, seed=0, record=None):
    """Score every contender; write WORKDIR/parzen.json and parzen.png, and with `record` RECORD/parzen.json.

    Returns what parzen.json holds: protocol, data (the identity of each split), versions, seconds, and rows. Each row:
    name, what, the results of `training.evaluation.parzen.parzen`, seconds, and published, which is None where there
    is no published number of this protocol, else value, standard_error and source.

    Raises:
        ValueError: one sentence, for data too few for the protocol, a run of other data, or a `record` of anything but
            the protocol `FULL`.
    """
    small = QUICK if quick else FULL
    protocol = replace(small, data=data or small.data, seed=seed)
    if record:
        refuse_unpublished(protocol, vae)
    images = load_data(protocol.data)
    identities = {split: images.identity(split, "none") for split in SPLITS}
    trained = trained_on(images, vae) if vae else None
    if len(images.images["train"]) < max(protocol.num_samples, protocol.num_clusters):
        raise ValueError(
            f"{images.name} holds {len(images.images['train'])} training images; {protocol.num_samples} samples and "
            f"{protocol.num_clusters} clusters want at least as many: use --quick."
        )
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)

    started = time.monotonic()
    rows, pictures = [], []
    for contender in contenders(images, protocol, trained):
        rows.append(score(contender, images, is_comparable=replace(protocol, seed=FULL.seed) == FULL))
        pictures.append(contender.samples[:COLUMNS])
    result = {
        "study": "parzen",
        "protocol": asdict(protocol),
        "data": identities,
        "versions": versions(*PACKAGES),
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
    }
    save_figure(rows, pictures, workdir / "parzen.png")
    write_result(result, workdir, record)
    return result


def refuse_unpublished(protocol, vae):
    different = different_in(asdict(protocol), asdict(FULL))
    if different:
        raise ValueError(f"The protocol differs from the published one in {different}; leave --record out.")
    if vae:
        recipe = RunFolder(vae).recipe()
        different = different_in(asdict(recipe), asdict(recipe_named(recipe.name)), but=("seed", "data_path"))
        if different:
            raise ValueError(f"{vae} differs from the recipe {recipe.name} in {different}; leave --record out.")


def different_in(settings, published, but=()):
    return [name for name in settings if settings[name] != published[name] and name not in but]


def trained_on(images, workdir):
    """(recipe, model) of a finished run; a ValueError if it is one on other data."""
    run_folder = RunFolder(workdir)
    stamped = run_folder.stamped()["data"]["train"]
    if stamped["sha256"] != images.identity("train", "none")["sha256"]:
        raise ValueError(f"{workdir} is a run on other data, {stamped['name']}; one on {images.name} is wanted.")
    return run_folder.recipe(), run_folder.model()


# The contenders.


def contenders(images, protocol, trained):
    """Each `Contender`, one at a time; `trained` is None or what `trained_on` returns."""
    train, count, seed = images.gray("train"), protocol.num_samples, protocol.seed
    chosen = generator("parzen", seed).choice(len(train), count, replace=False)
    yield Contender("training images", f"{count:,} of the {len(train):,} training images, at random", train[chosen])
    yield from kmeans_contenders(train, protocol)
    yield from pca_contenders(train, protocol)
    if trained:
        yield trained_contender(*trained, count, seed)


def kmeans_contenders(train, protocol):
    model = zoo.KMeans(train.shape[1:], protocol.num_clusters, seed=protocol.seed, initialization="random")
    model.compile()
    started = time.monotonic()
    history = model.fit(train, epochs=protocol.iterations, verbose=0).history
    iterations = len(next(iter(history.values())))
    log.info("k-means: %d iterations in %.0f s", iterations, time.monotonic() - started)
    what = f"{protocol.num_clusters:,} clusters, {iterations} iterations from random training images"
    centroids = model.centroids.astype("float32")
    yield Contender("k-means, each centroid", f"the mean image of each of {what}", centroids)
    drawn = generator("parzen k-means", protocol.seed).choice(len(centroids), protocol.num_samples)
    yield Contender("k-means, centroids drawn", "uniformly, with replacement, from the same clusters", centroids[drawn])
    samples = np.asarray(model.sample(protocol.num_samples, seed=protocol.seed))
    yield Contender("k-means, mixture", "samples of the mixture of Gaussians of the same clusters", samples)


def pca_contenders(train, protocol):
    model = zoo.PCA(train.shape[1:], protocol.latent_dim, whiten=True, seed=protocol.seed)
    model.adapt(train)
    for noise, what in ((True, "p(x|z) p(z)"), (False, "the mean of p(x|z)")):
        samples = np.asarray(model.sample(protocol.num_samples, seed=protocol.seed, noise=noise))
        name = f"PCA, {'with' if noise else 'without'} its noise"
        yield Contender(name, f"{protocol.latent_dim} components, samples of {what}", samples)


def trained_contender(recipe, model, count, seed):
    sizes = [min(BATCH, count - start) for start in range(0, count, BATCH)]
    samples = [np.asarray(model.sample(size, seed=seed + index)) for index, size in enumerate(sizes)]
    what = f"recipe {recipe.name}, seed {recipe.seed}: mean images of its samples"
    return Contender(recipe.name, what, np.concatenate(samples))


# The scores.


def score(contender, images, is_comparable):
    """One row of the result: the contender, its score, the published one."""
    started = time.monotonic()
    measured = parzen(contender.samples, images.gray("validation"), images.gray("test"))
    log.info("%s: %s nats", contender.name, plus_minus(measured["log_likelihood"], measured["standard_error"]))
    return {
        "name": contender.name,
        "what": contender.what,
        **measured,
        "seconds": round(time.monotonic() - started, 1),
        "published": PUBLISHED.get(contender.name) if is_comparable else None,
    }


def plus_minus(value, standard_error):
    return f"{value:.1f} +- {standard_error:.1f}"


def show(result):
    test = result["data"]["test"]
    rows = [["contender", "what", "nats per image", "published", "sigma"]]
    for row in result["rows"]:
        published = row["published"]
        rows.append(
            [
                row["name"],
                row["what"],
                plus_minus(row["log_likelihood"], row["standard_error"]),
                plus_minus(published["value"], published["standard_error"]) if published else "",
                f"{row['sigma']:.3f}",
            ]
        )
    title = f"Parzen-window log-likelihood of {test['name']} {test['split']}"
    caption = f"{test['num_examples']:,} gray images, {result['protocol']['num_samples']:,} samples of each"
    show_table(title, rows, caption)


def save_figure(rows, pictures, path):
    """A few samples of each contender in a row of their own, beside their score."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(len(rows), 1, figsize=(11, 0.8 * len(rows) + 0.5), layout="constrained")
    for axis, row, samples in zip(axes, rows, pictures, strict=True):
        axis.imshow(grid(samples, COLUMNS).squeeze(), cmap="gray", vmin=0, vmax=255)
        label = f"{row['name']}\n{plus_minus(row['log_likelihood'], row['standard_error'])} nats"
        axis.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=11)
        axis.set(xticks=[], yticks=[], frame_on=False)
    figure.suptitle("Parzen-window log-likelihood of the test images: higher is said to be better")
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
