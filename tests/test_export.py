"""An export is whole, computes what the model computes, names everything, or leaves nothing behind."""

import contextlib
import dataclasses
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image

import zoo
from export import export_model, pipeline, verify
from export import manifest as artifact
from export.__main__ import main
from zoo.distributions import one_hot

ROOT = Path(__file__).parent.parent
IDENTITY = {
    "name": "noise",
    "split": "test",
    "num_examples": 64,
    "binarization": "dynamic",
    "binarization_seed": 0,
    "sha256": "0" * 64,
}


def small_vae(**arguments):
    keras.utils.set_random_seed(1)
    return zoo.VAE(**{"event_shape": (8, 8, 1), "latent_dim": 3, "hidden": (16,), **arguments})


def write_run(folder):
    """A run folder with what `export` reads from it: one epoch of a small VAE on 64 images of noise."""
    folder.mkdir()
    model = small_vae()
    model.compile("adam")
    model.fit(np.random.default_rng(0).random((64, 8, 8, 1)), epochs=1, verbose=0)
    model.save(folder / "model.keras")
    recipe = {"name": "vae_noise", "seed": 7, "epochs": 1, "data": f"{folder}/noise.npz"}
    data = {split: {**IDENTITY, "split": split} for split in ("train", "validation", "test")}
    (folder / "recipe.json").write_text(json.dumps({"recipe": recipe, "data": data, "versions": {"keras": "3"}}))
    metrics = {"log_prob": -43.21, "kl_per_dimension": [0.5, 0.25, 0.125]}
    (folder / "evaluation.json").write_text(json.dumps({"recipe": "vae_noise", "data": IDENTITY, "metrics": metrics}))


def open_onnx(folder, endpoint):
    return onnxruntime.InferenceSession(folder / "onnx" / f"{endpoint}.onnx", providers=["CPUExecutionProvider"])


def run_snippets(folder):
    """What the Python code in the card of an artifact prints, run where a reader would run it."""
    snippets = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    printed, here = [], os.getcwd()
    os.chdir(folder)
    try:
        for snippet in snippets:
            with contextlib.redirect_stdout(io.StringIO()) as stream:
                exec(compile(snippet, "README.md", "exec"), {})
            printed.append(stream.getvalue())
    finally:
        os.chdir(here)
    return printed


