"""Layers that see no pixel which is yet to come, over whole images or one pixel at a time.

Pixels come row by row from the top, in a row from the left, and in a pixel channel by channel: R, G, B. The units of
each layer fall into as many groups as there are channels; units of a group belong to its channel.

    mask A   a pixel's own group g is reached from its groups < g      (the first layer, which sees the image)
    mask B   a pixel's own group g is reached from its groups <= g     (all others)

(van den Oord et al. 2016a, section 3.4.) A kernel here has no entries for the rows below and is not used to the right
of the pixel, so that a mask is left for the pixel itself.

Every layer computes the same in two ways:

    layer(u)                                                     [batch, height, width, in] -> [..., out], for training

    rows = layer.first_rows(batch, width)                        what it keeps of the rows above the image
    for each row:
        rows, above, vertical = layer.start_row(rows, vertical, shift)     above [batch, width, n] or None, once a row
        left = layer.first_left(batch)
        for each pixel:
            v, left, kept = layer.pixel(u, above, left)          [batch, in] -> [batch, out], for sampling
        rows = layer.finish_row(rows, kept)                      kept [batch, width, m], of all pixels of the row

so that an image costs about one forward pass, in arithmetic. `rows` and `left` are tuples of tensors; `vertical` is
what the layers of a gated PixelCNN hand down, None elsewhere; `shift` is the layer's `class_shift`.

`classes` are indicators [batch, num_classes], None for a model without labels.
"""

import keras
import numpy as np
import tensorflow as tf


def group_of(units, num_groups):
    """The group of each of `units` units, in order and as equal in size as can be: int [units]."""
    return np.arange(units) * num_groups // units


def mask_of_pixel(kind, size_in, size_out, num_groups, copies=1):
    """What of a pixel reaches what of the same pixel: float32 [size_in, copies * size_out].

    copies: how often the units of the output are there, side by side, as the gates of an LSTM.
    """
    source, target = group_of(size_in, num_groups)[:, None], group_of(size_out, num_groups)[None, :]
    mask = source < target if kind == "A" else source <= target
    return np.tile(mask, copies).astype("float32")


def for_each(count, body, first):
    """`body(n, *state) -> (n + 1, *state)` for n = 0 ... count - 1, in the graph: the last (n, *state)."""
    return tf.while_loop(lambda n, *_: n < count, body, first, maximum_iterations=count)


def convolution_of_rows(u, kernel):
    """With a kernel [rows, 2 reach + 1, in, out]: [batch, n + rows - 1, width, in] -> [batch, n, width, out]."""
    reach = kernel.shape[1] // 2
    return tf.nn.conv2d(tf.pad(u, [[0, 0], [0, 0], [reach, reach], [0, 0]]), kernel, strides=1, padding="VALID")


class PixelLayer(keras.layers.Layer):
    """What the layers share: nothing above the first row and left of the first pixel, unless they say otherwise."""

    kept_size = 0  # m; a layer that keeps nothing of a pixel gives None
    class_kernel = None  # [num_classes, n], of a layer whose output labels shift

    def first_rows(self, batch, width):
        return ()

    def start_row(self, rows, vertical, shift):
        raise NotImplementedError

    def first_left(self, batch):
        return ()

    def pixel(self, u, above, left):
        raise NotImplementedError

    def finish_row(self, rows, kept):
        return rows

    def cast(self, variable):
        """The variable in the precision that the layer computes in, within `call` and without."""
        return tf.cast(tf.convert_to_tensor(variable), self.compute_dtype)

    def class_shift(self, classes):
        """What the labels add to the `above` of every pixel: [batch, 1, n]; 0.0 without labels."""
        if classes is None or self.class_kernel is None:
            return 0.0
        return tf.matmul(classes, self.cast(self.class_kernel))[:, None]


