"""What a recipe is; those there are stand in training/recipes.py.

`Recipe` is the one home of every setting: its fields become the flags of `python -m training`, recipe.json in the run
folder, and the settings beside each result. `settings` are the fields that matter to the recipe's model; flags of other
fields are refused.
"""

import dataclasses
import inspect
from dataclasses import dataclass

import zoo
from training.data import BINARIZATIONS, NAMES
from zoo import fixed_priors, trainable_priors
from zoo.aae import LABELS_IN

# The fields that matter to a model besides those that its constructor takes.
IN_EVERY_RUN = ("name", "summary", "model", "data", "data_path", "binarization", "seed")
OVER_EPOCHS = ("epochs", "patience", "batch_size")
BY_GRADIENT = ("learning_rate", "decay", "precision", "jit")
OF_PLAYERS = ("discriminator_learning_rate", "beta_1", "beta_2")
OF_SAMPLES = ("samples_at_first", "epochs_at_first", "stages", "beta_1", "epsilon")  # of IWAE, how it is trained
OF_LABELS = ("num_labels", "labels_per_batch", "label_seed")
OF_CONDITIONALS = ("conditional", "clip_norm")
OF_ONE_LOSS = ("patience",)  # which several players have not: what one of them gains, another loses
AT_ONCE = ("PCA",)  # learn all there is in one pass

PRIORS = tuple(dict.fromkeys((*trainable_priors.PRIORS, *fixed_priors.PRIORS)))