class ExportTest(tf.test.TestCase):
    """One run, exported by the command line in two processes."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = Path(folder.name)
        cls.run_folder, cls.artifact = cls.folder / "run", cls.folder / "dist" / "one"
        write_run(cls.run_folder)
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "export", str(cls.run_folder), "--out", str(cls.folder / "dist" / name)],
                cwd=ROOT,
                env={**os.environ, "PYTHONHASHSEED": seed},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name, seed in (("one", "1"), ("two", "2"))
        ]
        cls.outputs = [process.communicate() for process in processes]
        cls.statuses = [process.returncode for process in processes]

    def setUp(self):
        super().setUp()
        self.assertEqual(self.statuses, [0, 0], self.outputs)
        self.manifest = json.loads((self.artifact / "manifest.json").read_text())

    def test_everything_is_there(self):
        found = {path.relative_to(self.artifact).as_posix() for path in self.artifact.rglob("*") if path.is_file()}
        endpoints = ("decode", "encode", "log_prob", "generate_uint8")
        self.assertEqual(
            found,
            {
                "manifest.json",
                "SHA256SUMS",
                "README.md",
                "samples.png",
                "saved_model/1/saved_model.pb",
                "saved_model/1/fingerprint.pb",
                "saved_model/1/variables/variables.index",
                "saved_model/1/variables/variables.data-00000-of-00001",
                *(f"onnx/{endpoint}.onnx" for endpoint in endpoints),
                *(f"test_data/{endpoint}.npz" for endpoint in endpoints),
            },
        )
        self.assertEqual(sorted(os.listdir(self.artifact.parent)), ["one", "two"])  # and no temporary folder
        self.assertIn(str(self.artifact), self.outputs[0][0])

    def test_two_processes_write_the_same_onnx_bytes(self):
        for endpoint in ("decode", "encode", "log_prob", "generate_uint8"):
            one, two = (self.folder / "dist" / name / "onnx" / f"{endpoint}.onnx" for name in ("one", "two"))
            self.assertEqual(one.read_bytes(), two.read_bytes())

    def test_manifest_tells_interface_errors_and_provenance(self):
        noise = self.manifest["endpoints"]["log_prob"]["inputs"]["noise"]
        self.assertEqual(
            noise, {"shape": ["batch", "num_importance_samples", 3], "dtype": "float32", "values": "standard_normal"}
        )
        self.assertEqual(self.manifest["name"], "vae_noise")
        self.assertEqual(self.manifest["data"]["test"], IDENTITY)
        self.assertEqual(self.manifest["recipe"]["data"], "noise.npz")
        self.assertEqual(self.manifest["evaluation"]["metrics"]["log_prob"], -43.21)
        self.assertEqual(self.manifest["model"]["config"]["latent_dim"], 3)
        outputs = {"decode": {"probabilities", "logits"}, "encode": {"loc", "scale"}, "log_prob": {"log_prob"}}
        for endpoint, names in outputs.items():
            for runtime in ("saved_model", "onnx"):
                errors = self.manifest["errors"][endpoint][runtime]
                self.assertEqual(set(errors), names)
                for error in errors.values():
                    self.assertBetween(error["relative"], 0.0, 1e-5)
        self.assertBetween(self.manifest["errors"]["decode"]["onnx"]["probabilities"]["absolute"], 0.0, 1e-5)

    def test_no_file_knows_where_it_was_made(self):
        for path in self.artifact.rglob("*"):
            if path.is_file():
                self.assertNotIn(str(self.folder).encode(), path.read_bytes(), path)
                self.assertNotIn(str(ROOT).encode() + b"/", path.read_bytes(), path)

    def test_onnx_decoder_equals_numpy(self):
        decoder = zoo.load(self.run_folder / "model.keras").decoder
        kernels = [layer.get_weights() for layer in decoder.layers if isinstance(layer, keras.layers.Dense)]
        values = z = 3.0 * np.random.default_rng(5).standard_normal((17, 3)).astype("float32")
        for index, (kernel, bias) in enumerate(kernels):
            values = values.astype("float64") @ kernel + bias
            values = np.maximum(values, 0.0) if index < len(kernels) - 1 else values
        probabilities, logits = open_onnx(self.artifact, "decode").run(["probabilities", "logits"], {"z": z})
        # float32 sums of 16 terms against float64.
        self.assertAllClose(logits, values.reshape(17, 8, 8, 1), rtol=1e-5, atol=1e-5)
        self.assertAllClose(probabilities, 1.0 / (1.0 + np.exp(-values.reshape(17, 8, 8, 1))), rtol=0.0, atol=1e-6)

    def test_onnx_names_its_axes_and_carries_its_story(self):
        log_prob = open_onnx(self.artifact, "log_prob")
        shapes = {each.name: each.shape for each in (*log_prob.get_inputs(), *log_prob.get_outputs())}
        self.assertEqual(
            shapes,
            {
                "images": ["batch", 8, 8, 1],
                "noise": ["batch", "num_importance_samples", 3],
                "log_prob": ["batch"],
            },
        )
        story = log_prob.get_modelmeta().custom_metadata_map
        self.assertEqual((story["name"], story["endpoint"], story["licence"]), ("vae_noise", "log_prob", "MIT"))
        self.assertEqual(json.loads(story["data"])["train"]["sha256"], "0" * 64)
        self.assertIn("standard normal", story["input_noise"])
        self.assertIn("zoo_version", story)
        model = onnx.load(self.artifact / "onnx" / "log_prob.onnx")
        self.assertEqual([(each.domain, each.version) for each in model.opset_import], [("", 18)])

    def test_empty_batches_have_the_declared_shapes(self):
        empty = {"images": np.zeros((0, 8, 8, 1), "float32"), "noise": np.zeros((0, 5, 3), "float32")}
        self.assertEqual(open_onnx(self.artifact, "log_prob").run(None, empty)[0].shape, (0,))
        signatures = tf.saved_model.load(str(self.artifact / "saved_model" / "1")).signatures
        tensors = {name: tf.constant(array) for name, array in empty.items()}
        self.assertEqual(signatures["log_prob"](**tensors)["log_prob"].shape, (0,))

    def test_saved_model_needs_neither_keras_nor_this_code(self):
        script = (
            "import sys; sys.modules.update(keras=None, tf_keras=None, zoo=None, export=None)\n"
            "import numpy as np, tensorflow as tf\n"
            "signatures = tf.saved_model.load('saved_model/1').signatures\n"
            "for name in ('serving_default', 'decode', 'encode', 'log_prob'):\n"
            '    golden = np.load(f\'test_data/{name.replace("serving_default", "decode")}.npz\')\n'
            "    inputs = {key[6:]: tf.constant(golden[key]) for key in golden if key.startswith('input_')}\n"
            "    for key, found in signatures[name](**inputs).items():\n"
            "        np.testing.assert_allclose(found, golden[f'output_{key}'], rtol=1e-5, atol=1e-5)\n"
            "        print(name, key)\n"
        )
        result = subprocess.run([sys.executable, "-c", script], cwd=self.artifact, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertLen(result.stdout.splitlines(), 7)

    def test_the_code_in_the_card_runs(self):
        card = (self.artifact / "README.md").read_text()
        for word in ("vae_noise", "-43.21", "noise, 64 examples", "MIT", "samples.png", "num_importance_samples"):
            self.assertIn(word, card)
        self.assertNotIn("index", card)
        printed = run_snippets(self.artifact)
        self.assertLen(printed, 2)
        self.assertAllInSet(["2, 8, 8, 1" in each for each in printed], [True])
        request = json.loads(re.search(r"'(\{\"signature_name.*\})'", card)[1])
        self.assertEqual(request, {"signature_name": "decode", "inputs": {"z": [[0, 0, 0]]}})

    def test_samples_are_the_exported_decoder_at_work(self):
        endpoint = small_vae().endpoints()["decode"]
        codes = pipeline.draw_inputs(endpoint, batch=64, other=1, seed=0)
        images = open_onnx(self.artifact, "decode").run(["probabilities"], codes)[0]
        picture = np.asarray(Image.open(self.artifact / "samples.png"))
        self.assertEqual(picture.shape, (8 * 49 - 1, 8 * 49 - 1))
        row, column = 2, 5
        cell = picture[row * 49 : row * 49 + 48 : 6, column * 49 : column * 49 + 48 : 6]
        self.assertAllEqual(cell, np.round(255 * images[row * 8 + column, :, :, 0]))


class RefusalTest(tf.test.TestCase, parameterized.TestCase):
    """One sentence, a status, and nothing left behind."""

    def setUp(self):
        super().setUp()
        self.folder = Path(self.get_temp_dir())

    def refused(self, *arguments):
        """The sentence on stderr of a command that fails."""
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.assertEqual(main([str(argument) for argument in arguments]), 1)
        self.assertStartsWith(errors.getvalue(), "error: ")
        self.assertLen(errors.getvalue().splitlines(), 1)
        return errors.getvalue()

    def test_an_occupied_folder_is_left_untouched(self):
        write_run(self.folder / "run")
        out = self.folder / "dist"
        out.mkdir()
        (out / "thesis.txt").write_text("unsaved work")
        self.assertIn("exists already", self.refused(self.folder / "run", "--out", out))
        self.assertEqual((out / "thesis.txt").read_text(), "unsaved work")
        self.assertEqual(os.listdir(out), ["thesis.txt"])
        self.assertIn("exists already", self.refused(self.folder / "run", "--out", out / "thesis.txt"))
        (self.folder / "link").symlink_to(self.folder / "nowhere")
        self.assertIn("exists already", self.refused(self.folder / "run", "--out", self.folder / "link"))

    def test_bad_run_folders(self):
        out, run = self.folder / "dist" / "name", self.folder / "run"
        self.assertIn("There is no run folder", self.refused(run, "--out", out))
        run.mkdir()
        self.assertIn("no finished epoch", self.refused(run, "--out", out))
        (run / "model.keras").write_bytes(b"PK\3\4 no model")
        self.assertIn("recipe.json cannot be read", self.refused(run, "--out", out))
        (run / "recipe.json").write_text("{}")
        self.assertIn("recipe.json lacks", self.refused(run, "--out", out))
        (run / "recipe.json").write_text('{"recipe": {"name": "x"}, "data": {}, "versions": {}}')
        self.refused(run, "--out", out)  # Keras' own words on a damaged file
        self.assertEqual(os.listdir(self.folder), ["run"])

    def test_a_folder_that_cannot_be_made(self):
        (self.folder / "file").write_text("")
        with self.assertRaisesRegex(ValueError, "choose another --out"):
            export_model(small_vae(), self.folder / "file" / "name")

    def assert_fails_cleanly(self, model, sentence, error=ValueError):
        with self.assertRaisesRegex(error, sentence):
            export_model(model, self.folder / "new" / "parents" / "name")
        self.assertEqual(os.listdir(self.folder), [])

    def with_decode(self, function, **changes):
        """A small VAE whose decode endpoint computes `function` of its own output."""
        model = small_vae()
        endpoints = model.endpoints()
        decode = endpoints["decode"]

        def changed(z):
            return {name: function(output) for name, output in decode.function(z).items()}

        endpoints["decode"] = dataclasses.replace(decode, function=changed, **changes)
        model.endpoints = lambda: endpoints
        same = mock.patch.object(pipeline, "in_float32", lambda model: model)  # a copy would have its own endpoints
        same.start()
        self.addCleanup(same.stop)
        return model

    @parameterized.named_parameters(
        ("off_in_graphs", lambda x: x if tf.executing_eagerly() else x + 1e-4, "SavedModel, .*golden data.*tolerance"),
        ("no_such_onnx_operation", lambda x: tf.math.log1p(tf.exp(x)), "onnx/decode.onnx: it holds Log1p"),
        ("draws", lambda x: x + tf.random.stateless_normal(tf.shape(x), [1, 2]), "StatelessRandom.*noise as an input"),
        ("draws_anew", lambda x: x + tf.random.normal(tf.shape(x)), "RandomStandardNormal.*noise as an input"),
        ("reads_files", lambda x: x + tf.cast(tf.strings.length(tf.io.read_file("setup.cfg")), tf.float32), "ReadFile"),
        ("not_a_number", lambda x: tf.sqrt(x - 1e6), "tolerance"),
        ("other_shape", lambda x: x[:, :4], "(float32|uint8) .*is (wanted|declared)"),
        ("other_dtype", lambda x: tf.cast(x, tf.float64), "float32 .*is declared"),
        ("integers", lambda x: tf.cast(x, tf.int64), "float32 .*is declared"),
    )
    def test_a_bad_endpoint_leaves_nothing_behind(self, function, sentence):
        self.assert_fails_cleanly(self.with_decode(function), sentence)

    def test_an_endpoint_must_give_what_it_declares(self):
        pixels = ("batch", 8, 8, 1)
        for outputs, sentence in (
            ({"pixels": zoo.Output(pixels)}, "declared are"),
            ({"probabilities": zoo.Output(pixels), "logits": zoo.Output(pixels, "int64")}, "int64 .*is declared"),
            ({"Big Name": zoo.Output(pixels)}, "cannot be described"),
            ({"pixels": zoo.Output(pixels, "float64")}, "cannot be described"),
            ({"pixels": zoo.Output(pixels, "int64", "distances")}, "names a float32 output with one more axis"),
        ):
            self.assert_fails_cleanly(self.with_decode(tf.identity, outputs=outputs), sentence)
        inputs = {"z": zoo.Input(("batch", 3), "whatever")}
        self.assert_fails_cleanly(self.with_decode(tf.identity, inputs=inputs), "cannot be described")

    def test_a_model_that_has_yet_to_see_data_is_refused(self):
        model = small_vae()
        model.check_ready = mock.Mock(side_effect=ValueError("It has seen no data."))
        self.assert_fails_cleanly(model, "seen no data")

    def test_an_interrupt_leaves_nothing_behind(self):
        def write_some(model, folder, *provenance):
            (folder / "manifest.json").write_text("{")
            raise KeyboardInterrupt

        with mock.patch.object(pipeline, "write_artifact", write_some):
            self.assert_fails_cleanly(small_vae(), "", KeyboardInterrupt)

    def test_a_folder_filled_meanwhile_is_not_replaced(self):
        out = self.folder / "name"

        def fill(*arguments):
            out.mkdir()
            (out / "thesis.txt").write_text("unsaved work")

        with mock.patch.multiple(pipeline, write_artifact=fill, verify=mock.Mock()), self.assertRaises(OSError):
            export_model(small_vae(), out)
        self.assertEqual(os.listdir(self.folder), ["name"])
        self.assertEqual(os.listdir(out), ["thesis.txt"])


class ModelsTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("convolutional", {"network": "convolutional", "hidden": (4, 6), "event_shape": (7, 6, 3)}),
        (
            "convolutional_mixed_bfloat16",
            {"network": "convolutional", "hidden": (4, 6), "event_shape": (7, 6, 1), "dtype": "mixed_bfloat16"},
        ),
        ("features", {"event_shape": (5,), "binarization": None}),
    )
    def test_exports_with_parity(self, arguments):
        model = small_vae(**arguments)
        out = export_model(model, Path(self.get_temp_dir()) / "artifact")
        self.assertEqual((out / "samples.png").exists(), len(model.event_shape) == 3)
        inputs = {"z": np.random.default_rng(0).standard_normal((9, 3)).astype("float32")}
        found = open_onnx(out, "decode").run(["logits"], inputs)[0]
        # The float32 copy has the model's weights: it differs from the model by bfloat16's 8 bits, or not at all.
        precision = 2e-2 if "dtype" in arguments else 1e-6
        self.assertAllClose(model.decoder(inputs["z"])["logits"], found, rtol=precision, atol=precision)
        for shape in ((0, 3), (1, 3)):
            z = tf.zeros(shape)
            image = tf.saved_model.load(str(out / "saved_model/1")).signatures["decode"](z=z)["probabilities"]
            self.assertEqual(image.shape, (shape[0], *model.event_shape))

    def test_a_global_policy_does_not_reach_the_artifact(self):
        self.addCleanup(keras.config.set_dtype_policy, keras.config.dtype_policy())
        keras.config.set_dtype_policy("mixed_bfloat16")
        copy = pipeline.in_float32(small_vae())
        layers = [copy, copy.encoder, *copy.encoder.layers, copy.decoder, *copy.decoder.layers]
        self.assertEqual({layer.compute_dtype for layer in layers}, {"float32"})
        self.assertEqual(keras.config.dtype_policy().name, "mixed_bfloat16")


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
