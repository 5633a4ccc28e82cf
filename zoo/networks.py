"""Encoders, decoders, generators, discriminators: Functional models with named ends, built in a model's constructor.

Hidden layers follow the dtype policy they are given; the heads, which parameterize a distribution or meet a loss, stay
float32.
"""

import math

import keras
from keras import layers

from zoo.layers import BatchNormalization, Maxout, SpectralConv2D, SpectralDense

NETWORKS = ("dense", "convolutional")
MAXOUT_PIECES = 5
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
    code = code_of(hidden_units_of(images, network, hidden, activation, dtype), latent_dim)
    return keras.Model(images, code, name="encoder")


def code_of(hidden_units, latent_dim):
    loc = layers.Dense(latent_dim, dtype="float32", name="loc")(hidden_units)
    raw_scale = layers.Dense(latent_dim, "softplus", dtype="float32", name="raw_scale")(hidden_units)
    scale = layers.Rescaling(1.0, offset=SMALLEST_SCALE, dtype="float32", name="scale")(raw_scale)
    return {"loc": loc, "scale": scale}


def conditional_encoder(event_shape, num_classes, latent_dim, network, hidden, activation, dtype=None):
    """q(z|x, y) in two networks, so that one image can meet several labels at the price of one first layer.

        stem      images [batch, *event_shape] -> {"features"}: the first hidden layer of `encoder`, still linear
        encoder   features, and labels [batch, num_classes], one-hot -> {"loc", "scale"}, each [batch, latent_dim]

    Labels enter through weights of their own, added to the features before the activation. This is a dense layer on the
    flattened image beside the label; of a convolution it is a bias that depends on the label. With `hidden=()` the
    features are the flattened image, which the label stands beside. The arguments are those of `encoder`.
    """
    images, labels = keras.Input(event_shape, name="images"), keras.Input((num_classes,), name="labels")
    first = hidden_units_of(images, network, hidden[:1], None, dtype, flat=False)
    stem = keras.Model(images, {"features": first}, name="stem")
    features = keras.Input(first.shape[1:], name="features")
    if hidden:
        shift = layers.Dense(hidden[0], use_bias=False, dtype=dtype, name="label")(labels)
        shift = layers.Reshape((*(1,) * (len(first.shape) - 2), hidden[0]), dtype=dtype)(shift)
        units = layers.Activation(activation, dtype=dtype)(layers.Add(dtype=dtype)([features, shift]))
        units = hidden_units_of(units, network, hidden[1:], activation, dtype, start=2)
    else:
        units = layers.Concatenate(dtype=dtype)([features, labels])
    encoder = keras.Model({"features": features, "labels": labels}, code_of(units, latent_dim), name="encoder")
    return stem, encoder


def classifier(event_shape, num_classes, network, hidden, activation, dtype=None):
    """q(y|x): images -> {"logits"} [batch, num_classes]; the hidden layers and the arguments are those of `encoder`."""
    images = keras.Input(event_shape, name="images")
    hidden_units = hidden_units_of(images, network, hidden, activation, dtype)
    logits = layers.Dense(num_classes, dtype="float32", name="logits")(hidden_units)
    return keras.Model(images, {"logits": logits}, name="classifier")


def hidden_units_of(images, network, hidden, activation, dtype, start=1, flat=True):
    """The last of the hidden layers of an encoder, flat unless a convolution is to follow."""
    hidden_units = images if network == "convolutional" else layers.Flatten(dtype=dtype)(images)
    for index, size in enumerate(hidden, start=start):
        end = {"activation": activation, "dtype": dtype, "name": f"hidden_{index}"}
        layer = layers.Conv2D(size, 3, 2, "same", **end) if network == "convolutional" else layers.Dense(size, **end)
        hidden_units = layer(hidden_units)
    return layers.Flatten(dtype=dtype)(hidden_units) if network == "convolutional" and flat else hidden_units


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
        hidden_units = cropped(hidden_units, rows, columns, dtype)
    return layers.Conv2D(channels, 3, 1, "same", dtype="float32", name=head)(hidden_units)


def halvings(size, times):
    """The sizes that stride-2 "same" convolutions give: halvings(28, 2) = [28, 14, 7]."""
    sizes = [size]
    for _ in range(times):
        sizes.append(math.ceil(sizes[-1] / 2))
    return sizes


