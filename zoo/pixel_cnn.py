"""PixelCNN (van den Oord et al. 2016a, 2016b): the conditionals of all pixels by masked convolutions.

    plain     k1 x k1 mask A -> blocks of 2h -> h -> h -> 2h units with a k x k kernel, mask B (2016a, figure 5)
    gated     layers of a vertical and a horizontal stack, with gates in place of ReLUs (2016b, figure 2)
    both      -> ReLU, 1x1 -> ReLU, 1x1 -> the logits

The plain one is blind to pixels that lie to the right in the rows above, beyond the diagonal that its kernels climb;
the gated one sees them all, as far as its kernels reach.
"""

import keras

from zoo.autoregressive import Autoregressive
from zoo.base import at_least
from zoo.pixel_layers import GatedLayer, MaskedConv2D, ResidualBlock


@keras.saving.register_keras_serializable(package="zoo")
class PixelCNN(Autoregressive):
    """PixelCNN of images of a few levels, with or without gates, with or without labels.

    Args:
        event_shape: (height, width, channels) of the images; with more than one channel, every number of units must
            divide into as many groups.
        num_levels: values of an intensity, 2 to 256; 2 are binary images, others k / (num_levels - 1).
        gated: whether its layers are those of the gated PixelCNN.
        num_layers: blocks, or gated layers, after the first layer.
        units: h; the features between the blocks, and of each gated stack, are 2 h.
        head: units of the layer before the logits.
        first_kernel_size, kernel_size: of the first layer and of the others; odd.
        num_classes: labels 0 ... num_classes - 1 that the images are given; 0: none.
        seed: as of every model.

    Metrics: `nll`, -log p(x) in nats.

    Call: images, of a model with labels the pair (images, labels) -> {"logits"}.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 2, (64, 6, 6, 1)).astype("float32")
        >>> pixel_cnn = PixelCNN(event_shape=(6, 6, 1), num_layers=2, units=8, gated=True)
        >>> pixel_cnn.compile("adam")
        >>> history = pixel_cnn.fit(images, epochs=1, verbose=0)
        >>> pixel_cnn.log_prob(images).shape, pixel_cnn.sample(3).shape
        ((64,), (3, 6, 6, 1))

    Raises:
        ValueError: for an argument out of its range; by `fit`, `evaluate` and `log_prob`: for images of another shape
            or of other levels, for labels that are missing or out of range; by `sample` and `complete`: for
            temperature <= 0, a mask of another shape, labels of a model that has none.

    References:
        van den Oord, Kalchbrenner and Kavukcuoglu 2016, Pixel Recurrent Neural Networks.
        van den Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders.
    """

    def __init__(
        self,
        event_shape,
        num_levels=2,
        gated=False,
        num_layers=7,
        units=16,
        head=32,
        first_kernel_size=7,
        kernel_size=3,
        num_classes=0,
        seed=0,
        **kwargs,
    ):
        super().__init__(event_shape, num_levels, num_classes, seed, **kwargs)
        self.gated = bool(gated)
        self.num_layers, self.units = at_least("num_layers", num_layers, 1), self.grouped("units", units)
        self.head = self.grouped("head", head)
        self.first_kernel_size = odd("first_kernel_size", first_kernel_size, 3)
        self.kernel_size = odd("kernel_size", kernel_size, 3)
        self.stack([*self.features(), *self.heads(self.head)])

    def features(self):
        """The layers up to the last features, of 2 h units."""
        first, reach = (self.first_kernel_size - 1) // 2, (self.kernel_size - 1) // 2
        if self.gated:
            yield self.layer("first", GatedLayer, 2 * self.units, first, first=True, labelled=True)
            for index in range(1, self.num_layers + 1):
                yield self.layer(f"gated_{index}", GatedLayer, 2 * self.units, reach, labelled=True)
        else:
            yield self.layer("first", MaskedConv2D, 2 * self.units, "A", first, first, labelled=True)
            for index in range(1, self.num_layers + 1):
                yield self.layer(f"block_{index}", ResidualBlock, self.units, reach, labelled=True)

    def get_config(self):
        return {
            **super().get_config(),
            "gated": self.gated,
            "num_layers": self.num_layers,
            "units": self.units,
            "head": self.head,
            "first_kernel_size": self.first_kernel_size,
            "kernel_size": self.kernel_size,
        }


def odd(name, number, smallest):
    if at_least(name, number, smallest) % 2 == 0:
        raise ValueError(f"{name} is {number}; an odd number is wanted, so that the kernel has a middle.")
    return int(number)
