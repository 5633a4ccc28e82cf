"""The catalogue: every model of the zoo by name, and the way back from a `.keras` file.

    import zoo
    vae = zoo.VAE(event_shape=(28, 28, 1), latent_dim=10)
    vae = zoo.load("vae.keras")

A model joins the zoo by one line in `MODELS`, which is also its row in the contract test.
"""

from pathlib import Path

import keras

from zoo.aae import AAE
from zoo.base import Adversarial, Endpoint, Generative, Input, Output, WithoutGradient
from zoo.bigan import BiGAN
from zoo.density_ratio import DensityRatio
from zoo.gan import GAN
from zoo.hyperspherical_vae import HypersphericalVAE
from zoo.iwae import IWAE
from zoo.kmeans import KMeans
from zoo.pca import PCA
from zoo.pixel_cnn import PixelCNN
from zoo.pixel_rnn import PixelRNN
from zoo.semi_supervised_aae import SemiSupervisedAAE
from zoo.semi_supervised_vae import SemiSupervisedVAE
from zoo.supervised_vae import SupervisedVAE
from zoo.unrolled_gan import UnrolledGAN
from zoo.vae import VAE
from zoo.veegan import VEEGAN
from zoo.version import __version__

MODELS = {
    "AAE": AAE,
    "BiGAN": BiGAN,
    "GAN": GAN,
    "HypersphericalVAE": HypersphericalVAE,
    "IWAE": IWAE,
    "KMeans": KMeans,
    "PCA": PCA,
    "PixelCNN": PixelCNN,
    "PixelRNN": PixelRNN,
    "SemiSupervisedAAE": SemiSupervisedAAE,
    "SemiSupervisedVAE": SemiSupervisedVAE,
    "SupervisedVAE": SupervisedVAE,
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
    "AAE",
    "GAN",
    "IWAE",
    "MODELS",
    "PCA",
    "VAE",
    "VEEGAN",
    "Adversarial",
    "BiGAN",
    "DensityRatio",
    "Endpoint",
    "Generative",
    "HypersphericalVAE",
    "Input",
    "KMeans",
    "Output",
    "PixelCNN",
    "PixelRNN",
    "SemiSupervisedAAE",
    "SemiSupervisedVAE",
    "SupervisedVAE",
    "UnrolledGAN",
    "WithoutGradient",
    "__version__",
    "load",
]
