"""Verification finds whatever is wrong with an artifact, names it, and runs nothing that it has not found harmless."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import onnx
import tensorflow as tf
from absl.testing import parameterized

import zoo
from benchmarks import onnx_on_gpu
from export import export_model, saved_model, verify
from export import manifest as artifact
from export.uint8_images import with_uint8_images

ROOT = Path(__file__).parent.parent
BLOCKED = "import sys; sys.modules.update(dict.fromkeys(['keras', 'tf_keras', 'zoo', 'tf2onnx', 'rich', 'PIL']));"


class VerifyTest(tf.test.TestCase, parameterized.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        keras.utils.set_random_seed(1)
        cls.good = export_model(
            zoo.VAE(event_shape=(4, 4, 1), latent_dim=2, hidden=(6,)), Path(folder.name) / "artifact"
        )

    def setUp(self):
        super().setUp()
        self.artifact = Path(self.get_temp_dir()) / "artifact"
        shutil.copytree(self.good, self.artifact)

    def refused(self):
        """The sentence of the command on `self.artifact`, which it must not pass."""
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.assertEqual(verify.main([str(self.artifact)]), 1)
        self.assertStartsWith(errors.getvalue(), "error: ")
        self.assertLen(errors.getvalue().splitlines(), 1)
        return errors.getvalue()

    def refused_although_sealed(self):
        """The same, with sums that fit: what a forger, or a faulty export, would hand over."""
        artifact.write_checksums(self.artifact)
        return self.refused()

    def files(self):
        return sorted(path.relative_to(self.artifact).as_posix() for path in self.artifact.rglob("*") if path.is_file())

    # What passes.

    def test_a_good_artifact_passes(self):
        rows = verify.verify(self.artifact)
        self.assertEqual(
            {row[:3] for row in rows},
            {
                (endpoint, output, runtime)
                for endpoint, outputs in (("decode", ("probabilities", "logits")), ("encode", ("loc", "scale")))
                for output in outputs
                for runtime in ("SavedModel", "ONNX")
            }
            | {("log_prob", "log_prob", "SavedModel"), ("log_prob", "log_prob", "ONNX")}
            | {("generate_uint8", "images", "SavedModel"), ("generate_uint8", "images", "ONNX")},
        )
        self.assertLessEqual(max(row[4] for row in rows), verify.TOLERANCE)

    def test_the_command_needs_neither_keras_nor_the_zoo(self):
        script = f"{BLOCKED} from export.verify import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", script, str(self.artifact)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertRegex(result.stdout, "decode +probabilities +ONNX")
        self.assertIn("is whole", result.stdout)

    def test_a_copy_elsewhere_and_a_link_to_the_folder_pass(self):
        link = Path(self.get_temp_dir()) / "link"
        link.symlink_to(self.artifact)
        self.assertEqual(artifact.check_checksums(link), set(self.files()) - {"SHA256SUMS"})
        link.unlink()  # TensorFlow would empty the temporary folder through it, and stumble

    # Damage: the sums find it.

    def test_one_flipped_bit_in_any_file_is_found_and_named(self):
        random = np.random.default_rng(0)
        self.assertLen(self.files(), 16)
        for name in self.files():
            path = self.artifact / name
            good = path.read_bytes()
            for position in random.integers(0, 8 * len(good), 20):
                broken = bytearray(good)
                broken[position // 8] ^= 1 << int(position % 8)
                path.write_bytes(broken)
                with self.assertRaisesRegex(ValueError, name.replace(".", r"\.")):
                    artifact.check_checksums(self.artifact)
            path.write_bytes(good)
        artifact.check_checksums(self.artifact)

    def test_every_bit_of_the_sums_counts(self):
        path = self.artifact / "SHA256SUMS"
        good = path.read_bytes()
        for position in range(8 * 100):  # the first line and the beginning of the second
            broken = bytearray(good)
            broken[position // 8] ^= 1 << (position % 8)
            path.write_bytes(broken)
            with self.assertRaisesRegex(ValueError, "SHA256SUMS"):
                artifact.check_checksums(self.artifact)
        for broken in (b"", good[:-1], good + b"\n", good + good, good.replace(b"\n", b"\r\n"), b"\xff" + good):
            path.write_bytes(broken)
            self.assertIn("SHA256SUMS was altered", self.refused())

    def test_paths_outside_are_refused(self):
        path = self.artifact / "SHA256SUMS"
        good = path.read_text()
        for outside in ("../secret", "/etc/passwd", "onnx/../../secret", "..", "onnx//decode.onnx", "./README.md"):
            path.write_text(good + "0" * 64 + f"  {outside}\n")
            self.assertIn("SHA256SUMS was altered: line 16", self.refused())

    def test_missing_extra_and_renamed_files_are_named(self):
        (self.artifact / "onnx" / "encode.onnx").rename(self.artifact / "onnx" / "coder.onnx")
        self.assertIn("onnx/encode.onnx is listed in SHA256SUMS but is not there", self.refused())
        (self.artifact / "onnx" / "coder.onnx").rename(self.artifact / "onnx" / "encode.onnx")
        for extra in ("saved_model/1/saved_model.pbtxt", ".hidden", "two words"):
            (self.artifact / extra).write_text("")
            self.assertIn(f"{extra} is not listed in SHA256SUMS", self.refused())
            (self.artifact / extra).unlink()
        (self.artifact / "SHA256SUMS").unlink()
        self.assertIn("it holds no file SHA256SUMS", self.refused())
        shutil.rmtree(self.artifact)
        self.assertIn("There is no folder", self.refused())

    def test_links_and_devices_are_refused(self):
        card, elsewhere = self.artifact / "README.md", Path(self.get_temp_dir()) / "README.md"
        card.rename(elsewhere)
        card.symlink_to(elsewhere)
        self.assertIn("README.md is a link or a device", self.refused())
        card.unlink()
        os.mkfifo(card)
        self.assertIn("README.md is a link or a device", self.refused())
        card.unlink()
        elsewhere.rename(card)
        (self.artifact / "onnx").rename(elsewhere)
        (self.artifact / "onnx").symlink_to(elsewhere)
        self.assertIn("onnx is a link or a device", self.refused())
        (self.artifact / "onnx").unlink()

    # Forgery and faults: sums fit, contents do not.

    def test_a_file_that_does_not_belong_and_one_that_is_missing(self):
        (self.artifact / "saved_model" / "1" / "saved_model.pbtxt").write_text("")
        self.assertIn("saved_model/1/saved_model.pbtxt does not belong", self.refused_although_sealed())
        (self.artifact / "saved_model" / "1" / "saved_model.pbtxt").unlink()
        (self.artifact / "test_data" / "encode.npz").unlink()
        self.assertIn("test_data/encode.npz is missing", self.refused_although_sealed())

    def test_bad_manifests(self):
        path = self.artifact / "manifest.json"
        good = json.loads(path.read_text())
        decode = good["endpoints"]["decode"]
        for bad, sentence in (
            ("", "manifest.json is not JSON"),
            ("{", "manifest.json is not JSON"),
            ("[" * 100_000, "manifest.json is not JSON"),
            ("[]", "schema None"),
            ({**good, "schema": 2}, "schema 2; this verifier reads schema 1"),
            ({**good, "endpoints": []}, "which endpoints there are"),
            ({**good, "endpoints": {}}, "which endpoints there are"),
            ({**good, "serving_default": "generate"}, "which endpoints there are"),
            ({**good, "serving_default": {}}, "which endpoints there are"),
            ({**good, "endpoints": {"decode": None}}, "endpoint 'decode' in a way"),
            ({**good, "endpoints": {"decode": {**decode, "inputs": {}}}}, "endpoint 'decode' in a way"),
            ({**good, "endpoints": {"decode": {**decode, "outputs": {"x": {"shape": [3]}}}}}, "in a way"),
            ({**good, "endpoints": {"decode": decode, "../decode": decode}}, "'../decode' in a way"),
            *(({**good, "endpoints": {"decode": each}}, "endpoint 'decode' in a way") for each in bad_types(decode)),
            ({**good, "endpoints": {**good["endpoints"], "sample": decode}}, "onnx/sample.onnx is missing"),
        ):
            path.write_text(bad if isinstance(bad, str) else json.dumps(bad))
            self.assertIn(sentence, self.refused_although_sealed())
        path.write_bytes(b"\xff\xfe")
        self.assertIn("manifest.json is not JSON", self.refused_although_sealed())

    def test_bad_golden_data(self):
        path = self.artifact / "test_data" / "decode.npz"
        good = path.read_bytes()
        arrays = dict(np.load(path))
        for broken in (b"", good[:100], good[: len(good) // 2], good[:-1], b"PK\3\4" + 60 * b"\0"):
            path.write_bytes(broken)
            self.assertIn("test_data/decode.npz: it does not hold the golden data", self.refused_although_sealed())
        np.savez_compressed(path, **arrays)
        self.assertIn("wanted uncompressed", self.refused_although_sealed())
        np.savez(path, **{**arrays, "input_z": np.array([{"any": "object"}])})
        self.assertIn("test_data/decode.npz: it does not hold", self.refused_although_sealed())
        np.savez(path, input_z=arrays["input_z"])
        self.assertIn("test_data/decode.npz: it does not hold", self.refused_although_sealed())
        for bad in (arrays["input_z"].astype("float64"), arrays["input_z"][:3], arrays["input_z"][:, :1]):
            np.savez(path, **{**arrays, "input_z": bad})
            self.assertRegex(self.refused_although_sealed(), "test_data/decode.npz: .* is declared")

    def test_outputs_off_by_more_than_the_tolerance(self):
        path = self.artifact / "test_data" / "decode.npz"
        arrays = dict(np.load(path))
        for off in (2e-5, np.nan, np.inf):
            altered = arrays["output_probabilities"].copy()
            altered[1, 2, 3, 0] += off
            np.savez(path, **{**arrays, "output_probabilities": altered})
            self.assertRegex(self.refused_although_sealed(), "endpoint decode, SavedModel.*1e-05 is the tolerance")
        arrays["output_probabilities"][1, 2, 3, 0] += 5e-6
        np.savez(path, **arrays)
        artifact.write_checksums(self.artifact)
        verify.verify(self.artifact)

    def test_bad_onnx_files(self):
        path = self.artifact / "onnx" / "decode.onnx"
        good = onnx.load(path)
        for broken in (b"\xff" * 50, path.read_bytes()[:-100], b""):
            path.write_bytes(broken)
            self.assertIn("onnx/decode.onnx: it", self.refused_although_sealed())

        def altered(change):
            model = onnx.ModelProto()
            model.CopyFrom(good)
            change(model)
            path.write_bytes(model.SerializeToString())
            return self.refused_although_sealed()

        def set_domain(model):
            model.graph.node[0].domain = "com.example"

        def set_random(model):
            model.graph.node[0].op_type = "RandomNormalLike"

        def set_external(model):
            tensor = model.graph.initializer[0]
            tensor.data_location = onnx.TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value="/etc/passwd")

        def set_axis(model):
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"

        def set_size(model):
            model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 5

        def set_type(model):
            model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64

        def set_opset(model):
            model.opset_import[0].version = 17

        def set_weight(model):
            kernel = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
            kernel.raw_data = (onnx.numpy_helper.to_array(kernel) + 0.01).astype("float32").tobytes()

        def add_input(model):
            model.graph.input.append(onnx.helper.make_tensor_value_info("more", onnx.TensorProto.FLOAT, ["batch"]))

        def cut(model):
            model.graph.node[0].input[0] = "nothing"

        self.assertIn("onnx/decode.onnx: it holds com.example.", altered(set_domain))
        self.assertIn("onnx/decode.onnx: it holds RandomNormalLike", altered(set_random))
        self.assertIn("onnx/decode.onnx: it holds external data", altered(set_external))
        self.assertIn("onnx/decode.onnx: z is", altered(set_axis))
        self.assertRegex(altered(set_size), "onnx/decode.onnx: .* is declared")
        self.assertRegex(altered(set_type), r"onnx/decode.onnx: \w+ is of type 7, .*; float32 .* is declared")
        self.assertIn("onnx/decode.onnx: it needs operation sets", altered(set_opset))
        self.assertIn("onnx/decode.onnx: its inputs are ['more', 'z']", altered(add_input))
        self.assertIn("onnx/decode.onnx: it is not a valid ONNX model", altered(cut))
        self.assertRegex(altered(set_weight), "endpoint decode, ONNX.*1e-05 is the tolerance")

    def test_endpoints_in_each_others_place(self):
        onnx_folder = self.artifact / "onnx"
        shutil.copy(onnx_folder / "encode.onnx", onnx_folder / "decode.onnx")
        self.assertIn("onnx/decode.onnx: its inputs are ['images']", self.refused_although_sealed())

    # A SavedModel is a program.

    def write_saved_model(self, function):
        """Replace the SavedModel by one whose decode endpoint also runs `function`, of a tensor."""
        model = zoo.VAE(event_shape=(4, 4, 1), latent_dim=2, hidden=(6,))
        endpoints = model.endpoints()
        decode = endpoints["decode"].function

        def changed(z):
            return {name: function(output) for name, output in decode(z).items()}

        endpoints["decode"] = zoo.Endpoint(
            changed, endpoints["decode"].inputs, endpoints["decode"].outputs, endpoints["decode"].summary
        )
        shutil.rmtree(self.artifact / "saved_model")
        saved_model.write(model, with_uint8_images(endpoints), self.artifact / "saved_model" / "1")

    @parameterized.named_parameters(
        ("writes_a_file", "WriteFile", lambda path, x: tf.io.write_file(path, "harm")),
        (
            "writes_on_a_branch",
            "WriteFile",
            lambda path, x: tf.cond(tf.reduce_sum(x) > 0, lambda: tf.io.write_file(path, "harm"), tf.no_op),
        ),
        ("reads_a_file", "ReadFile", lambda path, x: tf.io.read_file(path)),
        (
            "saves_tensors",
            "SaveV2",
            lambda path, x: tf.raw_ops.SaveV2(prefix=path, tensor_names=["x"], shape_and_slices=[""], tensors=[x]),
        ),
        ("calls_python", "PyFunc", lambda path, x: tf.numpy_function(lambda y: y, [x], tf.float32)),
        ("prints", "PrintV2", lambda path, x: tf.print("harm")),
        ("draws", "StatelessRandom", lambda path, x: tf.random.stateless_normal((2,), (1, 2))),
    )
    def test_a_program_that_does_more_than_compute_is_never_loaded(self, operation, act):
        path = os.path.join(self.get_temp_dir(), "harm")

        def function(x):
            with tf.control_dependencies([act(path, x)]):
                return tf.identity(x)

        self.write_saved_model(function)
        sentence = self.refused_although_sealed()
        self.assertIn("saved_model/1/saved_model.pb: it holds ", sentence)
        self.assertIn(operation, sentence)
        self.assertFalse(os.path.exists(path))

    def test_savers_are_for_saving_only(self):
        path = self.artifact / "saved_model" / "1" / "saved_model.pb"
        good = path.read_bytes()
        for change, operation in ((restore_by_saving, "SaveV2"), (save_in_a_signature, "SaveV2")):
            message = tf_saved_model(good)
            change(message.meta_graphs[0])
            path.write_bytes(message.SerializeToString())
            self.assertIn(operation, self.refused_although_sealed())

    def test_objects_that_act_on_loading(self):
        path = self.artifact / "saved_model" / "1" / "saved_model.pb"
        message = tf_saved_model(path.read_bytes())
        message.meta_graphs[0].object_graph_def.nodes.add().resource.device = "CPU:0"
        path.write_bytes(message.SerializeToString())
        self.assertIn("an object of kind resource", self.refused_although_sealed())

    def test_damaged_saved_models(self):
        folder = self.artifact / "saved_model" / "1"
        for name, sentence in (
            ("variables/variables.data-00000-of-00001", "saved_model/1: TensorFlow does not load it"),
            ("variables/variables.index", "saved_model/1: TensorFlow does not load it"),
            ("saved_model.pb", "saved_model/1/saved_model.pb: it"),
        ):
            good = (folder / name).read_bytes()
            for broken in (good[: len(good) // 2], b""):
                (folder / name).write_bytes(broken)
                self.assertIn(sentence, self.refused_although_sealed())
            (folder / name).write_bytes(good)

    def test_signatures_other_than_declared(self):
        path = self.artifact / "saved_model" / "1" / "saved_model.pb"
        good = path.read_bytes()
        message = tf_saved_model(good)
        del message.meta_graphs[0].signature_def["encode"]
        path.write_bytes(message.SerializeToString())
        found = "['decode', 'generate_uint8', 'log_prob', 'serving_default']"
        self.assertIn(f"its signatures are {found}", self.refused_although_sealed())
        message = tf_saved_model(good)
        message.meta_graphs[0].signature_def["encode"].outputs["loc"].dtype = tf.int64.as_datatype_enum
        path.write_bytes(message.SerializeToString())
        self.assertRegex(
            self.refused_although_sealed(), "loc of signature encode is of type 9, .*; float32 .* is declared"
        )


def bad_types(description):
    """Descriptions of an endpoint whose dtypes, or what an index is of, cannot be."""
    (name, entries), *_ = description["outputs"].items()
    index = {"shape": entries["shape"][:-1], "dtype": "int64", "smallest_of": name}
    of_floats = {"index": index, name: entries}
    assert artifact.is_description("decode", {**description, "outputs": of_floats})
    for outputs in (
        {"x": {**entries, "dtype": "float64"}},
        {"x": {**entries, "dtype": ["float32"]}},
        {**of_floats, "index": {**index, "smallest_of": "nothing"}},
        {**of_floats, "index": {**index, "smallest_of": ["x"]}},
        {**of_floats, "index": {**index, "smallest_of": None}},
        {**of_floats, "index": {**index, "smallest_of": "index"}},
        {**of_floats, "index": {**index, "dtype": "float32"}},
        {**of_floats, "index": {**index, "shape": entries["shape"]}},
        {**of_floats, "index": {**index, "shape": ["batch", 7]}},
        {**of_floats, name: {**entries, "dtype": "int64"}},
    ):
        yield {**description, "outputs": outputs}
    (name, tensor), *_ = description["inputs"].items()
    yield {**description, "inputs": {name: {**tensor, "dtype": "int64"}}}


def tf_saved_model(content):
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    message.ParseFromString(content)
    return message


def restore_by_saving(meta_graph):
    """A server would save, to where it was asked to restore from."""
    meta_graph.saver_def.restore_op_name = meta_graph.saver_def.save_tensor_name.split(":")[0]


def save_in_a_signature(meta_graph):
    meta_graph.signature_def["decode"].outputs["logits"].name = meta_graph.saver_def.save_tensor_name


REAL = {"x": {"shape": ["batch", 3], "dtype": "float32"}}
INDEX = {"index": {"shape": ["batch"], "dtype": "int64", "smallest_of": "x"}}


class ComparisonTest(tf.test.TestCase):
    def test_errors_are_relative_to_their_scale(self):
        probabilities = np.array([[0.5, 1.0], [0.0, 0.25]], "float32")
        self.assertAllClose(verify.largest_errors(probabilities, probabilities + 2e-6), (2e-6, 2e-6), rtol=0.05)
        logits = np.array([[200.0, 0.0], [-3.0, 1.0]], "float32")
        found = logits + np.array([[0.0, 1e-4], [0.0, 0.0]], "float32")
        self.assertAllClose(verify.largest_errors(logits, found), (1e-4, 1e-4 / 200.0), rtol=1e-3)
        found = logits + np.array([[0.0, 0.0], [0.0, 1e-4]], "float32")
        self.assertAllClose(verify.largest_errors(logits, found), (1e-4, 1e-4 / 10.0), rtol=1e-2)
        self.assertEqual(verify.largest_errors(logits[:0], logits[:0]), (0.0, 0.0))

    def test_other_names_shapes_and_types_are_refused(self):
        expected = {"x": np.zeros((2, 3), "float32")}
        for found in ({}, {"y": expected["x"]}, {"x": expected["x"][:1]}, {"x": expected["x"].astype("float64")}):
            with self.assertRaises(ValueError):
                verify.compare(expected, found, REAL)
        self.assertEqual(verify.compare(expected, expected, REAL), {"x": (0.0, 0.0)})

    def test_integers_have_to_be_equal(self):
        expected = {"x": np.arange(2**60, 2**60 + 6).reshape(3, 2)}
        integers = {"x": {"shape": ["batch", 2], "dtype": "int64"}}
        self.assertEqual(verify.compare(expected, expected, integers), {"x": (0.0, 0.0)})
        found = {"x": expected["x"] + [[0, 0], [0, 1], [1, 1]]}  # a difference that float64 does not see
        with self.assertRaisesRegex(ValueError, r"x at \[1, 1\] is 1152921504606846980; 1152921504606846979 is wanted"):
            verify.compare(expected, found, integers)

    def test_pixels_of_8_bits_may_be_rounded_to_either_side(self):
        expected = {"x": np.array([[0, 255, 7]], "uint8")}
        pixels = {"x": {"shape": ["batch", 3], "dtype": "uint8"}}
        self.assertEqual(verify.compare(expected, expected, pixels), {"x": (0.0, 0.0)})
        self.assertEqual(verify.compare(expected, {"x": np.array([[1, 254, 6]], "uint8")}, pixels), {"x": (1.0, 0.0)})
        with self.assertRaisesRegex(ValueError, "x is 2 off, 0.00392 of its scale"):
            verify.compare(expected, {"x": np.array([[0, 253, 7]], "uint8")}, pixels)
        with self.assertRaisesRegex(ValueError, "x is 255 off"):  # no difference wraps around
            verify.compare(expected, {"x": np.array([[255, 255, 7]], "uint8")}, pixels)

    def test_an_index_is_as_far_off_as_the_entry_it_points_to(self):
        entries = np.array([[3.0, 40.0, 3.0 + 2e-4], [0.5, 0.25, 0.75]], "float32")

        def errors(expected, found, entries=entries):
            arrays = ({"index": np.array(index), "x": entries} for index in (expected, found))
            return verify.compare(*arrays, {**INDEX, **REAL})["index"]

        self.assertEqual(errors([0, 1], [0, 1]), (0.0, 0.0))
        for tie in (([0, 1], [2, 1]), ([2, 1], [0, 1]), ([2, 1], [2, 1])):
            self.assertAllClose(errors(*tie), (2e-4, 2e-4 / 40.0), rtol=1e-3)
        for wrong in (([0, 1], [0, 0]), ([0, 0], [0, 1]), ([0, 0], [0, 0])):  # even where both runtimes say so
            with self.assertRaisesRegex(ValueError, "index is 0.25 off, 0.025 of its scale; 1e-05 is the tolerance"):
                errors(*wrong)
        for outside in ([3, 1], [0, -1]):
            with self.assertRaisesRegex(ValueError, "index: it holds indices from .*; 0 to 2 are wanted"):
                errors([0, 1], outside)
        with self.assertRaisesRegex(ValueError, "tolerance"):
            errors([0, 1], [0, 1], np.full((2, 3), np.nan, "float32"))
        none = np.zeros(0, "int64")
        self.assertEqual(errors(none, none, entries[:0]), (0.0, 0.0))


class OnAGPUTest(tf.test.TestCase):
    """What the benchmark of a GPU computes, on the CPU: error, inputs and calls are the same."""

    def test_finds_the_error_and_calls_with_the_inputs_that_the_manifest_describes(self):
        model = zoo.SupervisedVAE(event_shape=(4, 4, 1), num_classes=3, latent_dim=2, hidden=(6,))
        folder = export_model(model, Path(self.get_temp_dir()) / "artifact")
        description = artifact.read_manifest(folder)["endpoints"]["decode"]
        session = onnx_on_gpu.session(folder / artifact.onnx_path("decode"), onnx_on_gpu.CPU)
        golden = folder / artifact.golden_path("decode")
        self.assertLess(onnx_on_gpu.golden_error(session, golden), 1e-5)  # two runtimes in float32
        with np.load(golden) as file:
            moved = {name: file[name] + (0.5 if name.startswith("output") else 0) for name in file}
        np.savez(golden, **moved)
        scale = max(1.0, moved["output_probabilities"].max())  # above 1 where the moved output leaves [0, 1]
        self.assertAllClose(onnx_on_gpu.golden_error(session, golden), 0.5 / scale, atol=1e-5)

        inputs = onnx_on_gpu.draw(description["inputs"], 7)
        self.assertEqual({name: array.shape for name, array in inputs.items()}, {"z": (7, 2), "labels": (7,)})
        self.assertBetween(int(inputs["labels"].max()), 0, 2)
        self.assertGreater(onnx_on_gpu.median_seconds(onnx_on_gpu.bound(session, inputs, "cpu")), 0.0)

    def test_says_what_is_missing_without_a_gpu(self):
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            self.assertEqual(onnx_on_gpu.main([self.get_temp_dir()]), 1)
        self.assertStartsWith(errors.getvalue(), "error: This ONNX Runtime knows no CUDA")
