"""An export is whole, computes what the model computes, names everything, or leaves nothing behind."""

import contextlib
import dataclasses
import io
import json
import os
import re
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
from export import export_model, pipeline
from export.__main__ import main

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
