"""The convolutional GAN of a recipe in plain PyTorch, as its users would write it for speed: R3GAN's objective.

    D minimizes softplus(-(D(x) - D(G(z)))) + r1 / 2 ||grad D(x)||^2 + r2 / 2 ||grad D(G(z))||^2
    G minimizes softplus(-(D(G(z)) - D(x)))

There is no contender with `torch.compile`: its usual backend needs a C++ compiler, and it differentiates no gradient a
second time.
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

LEAK = 0.2  # the slope of Keras' "leaky_relu" below 0
EPSILON = 1e-7  # of Keras' Adam


def generator(event_shape, latent_dim, hidden):
    """z [batch, latent_dim] -> images [batch, channels, height, width] in [0, 1]."""
    height, width, channels = smallest(event_shape, hidden[0], hidden)
    units = math.prod((height, width, channels))
    layers = [nn.Linear(latent_dim, units), leaky_relu(), nn.Unflatten(1, (channels, height, width))]
    for inputs, filters in zip(hidden, (*hidden[1:], event_shape[-1]), strict=True):
        layers += [nn.ConvTranspose2d(inputs, filters, 4, 2, padding=1), leaky_relu()]
    return nn.Sequential(*layers[:-1], nn.Sigmoid())


def discriminator(event_shape, hidden):
    """Images [batch, channels, height, width] -> logits [batch]."""
    layers = []
    for inputs, filters in zip((event_shape[-1], *hidden[:-1]), hidden, strict=True):
        layers += [nn.Conv2d(inputs, filters, 4, 2, padding=1), leaky_relu()]
    units = math.prod(smallest(event_shape, hidden[-1], hidden))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(units, 1), nn.Flatten(0))


def leaky_relu():
    return nn.LeakyReLU(LEAK, inplace=True)


def smallest(event_shape, filters, hidden):
    """[height, width, filters] after as many halvings as there are layers."""
    times = 2 ** len(hidden)
    if event_shape[0] % times or event_shape[1] % times:
        raise ValueError(f"Images of {event_shape[0]} x {event_shape[1]} came; multiples of {times} are wanted.")
    return event_shape[0] // times, event_shape[1] // times, filters


class TorchGAN:
    """The networks of a recipe and their training, from the weights of the zoo's `model`; a constant learning rate.

    memory_format: torch.contiguous_format, which is channels first, or torch.channels_last.
    one_batch: whether D's step takes real and generated images as one batch, not one after the other.
    """

    def __init__(self, model, recipe, memory_format, one_batch):
        self.recipe, self.memory_format, self.one_batch = recipe, memory_format, one_batch
        self.generator, self.averaged_generator = (
            generator(model.event_shape, recipe.latent_dim, recipe.generator_hidden) for _ in range(2)
        )
        self.discriminator = discriminator(model.event_shape, recipe.discriminator_hidden)
        for name in ("generator", "averaged_generator", "discriminator"):
            module = getattr(self, name)
            weights = channels_first(name, model, getattr(model, name).get_weights())
            with torch.no_grad():
                for parameter, weight in zip(module.parameters(), weights, strict=True):
                    parameter.copy_(torch.from_numpy(weight))
            module.to(memory_format=memory_format)
        self.optimizers = {
            player: torch.optim.Adam(
                getattr(self, player).parameters(),
                lr=recipe.learning_rate,
                betas=(recipe.beta_1, recipe.beta_2),
                eps=EPSILON,
                fused=True,
            )
            for player in ("generator", "discriminator")
        }

    def discriminator_loss(self, real, z):
        with torch.no_grad():
            fake = self.generator(z)
        if self.one_batch:
            logits, slope = self.logits_and_squared_slope(torch.cat([real, fake]))
            (real_logits, fake_logits), (r1, r2) = logits.chunk(2), slope.chunk(2)
        else:
            real_logits, r1 = self.logits_and_squared_slope(real)
            fake_logits, r2 = self.logits_and_squared_slope(fake)
        loss = functional.softplus(-(real_logits - fake_logits))
        return (loss + self.recipe.r1 / 2 * r1 + self.recipe.r2 / 2 * r2).mean()

    def logits_and_squared_slope(self, images):
        images = images.detach().requires_grad_()
        logits = self.discriminator(images)
        (slope,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return logits, slope.square().sum(dim=(1, 2, 3))

    def generator_loss(self, real, z):
        with torch.no_grad():
            real_logits = self.discriminator(real)
        fake_logits = self.discriminator(self.generator(z))
        return functional.softplus(-(fake_logits - real_logits)).mean()

    def minimize(self, player, loss):
        self.gradients(player, loss)
        self.optimizers[player].step()
        return loss.item()

    def gradients(self, player, loss):
        # By `backward`, which lays a gradient out as its weight: `autograd.grad` does not, and a fused Adam then takes
        # one entry for another.
        parameters = list(getattr(self, player).parameters())
        self.optimizers[player].zero_grad()
        loss.backward(inputs=parameters)
        return [parameter.grad for parameter in parameters]

    def train_step(self, real):
        """A step of D, a step of G and of its average, on images [batch, channels, height, width]; both losses."""
        real = real.to(memory_format=self.memory_format)
        d_loss = self.minimize("discriminator", self.discriminator_loss(real, self.draw_codes(real)))
        g_loss = self.minimize("generator", self.generator_loss(real, self.draw_codes(real)))
        with torch.no_grad():
            averages, weights = list(self.averaged_generator.parameters()), list(self.generator.parameters())
            torch._foreach_lerp_(averages, weights, 1.0 - self.recipe.average_decay)
        return d_loss, g_loss

    def draw_codes(self, real):
        return torch.randn(len(real), self.recipe.latent_dim)


def channels_first(name, model, arrays):
    """Weights of the zoo's network `name`, or gradients, as PyTorch has them: [out, in, ...], flat images too."""
    if name == "discriminator":
        *convolutions, kernel, bias = arrays
        shape = smallest(model.event_shape, model.discriminator_hidden[-1], model.discriminator_hidden)
        first, last = [], [flat_channels_first(kernel, shape).T, bias]
    else:
        kernel, bias, *convolutions = arrays
        shape = smallest(model.event_shape, model.generator_hidden[0], model.generator_hidden)
        first, last = [flat_channels_first(kernel.T, shape), flat_channels_first(bias, shape)], []
    moved = [array.transpose(3, 2, 0, 1) if array.ndim == 4 else array for array in convolutions]
    return [np.ascontiguousarray(array) for array in (*first, *moved, *last)]


def flat_channels_first(array, shape):
    """The rows of `array`, which are [height, width, channels] of `shape`, in the order [channels, height, width]."""
    images = np.moveaxis(array.reshape(*shape, *array.shape[1:]), 2, 0)
    return images.reshape(array.shape)


def images_channels_first(images):
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, -1, 1)))


class TorchTraining:
    """Epochs of plain PyTorch over images [N, height, width, channels], each batch fetched by one index."""

    def __init__(self, gan, images):
        dataset = TensorDataset(images_channels_first(images))
        sampler = BatchSampler(RandomSampler(dataset), gan.recipe.batch_size, drop_last=False)
        self.gan, self.loader = gan, DataLoader(dataset, sampler=sampler, batch_size=None)

    def train(self):
        """Train for an epoch and return the mean losses of D and G."""
        return np.mean([self.gan.train_step(real) for (real,) in self.loader], axis=0)
