"""Encoders and decoders: Functional models with named ends, built in a model's constructor.

Hidden layers follow the dtype policy they are given; the heads, which parameterize a distribution, stay float32.
"""

import math

import keras
from keras import layers

NETWORKS = ("dense", "convolutional")
SMALLEST_SCALE = 1e-5  # keeps log q(z|x) finite when the posterior contracts to a point


def encoder(event_shape, latent_dim, network, hidden, activation, dtype=None):
    """q(z|x): images -> {"loc", "scale"}, each [batch, latent_dim]; scale = softplus(.) + 1e-5.

    Args:
        event_shape: (height, width, channels) of the images, or (features,) for a dense network.
        latent_dim: size of z.
        network: "dense" (one layer per entry of `hidden`) or "convolutional" (3x3, stride 2, one per entry).
        hidden: units of each dense layer, or filters of each convolution, from the images inwards.
        activation: of the hidden layers.
        dtype: dtype policy of the hidden layers.
    """
    images = keras.Input(event_shape, name="images")
    hidden_units = images if network == "convolutional" else layers.Flatten(dtype=dtype)(images)
    for index, size in enumerate(hidden, start=1):
        end = {"activation": activation, "dtype": dtype, "name": f"hidden_{index}"}
        layer = layers.Conv2D(size, 3, 2, "same", **end) if network == "convolutional" else layers.Dense(size, **end)
        hidden_units = layer(hidden_units)
    if network == "convolutional":
        hidden_units = layers.Flatten(dtype=dtype)(hidden_units)
    loc = layers.Dense(latent_dim, dtype="float32", name="loc")(hidden_units)
    raw_scale = layers.Dense(latent_dim, "softplus", dtype="float32", name="raw_scale")(hidden_units)
    scale = layers.Rescaling(1.0, offset=SMALLEST_SCALE, dtype="float32", name="scale")(raw_scale)
    return keras.Model(images, {"loc": loc, "scale": scale}, name="encoder")


def decoder(event_shape, latent_dim, network, hidden, activation, dtype=None, head="logits"):
    """p(x|z): z [batch, latent_dim] -> {head} [batch, *event_shape]; the mirror image of `encoder`.

    Its last layer is linear and called `head`; the bias of that layer is where a model puts the mean of the data.
    """
    z = keras.Input((latent_dim,), name="z")
    build = convolutional_decoder if network == "convolutional" else dense_decoder
    return keras.Model(z, {head: build(z, event_shape, hidden, activation, dtype, head)}, name="decoder")


def dense_decoder(z, event_shape, hidden, activation, dtype, head):
    hidden_units = z
    for index, units in enumerate(reversed(hidden), start=1):
        hidden_units = layers.Dense(units, activation, dtype=dtype, name=f"hidden_{index}")(hidden_units)
    flat = layers.Dense(math.prod(event_shape), dtype="float32", name=head)(hidden_units)
    return layers.Reshape(event_shape, dtype="float32")(flat)


def convolutional_decoder(z, event_shape, hidden, activation, dtype, head):
    height, width, channels = event_shape
    heights, widths = halvings(height, len(hidden)), halvings(width, len(hidden))
    smallest = (heights[-1], widths[-1], hidden[-1])
    hidden_units = layers.Dense(math.prod(smallest), activation, dtype=dtype, name="hidden_0")(z)
    hidden_units = layers.Reshape(smallest, dtype=dtype)(hidden_units)
    filters = [*reversed(hidden[:-1]), hidden[0]]
    doublings = zip(filters, reversed(heights[:-1]), reversed(widths[:-1]), strict=True)
    for index, (size, rows, columns) in enumerate(doublings, start=1):
        end = {"activation": activation, "dtype": dtype, "name": f"hidden_{index}"}
        hidden_units = layers.Conv2DTranspose(size, 3, 2, "same", **end)(hidden_units)
        surplus = (hidden_units.shape[1] - rows, hidden_units.shape[2] - columns)  # 1 where the size is odd
        hidden_units = layers.Cropping2D(((0, surplus[0]), (0, surplus[1])), dtype=dtype)(hidden_units)
    return layers.Conv2D(channels, 3, 1, "same", dtype="float32", name=head)(hidden_units)


def halvings(size, times):
    """The sizes that stride-2 "same" convolutions give: halvings(28, 2) = [28, 14, 7]."""
    sizes = [size]
    for _ in range(times):
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes
