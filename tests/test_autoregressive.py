"""PixelCNN and PixelRNN against enumeration, NumPy in float64, and their own slow sampler."""

import dataclasses
import doctest
import itertools
import json
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import zoo
from export import manifest, onnx_graph
from training.data import load_data
from training.evaluate import evaluate
from training.recipes import recipe_named
from training.results import draw_nats_against_hours, study_table
from training.studies import completion
from training.train import train
from zoo.pixel_layers import mask_of_pixel
from zoo.spatial_lstms import apart, scan, side_by_side, skew, unskew

KINDS = {
    "pixel_cnn": (zoo.PixelCNN, {"gated": False}),
    "gated_pixel_cnn": (zoo.PixelCNN, {"gated": True}),
    "row_lstm": (zoo.PixelRNN, {"cell": "row_lstm"}),
    "diagonal_bilstm": (zoo.PixelRNN, {"cell": "diagonal_bilstm"}),
}
EVERY_KIND = tuple((kind, kind) for kind in KINDS)
SEES_THE_WHOLE_PAST = ("gated_pixel_cnn", "diagonal_bilstm")


def small(kind, event_shape, seed=2, moved=True, **arguments):
    """A model `moved` away from the symmetric start, biases and initial states included."""
    keras.utils.set_random_seed(seed)
    model_class, different = KINDS[kind]
    sizes = {"num_layers": 2, "units": 6, "head": 6, "first_kernel_size": 3}
    model = model_class(event_shape=event_shape, **{**sizes, **different, **arguments})
    model.compile("adam")
    generator = np.random.default_rng(seed)
    for variable in model.trainable_variables if moved else ():
        variable.assign_add(0.3 * generator.standard_normal(variable.shape))
    return model


def every_image(event_shape, num_levels):
    levels = np.array(list(itertools.product(range(num_levels), repeat=int(np.prod(event_shape)))), "float32")
    return levels.reshape(-1, *event_shape) / (num_levels - 1)


def uniform(seed, *shape):
    return np.random.default_rng(seed).random(shape, dtype="float32")


def reached(model, draws=5):
    """bool [position of a logit, position of an intensity]: whether the logit's gradient by it is not exactly 0.

    Of several images: where a ReLU is dead in one, it is not in all.
    """
    shape, size = model.event_shape, int(np.prod(model.event_shape))
    x = tf.repeat(tf.constant(uniform(0, draws, *shape)), size, axis=0)  # row n of the Jacobian from copy n
    with tf.GradientTape() as tape:
        tape.watch(x)
        logits = tf.reshape(model.logits_of(x), (draws, size, size, -1))
        logits = tf.reduce_sum(logits * tf.constant(uniform(1, *logits.shape[2:])), axis=3)
        logits = tf.reduce_sum(tf.linalg.diag_part(logits))
    return np.any(tape.gradient(logits, x).numpy().reshape(draws, size, size) != 0.0, axis=0)


class ProbabilityTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*EVERY_KIND)
    def test_probabilities_of_all_images_sum_to_1(self, kind):
        # float32: the sum of 512 probabilities, of some ten factors each.
        for event_shape, num_levels, num_classes in (((3, 3, 1), 2, 0), ((2, 2, 1), 3, 2), ((1, 2, 3), 2, 2)):
            model = small(kind, event_shape, num_levels=num_levels, num_classes=num_classes)
            images = every_image(event_shape, num_levels)
            for label in range(num_classes) if num_classes else (None,):
                log_prob = model.log_prob(images, labels=label).astype("float64")
                self.assertAllClose(np.exp(log_prob).sum(), 1.0, atol=1e-5)
                self.assertGreater(np.std(log_prob), 0.1)

    def test_log_prob_is_the_sum_of_the_conditionals(self):
        for num_levels in (2, 5):
            model = small("pixel_cnn", (4, 3, 1), num_levels=num_levels)
            levels = np.random.default_rng(3).integers(0, num_levels, (50, 4, 3, 1))
            images = (levels / (num_levels - 1)).astype("float32")
            logits = model.logits(images).astype("float64")
            if num_levels == 2:
                logits = np.stack([np.zeros_like(logits), logits], axis=-1)
            log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
            expected = np.take_along_axis(log_probs, levels[..., None], axis=-1).sum(axis=(1, 2, 3, 4))
            self.assertAllClose(model.log_prob(images), expected, rtol=1e-5)  # float32 sums of twelve terms
            self.assertAllClose(model.evaluate(images, verbose=0, return_dict=True)["nll"], -expected.mean(), rtol=1e-5)

    def test_labels_change_the_distribution(self):
        for kind in KINDS:
            model = small(kind, (3, 3, 1), num_classes=2)
            images = every_image((3, 3, 1), 2)
            self.assertNotAllClose(model.log_prob(images, labels=0), model.log_prob(images, labels=1), atol=0.1)


class OrderTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*EVERY_KIND)
    def test_no_logit_sees_what_is_to_come(self, kind):
        for event_shape in ((5, 5, 1), (3, 3, 3)):
            sees = reached(small(kind, event_shape, num_levels=3, num_layers=3, units=12, head=12))
            past = np.tril(np.ones_like(sees), -1)
            self.assertFalse(np.any(sees & ~past))
            if kind in SEES_THE_WHOLE_PAST:
                self.assertAllEqual(sees, past)

    def test_row_lstm_sees_the_triangle_above_it(self):
        sees = reached(small("row_lstm", (6, 9, 1), num_layers=1)).reshape(6, 9, 6, 9)
        rows, columns = np.indices((6, 9))
        for row, column in ((5, 4), (3, 0), (4, 8)):
            above, right = row - rows, columns - column
            # The first convolution sees one pixel to either side of the row above, or left; the input to the state one
            # more to the left; and each row above adds one to either side.
            expected = (above >= 0) & (-right <= above + 2) & (right <= above) & ((above > 0) | (right < 0))
            self.assertAllEqual(sees[row, column], expected)

    def test_blind_spot_of_the_plain_pixel_cnn(self):
        sees = reached(small("pixel_cnn", (6, 9, 1), num_layers=9)).reshape(6, 9, 6, 9)
        rows, columns = np.indices((6, 9))
        above, right = 5 - rows, columns - 2
        # A kernel climbs one row for each pixel that it moves to the right; what lies further right is never seen.
        self.assertAllEqual(sees[5, 2], ((above > 0) & (right <= above)) | ((above == 0) & (right < 0)))
        self.assertTrue(np.all(reached(small("gated_pixel_cnn", (6, 9, 1), num_layers=9)).reshape(6, 9, 54)[5, 2, :47]))

    @parameterized.named_parameters(*EVERY_KIND)
    def test_blue_sees_red_and_green_of_its_pixel_and_red_neither(self, kind):
        sees = reached(small(kind, (2, 2, 3), units=24, head=24)).reshape(4, 3, 4, 3)
        for pixel in range(4):
            self.assertAllEqual(sees[pixel, :, pixel], [[False] * 3, [True, False, False], [True, True, False]])

    def test_masks(self):
        self.assertAllEqual(mask_of_pixel("A", 3, 3, 3), [[0, 1, 1], [0, 0, 1], [0, 0, 0]])
        self.assertAllEqual(mask_of_pixel("B", 3, 6, 3)[1], [0, 0, 1, 1, 1, 1])
        self.assertAllEqual(mask_of_pixel("A", 1, 2, 1, copies=2), np.zeros((1, 4)))


