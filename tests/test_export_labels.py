"""Exports whose inputs or outputs are integers: indices of a nearest center, labels of classes."""

import json
import re
import shutil
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image
from test_export import open_onnx, run_snippets

import zoo
from export import export_model, pipeline, verify
from export import manifest as artifact
from zoo.distributions import one_hot

# The images of the golden data, as all that are drawn, are nearest to the second and third, which differ by rounding.
CENTERS = np.array([[50.0, 50.0, 50.0, -50.0], [1.0, -1.0, 0.5, 2.0], [1.0, -1.0, 0.5, 2.0 + 1e-7]])


class Clusters(zoo.Generative):
    """The nearest of three centers, which are float64 under every dtype policy, and sums of them."""

    def __init__(self, event_shape, **kwargs):
        super().__init__(event_shape=event_shape, **kwargs)
        self.centers = self.add_weight(shape=(3, 4), dtype="float64", name="centers")
        self.built = True

    def endpoints(self):
        images, codes = zoo.Input(("batch", *self.event_shape), "real"), zoo.Input(("batch", 3), "real")
        labels = zoo.Output(("batch",), "int64", smallest_of="distances")
        return {
            "assign": zoo.Endpoint(
                self.assign,
                inputs={"images": images},
                outputs={"labels": labels, "distances": zoo.Output(codes.shape)},
                summary="The nearest center.",
            ),
            "decode": zoo.Endpoint(
                self.decode,
                inputs={"codes": codes},
                outputs={"images": zoo.Output(images.shape), "num_positive": zoo.Output(("batch",), "int64")},
                summary="Sums of centers.",
            ),
        }

    def assign(self, images):
        x, centers = tf.reshape(images, (-1, 4)), tf.cast(self.centers, tf.float32)
        products = tf.matmul(x, centers, transpose_b=True)
        squares = tf.reduce_sum(x**2, axis=-1, keepdims=True) + tf.reduce_sum(centers**2, axis=-1)
        distances = tf.sqrt(tf.maximum(squares - 2.0 * products, 0.0))
        return {"labels": tf.argmin(distances, axis=-1, output_type=tf.int64), "distances": distances}

    def decode(self, codes):
        images = tf.reshape(tf.matmul(codes, tf.cast(self.centers, tf.float32)), (-1, *self.event_shape))
        return {"images": images, "num_positive": tf.reduce_sum(tf.cast(codes > 0.0, tf.int64), axis=-1)}


class IndicesTest(tf.test.TestCase):
    """Real inputs, integer outputs, and among these an index of the smallest entry of another output."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        model = Clusters((2, 2, 1), dtype="mixed_bfloat16")
        model.centers.assign(CENTERS)
        cls.good = export_model(model, Path(folder.name) / "artifact")

    def setUp(self):
        super().setUp()
        self.artifact = Path(self.get_temp_dir()) / "artifact"
        shutil.copytree(self.good, self.artifact)

    def test_labels_and_distances_equal_numpy(self):
        noise = np.random.default_rng(1).standard_normal((50, 4))
        images = (CENTERS[np.arange(50) % 2] + 20.0 * noise).reshape(50, 2, 2, 1).astype("float32")
        wanted = np.linalg.norm(images.reshape(50, 1, 4).astype("float64") - CENTERS, axis=-1)
        labels, distances = open_onnx(self.artifact, "assign").run(["labels", "distances"], {"images": images})
        self.assertAllClose(distances, wanted, rtol=1e-5)  # float32 differences of squares of the distances' size
        self.assertEqual(labels.dtype, np.int64)
        self.assertAllEqual(labels == 0, wanted.argmin(axis=-1) == 0)  # of the other two, either may be the nearest
        self.assertBetween(np.mean(labels == 0), 0.1, 0.9)

    def test_every_runtime_gives_the_declared_types_for_every_batch(self):
        signatures = tf.saved_model.load(str(self.artifact / "saved_model" / "1")).signatures
        for batch in (0, 1, 5):
            images, codes = np.ones((batch, 2, 2, 1), "float32"), np.ones((batch, 3), "float32")
            for labels in (
                signatures["assign"](images=tf.constant(images))["labels"].numpy(),
                open_onnx(self.artifact, "assign").run(["labels"], {"images": images})[0],
            ):
                self.assertEqual((labels.dtype, labels.shape), (np.dtype("int64"), (batch,)))
            for counts in (
                signatures["decode"](codes=tf.constant(codes))["num_positive"].numpy(),
                open_onnx(self.artifact, "decode").run(["num_positive"], {"codes": codes})[0],
            ):
                self.assertEqual((counts.dtype, counts.tolist()), (np.dtype("int64"), [3] * batch))

    def test_manifest_and_card_tell_what_an_index_is(self):
        manifest = json.loads((self.artifact / "manifest.json").read_text())
        labels = manifest["endpoints"]["assign"]["outputs"]["labels"]
        self.assertEqual(labels, {"shape": ["batch"], "dtype": "int64", "smallest_of": "distances"})
        counts = manifest["endpoints"]["decode"]["outputs"]["num_positive"]
        self.assertEqual(counts, {"shape": ["batch"], "dtype": "int64"})
        card = (self.artifact / "README.md").read_text()
        self.assertIn("`labels`: int64 [batch], index of the smallest of `distances`", card)
        self.assertIn("`images`: float32 [batch, 2, 2, 1], any finite numbers", card)
        self.assertIn("An index is as far off as the entry it points to", card)
        in_tensorflow, in_onnxruntime = run_snippets(self.artifact)
        self.assertIn("'labels': TensorShape([2])", in_tensorflow)
        self.assertEqual(in_onnxruntime, "[2]\n")

    def test_codes_that_are_no_noise_are_no_samples(self):
        self.assertFalse((self.artifact / "samples.png").exists())
        self.assertNotIn("samples.png", (self.artifact / "README.md").read_text())

    def test_golden_labels_may_differ_by_a_tie_and_by_no_more(self):
        path = self.artifact / "test_data" / "assign.npz"
        good = dict(np.load(path))
        labels = good["output_labels"]
        self.assertAllInSet(labels, (1, 2))

        def write(others):
            np.savez(path, **{**good, "output_labels": others})
            artifact.write_checksums(self.artifact)

        write(3 - labels)
        rows = {row[:3]: row[3:] for row in verify.verify(self.artifact)}
        self.assertLessEqual(rows["assign", "labels", "ONNX"][1], verify.TOLERANCE)
        for others, sentence in (
            (np.where(np.arange(4) == 2, 0, labels), "assign, SavedModel.*labels is .* off.*tolerance"),
            (labels + 2, "labels: it holds indices from .* to [34]; 0 to 2 are wanted"),
            (labels - 3, "labels: it holds indices from -[12] to .*; 0 to 2 are wanted"),
            (labels.astype("int32"), "test_data/assign.npz: output_labels is int32 .*int64 .* is declared"),
        ):
            write(others)
            with self.assertRaisesRegex(ValueError, sentence):
                verify.verify(self.artifact)


class Stripes(zoo.Generative):
    """Images whose gray value is noise, with one bright column: that of the class."""

    CLASSES = 4

    def __init__(self, event_shape, **kwargs):
        super().__init__(event_shape=event_shape, **kwargs)
        self.scales = self.add_weight(shape=(2,), dtype="float32", name="scales", initializer="ones")
        self.built = True

    def endpoints(self):
        labels = zoo.Input(("batch",), "label", num_classes=self.CLASSES)
        images = ("batch", *self.event_shape)
        return {
            "decode": zoo.Endpoint(
                self.decode,
                inputs={
                    "z": zoo.Input(("batch", 1), "standard_normal"),
                    "u": zoo.Input(("batch", 1), "uniform"),
                    "labels": labels,
                },
                outputs={"images": zoo.Output(images)},
                summary="Images of classes.",
            ),
            "score": zoo.Endpoint(
                lambda images, labels: {"score": tf.reduce_sum(images * self.stripe(labels), axis=(1, 2, 3))},
                inputs={"images": zoo.Input(images, "unit_interval"), "labels": labels},
                outputs={"score": zoo.Output(("batch",))},
                summary="How bright the column of the class is.",
            ),
        }

    def stripe(self, labels):
        return one_hot(labels, self.CLASSES)[:, None, :, None]

    def decode(self, z, u, labels):
        noise = tf.sigmoid(self.scales[0] * z) / 4.0 + self.scales[1] * u / 4.0
        return {"images": noise[:, :, None, None] * tf.ones(self.event_shape) + 0.5 * self.stripe(labels)}


class LabelsTest(tf.test.TestCase):
    """Labels and uniform noise as inputs."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.artifact = export_model(Stripes((3, 4, 1)), Path(folder.name) / "artifact")
        cls.inputs = {
            "z": np.zeros((5, 1), "float32"),
            "u": np.linspace(0.0, 0.9, 5, dtype="float32")[:, None],
            "labels": np.array([0, 1, 2, 3, 1]),
        }
        cls.images = np.tile(0.125 + cls.inputs["u"][:, :, None, None] / 4.0, (1, 3, 4, 1))
        cls.images[np.arange(5), :, cls.inputs["labels"]] += 0.5

    def test_every_runtime_equals_numpy(self):
        signatures = tf.saved_model.load(str(self.artifact / "saved_model" / "1")).signatures
        tensors = {name: tf.constant(array) for name, array in self.inputs.items()}
        for found in (
            signatures["decode"](**tensors)["images"].numpy(),
            signatures["serving_default"](**tensors)["images"].numpy(),
            open_onnx(self.artifact, "decode").run(None, self.inputs)[0],
        ):
            self.assertAllClose(found, self.images, rtol=0.0, atol=1e-6)  # float32 sums of numbers below 1
        empty = {name: array[:0] for name, array in self.inputs.items()}
        self.assertEqual(open_onnx(self.artifact, "decode").run(None, empty)[0].shape, (0, 3, 4, 1))

    def test_labels_of_another_type_are_refused(self):
        sessions = verify.open_onnx(self.artifact, "decode", self.manifest()["endpoints"]["decode"])
        endpoints = self.manifest()["endpoints"]
        signatures = verify.open_saved_model(self.artifact, endpoints, "decode")
        for run in (sessions["ORT_ENABLE_ALL"], signatures["decode"]):
            run(self.inputs)
            for kind in ("int32", "float32"):
                with self.assertRaisesRegex(ValueError, "does not run it"):
                    run({**self.inputs, "labels": self.inputs["labels"].astype(kind)})

    def manifest(self):
        return json.loads((self.artifact / "manifest.json").read_text())

    def test_manifest_card_and_graph_say_which_classes_there_are(self):
        inputs = self.manifest()["endpoints"]["decode"]["inputs"]
        label = {"shape": ["batch"], "dtype": "int64", "values": "label", "num_classes": 4}
        self.assertEqual(inputs["labels"], label)
        self.assertEqual(inputs["u"], {"shape": ["batch", 1], "dtype": "float32", "values": "uniform"})
        self.assertEqual(self.manifest()["schema"], 1)
        card = (self.artifact / "README.md").read_text()
        self.assertIn("`labels`: int64 [batch], classes, 0 to 3", card)
        self.assertIn("`u`: float32 [batch, 1], draws from the uniform distribution over [0, 1)", card)
        graph = open_onnx(self.artifact, "score")
        self.assertEqual({each.name: each.type for each in graph.get_inputs()}["labels"], "tensor(int64)")
        self.assertEqual(graph.get_modelmeta().custom_metadata_map["input_labels"], "int64 [batch], classes, 0 to 3")
        printed = run_snippets(self.artifact)
        self.assertAllInSet(["2, 3, 4, 1" in each for each in printed], [True])
        request = json.loads(re.search(r"'(\{\"signature_name.*\})'", card)[1])
        self.assertEqual(request["inputs"], {"z": [[0]], "u": [[0]], "labels": [0]})

    def test_what_is_drawn_and_held_is_in_range(self):
        endpoint = Stripes((3, 4, 1)).endpoints()["decode"]
        drawn = list(pipeline.every_input(endpoint))
        labels, u = (np.concatenate([each[name].ravel() for each in drawn]) for name in ("labels", "u"))
        self.assertEqual((labels.dtype, u.dtype), (np.dtype("int64"), np.dtype("float32")))
        self.assertEqual((labels.min(), labels.max()), (0, 3))
        self.assertEqual((u.min(), u.max()), (0.0, np.float32(1.0 - 2.0**-24)))  # the float32 below 1
        wholly = [set(each["labels"]) for each in drawn if len(each["labels"]) == 128]
        self.assertIn({0}, wholly)
        self.assertIn({3}, wholly)

    def test_samples_have_a_column_for_each_class(self):
        picture = np.asarray(Image.open(self.artifact / "samples.png"))
        height, width = 3 * 12 + 1, 4 * 12 + 1  # cells of 3 x 4 pixels, enlarged 12 times, and the line between
        self.assertEqual(picture.shape, (8 * height - 1, 4 * width - 1))
        for row, column in ((0, 0), (3, 2), (7, 3)):
            cell = picture[row * height : row * height + 36 : 12, column * width : column * width + 48 : 12]
            self.assertAllEqual(cell.argmax(axis=1), [column] * 3)

    def test_more_classes_than_columns_come_in_turn(self):
        with mock.patch.object(pipeline, "MOST_COLUMNS", 3):
            path = Path(self.get_temp_dir()) / "grid.png"
            session = verify.open_onnx(self.artifact, "decode", self.manifest()["endpoints"]["decode"])
            pipeline.write_samples(path, Stripes((3, 4, 1)).endpoints()["decode"], session["ORT_ENABLE_ALL"])
        picture = np.asarray(Image.open(path))
        self.assertEqual(picture.shape[1], 8 * 49 - 1)
        brightest = [picture[0, column * 49 : column * 49 + 48 : 12].argmax() for column in range(8)]
        self.assertEqual(brightest, [0, 1, 2, 3, 0, 1, 2, 3])

    def test_labels_that_cannot_be_described_are_refused(self):
        good = artifact.describe(Stripes((3, 4, 1)).endpoints()["decode"])
        self.assertTrue(artifact.is_description("decode", good))
        for change in (
            {"num_classes": None},
            {"num_classes": 0},
            {"num_classes": "4"},
            {"shape": ["batch", 2]},
            {"dtype": "float32"},
            {"values": "real"},
        ):
            labels = {**good["inputs"]["labels"], **change}
            bad = {**good, "inputs": {**good["inputs"], "labels": labels}}
            self.assertFalse(artifact.is_description("decode", bad), change)
        model = Stripes((3, 4, 1))
        model.CLASSES = None
        with self.assertRaisesRegex(ValueError, "labels are .'batch',. with num_classes"):
            pipeline.checked_endpoints(model)

    def test_golden_labels_out_of_range_are_found(self):
        forged = Path(self.get_temp_dir()) / "forged"
        shutil.copytree(self.artifact, forged)
        path = forged / "test_data" / "score.npz"
        arrays = dict(np.load(path))
        arrays["input_labels"][1] = 4
        np.savez(path, **arrays)
        artifact.write_checksums(forged)
        with self.assertRaisesRegex(ValueError, "test_data/score.npz: input_labels holds labels from .* to 4; 0 to 3"):
            verify.verify(forged)