class MaskedConv2D(PixelLayer):
    """A convolution over the rows above a pixel, the pixels left of it, and what the mask leaves of itself.

    Args:
        filters: units of the output.
        mask: "A" or "B".
        above: rows above that it sees.
        reach: pixels that it sees to the left, and in the rows above to both sides. A k x k kernel of the paper has
            above = reach = (k - 1) / 2.
        num_groups: channels of the images.
        copies: `filters` come so many times, side by side; see `mask_of_pixel`.
        num_classes: labels shift the output by weights of their own; 0: none.
    """

    def __init__(self, filters, mask, above=0, reach=0, num_groups=1, copies=1, num_classes=0, **kwargs):
        super().__init__(**kwargs)
        self.filters, self.mask, self.above, self.reach = filters, mask, above, reach
        self.num_groups, self.copies, self.num_classes = num_groups, copies, num_classes

    def build(self, input_shape):
        self.size_in, size_out = input_shape[-1], self.filters * self.copies
        if self.above:
            shape = (self.above, 2 * self.reach + 1, self.size_in, size_out)
            self.kernel_above = self.add_weight(shape=shape, initializer=self.glorot(), name="kernel_above")
        shape = (self.reach + 1, self.size_in, size_out)
        self.kernel_of_row = self.add_weight(shape=shape, initializer=self.glorot(), name="kernel_of_row")
        self.bias = self.add_weight(shape=(size_out,), initializer="zeros", name="bias")
        if self.num_classes:
            self.class_kernel = self.add_weight(shape=(self.num_classes, size_out), name="class_kernel")
        self.kept_size = self.size_in if self.above else 0
        own = mask_of_pixel(self.mask, self.size_in, self.filters, self.num_groups, self.copies)
        self.mask_of_row = np.concatenate([np.ones((self.reach, *own.shape), "float32"), own[None]])

    def glorot(self):
        """Glorot's uniform initializer, of all that one unit sees: the two kernels are parts of one."""
        seen = self.above * (2 * self.reach + 1) + self.reach + 1
        limit = (6.0 / (seen * (self.size_in + self.filters))) ** 0.5
        return keras.initializers.RandomUniform(-limit, limit)

    def masked_kernel_of_row(self):
        """[reach + 1, in, out], the last entry that of the pixel itself."""
        kernel = self.cast(self.kernel_of_row)
        return kernel if self.mask_of_row.all() else kernel * tf.cast(self.mask_of_row, kernel.dtype)

    def call(self, u, classes=None):
        if self.above:
            # One convolution, whose kernel is 0 right of the pixel: two would need a slice, all rows but the last, the
            # gradient of which takes as long on a CPU as the convolutions.
            of_row = tf.pad(self.masked_kernel_of_row(), [[0, self.reach], [0, 0], [0, 0]])
            kernel = tf.concat([self.cast(self.kernel_above), of_row[None]], axis=0)
            v = convolution_of_rows(tf.pad(u, [[0, 0], [self.above, 0], [0, 0], [0, 0]]), kernel)
        elif self.reach:
            pad = tf.pad(u, [[0, 0], [0, 0], [self.reach, 0], [0, 0]])
            v = tf.nn.conv2d(pad, self.masked_kernel_of_row()[None], strides=1, padding="VALID")
        else:
            v = tf.tensordot(u, self.masked_kernel_of_row()[0], 1)  # which XLA does faster than a convolution
        v += self.cast(self.bias)
        return v if classes is None else v + self.class_shift(classes)[:, None]

    # One pixel at a time. What is above and left of the image is 0.

    def first_rows(self, batch, width):
        if not self.above:
            return ()
        return (tf.zeros((batch, self.above, width, self.size_in), self.compute_dtype),)

    def start_row(self, rows, vertical, shift):
        if not self.above:
            return rows, None, vertical
        seen = convolution_of_rows(rows[0], self.cast(self.kernel_above))[:, 0]
        return rows, seen + self.cast(self.bias) + shift, vertical

    def first_left(self, batch):
        return (tf.zeros((batch, self.reach * self.size_in), self.compute_dtype),)

    def pixel(self, u, above, left):
        seen = tf.concat([*left, u], axis=1)
        kernel = tf.reshape(self.masked_kernel_of_row(), ((self.reach + 1) * self.size_in, -1))
        v = tf.matmul(seen, kernel) + (self.cast(self.bias) if above is None else above)
        return v, (seen[:, self.size_in :],), u if self.above else None

    def of_itself(self, u):
        """The same of a 1x1 kernel, which needs nothing but the pixel: [batch, in] -> [batch, out]."""
        return self.pixel(u, None, ())[0]

    def finish_row(self, rows, kept):
        return (tf.concat([rows[0][:, 1:], kept[:, None]], axis=1),) if self.above else rows


