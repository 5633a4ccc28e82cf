"""The two LSTM layers of PixelRNN, over whole images or one pixel at a time; see `zoo.pixel_layers`.

    [i, f, o, g] = K_is * u + K_ss * h            i, f, o through a sigmoid, g through tanh
    c = f c_before + i g,    h = o tanh(c)
    v = u + 1x1(h)                                (van den Oord et al. 2016a, sections 3.1 to 3.3, equation 3)

    Row LSTM           before: the row above, of which K_ss sees three pixels; K_is is 3x1, mask B
    Diagonal BiLSTM    before: the pixel to the left, K_ss sees it and the pixel above; K_is is 1x1, mask B. A second
                       such layer runs from the right to the left; its h moves one row down, which keeps what it has
                       seen in the past, and is added.

A state outside of the image is a learned one.
"""

import tensorflow as tf

from zoo.pixel_layers import MaskedConv2D, PixelLayer, for_each

FORGET_BIAS = 1.0


def cell(gates, c):
    """(h, c) of the gates' inputs [..., 4h] and the c before [..., h]."""
    i, f, o, g = tf.split(gates, 4, axis=-1)
    c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
    return tf.sigmoid(o) * tf.tanh(c), c


# A scan of LSTM cells. The cells of a step lie in a line; each sees the h of its neighbours in the step before.


def beside(h, own, outside):
    """h of the cell before, of the cell and of the cell after it in its line: [..., line, 3 units]; 0 outside."""
    none = tf.zeros_like(h[..., :1, :])
    return tf.concat([tf.concat([none, h[..., :-1, :]], -2), own, tf.concat([h[..., 1:, :], none], -2)], axis=-1)


def gradient_beside(gradient):
    """The gradient of `beside` by h but for the cell's own, by the own, and by `outside`: 0."""
    before, own, after = tf.split(gradient, 3, axis=-1)
    none = tf.zeros_like(own[..., :1, :])
    by_h = tf.concat([before[..., 1:, :], none], -2) + tf.concat([none, after[..., :-1, :]], -2)
    return by_h, own, none[..., 0, :]


def before(h, own, outside):
    """h of the cell before, of the first one `outside`, and of the cell in its line: [..., line, 2 units]."""
    return tf.concat([tf.concat([outside[..., None, :], h[..., :-1, :]], -2), own], axis=-1)


def gradient_before(gradient):
    """The gradient of `before` by h but for the cell's own, by the own, and by `outside`."""
    shifted, own = tf.split(gradient, 2, axis=-1)
    return tf.concat([shifted[..., 1:, :], tf.zeros_like(own[..., :1, :])], -2), own, shifted[..., 0, :]


SEEN = {"beside": 3, "before": 2}  # cells of the step before that a cell sees
NEIGHBOURS = {"beside": (beside, gradient_beside), "before": (before, gradient_before)}


def scan(inputs, kernel, h_outside, c_outside, neighbours, starts=None):
    """h of every step of an LSTM: [steps, directions, batch, line, units].

    Args:
        inputs: K_is * u, [steps, directions, batch, line, 4 units].
        kernel: K_ss, [directions, neighbours * units, 4 units].
        h_outside, c_outside: the state before the first step, [directions, units].
        neighbours: "beside" or "before".
        starts: bool [steps, line]: where a cell starts anew, its own state before the step being that outside; None:
            nowhere.

    The gradient is written out: it keeps no more than the gates and c, and a step backwards is two products.
    """
    return scanned(neighbours, starts)(inputs, kernel, h_outside, c_outside)


