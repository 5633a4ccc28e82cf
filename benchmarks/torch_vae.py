"""The VAE of a recipe in plain PyTorch, as its users would write it.

loss = mean over the batch of -log p(x|z) + KL(q(z|x) || N(0, I)),  z ~ q(z|x)
"""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, TensorDataset

ACTIVATIONS = {"relu": nn.ReLU}
SMALLEST_SCALE = 1e-5  # as zoo.networks has it


def with_threads(threads, function):
    """`function`, with so many threads for PyTorch from then on."""

    def run():
        torch.set_num_threads(threads)
        return function()

    return run


def dense_layers(sizes, activation):
    """Dense layers of the given sizes, an activation after each."""
    return [
        layer for inputs, units in pairwise(sizes) for layer in (nn.Linear(inputs, units), ACTIVATIONS[activation]())
    ]


class Encoder(nn.Module):
    """x [batch, features] -> loc and scale of q(z|x), each [batch, latent_dim]."""

    def __init__(self, features, recipe):
        super().__init__()
        self.hidden = nn.Sequential(*dense_layers((features, *recipe.hidden), recipe.activation))
        self.loc = nn.Linear(recipe.hidden[-1], recipe.latent_dim)
        self.raw_scale = nn.Linear(recipe.hidden[-1], recipe.latent_dim)

    def forward(self, x):
        hidden = self.hidden(x)
        return self.loc(hidden), functional.softplus(self.raw_scale(hidden)) + SMALLEST_SCALE


def decoder(features, recipe):
    """z [batch, latent_dim] -> logits [batch, features]."""
    sizes = (recipe.latent_dim, *reversed(recipe.hidden))
    return nn.Sequential(*dense_layers(sizes, recipe.activation), nn.Linear(sizes[-1], features))


class TorchVAE(nn.Module):
    def __init__(self, features, recipe):
        super().__init__()
        self.encoder = Encoder(features, recipe)
        self.decoder = decoder(features, recipe)

    def forward(self, x):
        loc, scale = self.encoder(x)
        z = loc + scale * torch.randn_like(scale)
        return self.decoder(z), loc, scale

    def loss(self, x):
        logits, loc, scale = self(x)
        nll = functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(dim=-1)
        kl = -0.5 * (1 + 2 * scale.log() - loc**2 - scale**2).sum(dim=-1)
        return (nll + kl).mean()


class TorchTraining:
    """Epochs of plain PyTorch over gray images [N, features], each batch binarized anew.

    batches_at_once: whether the loader fetches a batch by one index, not example by example as it does by default.
    """

    def __init__(self, images, recipe, batches_at_once=False):
        torch.manual_seed(recipe.seed)
        dataset = TensorDataset(torch.from_numpy(images))
        if batches_at_once:
            sampler = BatchSampler(RandomSampler(dataset), recipe.batch_size, drop_last=False)
            self.loader = DataLoader(dataset, sampler=sampler, batch_size=None)
        else:
            self.loader = DataLoader(dataset, batch_size=recipe.batch_size, shuffle=True)
        self.model = TorchVAE(images.shape[1], recipe)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.learning_rate)

    def train(self, epochs):
        """Train for `epochs` and return the mean loss of the last."""
        self.model.train()
        for _ in range(epochs):
            total = 0.0
            for (gray,) in self.loader:
                x = torch.bernoulli(gray)
                loss = self.model.loss(x)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                total += loss.item()
        return total / len(self.loader)
