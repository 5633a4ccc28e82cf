"""What `zoo.AAE` and `zoo.SemiSupervisedAAE` share."""

import keras
import numpy as np
import tensorflow as tf

from zoo import networks
from zoo.base import Adversarial, sizes
from zoo.distributions import normal_noise
from zoo.inputs import Labels, checked_labels
from zoo.objectives import half

ON_ITS_SIDE = half(0.0)  # of logits of real and of generated examples


class AdversarialAutoencoder(Adversarial):
    """An adversarial autoencoder's arguments for its networks, these networks, the error, the losses.

    Args:
        event_shape: (height, width, channels): images in [0, 1], from a decoder that ends in a sigmoid; or
            (features,): real numbers of order 1, from one that ends in a linear layer.
        network, hidden, discriminator_hidden, activation, input_noise, initial_stddev, seed: as of `AAE`.
    """

    def __init__(
        self, event_shape, network, hidden, discriminator_hidden, activation, input_noise, initial_stddev, **kwargs
    ):
        super().__init__(event_shape=event_shape, **kwargs)
        self.hidden = sizes("hidden", hidden)
        self.discriminator_hidden = sizes("discriminator_hidden", discriminator_hidden)
        self.network, self.activation = network, activation
        self.input_noise, self.initial_stddev = input_noise, initial_stddev
        if network not in networks.NETWORKS:
            raise ValueError(f"network is {network!r}; one of {networks.NETWORKS} is wanted.")
        if network == "convolutional" and (len(self.event_shape) != 3 or not self.hidden):
            raise ValueError(
                "A convolutional network needs event_shape (height, width, channels) and at least one entry in hidden; "
                f"they are {self.event_shape} and {self.hidden}."
            )
        if not isinstance(activation, str):
            raise ValueError(f"activation is {activation!r}; Keras' name of one is wanted, such as 'relu'.")
        for name in ("input_noise", "initial_stddev"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; a finite number >= 0 is wanted.")

        self.reconstruction_error = keras.metrics.Mean(name="reconstruction_error")
        self.d_loss = keras.metrics.Mean(name="d_loss")
        self.g_loss = keras.metrics.Mean(name="g_loss")

    # Networks.

    def new_encoder(self, event_shape, code_dim, with_scale=False):
        layers = (
            self.network,
            self.hidden,
            self.activation,
            False,
            networks.normal_kernels(self.initial_stddev),
            self.dtype_policy,
        )
        return networks.inference(event_shape, code_dim, *layers, with_scale=with_scale)

    def new_decoder(self, code_dim):
        layers = (
            self.network,
            self.hidden[::-1],
            self.activation,
            False,
            networks.normal_kernels(self.initial_stddev),
            self.dtype_policy,
        )
        return networks.generator(self.event_shape, code_dim, *layers, name="decoder")

    def new_discriminator(self, code_dim):
        layers = (
            self.discriminator_hidden,
            self.activation,
            False,
            networks.normal_kernels(self.initial_stddev),
            self.dtype_policy,
        )
        return networks.discriminator((code_dim,), "dense", *layers)

    # The step.

    def examples_and_labels(self, data):
        """(x, labels) of a batch, float32 and int64; labels None where the model has none."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise ValueError("sample_weight came; an adversarial loss has none: repeat the examples that weigh more.")
        return tf.cast(x, tf.float32), None if self.labels is None else tf.cast(y, tf.int64)

    def corrupted(self, x):
        """x as the encoder meets it in training: with noise, though not in what is to be reconstructed."""
        if not self.input_noise:
            return x
        return x + self.input_noise * normal_noise(tf.shape(x), self.draw_seed())

    def loss_of_reconstruction(self, x, reconstruction):
        """||x - reconstruction||^2 / features: a mean over the batch."""
        error = tf.reduce_mean(tf.square(x - reconstruction), axis=range(1, 1 + len(self.event_shape)))
        self.reconstruction_error.update_state(error)
        return self.mean_over_batch(error)

    def losses(self):
        """name -> value of the metrics, of a step that has followed no gradient."""
        norms = set(self.gradient_norms.values())
        return {metric.name: metric.result() for metric in self.metrics if metric not in norms}

    def classes_of(self, count, labels, some=False):
        """Labels that came from outside, one or [count], as int64 [count]; None: 0 ... num_classes - 1 in turn."""
        labels = np.asarray(np.arange(count) % self.num_classes if labels is None else labels)
        labels = np.repeat(labels, count) if labels.ndim == 0 else labels
        return tf.cast(checked_labels(labels, count, Labels(self.num_classes, some)), tf.int64)

    def get_config(self):
        return {
            **super().get_config(),
            "network": self.network,
            "hidden": self.hidden,
            "discriminator_hidden": self.discriminator_hidden,
            "activation": self.activation,
            "input_noise": self.input_noise,
            "initial_stddev": self.initial_stddev,
        }