class LSTMTest(tf.test.TestCase, parameterized.TestCase):
    def test_unskew_is_the_inverse_of_skew(self):
        x = uniform(0, 2, 3, 4, 5, 2)
        skewed = skew(tf.constant(x)).numpy()
        self.assertEqual(skewed.shape, (2, 3, 4, 8, 2))
        self.assertAllEqual(skewed[:, :, 2, 2:7], x[:, :, 2])
        self.assertEqual(np.count_nonzero(skewed), x.size)
        self.assertAllEqual(unskew(skewed), x)

    def test_apart_is_the_inverse_of_side_by_side(self):
        for count, in_a_row in ((8, 4), (3, 1)):
            x = uniform(0, 2, count, 4, 5, 2)
            beside = side_by_side(tf.constant(x)).numpy()
            self.assertEqual(beside.shape, (2, count // in_a_row, 4, in_a_row * 5, 2))
            self.assertAllEqual(apart(beside, 5), x)
            self.assertAllEqual(beside[:, 0, :, -5:], x[:, in_a_row - 1])

    @parameterized.parameters("before", "beside")
    @pytest.mark.slow
    def test_gradient_of_the_scan_is_that_of_finite_differences(self, neighbours):
        generator, seen = np.random.default_rng(5), {"before": 2, "beside": 3}[neighbours]
        shapes = (4, 2, 2, 3, 4), (2, seen, 4), (2, 1), (2, 1)
        arguments = [tf.constant(generator.standard_normal(shape)) for shape in shapes]
        starts = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]], bool)
        weights = tf.constant(generator.standard_normal((4, 2, 2, 3, 1)))
        theoretical, numerical = tf.test.compute_gradient(
            lambda *arguments: tf.reduce_sum(weights * scan(*arguments, neighbours, starts)), arguments, delta=1e-5
        )
        for ours, expected in zip(theoretical, numerical, strict=True):
            self.assertAllClose(ours, expected, atol=1e-8)  # float64: differences of 1e-5 are good to 1e-10 or so

    @parameterized.parameters("row_lstm", "diagonal_bilstm")
    def test_layer_is_that_of_a_loop_over_the_pixels_in_float64(self, cell):
        model = small(cell, (4, 5, 1), num_layers=1, units=3, num_classes=2)
        layer = model.pixel_layers[1]
        u = np.random.default_rng(6).standard_normal((2, 4, 5, 6))
        classes = np.eye(2)
        expected = {"row_lstm": row_lstm_in_numpy, "diagonal_bilstm": diagonal_bilstm_in_numpy}[cell](layer, u, classes)
        self.assertAllClose(layer(tf.constant(u, tf.float32), tf.constant(classes, tf.float32)), expected, atol=1e-5)


def numbers(variable):
    return variable.numpy().astype("float64")


def sigmoid(x):
    return 1.0 / (1.0 + np.exp(-x))


def cell_in_numpy(gates, c):
    i, f, o, g = np.split(gates, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def row_lstm_in_numpy(layer, u, classes):
    kernel, bias = numbers(layer.input_to_state.kernel_of_row), numbers(layer.input_to_state.bias)
    shift, state = classes @ numbers(layer.input_to_state.class_kernel), numbers(layer.state_to_state)[0]
    (count, height, width, _), size = u.shape, layer.hidden
    h = np.broadcast_to(numbers(layer.h_outside)[0], (count, width, size))
    c = np.broadcast_to(numbers(layer.c_outside)[0], (count, width, size))
    out = np.zeros((count, height, width, size))
    for i in range(height):
        new_h, new_c = np.zeros((count, width, size)), np.zeros((count, width, size))
        for j in range(width):
            gates = bias + shift + u[:, i, j] @ kernel[1]
            if j > 0:
                gates = gates + u[:, i, j - 1] @ kernel[0]
            for part, column in enumerate((j - 1, j, j + 1)):
                if 0 <= column < width:
                    gates = gates + h[:, column] @ state[part * size : (part + 1) * size]
            new_h[:, j], new_c[:, j] = cell_in_numpy(gates, c[:, j])
        h, c = new_h, new_c
        out[:, i] = h
    return u + out @ numbers(layer.out.kernel_of_row)[0] + numbers(layer.out.bias)


def diagonal_bilstm_in_numpy(layer, u, classes):
    size, (count, height, width, _) = layer.hidden, u.shape
    inputs = u @ numbers(layer.input_to_state.kernel_of_row)[0] + numbers(layer.input_to_state.bias)
    inputs += (classes @ numbers(layer.input_to_state.class_kernel))[:, None, None]
    total = np.zeros((count, height, width, size))
    for direction, columns in enumerate((range(width), range(width - 1, -1, -1))):
        state = numbers(layer.state_to_state)[direction]
        outside = [np.tile(numbers(each)[direction], (count, 1)) for each in (layer.h_outside, layer.c_outside)]
        h = {(-1, j): outside[0] for j in range(width)}
        for i in range(height):
            own, c = outside
            for j in columns:
                gates = inputs[:, i, j, 4 * size * direction : 4 * size * (direction + 1)]
                own, c = cell_in_numpy(gates + h[i - 1, j] @ state[:size] + own @ state[size:], c)
                h[i, j] = own
        for i, j in itertools.product(range(height), range(width)):
            total[:, i, j] += h[i - direction, j]
    return u + total @ numbers(layer.out.kernel_of_row)[0] + numbers(layer.out.bias)


class SamplerTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*EVERY_KIND)
    @pytest.mark.slow
    def test_binary_pixels_are_those_of_full_passes(self, kind):
        model = small(kind, (6, 6, 1), num_classes=3)
        noise, labels = uniform(7, 7_000, 6, 6, 1), np.arange(7_000) % 3  # of the four kinds 1,008,000 pixels
        cached = tf.function(model.draw)(noise, labels=labels).numpy()
        self.assertAllEqual(cached, tf.function(model.draw_by_full_passes)(noise, labels=labels))
        self.assertBetween(cached.mean(), 0.05, 0.95)

    @parameterized.named_parameters(*EVERY_KIND)
    @pytest.mark.slow
    def test_intensities_are_those_of_full_passes(self, kind):
        model = small(kind, (4, 5, 3), num_levels=16)
        noise = uniform(8, 500, 4, 5, 3)  # 30,000 intensities
        cached, naive = model.draw(noise).numpy(), model.draw_by_full_passes(noise).numpy()
        differ = np.flatnonzero(np.any(cached != naive, axis=(1, 2, 3)))
        # Where a sum of probabilities lies within rounding of the noise, either level is right, and what follows too.
        ties = 0
        for image in differ:
            first = np.flatnonzero(cached[image].ravel() != naive[image].ravel())[0]
            probabilities = tf.nn.softmax(model.logits(cached[image : image + 1])[0]).numpy().reshape(60, 16)[first]
            ties += np.min(np.abs(np.cumsum(probabilities) - noise[image].ravel()[first])) < 1e-5
        self.assertEqual(ties, len(differ))
        self.assertLess(ties, 5)
        self.assertGreater(len(np.unique(cached)), 8)

    @pytest.mark.slow
    def test_samples_have_the_probabilities_of_the_model(self):
        for kind in KINDS:
            model = small(kind, (2, 2, 1))
            images = every_image((2, 2, 1), 2)
            drawn = model.sample(4000, seed=1)
            counts = [np.sum(np.all(drawn == image, axis=(1, 2, 3))) for image in images]
            # 16 counts of 4,000 draws: 5 standard deviations of a multinomial count.
            expected = 4000 * np.exp(model.log_prob(images))
            self.assertAllInRange((counts - expected) / np.sqrt(expected + 1.0), -5.0, 5.0)

    @parameterized.named_parameters(*EVERY_KIND)
    def test_completions_keep_what_is_given(self, kind):
        model = small(kind, (6, 5, 1), num_levels=4)
        images = np.random.default_rng(9).integers(0, 4, (20, 6, 5, 1)).astype("float32") / 3.0
        mask = np.arange(6)[:, None, None] < 3
        completed = model.complete(images, np.broadcast_to(mask, (6, 5, 1)), seed=2)
        self.assertAllEqual(completed[:, :3], images[:, :3])
        self.assertNotAllClose(completed[:, 3:], images[:, 3:])
        self.assertAllEqual(model.complete(images, np.ones((6, 5))), images)
        self.assertAllEqual(model.complete(images, np.zeros((20, 6, 5, 1)), seed=4), model.sample(20, seed=4))
        # What is given is what the rest is drawn from: its probability is that of the model.
        best = model.complete(images, np.broadcast_to(mask, (6, 5, 1)), temperature=1e-4)
        self.assertGreater(model.log_prob(best).mean(), model.log_prob(completed).mean())

    def test_temperature_to_0_takes_the_likeliest(self):
        model = small("pixel_cnn", (3, 3, 1), num_levels=3)
        cold = model.sample(50, temperature=1e-6)
        self.assertAllEqual(cold, np.tile(cold[:1], (50, 1, 1, 1)))
        likeliest = np.argmax(model.logits(cold[:1]), axis=-1) / 2
        self.assertAllClose(cold[:1], likeliest)
        self.assertNotAllClose(model.sample(50, temperature=3.0), model.sample(50))

    def test_probabilities_near_0_and_1_are_not_rounded(self):
        intensity = small("pixel_cnn", (2, 2, 1)).intensity
        largest = 1.0 - 2.0**-24  # of float32 below 1, whose logit is 16.6
        noise, logits = np.float32([0.0, 0.0, 1e-30, largest, largest]), np.float32([-200.0, -30.0, -60.0, 16.0, 18.0])
        for function in (intensity, tf.function(intensity, jit_compile=True)):
            self.assertAllEqual(function(tf.constant(noise), tf.constant(logits)), [1.0, 1.0, 1.0, 0.0, 1.0])

    def test_more_images_than_one_loop_takes(self):
        model = small("row_lstm", (2, 3, 1), num_classes=4)
        many = model.sample(620, seed=3)
        self.assertEqual(many.shape, (620, 2, 3, 1))
        self.assertAllEqual(np.unique(many), [0.0, 1.0])
        self.assertAllEqual(model.sample(7, labels=2), model.sample(7, labels=np.full(7, 2)))

    @parameterized.named_parameters(*EVERY_KIND)
    @pytest.mark.slow
    def test_onnx_runtime_draws_the_same_images(self, kind):
        """10,000 images of the four kinds. Noise that is a probability to rounding may fall on either side of it."""
        import onnxruntime

        model = small(kind, (28, 28, 1), units=4, first_kernel_size=7)
        endpoint = model.endpoints()["sample"]
        graph = onnx_graph.convert("sample", endpoint.function, manifest.describe(endpoint), {"zoo_version": "0"})
        session, ties = onnxruntime.InferenceSession(graph.SerializeToString()), 0
        noise = uniform(0, 2500, 28, 28, 1)
        images, ours = session.run(None, {"noise": noise})[0], tf.function(model.draw)(noise).numpy()
        for image in np.flatnonzero(np.any(images != ours, axis=(1, 2, 3))):
            first = np.flatnonzero(images[image].ravel() != ours[image].ravel())[0]
            probability = sigmoid(model.logits(ours[image : image + 1]).ravel()[first].astype("float64"))
            self.assertLess(abs(probability - noise[image].ravel()[first]), 1e-6)
            ties += 1
        # 1,960,000 pixels, each with a chance of about 1e-7 to lie so near; then the rest of the image follows it.
        self.assertLess(ties, 5)
        self.assertBetween(images.mean(), 0.05, 0.95)


class BadInputTest(tf.test.TestCase):
    def refuses(self, sentence, function, *arguments, **named):
        with self.assertRaisesRegex(ValueError, sentence):
            function(*arguments, **named)

    def test_images_of_other_levels(self):
        gray = uniform(0, 4, 3, 3, 1)
        binary, of_levels = small("pixel_cnn", (3, 3, 1)), small("pixel_cnn", (3, 3, 1), num_levels=4)
        self.refuses("hold 0 and 1 only", binary.fit, gray, verbose=0)
        self.refuses("the 4 levels 0, 1/3, ..., 1 only.*np.round", of_levels.fit, gray, verbose=0)
        self.refuses("the 4 levels", of_levels.log_prob, np.round(gray * 4) / 4)
        self.refuses("the 4 levels", of_levels.fit, tf.data.Dataset.from_tensor_slices(gray).batch(2), verbose=0)
        self.refuses("came as int64", of_levels.fit, np.ones((4, 3, 3, 1), "int64"), verbose=0)
        of_levels.fit(np.round(gray * 3) / 3, verbose=0)

    def test_arguments(self):
        for sentence, arguments in (
            ("num_levels is 1; a whole number >= 2", {"num_levels": 1}),
            ("num_levels is 300; at most 256", {"num_levels": 300}),
            ("num_classes is 1; at least 2", {"num_classes": 1}),
            (r"event_shape is \(9,\)", {"event_shape": (9,)}),
            ("units is 4, which 3 channels", {"event_shape": (3, 3, 3), "units": 4}),
            ("first_kernel_size is 4; an odd", {"first_kernel_size": 4}),
        ):
            for model_class in (zoo.PixelCNN, zoo.PixelRNN):
                self.refuses(sentence, model_class, **{"event_shape": (3, 3, 1), **arguments})
        self.refuses("cell is 'lstm'; one of", zoo.PixelRNN, (3, 3, 1), cell="lstm")

    def test_draws(self):
        model, labelled = small("row_lstm", (3, 3, 1)), small("row_lstm", (3, 3, 1), num_classes=2)
        images = np.ones((4, 3, 3, 1), "float32")
        for temperature in (0.0, -1.0, np.nan):
            self.refuses("temperature is .*> 0 is wanted", model.sample, 2, temperature=temperature)
        self.refuses(r"mask came with shape \(2, 2, 1\)", model.complete, images, np.ones((2, 2)))
        self.refuses("mask holds other values", model.complete, images, np.full((3, 3), 0.5))
        self.refuses("draws without any", model.sample, 2, labels=1)
        self.refuses("draws without any", model.log_prob, images, labels=1)
        self.refuses("Labels are missing", labelled.log_prob, images)
        self.refuses("Labels are missing", labelled.complete, images, np.ones((3, 3)))
        self.refuses("Labels are missing", labelled.fit, images, verbose=0)
        self.refuses(r"Labels are in \[2, 2\]", labelled.sample, 2, labels=2)
        self.refuses("num_samples is 0", model.sample, 0)


class LearningTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.parameters("gated_pixel_cnn", "row_lstm")
    @pytest.mark.slow
    def test_learns_a_rule_between_pixels(self, kind):
        """Images that are black, or one white row: 6 equally likely ones, log 6 nats each."""
        images = np.zeros((600, 5, 4, 1), "float32")
        for row in range(5):
            images[row::6, row] = 1.0
        model = small(kind, (5, 4, 1), units=12, num_layers=2, moved=False)
        model.compile(keras.optimizers.Adam(1e-2))
        model.fit(images, epochs=40, batch_size=60, verbose=0)
        nll = model.evaluate(images, verbose=0, return_dict=True)["nll"]
        self.assertBetween(nll, np.log(6.0) - 1e-3, np.log(6.0) + 0.1)
        drawn = model.sample(200, seed=1)
        known = np.any(np.all(drawn[:, None] == images[None, :6], axis=(2, 3, 4)), axis=1)
        self.assertGreater(known.mean(), 0.9)

    def test_examples_in_docstrings(self):
        for module in ("zoo.pixel_cnn", "zoo.pixel_rnn"):
            for model_class in (zoo.PixelCNN, zoo.PixelRNN):
                if model_class.__module__ == module:
                    names = {"np": np, **vars(sys.modules[module])}
                    for test in doctest.DocTestFinder().find(model_class, globs=names, module=sys.modules[module]):
                        self.assertEqual(doctest.DocTestRunner().run(test).failed, 0)


class RunTest(tf.test.TestCase):
    def test_a_run_is_measured_exactly_and_its_curve_is_drawn(self):
        folder = Path(self.get_temp_dir())
        sizes = {"epochs": 2, "units": 4, "num_layers": 1, "head": 8, "batch_size": 100}
        recipe = dataclasses.replace(recipe_named("pixel_cnn_digits"), **sizes)
        run = train(recipe, folder / "run", verbose=0)
        with mock.patch("training.evaluation.quality.NUM_IMAGES", 20):
            evaluation = evaluate(run.path)
        metrics, data = evaluation["metrics"], load_data("digits")
        nats = run.model().log_prob(data.gray("test"), data.labels_of("test"))
        mean = nats.mean(dtype="float64")
        # Batches of another size: float32 sums of 64 terms in another order.
        self.assertAllClose(metrics["log_prob"], mean, rtol=1e-6)
        self.assertAllClose(metrics["bits_per_dimension"], -mean / (64 * np.log(2)), rtol=1e-6)
        self.assertLen(metrics["validation_nll"], 2)
        self.assertLess(metrics["validation_nll"][1], metrics["validation_nll"][0])

        with mock.patch.object(completion, "recipe_named", lambda name: recipe):
            result = completion.run(folder, "pixel_cnn_digits", run.path)
            with self.assertRaisesRegex(ValueError, "leave --record out"):
                completion.run(folder, "pixel_cnn_digits", run.path, record=folder)
        halves = result["metrics"]  # float64 sums of the float32 logits of other batches
        self.assertAllClose(halves["upper_of_originals"] + halves["lower_given_upper_of_originals"], mean, rtol=1e-6)
        self.assertAllClose(halves["upper_of_draws"], halves["upper_of_originals"], rtol=1e-6)  # it is given
        self.assertTrue((folder / "completion.png").read_bytes().startswith(b"\x89PNG"))
        _, _, originals, draws, _, caption = study_table(folder, "completion").splitlines()
        self.assertEqual([line.count("|") for line in (originals, draws)], [4, 4])
        self.assertIn("digits test, 300 images", caption)

        draw_nats_against_hours(folder)
        self.assertFalse((folder / "nats_against_hours.png").exists())  # nothing is recorded
        for name in ("row_lstm_binarized_mnist_short", "gated_pixel_cnn_binarized_mnist_short"):
            (folder / f"{name}.json").write_text(json.dumps([evaluation]))
        draw_nats_against_hours(folder)
        self.assertTrue((folder / "nats_against_hours.png").read_bytes().startswith(b"\x89PNG"))


if __name__ == "__main__":
    tf.test.main()
