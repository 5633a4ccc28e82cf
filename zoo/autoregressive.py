"""Models that draw an image pixel by pixel: p(x) = prod_i p(x_i | x_1, ..., x_i-1), exactly.

Pixels come row by row from the top, in a row from the left, and in a pixel channel by channel. An intensity has
`num_levels` values, k / (num_levels - 1) of the range [0, 1]:

    num_levels = 2      p(x_i = 1 | x_<i) = sigmoid(logits_i)
    num_levels > 2      p(x_i = k / (num_levels - 1) | x_<i) = softmax(logits_i)_k

One pass over a whole image gives all its conditionals. A draw goes through the pixels in a loop, in which each layer
computes one pixel from what it keeps of those before (`zoo.pixel_layers`). From uniform noise u, a binary x_i is 1
where u_i < p(x_i = 1 | x_<i); of more levels, x_i is the smallest whose cumulative probability exceeds u_i.

van den Oord, Kalchbrenner and Kavukcuoglu 2016, Pixel Recurrent Neural Networks, sections 2 and 3.
"""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from zoo.base import Conditional, Endpoint, Generative, Input, Output, at_least, never_empty, with_labels
from zoo.distributions import one_hot, stateless_seed, uniform_noise
from zoo.inputs import Labels, Levels, checked_labels, missing_labels
from zoo.pixel_layers import Head, for_each

DRAWN_AT_A_TIME = 250  # images in one loop over the pixels


