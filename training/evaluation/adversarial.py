"""A GAN measured: the losses of its players, and what its samples have of the data, where that is known."""

from training.evaluation import classes, modes
from training.mixtures import MIXTURES

NUM_POINTS, NUM_IMAGES = 100_000, 10_000  # samples that are measured
SAMPLE_SEED = 0


def gan_metrics(model, test, data, batch_size, classifier=None):
    """A dict of numbers and lists.

    The losses and penalties of the objective and its diagnostic (discriminator_accuracy, discriminator_wasserstein), of
    the examples `test`, `batch_size` at a time. For points of a mixture also what `modes.modes_of` gives; for MNIST and
    Fashion-MNIST `classes.class_metrics`, by the classifier in the folder `classifier`.
    """
    losses = model.evaluate(test, batch_size=batch_size, verbose=0, return_dict=True)
    diagnostic = f"discriminator_{model.diagnostic.name}"
    metrics = {diagnostic if name == model.diagnostic.name else name: float(each) for name, each in losses.items()}
    if data.name in MIXTURES:
        metrics |= modes.modes_of(model.sample(NUM_POINTS, seed=SAMPLE_SEED), MIXTURES[data.name])
    if data.name in classes.CLASSIFIED:
        metrics |= classes.class_metrics(model.sample(NUM_IMAGES, seed=SAMPLE_SEED), data, classifier)
    return metrics