class ResidualBlock(PixelLayer):
    """2h -> h -> h -> 2h units, by 1x1, k x k and 1x1 kernels of mask B, each after a ReLU, added to the input.

    van den Oord et al. 2016a, figure 5, left.

    Args:
        hidden: h.
        reach: (k - 1) / 2.
        num_groups, num_classes: of `MaskedConv2D`; labels shift the k x k convolution.
    """

    def __init__(self, hidden, reach=1, num_groups=1, num_classes=0, **kwargs):
        super().__init__(**kwargs)
        groups = {"num_groups": num_groups, "dtype": self.dtype_policy}
        self.narrow = MaskedConv2D(hidden, "B", **groups, name="narrow")
        self.spatial = MaskedConv2D(hidden, "B", reach, reach, num_classes=num_classes, **groups, name="spatial")
        self.widen = MaskedConv2D(2 * hidden, "B", **groups, name="widen")
        self.hidden = hidden

    def build(self, input_shape):
        self.narrow.build(input_shape)
        self.spatial.build((*input_shape[:-1], self.hidden))
        self.widen.build((*input_shape[:-1], self.hidden))
        self.kept_size = self.hidden

    def call(self, u, classes=None):
        v = self.narrow(tf.nn.relu(u))
        v = self.spatial(tf.nn.relu(v), classes)
        return u + self.widen(tf.nn.relu(v))

    def class_shift(self, classes):
        return self.spatial.class_shift(classes)

    def first_rows(self, batch, width):
        return self.spatial.first_rows(batch, width)

    def start_row(self, rows, vertical, shift):
        return self.spatial.start_row(rows, vertical, shift)

    def first_left(self, batch):
        return self.spatial.first_left(batch)

    def pixel(self, u, above, left):
        v = tf.nn.relu(self.narrow.of_itself(tf.nn.relu(u)))
        v, left, kept = self.spatial.pixel(v, above, left)
        return u + self.widen.of_itself(tf.nn.relu(v)), left, kept

    def finish_row(self, rows, kept):
        return self.spatial.finish_row(rows, kept)


class Head(PixelLayer):
    """A ReLU and a 1x1 convolution of mask B; its arguments are those of `MaskedConv2D`."""

    def __init__(self, units, num_groups=1, **kwargs):
        super().__init__(**kwargs)
        self.convolution = MaskedConv2D(units, "B", num_groups=num_groups, dtype=self.dtype_policy, name="convolution")

    def build(self, input_shape):
        self.convolution.build(input_shape[1] if isinstance(input_shape[0], (tuple, list)) else input_shape)

    def call(self, u, classes=None):
        u = u[1] if isinstance(u, (tuple, list)) else u  # of a gated layer, the horizontal stack
        return self.convolution(tf.nn.relu(u))

    def start_row(self, rows, vertical, shift):
        return rows, None, vertical

    def pixel(self, u, above, left):
        return self.convolution.of_itself(tf.nn.relu(u)), left, None


