"""The recipes: name -> exactly what produced each published number.

`Recipe` is the one home of every setting: its fields become the flags of `python -m training`, recipe.json in the run
folder, and the settings beside each result.
"""

import dataclasses
from dataclasses import dataclass

from training.data import BINARIZATIONS, near


def setting(default, help, minimum=None, choices=None):
    """A field of `Recipe`: its default, its line of help, and the values it may take."""
    return dataclasses.field(default=default, metadata={"help": help, "minimum": minimum, "choices": choices})


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what, and how. Fields that a model's constructor takes by the same name are handed to it."""

    name: str
    summary: str
    model: str
    data: str = setting("digits", "digits, mnist, fashion_mnist, binarized_mnist, an .npz file or a folder of images")
    data_path: str = setting("", "where binarized_mnist lies: its .npz, or the folder of the three .amat files")
    binarization: str = setting("dynamic", "how gray pixels become binary", choices=BINARIZATIONS)
    latent_dim: int = setting(10, "size of the code z", minimum=1)
    network: str = setting("dense", "kind of the networks", choices=("dense", "convolutional"))
    hidden: tuple[int, ...] = setting((256, 128), "units or filters of the encoder's layers; mirrored", minimum=1)
    activation: str = setting("relu", "of the hidden layers")
    beta: float = setting(1.0, "weight of the KL in the loss", minimum=0)
    warm_up_epochs: int = setting(0, "epochs over which that weight rises linearly from 0", minimum=0)
    epochs: int = setting(10, "most epochs", minimum=1)
    patience: int = setting(
        0,
        "stop after so many epochs without a better val_loss, counted from the end of the warm-up; 0: never",
        minimum=0,
    )
    batch_size: int = setting(64, "images a training step", minimum=1)
    learning_rate: float = setting(1e-3, "of Adam", minimum=0)
    num_importance_samples: int = setting(500, "importance samples an image in the evaluation", minimum=1)
    precision: str = setting("float32", "dtype policy", choices=("float32", "mixed_bfloat16"))
    jit: bool = setting(True, "compile the training step with XLA")
    seed: int = setting(1, "of the weights, the order of the batches, the binarization and the noise", minimum=0)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check_setting(field, getattr(self, field.name))


def check_setting(field, value):
    minimum, choices = field.metadata.get("minimum"), field.metadata.get("choices")
    numbers = value if isinstance(value, tuple) else (value,)
    if minimum is not None and not all(number >= minimum for number in numbers):
        raise ValueError(f"{field.name} is {value}; at least {minimum} is wanted.")
    if choices and value not in choices:
        raise ValueError(f"{field.name} is {value!r}; one of {', '.join(choices)} is wanted.")


@dataclass(frozen=True)
class Reference:
    """A published number: the metric, its value, the spread it was reported with, and where."""

    metric: str
    value: float
    standard_deviation: float
    source: str


DAVIDSON = "Davidson et al. 2018, table 1"

# Davidson et al. 2018: 784-256-128-d, ReLU, mirrored; dynamic MNIST; batch 64; Adam 1e-3; KL warm-up over 100 epochs;
# early stopping with a look-ahead of 50; log-likelihood by 500 importance samples.
VAE_MNIST = Recipe(
    name="vae_mnist",
    summary="VAE on dynamically binarized MNIST, 10 latent dimensions (Davidson et al. 2018)",
    model="VAE",
    data="mnist",
    epochs=1000,
    warm_up_epochs=100,
    patience=50,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="vae_digits",
            summary="VAE on scikit-learn's 8x8 digits: nothing to download, one minute",
            model="VAE",
            hidden=(128, 64),
            latent_dim=8,
            epochs=150,
            warm_up_epochs=20,
            batch_size=32,
        ),
        VAE_MNIST,
        dataclasses.replace(
            VAE_MNIST,
            name="vae_mnist_d40",
            summary="VAE on dynamically binarized MNIST, 40 latent dimensions (Davidson et al. 2018)",
            latent_dim=40,
        ),
    )
}

REFERENCES = {
    "vae_mnist": Reference("log_prob", -93.84, 0.30, DAVIDSON),
    "vae_mnist_d40": Reference("log_prob", -88.93, 0.30, DAVIDSON),
}


def recipe_named(name):
    """The recipe called `name`; a ValueError that offers near names otherwise."""
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}{near(name, RECIPES)}; --list shows them all.")
    return RECIPES[name]