def setting(default, help, minimum=None, choices=None):
    """A field of `Recipe`: its default, its line of help, and the values it may take."""
    return dataclasses.field(default=default, metadata={"help": help, "minimum": minimum, "choices": choices})


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what, and how. Fields that a model's constructor takes by the same name are handed to it."""

    name: str
    summary: str
    model: str
    data: str = setting("digits", f"{', '.join(NAMES)}, an .npz file or a folder of images")
    data_path: str = setting("", "where binarized_mnist lies: its .npz, or the folder of the three .amat files")
    binarization: str = setting("dynamic", "how gray pixels become binary, or none", choices=BINARIZATIONS)
    latent_dim: int = setting(10, "size of the code z", minimum=1)
    network: str = setting("dense", "kind of the networks", choices=("dense", "convolutional"))
    hidden: tuple[int, ...] = setting((256, 128), "units or filters of the encoder's layers; mirrored", minimum=1)
    activation: str = setting("relu", "of the hidden layers")
    likelihood: str = setting("bernoulli", "p(x|z), of binary or of real pixels", choices=("bernoulli", "gaussian"))
    prior: str = setting("standard_normal", "p(z), fixed or trained", choices=PRIORS)
    num_components: int = setting(10, "Gaussians, pseudo-inputs or segments of a prior", minimum=1)
    prior_scale: float = setting(1.0, "factor on the codes of a fixed prior", minimum=0)
    num_training_samples: int = setting(5, "codes an image in the bound that is trained", minimum=1)
    samples_at_first: int = setting(0, "of these in the first epochs_at_first, fewer; 0: as later", minimum=0)
    epochs_at_first: int = setting(0, "epochs with samples_at_first", minimum=0)
    gradient: str = setting(
        "straight", "estimator of that bound's gradient", choices=("straight", "doubly_reparameterized")
    )
    posterior: str = setting("", "family of q(z|x), by the model's name for it; empty: the model's own default")
    noise_dim: int = setting(10, "normal numbers beside the input, of a universal posterior", minimum=1)
    labels_in: str = setting("", "which network takes the label; empty: none", choices=("", *LABELS_IN[1:]))
    supervised: bool = setting(True, "learn classes from labels; else num_clusters clusters with none")
    num_levels: int = setting(2, "values of an intensity; 2 are binary images", minimum=2)
    conditional: bool = setting(False, "give the images their labels")
    cell: str = setting("diagonal_bilstm", "the LSTM of a PixelRNN", choices=("row_lstm", "diagonal_bilstm"))
    gated: bool = setting(False, "gates and two stacks of convolutions, in a PixelCNN")
    num_layers: int = setting(1, "LSTM layers, blocks or gated layers", minimum=1)
    units: int = setting(16, "h of these layers, whose features are 2 h", minimum=1)
    head: int = setting(32, "units of the layer before the logits", minimum=1)
    first_kernel_size: int = setting(7, "of the first convolution", minimum=3)
    kernel_size: int = setting(3, "of the others", minimum=3)
    clip_norm: float = setting(0.0, "largest norm of the gradient; 0: any", minimum=0)
    alpha: float = setting(0.1, "weight of the classifier's loss, an example", minimum=0)
    input_noise: float = setting(0.0, "standard deviation of the noise on the encoder's input", minimum=0)
    class_noise: float = setting(0.0, "the same on the classes that are judged", minimum=0)
    beta: float = setting(1.0, "weight of the KL in the loss", minimum=0)
    warm_up_epochs: int = setting(0, "epochs over which that weight rises linearly from 0", minimum=0)
    whiten: bool = setting(False, "divide each coordinate of the code by its standard deviation")
    num_clusters: int = setting(10, "number of centroids, or of classes without labels", minimum=1)
    initialization: str = setting("k-means++", "where the centroids start", choices=zoo.kmeans.INITIALIZATIONS)
    num_initializations: int = setting(1, "runs at once, each from a start of its own; the best is kept", minimum=1)
    minibatch: bool = setting(False, "move the centroids after each batch, in the order of the data")
    objective: str = setting("non_saturating", "what the players descend", choices=tuple(zoo.objectives.OBJECTIVES))
    discriminator_steps: int = setting(
        1, "steps of the discriminator, a batch each, to one of the generator", minimum=1
    )
    generator_hidden: tuple[int, ...] = setting(
        (128, 128), "units or filters of its layers, from the codes on", minimum=1
    )
    discriminator_hidden: tuple[int, ...] = setting(
        (128, 128), "units or filters of its layers, from the examples on", minimum=1
    )
    encoder_hidden: tuple[int, ...] = setting(
        (128, 128), "units or filters of its layers, from the examples on", minimum=1
    )
    stochastic_encoder: bool = setting(False, "an encoder with noise: ALI")
    discriminator_activation: str = setting("", "of its hidden layers, maxout among them; empty: as activation")
    batch_normalization: bool = setting(False, "normalize the generator's hidden layers over the batch")
    r1: float = setting(0.0, "gamma of the penalty on the discriminator's slope at real examples", minimum=0)
    r2: float = setting(0.0, "gamma of the same at generated examples", minimum=0)
    gradient_penalty: float = setting(10.0, "weight of the penalty of wasserstein_gp", minimum=0)
    dragan: float = setting(0.0, "weight of the penalty on the slope around real examples", minimum=0)
    clip: float = setting(0.01, "bound on each of the discriminator's weights, of wasserstein", minimum=0)
    spectral_normalization: bool = setting(False, "divide each of the discriminator's kernels by its spectral norm")
    pack: int = setting(1, "examples that the discriminator judges together", minimum=1)
    average_decay: float = setting(
        0.0, "of the average of the generator that samples are drawn from; 0: none", minimum=0
    )
    initial_stddev: float = setting(0.0, "of the first kernels, normal; 0: Glorot uniform", minimum=0)
    epochs: int = setting(10, "most epochs", minimum=1)
    patience: int = setting(
        0,
        "stop after so many epochs without a better val_loss, counted from the end of the warm-up; 0: never",
        minimum=0,
    )
    batch_size: int = setting(64, "examples a step of an optimizer; of k-means: with minibatch", minimum=1)
    learning_rate: float = setting(1e-3, "of Adam", minimum=0)
    discriminator_learning_rate: float = setting(0.0, "of the discriminator's Adam; 0: as learning_rate", minimum=0)
    generator_learning_rate: float = setting(
        0.0, "of the Adam by which an encoder deceives; 0: as learning_rate", minimum=0
    )
    beta_1: float = setting(0.9, "of Adam: decay of its mean of the gradient", minimum=0)
    beta_2: float = setting(0.999, "of Adam: decay of its mean of the squared gradient", minimum=0)
    epsilon: float = setting(1e-7, "of Adam: added to the root of its mean of the squared gradient", minimum=0)
    decay: bool = setting(False, "let the learning rate fall to 0 over the epochs, along half a cosine")
    stages: bool = setting(False, "let it fall to a tenth in the 8 stages of Burda et al. 2015, 3280 epochs in all")
    num_labels: int = setting(0, "training labels that are kept, as many of each class; 0: all", minimum=0)
    labels_per_batch: int = setting(
        0, "rows of a batch that are labelled examples, taken in turn; 0: labels lie where they lie", minimum=0
    )
    label_seed: int = setting(1, "of the choice of the labels that are kept", minimum=0)
    num_importance_samples: int = setting(500, "importance samples an image in the evaluation", minimum=1)
    precision: str = setting("float32", "dtype policy", choices=("float32", "mixed_bfloat16"))
    jit: bool = setting(True, "compile the training step with XLA")
    seed: int = setting(1, "of the weights, the order of the batches, the binarization and the noise", minimum=0)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check_setting(field, getattr(self, field.name))
        if self.batch_size % self.pack:
            raise ValueError(
                f"batch_size is {self.batch_size}, which packs of {self.pack} do not divide; choose a multiple of "
                f"{self.pack}."
            )
        if (self.samples_at_first > 0) != (self.epochs_at_first > 0):
            raise ValueError(
                f"samples_at_first is {self.samples_at_first} and epochs_at_first {self.epochs_at_first}; both are "
                "wanted, or neither."
            )
        if self.epochs_at_first >= self.epochs:
            raise ValueError(
                f"epochs_at_first is {self.epochs_at_first} of {self.epochs} epochs, which leaves none for "
                f"{self.num_training_samples} samples; choose fewer, or more epochs."
            )
        if self.decay and self.stages:
            raise ValueError("decay and stages are both asked for, but the learning rate has one schedule; choose one.")

    @property
    def clusters(self):
        """Whether the classes of the model are not those of the data."""
        return "supervised" in settings_of(self.model) and not self.supervised

    @property
    def takes_labels(self):
        """Whether the model learns from labels."""
        names = settings_of(self.model)
        optional = {"labels_in": self.labels_in != "", "conditional": self.conditional}
        return "num_labels" in names and not self.clusters and all(on for name, on in optional.items() if name in names)

    @property
    def examples_per_step(self):
        """Examples in a batch of Keras' loop, one minibatch for each step of the discriminator."""
        return self.batch_size * self.discriminator_steps

    def settings(self):
        """name -> value of the fields that matter to the model."""
        return {name: getattr(self, name) for name in settings_of(self.model)}


