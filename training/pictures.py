"""The figures of a run: samples, reconstructions, curves; components and spectrum of PCA, centroids of k-means."""

import math

import matplotlib
import numpy as np
from PIL import Image

import zoo
from training.files import replacing

matplotlib.use("Agg")  # figures are files; no screen is needed

COLUMNS = 8  # of a grid
MOST_COLUMNS = 16  # of one with a column for each class
SMALLEST_CELL = 48  # pixels: images are enlarged by the largest whole factor that stays within it
COMPONENTS = 63  # in their figure, after the mean: 8 rows of 8
CENTROIDS = 400  # in their figure, at most
POINTS = 480  # pixels: width and height of a picture of points
FAINTEST = 0.25  # of 0 to 1: the shade of a pixel that one point falls on; 0 is white
SIGNED = "RdBu_r"  # the colours of numbers of either sign: blue below 0, white, red above


def save_figures(model, history, folder, title):
    """What shows a trained model and its training at a glance, by its family."""
    if isinstance(model, zoo.PCA):  # learns at once: there is no curve
        save_components(model, folder / "components.png")
        save_explained_variance(model, folder / "explained_variance.png", title)
        return
    if isinstance(model, zoo.Adversarial):
        save_players_curves(history, getattr(model, "penalties", ()), folder / "curves.png", title)
        return
    unit = "nats"
    if isinstance(model, zoo.KMeans):
        unit = "mean squared distance"
        save_centroids(model, folder / "centroids.png")
    save_curves(history, folder / "curves.png", title, unit)


# Samples.


