"""A checkpoint: everything that the next step of a training depends on, in one file that is replaced at once.

A .npz of the variables, in a fixed order, and of `progress`: a JSON text of how far the training is.
"""

import json
import zipfile
import zlib

import numpy as np

import zoo
from training.files import replacing

UNREADABLE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def save(path, model, progress):
    """Write the state of `model` and `progress`, which JSON can hold."""
    arrays = {f"{index:04d}": variable.numpy() for index, variable in enumerate(state_of(model))}
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, progress=np.array(json.dumps(progress)), **arrays)


def read(path):
    """(arrays, progress); None if there is no such file, a ValueError that names it if it is damaged."""
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            return [file[f"{index:04d}"] for index in range(len(file.files) - 1)], json.loads(str(file["progress"]))
    except UNREADABLE as error:
        raise ValueError(
            f"{path} is damaged ({error}); remove it, with what else the run left, and train anew."
        ) from None


def restore(path, model):
    """Set the state of `model` to that of the checkpoint; the progress, None if there is no checkpoint."""
    checkpoint = read(path)
    if checkpoint is None:
        return None
    arrays, progress = checkpoint
    variables = state_of(model)
    if [array.shape for array in arrays] != [tuple(variable.shape) for variable in variables]:
        raise ValueError(f"{path} is of another model; remove it, with what else the run left, and train anew.")
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
    return progress


def state_of(model):
    """Every variable that the next step depends on, in a fixed order: weights, draws, metrics, optimizers if any."""
    return [*model.variables, *(variable for optimizer in optimizers_of(model) for variable in optimizer.variables)]


def optimizers_of(model):
    if isinstance(model, zoo.Adversarial):
        return [model.optimizers[player] for player in model.players]
    return [model.optimizer] if model.optimizer else []