def generator(
    event_shape,
    latent_dim,
    network,
    hidden,
    activation,
    batch_normalization=False,
    initializer=None,
    dtype=None,
    name="generator",
):
    """G(z): z [batch, latent_dim] -> {"images"}, in [0, 1], or of features {"points"}, any real numbers.

    Args:
        event_shape: (height, width, channels), or (features,) for a dense network.
        latent_dim: size of z.
        network: "dense" (one layer per entry of `hidden`) or "convolutional": from the smallest of the image's
            halvings, transposed 4x4 convolutions of stride 2 double it once for each entry (Radford et al. 2016).
        hidden: units of each dense layer, or filters before each doubling, from the codes outwards.
        activation: of the hidden layers.
        batch_normalization: after each hidden layer, before its activation.
        initializer: of the kernels; Keras' own if None.
        dtype: dtype policy of the hidden layers.
        name: of the network.
    """
    kernel = {"kernel_initializer": initializer or "glorot_uniform"}

    def activated(units, name):
        if batch_normalization:
            units = BatchNormalization(dtype=dtype, name=f"{name}_normalization")(units)
        return layers.Activation(activation, dtype=dtype, name=f"{name}_activation")(units)

    z = keras.Input((latent_dim,), name="z")
    head = end_of(event_shape)
    squash = "sigmoid" if head == "images" else "linear"
    if network == "dense":
        units = z
        for index, size in enumerate(hidden, start=1):
            units = activated(
                layers.Dense(size, dtype=dtype, name=f"hidden_{index}", **kernel)(units), f"hidden_{index}"
            )
        units = layers.Dense(math.prod(event_shape), dtype="float32", name="head", **kernel)(units)
        generated = layers.Reshape(event_shape, dtype="float32")(units)
    else:
        heights, widths = (halvings(size, len(hidden))[::-1] for size in event_shape[:2])
        smallest = (heights[0], widths[0], hidden[0])
        units = activated(layers.Dense(math.prod(smallest), dtype=dtype, name="hidden_1", **kernel)(z), "hidden_1")
        units = layers.Reshape(smallest, dtype=dtype)(units)
        for index, filters in enumerate(hidden[1:], start=2):
            name = f"hidden_{index}"
            units = layers.Conv2DTranspose(filters, 4, 2, "same", dtype=dtype, name=name, **kernel)(units)
            units = activated(cropped(units, heights[index - 1], widths[index - 1], dtype), name)
        units = layers.Conv2DTranspose(event_shape[-1], 4, 2, "same", dtype="float32", name="head", **kernel)(units)
        generated = cropped(units, *event_shape[:2], "float32")
    generated = layers.Activation(squash, dtype="float32", name=head)(generated)
    return keras.Model(z, {head: generated}, name=name)


def discriminator(event_shape, network, hidden, activation, spectral_normalization=False, initializer=None, dtype=None):
    """D(x): examples [batch, *event_shape] -> {"logits"} [batch].

    Args:
        event_shape: as of `generator`, whose mirror image this is.
        network: "dense" or "convolutional" (4x4 convolutions of stride 2, then a dense layer).
        hidden: units of each dense layer, or filters of each convolution, from the examples inwards.
        activation: of the hidden layers; "maxout" is the largest of 5 linear functions for each unit, dense only.
        spectral_normalization: divide each kernel by its largest singular value.
        initializer: of the kernels; Keras' own if None.
        dtype: dtype policy of the hidden layers.
    """
    dense, convolution = (SpectralDense, SpectralConv2D) if spectral_normalization else (layers.Dense, layers.Conv2D)
    kernel = {"kernel_initializer": initializer or "glorot_uniform"}
    head = end_of(event_shape)
    x = keras.Input(event_shape, name=head)
    units = x if network == "convolutional" else layers.Flatten(dtype=dtype)(x)
    for index, size in enumerate(hidden, start=1):
        end = {"dtype": dtype, "name": f"hidden_{index}", **kernel}
        if activation == "maxout":
            units = Maxout(MAXOUT_PIECES, dtype=dtype)(dense(size * MAXOUT_PIECES, **end)(units))
        elif network == "convolutional":
            units = convolution(size, 4, 2, "same", activation=activation, **end)(units)
        else:
            units = dense(size, activation, **end)(units)
    if network == "convolutional":
        units = layers.Flatten(dtype=dtype)(units)
    logits = dense(1, dtype="float32", name="logits", **kernel)(units)
    return keras.Model(x, {"logits": layers.Reshape((), dtype="float32")(logits)}, name="discriminator")