def scanned(neighbours, starts):
    look, gradient_of_look = NEIGHBOURS[neighbours]

    @tf.custom_gradient
    def function(inputs, kernel, h_outside, c_outside):
        steps, units = tf.shape(inputs)[0], inputs.shape[-1] // 4
        state = tf.concat([tf.shape(inputs)[1:4], [units]], axis=0)
        h0 = tf.ensure_shape(tf.broadcast_to(h_outside[:, None, None], state), [*inputs.shape[1:4], units])
        c0 = tf.ensure_shape(tf.broadcast_to(c_outside[:, None, None], state), [*inputs.shape[1:4], units])
        zeros, line = tf.zeros_like(h0), h0[..., 0, :]

        def at_start(t, there, elsewhere):
            return elsewhere if starts is None else tf.where(tf.gather(starts, t)[:, None], there, elsewhere)

        def activated(x):
            sigmoids, g = tf.sigmoid(x[..., : 3 * units]), tf.tanh(x[..., 3 * units :])
            return tf.concat([sigmoids, g], axis=-1)

        def forwards(t, h, c, all_h, all_c, all_gates):
            c = at_start(t, c0, c)
            gates = activated(inputs[t] + product(look(h, at_start(t, h0, h), line), kernel))
            i, f, o, g = tf.split(gates, 4, axis=-1)
            all_c, all_gates = all_c.write(t, c), all_gates.write(t, gates)
            c = f * c + i * g
            h = o * tf.tanh(c)
            return t + 1, h, c, all_h.write(t, h), all_c, all_gates

        shapes = h0.shape, h0.shape, inputs.shape[1:]
        arrays = [tf.TensorArray(inputs.dtype, steps, element_shape=shape) for shape in shapes]
        *_, all_h, all_c, all_gates = for_each(steps, forwards, (0, h0, c0, *arrays))
        all_h, all_c, all_gates = all_h.stack(), all_c.stack(), all_gates.stack()

        def gradient(by_all_h):
            def backwards(n, by_h, by_c, by_h0, by_c0, by_line, by_kernel, by_gates):
                t = steps - 1 - n
                by_h += by_all_h[t]
                (i, f, o, g), c = tf.split(all_gates[t], 4, axis=-1), all_c[t]
                tanh_c = tf.tanh(f * c + i * g)
                by_c += by_h * o * (1.0 - tanh_c**2)
                by_i, by_f = by_c * g * i * (1.0 - i), by_c * c * f * (1.0 - f)
                by_o, by_g = by_h * tanh_c * o * (1.0 - o), by_c * i * (1.0 - g**2)
                by_gate = tf.concat([by_i, by_f, by_o, by_g], axis=-1)
                by_c = by_c * f

                h = tf.where(t > 0, all_h[tf.maximum(t - 1, 0)], h0)
                by_kernel += product_over_cells(look(h, at_start(t, h0, h), line), by_gate)
                by_h, by_own, by_first = gradient_of_look(product(by_gate, kernel, transposed=True))
                by_h += at_start(t, zeros, by_own)
                if starts is not None:
                    by_h0, by_c0 = by_h0 + at_start(t, by_own, zeros), by_c0 + at_start(t, by_c, zeros)
                by_c = at_start(t, zeros, by_c)
                return n + 1, by_h, by_c, by_h0, by_c0, by_line + by_first, by_kernel, by_gates.write(t, by_gate)

            by_gates = tf.TensorArray(inputs.dtype, steps, element_shape=inputs.shape[1:])
            first = (0, zeros, zeros, zeros, zeros, tf.zeros_like(line), tf.zeros_like(kernel), by_gates)
            _, by_h, by_c, by_h0, by_c0, by_line, by_kernel, by_gates = for_each(steps, backwards, first)
            by_h_outside = tf.reduce_sum(by_h + by_h0, [1, 2]) + tf.reduce_sum(by_line, 1)
            return by_gates.stack(), by_kernel, by_h_outside, tf.reduce_sum(by_c + by_c0, [1, 2])

        return all_h, gradient

    return function


def product_over_cells(x, y):
    """x^T y over batch and line: [directions, batch, line, n] and [..., m] -> [directions, n, m]."""
    return tf.matmul(*(tf.reshape(each, (each.shape[0], -1, each.shape[-1])) for each in (x, y)), transpose_a=True)


def product(x, kernel, transposed=False):
    """x [directions, batch, line, n] times kernel [directions, n, m]: one product for each direction."""
    directions, _, line, size = x.shape
    batch = tf.shape(x)[1]
    flat = tf.matmul(tf.reshape(x, (directions, batch * line, size)), kernel, transpose_b=transposed)
    return tf.reshape(flat, (directions, batch, line, flat.shape[-1]))


# Skewing: row i moves i pixels to the right, so that a column holds what can be computed at once. Images stand side by
# side meanwhile, which leaves only the corners of the first and of the last empty.

IN_A_ROW = 4  # images; more leave fewer places empty, and take longer one after the other


