"""The figures of a run: sample grids, reconstructions, curves."""

import matplotlib
import numpy as np
from PIL import Image

from training.files import replacing

matplotlib.use("Agg")  # figures are files; no screen is needed

SMALLEST_CELL = 48  # pixels: images are enlarged by the largest whole factor that stays within it
UNITS = {"loss": "nats", "nll": "nats", "kl": "nats"}


def grid(images, columns=8):
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


def save_grid(images, path, columns=8):
    picture = grid(images, columns)
    with replacing(path) as temporary:
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(temporary)


def save_reconstructions(originals, reconstructions, path, columns=8):
    """Each row of originals with the row of its reconstructions below."""
    rows = []
    for start in range(0, len(originals), columns):
        rows += [originals[start : start + columns], reconstructions[start : start + columns]]
    save_grid(np.concatenate(rows), path, columns)


def save_curves(history, path, title):
    """loss and its parts over the epochs, training and validation; one panel each."""
    from matplotlib import pyplot

    names = sorted((name for name in history[0] if f"val_{name}" in history[0]), key=lambda name: name != "loss")
    figure, axes = pyplot.subplots(1, len(names), figsize=(4.2 * len(names), 3.4), squeeze=False, layout="constrained")
    epochs = [row["epoch"] for row in history]
    for axis, name in zip(axes[0], names, strict=True):
        for key, label in ((name, "training"), (f"val_{name}", "validation")):
            axis.plot(epochs, [row[key] for row in history], label=label, marker="." if len(epochs) < 20 else "")
        axis.set(title=name, xlabel="epoch", ylabel=UNITS.get(name, ""))
        axis.set_ylim(*limits([row[key] for row in settled(history) for key in (name, f"val_{name}")]))
        axis.grid(alpha=0.3)
    axes[0][0].legend()
    figure.suptitle(title)
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
