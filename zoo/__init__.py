"""The catalogue: every model of the zoo by name, and the way back from a `.keras` file.

    import zoo
    vae = zoo.VAE(event_shape=(28, 28, 1), latent_dim=10)
    vae = zoo.load("vae.keras")

A model joins the zoo by one line in `MODELS`, which is also its row in the contract test.
"""

from pathlib import Path

import keras

from zoo.base import Adversarial, Endpoint, Generative, Input, Output, WithoutGradient
from zoo.bigan import BiGAN
from zoo.density_ratio import DensityRatio
from zoo.gan import GAN
from zoo.kmeans import KMeans
from zoo.pca import PCA
from zoo.unrolled_gan import UnrolledGAN
from zoo.vae import VAE
from zoo.veegan import VEEGAN
from zoo.version import __version__

MODELS = {
    "BiGAN": BiGAN,
    "GAN": GAN,
    "KMeans": KMeans,
    "PCA": PCA,
    "UnrolledGAN": UnrolledGAN,
    "VAE": VAE,
    "VEEGAN": VEEGAN,
}


def load(path):
    """Return the model saved at `path` by `model.save`, compiled, with its optimizer's state.

    A bare `keras.saving.load_model` works as well, once `zoo` has been imported.

    Raises:
        ValueError: if there is no file at `path`, or it does not hold a model of this zoo.
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no file {path}.")
    try:
        model = keras.saving.load_model(path)
    except Exception as error:  # zipfile, HDF5 and Keras raise a dozen classes on damaged files
        raise ValueError(f"{path} cannot be read as a model: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(model, (Generative, DensityRatio)):
        raise ValueError(f"{path} holds a {type(model).__name__}, which is not a model of this zoo.")
    return model


__all__ = [
    "GAN",
    "MODELS",
    "PCA",
    "VAE",
    "VEEGAN",
    "Adversarial",
    "BiGAN",
    "DensityRatio",
    "Endpoint",
    "Generative",
    "Input",
    "KMeans",
    "Output",
    "UnrolledGAN",
    "WithoutGradient",
    "__version__",
    "load",
]
