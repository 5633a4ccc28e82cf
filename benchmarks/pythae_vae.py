"""The VAE of a recipe in pythae: its VAE and BaseTrainer, with the networks of the recipe."""

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from pythae.trainers.training_callbacks import TrainingCallback
from torch import nn

from benchmarks.torch_vae import decoder, dense_layers


class PythaeEncoder(BaseEncoder):
    """As pythae wants it: the logarithm of the variance, where the other contenders have the scale."""

    def __init__(self, features, recipe):
        super().__init__()
        self.hidden = nn.Sequential(*dense_layers((features, *recipe.hidden), recipe.activation))
        self.loc = nn.Linear(recipe.hidden[-1], recipe.latent_dim)
        self.log_variance = nn.Linear(recipe.hidden[-1], recipe.latent_dim)

    def forward(self, x):
        hidden = self.hidden(x)
        return ModelOutput(embedding=self.loc(hidden), log_covariance=self.log_variance(hidden))


class PythaeDecoder(BaseDecoder):
    """As pythae wants it: probabilities."""

    def __init__(self, features, recipe):
        super().__init__()
        self.logits = decoder(features, recipe)

    def forward(self, z):
        return ModelOutput(reconstruction=torch.sigmoid(self.logits(z)))


class LastLoss(TrainingCallback):
    """Keeps the mean loss of the last epoch."""

    def on_log(self, training_config, logs, **kwargs):
        self.loss = logs["train_epoch_loss"]


class PythaeTraining:
    """Epochs of pythae over binary images [N, features].

    It saves no checkpoints, and no progress bar is drawn where the environment sets TQDM_DISABLE. The final model,
    which it always saves, goes into `folder`.
    """

    def __init__(self, binary, recipe, folder):
        torch.manual_seed(recipe.seed)
        features = binary.shape[1]
        config = VAEConfig(input_dim=(features,), latent_dim=recipe.latent_dim, reconstruction_loss="bce")
        model = VAE(config, PythaeEncoder(features, recipe), PythaeDecoder(features, recipe))
        self.settings = BaseTrainerConfig(
            output_dir=str(folder),
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            seed=recipe.seed,
            no_cuda=True,
        )
        images = BaseDataset(torch.from_numpy(binary), labels=torch.zeros(len(binary)))
        self.last_loss = LastLoss()
        self.trainer = BaseTrainer(model, images, training_config=self.settings, callbacks=[self.last_loss])

    def train(self, epochs):
        """Train for `epochs` and return the mean loss of the last."""
        self.settings.num_epochs = epochs
        self.trainer.train()
        return self.last_loss.loss
