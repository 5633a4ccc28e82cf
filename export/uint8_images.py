"""The endpoint `generate_uint8`: images as torch-fidelity, and whatever else shows or scores pictures, takes them.

torch-fidelity evaluates an ONNX file that turns one flat noise vector into uint8 RGB images, channels first
(https://github.com/toshas/torch-fidelity, generative_model_onnx.py); so every generator of images leaves as one too.
"""

import math

import numpy as np
import tensorflow as tf

from export import manifest as artifact
from zoo.base import Endpoint, Input, Output

NAME = "generate_uint8"
BELOW_1 = float(np.nextafter(np.float32(1), np.float32(0)))


def with_uint8_images(endpoints):
    """`endpoints`, and `generate_uint8` after them if one turns noise into images: the first that does.

    Its first input is flat: "noise" [batch, size], uniform where all that the endpoint draws is (`uniform_0_1` to
    torch-fidelity), else standard normal (`normal`). "labels" follow where the endpoint takes them. Its output is
    "images", uint8 [batch, 3, height, width]: round(255 p) of a pixel p, three times where there is one channel.

        fidelity --input1 dist/gan_mnist/onnx/generate_uint8.onnx --input1-model-z-size 64 ...
    """
    for name, endpoint in endpoints.items():
        if artifact.turns_noise_into_images(artifact.describe(endpoint)):
            return {**endpoints, NAME: uint8_images(name, endpoint)}
    return endpoints


def uint8_images(name, endpoint):
    """`generate_uint8` of the endpoint `name`."""
    noises = {key: each for key, each in endpoint.inputs.items() if each.values in artifact.NOISE}
    labels = {key: each for key, each in endpoint.inputs.items() if key not in noises}
    sizes = [math.prod(each.shape[1:]) for each in noises.values()]
    values = "uniform" if all(each.values == "uniform" for each in noises.values()) else "standard_normal"
    output = next(iter(endpoint.outputs))
    height, width, channels = endpoint.outputs[output].shape[1:]

    def function(noise, **labels):
        inputs = {}
        for (key, each), part in zip(noises.items(), tf.split(noise, sizes, axis=1), strict=True):
            drawn = part if each.values == values else uniform_of(part)
            inputs[key] = tf.reshape(drawn, (-1, *each.shape[1:]))
        outputs = endpoint.function(**inputs, **labels)
        if output not in outputs:
            raise ValueError(f"the outputs of endpoint {name!r} are {[*outputs]}, declared are {[*endpoint.outputs]}")
        images = tf.clip_by_value(tf.cast(outputs[output], "float32"), 0.0, 1.0)
        pixels = tf.cast(tf.round(255.0 * images), "uint8")
        return {"images": tf.tile(tf.transpose(pixels, (0, 3, 1, 2)), (1, 3 // channels, 1, 1))}

    return Endpoint(
        function,
        inputs={"noise": Input(("batch", sum(sizes)), values), **labels},
        outputs={"images": Output(("batch", 3, height, width), "uint8")},
        summary=f"`{name}` of one flat noise, as RGB images of 8 bits, channels first: what torch-fidelity takes.",
    )


def uniform_of(normal):
    """Phi(normal), uniform in [0, 1) where `normal` is drawn from N(0, 1)."""
    return tf.minimum(0.5 * (1.0 + tf.math.erf(normal / math.sqrt(2.0))), BELOW_1)