def settings_of(model):
    """The names of the fields that matter to `model`: those of its constructor and of the loop that trains it."""
    constructor = zoo.MODELS[model]
    taken = inspect.signature(constructor.__init__).parameters
    names = {*IN_EVERY_RUN, *taken}
    if model not in AT_ONCE:
        names |= {*OVER_EPOCHS}
    if not issubclass(constructor, zoo.WithoutGradient):
        names |= {*BY_GRADIENT}
    if issubclass(constructor, zoo.Adversarial):
        names = (names | {*OF_PLAYERS}) - {*OF_ONE_LOSS}
    if "input_noise" in taken:  # the encoders of adversarial autoencoders, who are generators too
        names.add("generator_learning_rate")
    if issubclass(constructor, zoo.autoregressive.Autoregressive):
        names |= {*OF_CONDITIONALS}
    if "num_training_samples" in taken:
        names |= {*OF_SAMPLES}
    if "num_classes" in taken:
        names |= {*OF_LABELS}
    if "supervised" in taken:
        names.add("num_clusters")
    if "warm_up_steps" in taken:
        names.add("warm_up_epochs")
    if hasattr(constructor, "importance_estimate"):
        names.add("num_importance_samples")
    return [field.name for field in dataclasses.fields(Recipe) if field.name in names]


def check_setting(field, value):
    minimum, choices = field.metadata.get("minimum"), field.metadata.get("choices")
    numbers = value if isinstance(value, tuple) else (value,)
    if minimum is not None and not all(number >= minimum for number in numbers):
        raise ValueError(f"{field.name} is {value}; at least {minimum} is wanted.")
    if choices and value not in choices:
        raise ValueError(f"{field.name} is {value!r}; one of {', '.join(choices)} is wanted.")
