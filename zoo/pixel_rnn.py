"""PixelRNN (van den Oord et al. 2016a): the conditionals of all pixels by two-dimensional LSTMs.

k1 x k1 mask A -> LSTM layers, each added to its input -> ReLU, 1x1 -> ReLU, 1x1 -> the logits

Row LSTM          a pixel sees a triangle above it
Diagonal BiLSTM   a pixel sees all before it
"""

import keras

from zoo.autoregressive import Autoregressive
from zoo.base import at_least
from zoo.pixel_cnn import odd
from zoo.pixel_layers import MaskedConv2D
from zoo.spatial_lstms import DiagonalBiLSTM, RowLSTM

CELLS = {"row_lstm": RowLSTM, "diagonal_bilstm": DiagonalBiLSTM}


@keras.saving.register_keras_serializable(package="zoo")
class PixelRNN(Autoregressive):
    """PixelRNN of images of a few levels, with or without labels.

    Args:
        event_shape, num_levels, num_classes, seed: of `zoo.PixelCNN`.
        cell: "row_lstm" or "diagonal_bilstm".
        num_layers: LSTM layers.
        units: h, of each LSTM; the features between the layers are 2 h.
        head: units of the layer before the logits.
        first_kernel_size: of the first layer; odd.

    Metrics, call, errors and references: as of `zoo.PixelCNN`.

    Example:
        >>> images = np.random.default_rng(0).integers(0, 2, (64, 6, 6, 1)).astype("float32")
        >>> pixel_rnn = PixelRNN(event_shape=(6, 6, 1), cell="diagonal_bilstm", units=8)
        >>> pixel_rnn.compile("adam")
        >>> history = pixel_rnn.fit(images, epochs=1, verbose=0)
        >>> pixel_rnn.complete(images[:2], mask=np.arange(6)[:, None, None] < 3).shape
        (2, 6, 6, 1)
    """

    def __init__(
        self,
        event_shape,
        num_levels=2,
        cell="diagonal_bilstm",
        num_layers=1,
        units=32,
        head=32,
        first_kernel_size=7,
        num_classes=0,
        seed=0,
        **kwargs,
    ):
        super().__init__(event_shape, num_levels, num_classes, seed, **kwargs)
        if cell not in CELLS:
            raise ValueError(f"cell is {cell!r}; one of {tuple(CELLS)} is wanted.")
        self.cell = cell
        self.num_layers, self.units = at_least("num_layers", num_layers, 1), self.grouped("units", units)
        self.head = self.grouped("head", head)
        self.first_kernel_size = odd("first_kernel_size", first_kernel_size, 3)
        self.stack([*self.features(), *self.heads(self.head)])

    @property
    def columns_beyond(self):
        return 1 if self.cell == "diagonal_bilstm" else 0

    def features(self):
        """The layers up to the last features, of 2 h units."""
        reach = (self.first_kernel_size - 1) // 2
        yield self.layer("first", MaskedConv2D, 2 * self.units, "A", reach, reach, labelled=True)
        for index in range(1, self.num_layers + 1):
            yield self.layer(f"lstm_{index}", CELLS[self.cell], self.units, labelled=True)

    def get_config(self):
        return {
            **super().get_config(),
            "cell": self.cell,
            "num_layers": self.num_layers,
            "units": self.units,
            "head": self.head,
            "first_kernel_size": self.first_kernel_size,
        }
