"""Layers that Keras does not have."""

import keras
import tensorflow as tf


class SpectralNormalization:
    """Mixed into a layer with a `kernel`: the layer uses kernel / sigma(kernel), its largest singular value.

        v = W u / ||W u||,    u <- W^T v / ||W^T v||,    sigma(W) = v^T W u

    W is the kernel as a matrix [inputs, units]. The gradient flows through sigma, u and v being constants, as in the
    paper; Keras' own wrapper of this name overwrites the kernel instead. `next_singular_vector` is one step of the
    iteration; who trains the layer takes it once a step, so that a call has no side effect.

    Miyato et al. 2018, Spectral Normalization for Generative Adversarial Networks, section 2.1 and algorithm 1.
    """

    def build(self, input_shape):
        super().build(input_shape)
        self.singular_vector = self.add_weight(
            shape=(self.kernel.shape[-1],),
            initializer="random_normal",
            dtype="float32",
            autocast=False,
            trainable=False,
            name="singular_vector",
        )

    # Keras' layers write kernel and bias by name; this takes every variable.

    def save_own_variables(self, store):
        keras.layers.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        keras.layers.Layer.load_own_variables(self, store)

    def next_singular_vector(self):
        """u after one step of the power iteration: float32 [units]."""
        weights = self.weights_as_matrix()
        v = unit(tf.linalg.matvec(weights, self.singular_vector.value))
        return unit(tf.linalg.matvec(weights, v, transpose_a=True))

    def spectral_norm(self):
        """sigma(W) as the present u estimates it, from below: float32 scalar."""
        weights = self.weights_as_matrix()
        u = unit(self.singular_vector.value)
        v = tf.stop_gradient(unit(tf.linalg.matvec(weights, u)))
        return tf.tensordot(v, tf.linalg.matvec(weights, u), 1)

    def normalized_kernel(self):
        return self.kernel / tf.cast(self.spectral_norm(), self.compute_dtype)

    def weights_as_matrix(self):
        kernel = tf.cast(tf.convert_to_tensor(self.kernel), tf.float32)
        return tf.reshape(kernel, (-1, kernel.shape[-1]))


def unit(vector):
    return tf.math.l2_normalize(vector, epsilon=1e-12)


@keras.saving.register_keras_serializable(package="zoo")
class SpectralDense(SpectralNormalization, keras.layers.Dense):
    """`keras.layers.Dense` with its kernel divided by its spectral norm."""

    def call(self, inputs):
        return self.activation(tf.matmul(inputs, self.normalized_kernel()) + self.bias)


@keras.saving.register_keras_serializable(package="zoo")
class SpectralConv2D(SpectralNormalization, keras.layers.Conv2D):
    """`keras.layers.Conv2D` with its kernel, as [height * width * channels, filters], divided by its spectral norm."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, self.normalized_kernel())


@keras.saving.register_keras_serializable(package="zoo")
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` that an empty batch does no harm: the last of an epoch, on some replica.

    The mean of no examples is NaN, which the moving average would keep for good; that of one row of zeros is not.
    """

    def call(self, inputs, training=None, mask=None):
        if not training:
            return super().call(inputs, training=training, mask=mask)
        examples = tf.shape(inputs)[0]
        padding = [[0, tf.cast(examples == 0, tf.int32)]] + [[0, 0]] * (len(inputs.shape) - 1)
        return super().call(tf.pad(inputs, padding), training=training, mask=mask)[:examples]


@keras.saving.register_keras_serializable(package="zoo")
class Maxout(keras.layers.Layer):
    """The largest of `pieces` linear functions, as each unit's value: [batch, units * pieces] -> [batch, units].

    Goodfellow et al. 2013, Maxout Networks, section 2.
    """

    def __init__(self, pieces, **kwargs):
        super().__init__(**kwargs)
        self.pieces = pieces

    def call(self, inputs):
        return tf.reduce_max(tf.reshape(inputs, (-1, inputs.shape[-1] // self.pieces, self.pieces)), axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] // self.pieces)

    def get_config(self):
        return {**super().get_config(), "pieces": self.pieces}