class Autoregressive(Generative):
    """What `zoo.PixelCNN` and `zoo.PixelRNN` share: the likelihood, its exact value, the sampler.

    A subclass hands its layers, each a `zoo.pixel_layers.PixelLayer`, to `stack`.

    Args:
        event_shape: (height, width, channels) of the images.
        num_levels: values of an intensity, 2 to 256.
        num_classes: labels that the images are given; 0: none.
        seed: as of every model.
    """

    columns_beyond = 0  # to the right of the image, which the layers see

    def __init__(self, event_shape, num_levels, num_classes, seed, **kwargs):
        super().__init__(event_shape=event_shape, seed=seed, **kwargs)
        if len(self.event_shape) != 3:
            raise ValueError(f"event_shape is {event_shape}; (height, width, channels) is wanted.")
        self.num_levels = at_least("num_levels", num_levels, 2)
        self.num_classes = at_least("num_classes", num_classes, 0)
        if self.num_levels > 256:
            raise ValueError(f"num_levels is {num_levels}; at most 256 are wanted.")
        if self.num_classes == 1:
            raise ValueError("num_classes is 1; at least 2 are wanted, or 0 for a model without labels.")
        self.nll = keras.metrics.Mean(name="nll")

    def stack(self, layers):
        """Take the layers, in their order; the last one gives the logits. They are built here."""
        self.pixel_layers = layers
        features = self.with_columns_beyond(tf.zeros((1, *self.event_shape)))
        for layer in layers:
            features = layer(features)
        self.built = True

    def layer(self, name, kind, *arguments, labelled=False, **named):
        """A layer of the model's precision and channels; `labelled`: one that takes the labels."""
        classes = {"num_classes": self.num_classes} if labelled else {}
        named |= {"num_groups": self.event_shape[-1], "dtype": self.dtype_policy, "name": name}
        return kind(*arguments, **classes, **named)

    def heads(self, units):
        """The two 1x1 layers from features to logits."""
        return [self.layer("head", Head, units), self.layer("logits", Head, self.event_shape[-1] * self.num_logits)]

    def grouped(self, name, units):
        """`units`, if they divide into a group for each channel."""
        channels = self.event_shape[-1]
        if at_least(name, units, 1) % channels:
            raise ValueError(f"{name} is {units}, which {channels} channels do not divide; choose a multiple.")
        return int(units)

    def with_columns_beyond(self, x):
        """x [batch, height, width, n] with the columns of zeros that the layers need to the right of it."""
        return tf.pad(x, [[0, 0], [0, 0], [0, self.columns_beyond], [0, 0]]) if self.columns_beyond else x

    @property
    def num_logits(self):
        """For each channel of a pixel."""
        return 1 if self.num_levels == 2 else self.num_levels

    @property
    def values(self):
        return "binary" if self.num_levels == 2 else Levels(self.num_levels)

    @property
    def labels(self):
        return Labels(self.num_classes) if self.num_classes else None

    # The likelihood.

    def call(self, x, training=None):
        x, labels = x if self.num_classes else (x, None)
        return {"logits": self.logits_of(x, labels)}

    def logits_of(self, x, labels=None):
        """Float32 [batch, *event_shape], with more than 2 levels [batch, *event_shape, num_levels]."""
        classes, features = self.indicators(labels), self.with_columns_beyond(tf.cast(x, self.compute_dtype))
        for layer in self.pixel_layers:
            features = layer(features, classes)
        return self.as_logits(features[:, :, : self.event_shape[1]])

    def as_logits(self, features):
        """Of the last layer's [batch, ..., channels * num_logits]."""
        levels = () if self.num_levels == 2 else (self.num_levels,)
        shape = tf.concat([tf.shape(features)[:-1], [self.event_shape[-1], *levels]], axis=0)
        return tf.reshape(tf.cast(features, tf.float32), shape)

    def indicators(self, labels):
        return None if labels is None else one_hot(labels, self.num_classes, self.compute_dtype)

    def log_likelihood(self, x, logits):
        """log p(x) of images and the logits that they have given: float32 [batch]."""
        x = tf.cast(x, tf.float32)
        # Written out: no ONNX graph can hold the log_prob of tfd.Bernoulli and tfd.Categorical.
        if self.num_levels == 2:
            return tf.reduce_sum(x * logits - tf.nn.softplus(logits), axis=range(1, 4))
        levels = tf.one_hot(tf.cast(tf.round(x * (self.num_levels - 1)), tf.int32), self.num_levels)
        return tf.reduce_sum(levels * tf.nn.log_softmax(logits), axis=range(1, 5))

    def logits(self, x, labels=None):
        """The logits of the conditionals of images x [batch, *event_shape], whose labels are [batch]."""
        x = self.checked(x)
        return self.in_batches(self.logits_of, x, *self.given(labels, len(x)))

    def log_prob(self, x, labels=None):
        """log p(x), exact, in nats: float32 [batch]; with labels, log p(x|y)."""
        x = self.checked(x)
        return self.in_batches(self.compiled_log_prob, x, *self.given(labels, len(x)))

    @tf.function(reduce_retracing=True)
    def compiled_log_prob(self, x, labels=None):
        return self.log_prob_of(x, labels)

    def log_prob_of(self, x, labels=None):
        return self.log_likelihood(x, self.logits_of(x, labels))

    def given(self, labels, count):
        """The labels of `count` images as a tuple of one array [count], checked; () for a model without."""
        if not self.num_classes:
            self.refuse_labels(labels)
            return ()
        if labels is None:
            raise ValueError(missing_labels(self.labels))
        labels = np.asarray(labels)
        labels = np.repeat(labels, count) if labels.ndim == 0 else labels
        return (checked_labels(labels, count, self.labels).astype("int64"),)

    # The objective: -log p(x) in nats.

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        images = x[0] if self.num_classes else x
        nll = -self.log_likelihood(images, y_pred["logits"])
        self.nll.update_state(nll, sample_weight)
        return self.mean_over_batch(nll, sample_weight)

    def train_step(self, data):
        return super().train_step(with_labels(data) if self.num_classes else data)

    def test_step(self, data):
        return super().test_step(with_labels(data) if self.num_classes else data)

    def predict(self, x, y=None, *args, **kwargs):
        """`keras.Model.predict` of images `x`, of a model with labels of images and their labels `y`."""
        if self.num_classes:
            return Conditional.predict(self, x, y, *args, **kwargs)
        return super().predict(x, *args, **kwargs)

    def predict_step(self, data):
        return super().predict_step(with_labels(data) if self.num_classes else data)

    # Generation.

    def sample(self, num_samples, labels=None, seed=0, temperature=1.0):
        """Images, float32 [num_samples, *event_shape]: a pure function of the arguments.

        Args:
            labels: of a model with labels, a class for all images, or one for each [num_samples]; None: 0 ...
                num_classes - 1 in turn.
            temperature: the logits are divided by it; below 1 the likelier intensities come more often.
        """
        shape = (at_least("num_samples", num_samples, 1), *self.event_shape)
        labels = np.arange(num_samples) % self.num_classes if self.num_classes and labels is None else labels
        given, keep = np.zeros(shape, "float32"), np.zeros(shape, "float32")
        return self.drawn(given, keep, self.given(labels, num_samples), seed, temperature)

    def complete(self, images, mask, labels=None, seed=0, temperature=1.0):
        """`images` where `mask` is 1, and a draw of the other pixels: float32 [batch, *event_shape].

        A draw follows the order of the pixels: it knows the given ones before it, and not those after.

        Args:
            images: [batch, *event_shape], of the levels of the model where `mask` is 1.
            mask: 0 and 1, or bool, [batch, *event_shape] or of a shape that fits these by NumPy's rules, such as
                [height, width, 1].
            labels, temperature: of `sample`; labels are [batch], or one for all.
        """
        images, mask = self.checked(images), np.asarray(mask)
        if mask.ndim == 2 or mask.shape == images.shape[:3]:
            mask = mask[..., None]
        try:
            keep = np.broadcast_to(mask, images.shape).astype("float32")
        except ValueError:
            raise ValueError(
                f"mask came with shape {mask.shape} for images of {images.shape}; {images.shape} is wanted, or "
                f"{self.event_shape} for one mask for all."
            ) from None
        if not np.isin(keep, (0.0, 1.0)).all():
            raise ValueError("mask holds other values than 0 and 1; pass 1 where a pixel is given and 0 elsewhere.")
        return self.drawn(images * keep, keep, self.given(labels, len(images)), seed, temperature)

    def drawn(self, images, keep, labels, seed, temperature):
        """The compiled loop over the pixels, `DRAWN_AT_A_TIME` images at a time, always as many."""
        if not 0.0 < temperature < np.inf:
            raise ValueError(f"temperature is {temperature}; a finite number > 0 is wanted.")
        noise = uniform_noise(images.shape, stateless_seed(seed, 0)).numpy()
        arrays, count, parts = (noise, images, keep, *labels), len(images), []
        size = min(count, DRAWN_AT_A_TIME)
        for start in range(0, count, size):
            part = [padded(array[start : start + size], size) for array in arrays]
            parts.append(np.asarray(self.compiled_draw(*part, temperature=tf.constant(temperature, tf.float32))))
        return np.concatenate(parts)[:count]

    @tf.function(reduce_retracing=True, jit_compile=True)
    def compiled_draw(self, noise, images, keep, labels=None, temperature=1.0):
        return self.draw(noise, images, keep, labels, temperature)

    def draw(self, noise, images=None, keep=None, labels=None, temperature=1.0):
        """The sampler: uniform noise [batch, *event_shape] -> images; where `keep` is 1, those of `images`."""
        height, width, channels = self.event_shape
        width += self.columns_beyond
        batch, classes = tf.shape(noise)[0], self.indicators(labels)
        shifts = [layer.class_shift(classes) for layer in self.pixel_layers]
        kept_sizes = [layer.kept_size for layer in self.pixel_layers]
        arrays = (noise,) if images is None else (noise, images, keep)
        by_row = [tf.transpose(self.with_columns_beyond(each), (1, 2, 0, 3)) for each in arrays]

        def inside(j):
            """1.0, and 0.0 in the columns beyond, which stay 0."""
            return tf.cast(j < self.event_shape[1], tf.float32) if self.columns_beyond else 1.0

        def draw_row(i, rows, drawn):
            rows, aboves = self.start_row(rows, shifts)
            of_row = [each[i] for each in by_row]
            by_pixel = tf.transpose(tf.concat([each for each in aboves if each is not None], axis=-1), (1, 0, 2))
            sizes = [0 if each is None else each.shape[-1] for each in aboves]

            def draw_pixel(j, lefts, pixels, kept):
                above = pieces(by_pixel[j], sizes)
                given = [each[j] for each in of_row]
                x, lefts, notes = self.draw_pixel(
                    *given, aboves=above, lefts=lefts, inside=inside(j), temperature=temperature
                )
                return j + 1, lefts, pixels.write(j, x), kept.write(j, notes)

            lefts = [layer.first_left(batch) for layer in self.pixel_layers]
            pixels = tf.TensorArray(tf.float32, width, element_shape=(None, channels))
            kept = tf.TensorArray(self.compute_dtype, width, element_shape=(None, sum(kept_sizes)))
            _, _, pixels, kept = for_each(width, draw_pixel, (0, lefts, pixels, kept))
            kept = pieces(tf.transpose(kept.stack(), (1, 0, 2)), kept_sizes)
            rows = [layer.finish_row(*each) for layer, *each in zip(self.pixel_layers, rows, kept, strict=True)]
            return i + 1, rows, drawn.write(i, pixels.stack())

        rows = [layer.first_rows(batch, width) for layer in self.pixel_layers]
        drawn = tf.TensorArray(tf.float32, height, element_shape=(width, None, channels))
        *_, drawn = for_each(height, draw_row, (0, rows, drawn))
        return tf.transpose(drawn.stack(), (2, 0, 1, 3))[:, :, : self.event_shape[1]]

    def start_row(self, rows, shifts):
        """What every layer takes from the rows above, from the first layer to the last: (rows, aboves)."""
        started, aboves, vertical = [], [], None
        for layer, of_layer, shift in zip(self.pixel_layers, rows, shifts, strict=True):
            of_layer, above, vertical = layer.start_row(of_layer, vertical, shift)
            started.append(of_layer)
            aboves.append(above)
        return started, aboves

    def draw_pixel(self, noise, images=None, keep=None, *, aboves, lefts, inside, temperature):
        """(x [batch, channels], lefts, notes): the channels one after the other, each by a pass through the layers."""
        x = tf.zeros_like(noise)
        for channel in range(self.event_shape[-1]):
            logits, lefts_after, notes = self.logits_of_pixel(x, aboves, lefts)
            drawn = self.intensity(noise[:, channel], logits[:, channel] / temperature)
            if keep is not None:
                drawn = tf.where(keep[:, channel] > 0, images[:, channel], drawn)
            x = tf.concat([x[:, :channel], inside * drawn[:, None], x[:, channel + 1 :]], axis=1)
        # No layer but the first one sees the last channel: what the last pass has left there stands.
        first = self.pixel_layers[0]
        _, lefts_after[0], notes[0] = first.pixel(tf.cast(x, self.compute_dtype), aboves[0], lefts[0])
        return x, lefts_after, tf.concat([note for note in notes if note is not None], axis=1)

    def logits_of_pixel(self, x, aboves, lefts):
        """(logits of one pixel [batch, channels(, num_levels)], lefts, notes) of its channels before the one wanted."""
        features, lefts_after, notes = tf.cast(x, self.compute_dtype), [], []
        for layer, above, left in zip(self.pixel_layers, aboves, lefts, strict=True):
            features, left, note = layer.pixel(features, above, left)
            lefts_after.append(left)
            notes.append(note)
        return self.as_logits(features), lefts_after, notes

    def intensity(self, noise, logits):
        """The draw of noise [batch] and the logits of one channel: float32 [batch], in [0, 1]."""
        if self.num_levels == 2:
            # noise < sigmoid(logits), as the sigmoid's inverse has it: a probability near 0 or 1 is rounded to it by
            # some runtimes and not by others.
            return tf.cast(tf.math.log(noise) - tf.math.log(1.0 - noise) < logits, tf.float32)
        passed = noise[:, None] >= tf.cumsum(tf.nn.softmax(logits), axis=-1)[:, :-1]
        return tf.reduce_sum(tf.cast(passed, tf.float32), axis=-1) / (self.num_levels - 1)

    def draw_by_full_passes(self, noise, labels=None, temperature=1.0):
        """What `draw` gives, at the price of one pass over the whole image for each intensity: for comparison."""
        height, width, channels = self.event_shape

        def draw_intensity(n, x):
            logits = tf.reshape(self.logits_of(x, labels), (-1, height * width * channels, self.num_logits))[:, n]
            logits = logits[:, 0] if self.num_levels == 2 else logits
            drawn = self.intensity(tf.reshape(noise, (-1, height * width * channels))[:, n], logits / temperature)
            place = tf.reshape(tf.one_hot(n, height * width * channels), self.event_shape)
            return n + 1, x + drawn[:, None, None, None] * place

        return for_each(height * width * channels, draw_intensity, (0, tf.zeros_like(noise)))[1]

    # Deployment: the samplers are one graph with a loop, and noise is an input.

    def endpoints(self):
        shape = ("batch", *self.event_shape)
        images = Input(shape, "binary" if self.num_levels == 2 else "unit_interval")
        labels = {"labels": Input(("batch",), "label", self.num_classes)} if self.num_classes else {}
        levels = () if self.num_levels == 2 else (self.num_levels,)
        given = ", given their labels" if self.num_classes else ""
        # Nor does a loop in ONNX Runtime take an empty batch.
        endpoints = {
            "sample": Endpoint(
                lambda noise, labels=None: {"images": self.draw(noise, labels=labels)},
                inputs={"noise": Input(shape, "uniform"), **labels},
                outputs={"images": Output(shape)},
                summary=f"Images{given}, drawn pixel by pixel by the noise.",
            ),
            "complete": Endpoint(
                lambda images, mask, noise, labels=None: {"completed": self.draw(noise, images, mask, labels)},
                inputs={"images": images, "mask": Input(shape, "binary"), "noise": Input(shape, "uniform"), **labels},
                outputs={"completed": Output(shape)},
                summary=f"Images{given}: as they came where the mask is 1, the other pixels drawn by the noise.",
            ),
            "logits": Endpoint(
                lambda images, labels=None: {"logits": self.logits_of(images, labels)},
                inputs={"images": images, **labels},
                outputs={"logits": Output((*shape, *levels))},
                summary=f"The logits of p(x_i | x_1, ..., x_i-1) of images{given}.",
            ),
            "log_prob": Endpoint(
                lambda images, labels=None: {"log_prob": self.log_prob_of(images, labels)},
                inputs={"images": images, **labels},
                outputs={"log_prob": Output(("batch",))},
                summary=f"log p(x) of images{given}, exact, in nats.",
            ),
        }
        return {
            name: dataclasses.replace(endpoint, function=never_empty(endpoint.function))
            for name, endpoint in endpoints.items()
        }

    def get_config(self):
        return {**super().get_config(), "num_levels": self.num_levels, "num_classes": self.num_classes}


def pieces(tensor, sizes):
    """`tensor` cut along its last axis; None for a size of 0."""
    parts = iter(tf.split(tensor, [size for size in sizes if size], axis=-1))
    return [next(parts) if size else None for size in sizes]


def padded(array, size):
    """`array` with zeros added up to `size` rows."""
    return np.concatenate([array, np.zeros((size - len(array), *array.shape[1:]), array.dtype)])
