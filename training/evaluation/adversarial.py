"""A GAN measured: the losses of its players, and the modes that its samples reach, where they are known."""

from training.evaluation import modes
from training.mixtures import MIXTURES

NUM_POINTS = 100_000  # samples that are measured
SAMPLE_SEED = 0


def gan_metrics(model, test, data, batch_size):
    """A dict of numbers and lists.

    The losses and penalties of the objective and its diagnostic (discriminator_accuracy, discriminator_wasserstein), of
    the examples `test`, `batch_size` at a time. For points of a mixture also what `modes.modes_of` gives.
    """
    losses = model.evaluate(test, batch_size=batch_size, verbose=0, return_dict=True)
    diagnostic = f"discriminator_{model.diagnostic.name}"
    metrics = {diagnostic if name == model.diagnostic.name else name: float(each) for name, each in losses.items()}
    if data.name in MIXTURES:
        metrics |= modes.modes_of(model.sample(NUM_POINTS, seed=SAMPLE_SEED), MIXTURES[data.name])
    return metrics