def draw_by_class(model, num_samples, seed, label=None):
    """(samples, columns of their grid): of a model with labels a column for each class, or all of the class `label`.

    Labels come in turn, so that of classes too many for columns each is shown; where each has one, the last row is
    filled up.

    Raises:
        ValueError: for a label that is none, or of a model without any.
    """
    if label is not None:
        if model.labels is None:
            raise ValueError(f"label is {label}, but this {type(model).__name__} has no labels; leave it out.")
        if not 0 <= label < model.labels.num_classes:
            raise ValueError(f"label is {label}; a number from 0 to {model.labels.num_classes - 1} is wanted.")
        return model.sample(num_samples, labels=np.full(num_samples, label), seed=seed), COLUMNS
    if model.labels is None:
        return model.sample(num_samples, seed=seed), COLUMNS
    num_classes = model.labels.num_classes
    columns = num_classes if num_classes <= MOST_COLUMNS else COLUMNS
    num_samples = -(-num_samples // columns) * columns
    return model.sample(num_samples, labels=np.arange(num_samples) % num_classes, seed=seed), columns


def save_samples(samples, data, path, columns=COLUMNS):
    """A grid of images, or the density of points beside that of the points `data`."""
    if samples.ndim == 4:
        save_grid(samples, path, columns)
    else:
        save_points(samples, data, path)


def save_points(samples, data, path):
    """The density of `data`, left, and of `samples`, right, on one scale, both [N, 2], in the frame of `data`."""
    center, half = (data.max(axis=0) + data.min(axis=0)) / 2, 0.6 * np.ptp(data, axis=0).max()
    edges = [np.linspace(middle - half, middle + half, POINTS + 1) for middle in center]
    counts = [len(data) / len(points) * np.histogram2d(*points.T, edges)[0] for points in (data, samples)]
    shades = [np.log1p(count) / np.log1p(counts[0].max()) for count in counts]
    shades = [np.where(shade > 0, FAINTEST + (1 - FAINTEST) * shade, 0).T[::-1] for shade in shades]
    picture = matplotlib.colormaps["Blues"](np.stack(shades), bytes=True)[..., :3]  # [2, height, width, 3]
    picture = np.pad(picture, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=96)
    with replacing(path) as temporary:
        Image.fromarray(np.concatenate(picture, axis=1)).save(temporary)


def grid(images, columns=COLUMNS):
    """One uint8 picture of `images` (float, [0, 1], [N, height, width, 1 or 3]), row by row, with a line between."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    factor = max(1, SMALLEST_CELL // min(height, width))
    pixels = np.round(255 * np.clip(images, 0, 1)).astype("uint8").repeat(factor, axis=1).repeat(factor, axis=2)
    cell = np.full((rows * columns, height * factor + 1, width * factor + 1, channels), 96, "uint8")
    cell[:count, 1:, 1:] = pixels
    cell[count:] = 255
    tiled = cell.reshape(rows, columns, *cell.shape[1:]).swapaxes(1, 2)  # [rows, height, columns, width, channels]
    picture = tiled.reshape(rows * cell.shape[1], columns * cell.shape[2], channels)
    return np.pad(picture, ((0, 1), (0, 1), (0, 0)), constant_values=96)


def save_grid(images, path, columns=COLUMNS):
    picture = grid(images, columns)
    with replacing(path) as temporary:
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(temporary)


def save_reconstructions(originals, reconstructions, path, columns=COLUMNS):
    """Each row of originals with the row of its reconstructions below."""
    rows = []
    for start in range(0, len(originals), columns):
        rows += [originals[start : start + columns], reconstructions[start : start + columns]]
    save_grid(np.concatenate(rows), path, columns)


# The figures of one family.


def save_components(pca, path):
    """The mean, then the principal components: each from blue, its least, to red, its largest magnitude; 0 is white."""
    components = pca.components.numpy()[:COMPONENTS].reshape(-1, *pictured_shape(pca))
    mean = np.clip(pca.mean.numpy().reshape(1, *pictured_shape(pca)), 0, 1)
    save_grid(np.concatenate([np.broadcast_to(mean, (*mean.shape[:-1], 3)), signed_colours(components)]), path)


def signed_colours(images):
    """[N, height, width, 3] in [0, 1], each image on its own scale; three channels are shown about a middle gray."""
    scaled = 0.5 + 0.5 * images / np.abs(images).max(axis=(1, 2, 3), keepdims=True)
    if images.shape[-1] == 3:
        return scaled
    return matplotlib.colormaps[SIGNED](scaled[..., 0])[..., :3]


def pictured_shape(model):
    """The event shape of images; features are shown as one row."""
    return model.event_shape if len(model.event_shape) == 3 else (1, *model.event_shape, 1)


def save_explained_variance(pca, path, title):
    """The share of the variance that the first components explain together, and the variance of each."""
    from matplotlib import pyplot

    ratios, variances, noise = pca.explained_variance_ratio, pca.explained_variance.numpy(), pca.noise_variance.numpy()
    numbers = np.arange(1, len(variances) + 1)
    figure, (share, spectrum) = pyplot.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    share.plot(np.append(0, numbers), np.append(0, np.cumsum(ratios)), marker=".")
    share.set(xlabel="components", title=f"share of the variance: {ratios.sum():.1%} in all", ylim=(0, 1.02))
    spectrum.semilogy(numbers, variances, marker=".", label="of the component")
    spectrum.axhline(noise, color="tab:red", linestyle="--", label="of the noise, in each direction left out")
    spectrum.set(xlabel="component", title="variance")
    spectrum.legend(fontsize="small")
    for axis in (share, spectrum):
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title)
    save_figure(figure, path)


def save_centroids(kmeans, path):
    """The centroids in a square, that of the largest cluster first."""
    order = np.argsort(-kmeans.frequencies, kind="stable")[:CENTROIDS]
    images = kmeans.centroids[order].reshape(-1, *pictured_shape(kmeans))
    save_grid(images, path, columns=math.ceil(math.sqrt(len(images))))


# Curves.


def save_curves(history, path, title, unit):
    """loss and its parts, all of one unit, over the epochs, training and validation; one panel each."""
    from matplotlib import pyplot

    names = sorted((name for name in history[0] if f"val_{name}" in history[0]), key=lambda name: name != "loss")
    figure, axes = pyplot.subplots(1, len(names), figsize=(4.2 * len(names), 3.4), squeeze=False, layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axis, name in zip(axes[0], names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            axis.plot(epochs, [row[key] for row in history], label=label, marker="." if len(epochs) < 20 else "")
        axis.set(title=name, xlabel="epoch", ylabel="share" if name == "accuracy" else unit)
        axis.set_ylim(*limits([row[key] for row in settled(history) for key in (name, f"val_{name}")]))
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.suptitle(title)
    save_figure(figure, path)


def save_players_curves(history, penalties, path, title):
    """A panel each for the losses of the players, every other metric, the `penalties` and the norms of the gradients.

    Training is a solid line, validation a dashed one.
    """
    from matplotlib import pyplot

    names = [name for name in history[0] if name not in ("epoch", "data") and not name.startswith("val_")]
    losses, norms = ([name for name in names if name.endswith(end)] for end in ("_loss", "_gradient"))
    panels = {"losses": losses, **{name: [name] for name in names if name not in (*losses, *norms, *penalties)}}
    panels |= {"penalties": list(penalties)} if penalties else {}
    panels |= {"norms of the gradients": norms}
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(4.2 * len(panels), 3.4), squeeze=False, layout="constrained"
    )
    epochs, marker = [row["epoch"] for row in history], "." if len(history) < 20 else ""
    for axis, (panel, shown) in zip(axes[0], panels.items(), strict=True):
        for index, name in enumerate(shown):
            for key, style in ((name, "-"), (f"val_{name}", "--")):
                if key in history[0]:
                    axis.plot(epochs, [row[key] for row in history], style, color=f"C{index}", marker=marker, label=key)
        axis.set(title=panel, xlabel="epoch")
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    axes[0][-1].set_yscale("log")
    figure.suptitle(title)
    save_figure(figure, path)


def save_nats_against_hours(results, published, path):
    """The validation images' -log p(x) of autoregressive models as their training goes on, beside the papers' values.

    Args:
        results: name -> what was recorded of a run: minutes of its training, which its epochs share equally, and the
            metrics validation_nll and log_prob, that of the test images, which stands as a point at the end.
        published: name -> log p(x) of the test images, a dashed line; of some of these names or none.
    """
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
    for index, (name, result) in enumerate(results.items()):
        nats, test = result["metrics"]["validation_nll"], -result["metrics"]["log_prob"]
        hours = result["minutes"] / 60 * np.arange(1, len(nats) + 1) / len(nats)
        axis.plot(hours, nats, color=f"C{index}", marker=".", label=f"{name}: {test:.2f} on the test images")
        axis.plot(hours[-1], test, color=f"C{index}", marker="D")
        if name in published:
            axis.axhline(-published[name], color=f"C{index}", linestyle="--", linewidth=1)
    axis.set(xlabel="hours of training", ylabel="-log p(x), nats", title="validation; dashed: published, test")
    shown = [nats for result in results.values() for nats in result["metrics"]["validation_nll"][1:]]
    axis.set_ylim(*limits([*shown, *(-value for value in published.values())]))
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    save_figure(figure, path)


def save_figure(figure, path):
    from matplotlib import pyplot

    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)
    pyplot.close(figure)


def settled(history):
    """The rows after the first tenth, whose steep fall would flatten the rest of the curve."""
    return history[len(history) // 10 :]


def limits(values):
    """The range of `values`, with a margin."""
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 1.0
    return low - margin, high + margin
