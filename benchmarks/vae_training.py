"""An epoch of training: the recipe `vae_mnist` in this project, in plain PyTorch and in pythae."""

import dataclasses
import tempfile

from benchmarks.data import data_or_digits
from benchmarks.pythae_vae import PythaeTraining
from benchmarks.timing import Comparison, interleaved, seconds_of
from benchmarks.torch_vae import TorchTraining, with_threads
from training.callbacks import StopAtNotFiniteLoss
from training.data import steps_per_epoch, training_batches
from training.recipes import VAE_MNIST
from training.train import build

PAUSE = 1.0  # seconds: what a prefetching pipeline still draws is drawn by then
TORCH, TORCH_ALONE = "PyTorch, DataLoader", "PyTorch, DataLoader, 1 thread"
TORCH_AT_ONCE, PYTHAE = "PyTorch, batches indexed at once", "pythae"
ASKED = {TORCH: 1.0, TORCH_ALONE: 1.0, PYTHAE: 0.5}  # small networks can be faster without a second thread


class ZooTraining:
    """Epochs of this project, as `training.train` runs them, without its validation, pictures and checkpoints."""

    def __init__(self, data, recipe):
        self.batches = training_batches(data, recipe.binarization, recipe.batch_size, recipe.seed)
        self.steps = steps_per_epoch(data, recipe.batch_size)
        self.model = build(recipe, data.event_shape, self.steps)
        self.model.adapt_to(data.gray("train"))

    def train(self, epochs):
        """Train for `epochs` and return the mean loss of the last."""
        history = self.model.fit(
            self.batches,
            steps_per_epoch=self.steps,
            epochs=epochs,
            callbacks=[StopAtNotFiniteLoss()],
            shuffle=False,
            verbose=0,
        )
        return history.history["loss"][-1]


def compare_training(data_name, rounds, epochs, threads):
    """The `Comparison` of seconds an epoch; each turn of a contender goes on with its training for `epochs`."""
    recipe = dataclasses.replace(VAE_MNIST, warm_up_epochs=0)  # so that all of them minimize the same
    data = data_or_digits(data_name)
    gray = data.gray("train").reshape(len(data.images["train"]), -1)
    binary = data.examples("train", recipe.binarization).reshape(gray.shape).astype("float32")
    with tempfile.TemporaryDirectory() as folder:
        trainings = {
            "zoo": ZooTraining(data, recipe),
            TORCH: TorchTraining(gray, recipe),
            TORCH_ALONE: TorchTraining(gray, recipe),
            TORCH_AT_ONCE: TorchTraining(gray, recipe, batches_at_once=True),
            PYTHAE: PythaeTraining(binary, recipe, folder),
        }
        losses = {}

        def turn(name):
            def train():
                losses[name] = trainings[name].train(epochs)

            return with_threads(1 if name == TORCH_ALONE else threads, lambda: seconds_of(train) / epochs)

        seconds = interleaved({name: turn(name) for name in trainings}, rounds, PAUSE)
    note = (
        f"{recipe.name} on {data.name}: {len(gray):,} images, batches of {recipe.batch_size}, binarized anew in every "
        f"epoch, but for pythae once before; epochs a turn: {epochs}, with what a training starts with. Mean loss in "
        f"the last epoch, in nats: {', '.join(f'{name} {loss:.1f}' for name, loss in losses.items())}."
    )
    return Comparison("training", "s an epoch", 1.0, seconds, ASKED, note)
