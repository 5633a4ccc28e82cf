"""A training step of a GAN, D's and then G's: the recipe `gan_mnist` in this project and in plain PyTorch."""

import dataclasses
from functools import partial

import numpy as np
import tensorflow as tf
import torch

from benchmarks.data import data_or_digits
from benchmarks.timing import Comparison, interleaved, seconds_of, seconds_of_a_call
from benchmarks.torch_gan import TorchGAN, TorchTraining, channels_first, images_channels_first
from training.callbacks import StopAtNotFiniteLoss
from training.recipes import recipe_named
from training.train import build, fit, steps_in_epoch

PAUSE = 0.5  # seconds: what a prefetching pipeline still draws is drawn by then, and threads that spin are at rest
TOLERANCE = 1e-4  # of losses and gradients, relative: sums of float32 products in another order; a wrong one is near 1
ZOO = "zoo"
TORCH = {  # name -> memory format, and whether real and generated images are one batch
    "PyTorch, channels first": (torch.contiguous_format, False),
    "PyTorch, channels first, one batch": (torch.contiguous_format, True),
    "PyTorch, channels last": (torch.channels_last, False),
    "PyTorch, channels last, one batch": (torch.channels_last, True),
}
ASKED = dict.fromkeys(TORCH, 1.0)


def compare_gan(data_name, rounds, executions, calls):
    """The `Comparison`s of seconds a step: within training on images from the pipeline, and alone on one batch.

    Args:
        data_name: of the images.
        rounds: turns of each contender.
        executions: of Keras' training function in a turn of training, each of `steps_per_execution` steps.
        calls: in a turn of the step alone, which is their median.
    """
    recipe, data = recipe_named("gan_mnist"), data_or_digits(data_name)
    model = build(recipe, data.event_shape, steps_in_epoch(recipe, data))
    steps = executions * model.steps_per_execution
    data = first_images(data, steps * recipe.batch_size)
    images = data.gray("train")
    torch_gans = {name: TorchGAN(model, recipe, *how) for name, how in TORCH.items()}
    real = images[: recipe.batch_size]
    error = max(largest_difference(model, gan, real) for gan in torch_gans.values())
    if error > TOLERANCE:
        raise ValueError(f"Losses or gradients differ by {error:.1e}; at most {TOLERANCE:.0e} is wanted.")
    how = (
        f"{recipe.name} on {data.name}: batches of {len(real)}; from the same weights, losses and gradients differ by "
        f"at most {error:.1e} of the largest entry."
    )
    yield compare_training(model, torch_gans, recipe, data, rounds, steps, how)
    yield compare_steps(model, torch_gans, recipe, real, rounds, calls, how)


def first_images(data, count):
    return dataclasses.replace(data, images={**data.images, "train": data.images["train"][:count]})


def compare_training(model, torch_gans, recipe, data, rounds, steps, how):
    images, losses = data.gray("train"), {}

    def train_zoo():
        once = {"initial_epoch": 0, "epochs": 1, "callbacks": [StopAtNotFiniteLoss()], "shuffle": False, "verbose": 0}
        fit(model, recipe, data, **once)
        return float(model.d_loss.result()), float(model.g_loss.result())

    trainings = {ZOO: train_zoo} | {name: TorchTraining(gan, images).train for name, gan in torch_gans.items()}

    def turn(name):
        def train():
            losses[name] = trainings[name]()

        return lambda: seconds_of(train) / steps

    seconds = interleaved({name: turn(name) for name in trainings}, rounds, PAUSE)
    found = ", ".join(f"{name} {d_loss:.3f} and {g_loss:.3f}" for name, (d_loss, g_loss) in losses.items())
    note = (
        f"{how} A turn is {steps} steps, with what a training starts with; the zoo's jit is "
        f"{'on' if recipe.jit else 'off'}, its steps an execution {model.steps_per_execution}. Mean losses of D and G "
        f"in the last turn: {found}."
    )
    return Comparison("GAN, training", "ms a step", 1e3, seconds, ASKED, note)


def compare_steps(model, torch_gans, recipe, real, rounds, calls, how):
    train_step = tf.function(model.train_step, jit_compile=recipe.jit, reduce_retracing=True)
    batch = images_channels_first(real)
    steps = {ZOO: partial(train_step, tf.constant(real))}
    steps |= {name: partial(gan.train_step, batch) for name, gan in torch_gans.items()}
    seconds = interleaved(
        {name: partial(seconds_of_a_call, step, calls) for name, step in steps.items()}, rounds, PAUSE
    )
    note = f"{how} The same images at each step; a turn is the median of {calls}."
    return Comparison("GAN, the step alone", "ms a step", 1e3, seconds, ASKED, note)


def largest_difference(model, gan, real):
    """Between the losses, and the gradients of their players, of the zoo and of PyTorch: relative to the largest."""
    z = np.random.default_rng(0).standard_normal((len(real), model.latent_dim), dtype="float32")
    images = images_channels_first(real).to(memory_format=gan.memory_format)
    differences = []
    for player in model.players:
        variables = [variable.value for variable in model.trained_by(player)]
        with tf.GradientTape() as tape:
            loss = getattr(model, f"{player}_loss")(tf.constant(real), tf.constant(z))
        ours = [gradient.numpy() for gradient in tape.gradient(loss, variables)]
        torch_loss = getattr(gan, f"{player}_loss")(images, torch.from_numpy(z))
        theirs = [gradient.numpy() for gradient in gan.gradients(player, torch_loss)]
        differences.append(relative([loss.numpy()], [torch_loss.item()]))
        differences.append(relative(channels_first(player, model, ours), theirs))
    return max(differences)


def relative(ours, theirs):
    """Of all entries of two lists of arrays; the gradient of D's last bias is 0, so no array is measured by itself."""
    difference = max(np.abs(one - other).max() for one, other in zip(ours, theirs, strict=True))
    return float(difference / max(np.abs(one).max() for one in ours))