class GatedLayer(PixelLayer):
    """Two stacks of convolutions, which together see every pixel above and to the left: no blind spot.

        vertical     V(i) = gate(k x k over rows <= i of the V below)       V(i) depends on the rows < i of the image
        horizontal   H = H below + 1x1 gate(k over the row, mask B, of the H below + 1x1 V)
        gate(a, b) = tanh(a) sigmoid(b)

    The first layer sees the image in place of both: V(i) its rows < i alone, H by mask A, without the sum.

    van den Oord et al. 2016b, figure 2; labels shift a and b of both stacks, equation 4.

    Args:
        units: of both stacks.
        reach: (k - 1) / 2.
        first: whether this is the first layer.
        num_groups, num_classes: of `MaskedConv2D`.
    """

    def __init__(self, units, reach=1, first=False, num_groups=1, num_classes=0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.reach, self.first = units, reach, first
        gates = {"num_groups": num_groups, "copies": 2, "dtype": self.dtype_policy}
        self.vertical = Vertical(units, reach, first, num_classes, dtype=self.dtype_policy, name="vertical")
        self.horizontal = MaskedConv2D(
            units, "A" if first else "B", 0, reach, num_classes=num_classes, **gates, name="horizontal"
        )
        self.down = keras.layers.Dense(2 * units, use_bias=False, dtype=self.dtype_policy, name="down")
        self.out = MaskedConv2D(units, "B", num_groups=num_groups, dtype=self.dtype_policy, name="out")

    def build(self, input_shape):
        """`input_shape` of the image, or of the pair of stacks."""
        below = input_shape if self.first else input_shape[0]
        stack = (*below[:-1], self.units)
        self.vertical.build(below)
        self.horizontal.build(below)
        self.down.build(stack)
        self.out.build(stack)
        self.kept_size = below[-1] if self.first else 0

    def call(self, below, classes=None):
        """The image, or (V, H) of the layer below -> (V, H)."""
        vertical, horizontal = (below, below) if self.first else below
        v = self.vertical(vertical, classes)
        h = self.out(gate(self.horizontal(horizontal, classes) + self.down(v)))
        return v, h if self.first else horizontal + h

    def class_shift(self, classes):
        return self.vertical.class_shift(classes), self.horizontal.class_shift(classes)

    def first_rows(self, batch, width):
        return self.vertical.first_rows(batch, width)

    def start_row(self, rows, vertical, shift):
        of_vertical, of_horizontal = shift
        rows, v = self.vertical.start_row(rows, vertical, of_vertical)
        return rows, self.down(v) + self.cast(self.horizontal.bias) + of_horizontal, v

    def first_left(self, batch):
        return self.horizontal.first_left(batch)

    def pixel(self, u, above, left):
        v, left, _ = self.horizontal.pixel(u, above, left)
        v = self.out.of_itself(gate(v))
        return v if self.first else u + v, left, u if self.first else None

    def finish_row(self, rows, kept):
        return self.vertical.finish_row(rows, kept) if self.first else rows


def gate(x):
    """tanh(a) sigmoid(b) of the two halves of the last axis."""
    a, b = tf.split(x, 2, axis=-1)
    return tf.tanh(a) * tf.sigmoid(b)


class Vertical(PixelLayer):
    """The vertical stack's part of a `GatedLayer`: rows as they are, whole, of the stack below or of the image.

    V(i) sees the rows i - reach ... i below it, in the first layer i - reach ... i - 1 of the image.
    """

    def __init__(self, units, reach, first, num_classes, **kwargs):
        super().__init__(**kwargs)
        self.units, self.reach, self.first, self.num_classes = units, reach, first, num_classes

    def build(self, input_shape):
        self.size_in = input_shape[-1]
        shape = (self.reach + (not self.first), 2 * self.reach + 1, self.size_in, 2 * self.units)
        self.kernel = self.add_weight(shape=shape, name="kernel")
        self.bias = self.add_weight(shape=(2 * self.units,), initializer="zeros", name="bias")
        if self.num_classes:
            self.class_kernel = self.add_weight(shape=(self.num_classes, 2 * self.units), name="class_kernel")

    def call(self, below, classes=None):
        below = tf.pad(below[:, :-1] if self.first else below, [[0, 0], [self.reach, 0], [0, 0], [0, 0]])
        shift = self.class_shift(classes)
        return self.gated(below, 0.0 if classes is None else shift[:, None])

    def gated(self, rows, shift):
        """[batch, n + reach, width, in] -> [batch, n, width, units]; one row more in the first layer."""
        return gate(convolution_of_rows(rows, self.cast(self.kernel)) + self.cast(self.bias) + shift)

    def first_rows(self, batch, width):
        return (tf.zeros((batch, self.reach, width, self.size_in), self.compute_dtype),)

    def start_row(self, rows, vertical, shift):
        """(rows, V(i) [batch, width, units])."""
        seen = rows[0] if self.first else tf.concat([rows[0], vertical[:, None]], axis=1)
        v = self.gated(seen, shift if isinstance(shift, float) else shift[:, None])[:, 0]
        return (rows if self.first else (seen[:, 1:],)), v

    def finish_row(self, rows, kept):
        return (tf.concat([rows[0][:, 1:], kept[:, None]], axis=1),)