def inference(
    event_shape,
    latent_dim,
    network,
    hidden,
    activation,
    batch_normalization=False,
    initializer=None,
    dtype=None,
    with_scale=False,
    name="encoder",
):
    """The inverse of a generator: examples [batch, *event_shape] -> {"loc"} [batch, latent_dim].

    Args:
        event_shape, latent_dim: as of `generator`.
        network: "dense" or "convolutional" (4x4 convolutions of stride 2, then a dense layer).
        hidden: units of each dense layer, or filters of each convolution, from the examples inwards.
        activation, batch_normalization, initializer, dtype, name: as of `generator`.
        with_scale: also "scale" [batch, latent_dim], of a Gaussian about loc: softplus(.) + 1e-5.
    """
    kernel = {"kernel_initializer": initializer or "glorot_uniform"}
    x = keras.Input(event_shape, name=end_of(event_shape))
    units = x if network == "convolutional" else layers.Flatten(dtype=dtype)(x)
    for index, size in enumerate(hidden, start=1):
        end = {"dtype": dtype, "name": f"hidden_{index}", **kernel}
        layer = layers.Conv2D(size, 4, 2, "same", **end) if network == "convolutional" else layers.Dense(size, **end)
        units = layer(units)
        if batch_normalization:
            units = BatchNormalization(dtype=dtype, name=f"hidden_{index}_normalization")(units)
        units = layers.Activation(activation, dtype=dtype, name=f"hidden_{index}_activation")(units)
    if network == "convolutional":
        units = layers.Flatten(dtype=dtype)(units)
    code = {"loc": layers.Dense(latent_dim, dtype="float32", name="loc", **kernel)(units)}
    if with_scale:
        raw_scale = layers.Dense(latent_dim, "softplus", dtype="float32", name="raw_scale", **kernel)(units)
        code["scale"] = layers.Rescaling(1.0, offset=SMALLEST_SCALE, dtype="float32", name="scale")(raw_scale)
    return keras.Model(x, code, name=name)


def pair_discriminator(event_shape, latent_dim, network, hidden, activation, initializer=None, dtype=None):
    """D(x, z): examples [batch, *event_shape] and codes z [batch, latent_dim] -> {"logits"} [batch].

    A dense network takes the two beside each other. A convolutional one joins z to what its convolutions make of x and
    has one more dense layer, of 4 units for each filter of the last convolution: without it the logit would be a sum of
    a function of x and one of z. The arguments are those of `discriminator`.
    """
    kernel = {"kernel_initializer": initializer or "glorot_uniform"}
    head = end_of(event_shape)
    x, z = keras.Input(event_shape, name=head), keras.Input((latent_dim,), name="z")
    units, dense_sizes = x, hidden
    if network == "convolutional":
        for index, size in enumerate(hidden, start=1):
            end = {"activation": activation, "dtype": dtype, "name": f"convolution_{index}", **kernel}
            units = layers.Conv2D(size, 4, 2, "same", **end)(units)
        dense_sizes = (4 * hidden[-1],)
    units = layers.Concatenate(dtype=dtype)([layers.Flatten(dtype=dtype)(units), z])
    for index, size in enumerate(dense_sizes, start=1):
        end = {"dtype": dtype, "name": f"hidden_{index}", **kernel}
        if activation == "maxout":
            units = Maxout(MAXOUT_PIECES, dtype=dtype)(layers.Dense(size * MAXOUT_PIECES, **end)(units))
        else:
            units = layers.Dense(size, activation, **end)(units)
    logits = layers.Dense(1, dtype="float32", name="logits", **kernel)(units)
    logits = layers.Reshape((), dtype="float32")(logits)
    return keras.Model({head: x, "z": z}, {"logits": logits}, name="discriminator")


def normal_kernels(stddev):
    """An initializer of kernels: normal, or None, which is Keras' own, for a `stddev` of 0.

    As a config: of an initializer object, every layer of one shape would draw the same kernel.
    """
    return {"class_name": "RandomNormal", "config": {"stddev": stddev}} if stddev else None


def end_of(event_shape):
    """The name of a generator's output and of a discriminator's input."""
    return "images" if len(event_shape) == 3 else "points"


def cropped(images, height, width, dtype):
    """`images` without the row or column that a doubling has too many where the size is odd."""
    surplus = (images.shape[1] - height, images.shape[2] - width)
    return layers.Cropping2D(((0, surplus[0]), (0, surplus[1])), dtype=dtype)(images) if any(surplus) else images