def side_by_side(u):
    """[2, batch, height, width, n] -> [2, batch / 4, height, 4 width, n]; as it is where 4 does not divide batch."""
    _, _, height, width, size = u.shape
    batch = tf.shape(u)[1]
    in_a_row = tf.where(batch % IN_A_ROW == 0, IN_A_ROW, 1)
    u = tf.reshape(u, (2, batch // in_a_row, in_a_row, height, width, size))
    return tf.reshape(tf.transpose(u, [0, 1, 3, 2, 4, 5]), (2, batch // in_a_row, height, in_a_row * width, size))


def apart(u, width):
    """The inverse of `side_by_side`."""
    _, _, height, _, size = u.shape
    rows, in_a_row = tf.shape(u)[1], tf.shape(u)[3] // width
    u = tf.transpose(tf.reshape(u, (2, rows, height, in_a_row, width, size)), [0, 1, 3, 2, 4, 5])
    return tf.reshape(u, (2, rows * in_a_row, height, width, size))


def skew(u):
    """[..., height, width, n] -> [..., height, width + height - 1, n], 0 where there is no pixel."""
    height, size = u.shape[-3], u.shape[-1]
    leading, width = tf.shape(u)[:-3], tf.shape(u)[-2]
    u = tf.pad(u, [[0, 0]] * (len(u.shape) - 2) + [[0, height], [0, 0]])
    u = tf.reshape(u, tf.concat([leading, [height * (width + height), size]], 0))
    return tf.reshape(u[..., :-height, :], tf.concat([leading, [height, width + height - 1, size]], 0))


def unskew(u):
    """The inverse of `skew`: [..., height, width + height - 1, n] -> [..., height, width, n]."""
    height, size = u.shape[-3], u.shape[-1]
    leading, skewed = tf.shape(u)[:-3], tf.shape(u)[-2]
    u = tf.reshape(u, tf.concat([leading, [height * skewed, size]], 0))
    u = tf.pad(u, [[0, 0]] * (len(u.shape) - 2) + [[0, height], [0, 0]])
    u = tf.reshape(u, tf.concat([leading, [height, skewed + 1, size]], 0))
    return u[..., : skewed + 1 - height, :]


class SpatialLSTM(PixelLayer):
    """What the two layers share.

    Args:
        hidden: h, units of the state.
        num_groups, num_classes: of `MaskedConv2D`; labels shift the inputs of the gates.
    """

    directions = 1
    neighbours = "beside"
    reach = 1

    def __init__(self, hidden, num_groups=1, num_classes=0, **kwargs):
        super().__init__(**kwargs)
        self.hidden = hidden
        arguments = {"num_groups": num_groups, "dtype": self.dtype_policy}
        gates = {**arguments, "copies": 4 * self.directions, "num_classes": num_classes, "reach": self.reach}
        self.input_to_state = MaskedConv2D(hidden, "B", **gates, name="input_to_state")
        self.out = MaskedConv2D(2 * hidden, "B", **arguments, name="out")

    def build(self, input_shape):
        self.input_to_state.build(input_shape)
        self.out.build((*input_shape[:-1], self.hidden))
        shape = (self.directions, SEEN[self.neighbours] * self.hidden, 4 * self.hidden)
        self.state_to_state = self.add_weight(shape=shape, name="state_to_state")
        self.h_outside = self.add_weight(shape=(self.directions, self.hidden), initializer="zeros", name="h_outside")
        self.c_outside = self.add_weight(shape=(self.directions, self.hidden), initializer="zeros", name="c_outside")
        forget = tf.one_hot(1, 4)[:, None] * tf.fill((1, self.hidden), FORGET_BIAS)
        self.input_to_state.bias.assign(tf.tile(tf.reshape(forget, [-1]), [self.directions]))

    @property
    def kept_size(self):
        return (2, 5)[self.directions - 1] * self.hidden  # (h, c), or h and the gates from the right

    def class_shift(self, classes):
        return self.input_to_state.class_shift(classes)

    def outside(self, direction, shape):
        """(h, c) outside of the image: [*shape, hidden] each."""
        return [
            tf.broadcast_to(self.cast(each)[direction], (*shape, self.hidden))
            for each in (self.h_outside, self.c_outside)
        ]


class RowLSTM(SpatialLSTM):
    """From the top row to the bottom, all pixels of a row at once: each sees a triangle above it."""

    def call(self, u, classes=None):
        inputs = tf.transpose(self.input_to_state(u, classes), [1, 0, 2, 3])[:, None]  # [height, 1, batch, width, 4h]
        weights = [self.cast(each) for each in (self.state_to_state, self.h_outside, self.c_outside)]
        h = scan(inputs, *weights, self.neighbours)
        return u + self.out(tf.transpose(h[:, 0], [1, 0, 2, 3]))

    def first_rows(self, batch, width):
        return tuple(self.outside(0, (batch, width)))

    def start_row(self, rows, vertical, shift):
        h, c = rows
        gates = tf.tensordot(beside(h, h, None), self.cast(self.state_to_state)[0], 1)
        return rows, tf.concat([gates + self.cast(self.input_to_state.bias) + shift, c], axis=-1), vertical

    def first_left(self, batch):
        return self.input_to_state.first_left(batch)

    def pixel(self, u, above, left):
        gates, left, _ = self.input_to_state.pixel(u, above[:, : 4 * self.hidden], left)
        h, c = cell(gates, above[:, 4 * self.hidden :])
        return u + self.out.of_itself(h), left, tf.concat([h, c], axis=1)

    def finish_row(self, rows, kept):
        return tuple(tf.split(kept, 2, axis=-1))


class DiagonalBiLSTM(SpatialLSTM):
    """Along the diagonals from both upper corners: each pixel sees all before it."""

    directions = 2
    neighbours = "before"
    reach = 0

    def call(self, u, classes=None):
        from_left, from_right = tf.split(self.input_to_state(u, classes), 2, axis=-1)
        height, width = u.shape[1:3]
        inputs = skew(side_by_side(tf.stack([from_left, from_right[:, :, ::-1]])))  # [2, rows, height, columns, 4h]
        inputs = tf.transpose(inputs, [3, 0, 1, 2, 4])
        weights = [self.cast(each) for each in (self.state_to_state, self.h_outside, self.c_outside)]
        starts = (tf.range(tf.shape(inputs)[0])[:, None] - tf.range(height)) % width == 0
        h = scan(inputs, *weights, self.neighbours, starts)
        from_left, from_right = tf.unstack(apart(unskew(tf.transpose(h, [1, 2, 3, 0, 4])), width))
        first, _ = self.outside(1, (tf.shape(u)[0], 1, width))
        return u + self.out(from_left + tf.concat([first, from_right[:, :-1, ::-1]], axis=1))

    def first_rows(self, batch, width):
        return self.outside(0, (batch, width))[0], self.outside(1, (batch, width))[0]

    def start_row(self, rows, vertical, shift):
        from_left, from_right = rows
        upper = self.cast(self.state_to_state)[0, : self.hidden]
        bias, shift = self.cast(self.input_to_state.bias), shift + tf.zeros(8 * self.hidden, self.compute_dtype)
        gates = tf.tensordot(from_left, upper, 1) + (bias + shift)[..., : 4 * self.hidden]
        of_right = (bias + shift)[..., 4 * self.hidden :] + tf.zeros_like(gates)
        return rows, tf.concat([gates, of_right, from_right], axis=-1), vertical

    def first_left(self, batch):
        return tuple(self.outside(0, (batch,)))

    def pixel(self, u, above, left):
        above, from_right = above[:, : 8 * self.hidden], above[:, 8 * self.hidden :]
        gates, _, _ = self.input_to_state.pixel(u, above, ())
        own = self.cast(self.state_to_state)[0, self.hidden :]
        h, c = cell(gates[:, : 4 * self.hidden] + tf.matmul(left[0], own), left[1])
        kept = tf.concat([h, gates[:, 4 * self.hidden :]], axis=1)
        return u + self.out.of_itself(h + from_right), (h, c), kept

    def finish_row(self, rows, kept):
        """The states from the right need the whole row, which is now there."""
        from_left, gates = kept[..., : self.hidden], kept[..., self.hidden :]
        kernel, width = self.cast(self.state_to_state)[1], kept.shape[1]
        gates += tf.tensordot(rows[1], kernel[: self.hidden], 1)

        def body(n, h, c, all_h):
            h, c = cell(gates[:, width - 1 - n] + tf.matmul(h, kernel[self.hidden :]), c)
            return n + 1, h, c, all_h.write(n, h)  # in the order of the loop, as ONNX stacks them

        array = tf.TensorArray(kept.dtype, width, element_shape=from_left[:, 0].shape)
        *_, all_h = for_each(width, body, (0, *self.outside(1, (tf.shape(kept)[0],)), array))
        return from_left, tf.transpose(all_h.stack()[::-1], [1, 0, 2])
