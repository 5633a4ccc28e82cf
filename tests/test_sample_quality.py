"""The quality of a run's samples: the networks that see them, the numbers of a run and of its artifact, refusals."""

import dataclasses
import hashlib
import json
import os
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import onnx
import pytest
import tensorflow as tf
from PIL import Image
from test_training import TINY, run_command

from export.pipeline import export_run
from training import classifier, evaluate
from training import quality as quality_command
from training.data import Data, load_data
from training.evaluation import classes, features, quality
from training.recipes import recipe_named
from training.results import study_table
from training.studies import __main__ as studies
from training.studies import zoo_table
from training.train import train

CACHED = {"mnist": "mnist.npz", "fashion_mnist": "fashion-mnist/train-images-idx3-ubyte.gz"}
FEW = mock.patch("training.evaluation.quality.NUM_IMAGES", 300)


def keras_home():
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))


def stripes(num_images, seed):
    """Ten classes that anything tells apart: images bright in one of ten columns of blocks."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(10, size=num_images)
    images = 40 * generator.random((num_images, 20, 20, 1))
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 200
    parts = {"train": slice(0, -100), "validation": slice(0, 9), "test": slice(-100, None)}
    by_split = ({split: array[part] for split, part in parts.items()} for array in (images.astype("uint8"), labels))
    return Data("mnist", *by_split, levels=255)


class ClassifierTest(tf.test.TestCase):
    def test_is_written_as_onnx_with_its_card(self):
        data, folder = stripes(1100, seed=0), Path(self.get_temp_dir()) / "classifiers"
        with mock.patch.multiple(classifier, EPOCHS=4, BATCH_SIZE=50, REACH=0):
            card = classifier.write_classifier(data, folder)
        network = features.Network(folder / "mnist.onnx")
        self.assertEqual(network.card, json.loads(json.dumps(card)))
        self.assertEqual(network.sha256, hashlib.sha256((folder / "mnist.onnx").read_bytes()).hexdigest())
        self.assertEqual((network.sha256, card["bytes"]), (card["sha256"], (folder / "mnist.onnx").stat().st_size))
        self.assertIn(network.sha256, (folder / "README.md").read_text())

        images, labels = data.gray("test"), data.labels["test"]
        probabilities = network.probabilities(images)
        self.assertEqual(np.mean(probabilities.argmax(axis=1) == labels), card["test_accuracy"])
        self.assertGreater(card["test_accuracy"], 0.9)  # 0.1 by chance
        self.assertEqual(network.features(images).shape, (100, 128))
        self.assertAllEqual(network.see(images)["features"], network.features(images))
        self.assertAllEqual(network.see(images)["probabilities"], probabilities)

        # Of the data's own images the frequencies are those of the labels, but for the classifier's errors.
        with mock.patch.object(classes, "classifier_of", lambda name: network):
            metrics = classes.class_metrics(images, data)
        frequencies = np.array(metrics["class_frequencies"])
        self.assertLess(np.abs(frequencies - np.bincount(labels, minlength=10) / 100).sum(), 0.2)
        self.assertEqual(metrics["smallest_class_frequency"], frequencies.min())
        self.assertEqual(metrics["largest_class_frequency"], frequencies.max())
        self.assertAllClose(metrics["classifier_confidence"], metrics["classifier_test_confidence"], rtol=1e-5)
        self.assertEqual(metrics["classifier_accuracy"], card["test_accuracy"])

    def test_images_are_moved_and_mirrored(self):
        images = np.zeros((500, 6, 6, 1), "float32")
        images[:, 3, 2] = 1.0
        images[:, 3, 3] = 0.5
        seen = classifier.moved(images, epoch=3, flip=True)[..., 0]
        self.assertAllEqual(np.unique(seen.sum(axis=(1, 2))), [1.5])
        rows, columns = np.array([np.unravel_index(image.argmax(), image.shape) for image in seen]).T
        self.assertEqual((rows.min(), rows.max(), columns.min(), columns.max()), (1, 5, 0, 5))
        flipped = np.array(
            [image[row].argmax() > image[row].nonzero()[0][0] for image, row in zip(seen, rows, strict=True)]
        )
        self.assertBetween(flipped.mean(), 0.4, 0.6)  # of 500 halves, +- 4 standard deviations
        self.assertFalse(np.any(np.diff(classifier.moved(images, 3, flip=False)[..., 0].argmax(-1).max(-1)) > 4))

    def test_lost_classes_show(self):
        """Three of four samples of class 2, the others of class 7, by a classifier that knows."""
        data = stripes(300, seed=0)
        ones, others = (np.flatnonzero(data.labels["train"] == label)[:1] for label in (2, 7))
        knows = mock.Mock(card={"test_accuracy": 1.0, "test_confidence": 1.0})
        knows.probabilities = lambda images: np.eye(10)[images.mean(axis=(1, 3)).reshape(-1, 10, 2).sum(-1).argmax(-1)]
        with mock.patch.object(classes, "classifier_of", lambda name: knows):
            metrics = classes.class_metrics(data.gray("train")[np.concatenate([ones, ones, ones, others])], data)
        self.assertAllClose(metrics["class_frequencies"], [0, 0, 0.75, 0, 0, 0, 0, 0.25, 0, 0])
        self.assertEqual((metrics["smallest_class_frequency"], metrics["classifier_confidence"]), (0.0, 1.0))

    def test_those_that_come_with_the_project_are_what_their_cards_say(self):
        for name, accuracy in (("mnist", 0.993), ("fashion_mnist", 0.92)):
            network = features.classifier_of(name)
            self.assertEqual((network.sha256, network.card["data"]["name"]), (network.card["sha256"], name))
            self.assertGreaterEqual(network.card["test_accuracy"], accuracy)
            self.assertLess(network.card["bytes"], 2e6)
            found = network.probabilities(np.zeros((2, 28, 28, 1)))
            self.assertAllClose(found.sum(axis=1), [1.0, 1.0])
        cards = classifier.cards(features.CLASSIFIERS)
        self.assertEqual((features.CLASSIFIERS / "README.md").read_text(), cards)

    @pytest.mark.slow
    def test_those_that_come_with_the_project_see_the_test_images_as_their_cards_say(self):
        for name in features.CLASSIFIED:
            if not (keras_home() / "datasets" / CACHED[name]).exists():
                self.skipTest(f"{name} is not in Keras' cache")
            data, network = load_data(name), features.classifier_of(name)
            found = network.probabilities(data.gray("test")).argmax(axis=1)
            self.assertAllClose(np.mean(found == data.labels["test"]), network.card["test_accuracy"], atol=1e-4)


class SampleMetricsTest(tf.test.TestCase):
    """Of the digits, by a network that was trained on them for a moment."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.folder = Path(tempfile.mkdtemp())
        cls.data = load_data("digits")
        with mock.patch.object(classifier, "EPOCHS", 3):
            classifier.write_classifier(cls.data, cls.folder)
        cls.network = features.Network(cls.folder / "digits.onnx")

    def metrics(self, samples, binarization):
        seen = quality.seen(self.network, samples, self.data, binarization)
        return quality.sample_metrics(samples, self.data, binarization, seen)

    def test_training_images_reach_the_floor_and_noise_does_not(self):
        count = len(self.data.images["test"])
        order = np.random.default_rng(1).permutation(len(self.data.images["train"]))
        real = self.metrics(self.data.gray("train")[order[:count]], "none")
        noise = np.random.default_rng(0).random((count, 8, 8, 1))
        far = self.metrics(noise, "none")
        floor = real["frechet_distance_of_train"]
        self.assertBetween(real["frechet_distance"], 0.0, 3 * floor)
        self.assertGreater(far["frechet_distance"], 10 * floor)
        self.assertEqual(far["frechet_distance_of_train"], floor)
        self.assertEqual((real["nearest_train_distance"], real["num_samples"]), (0.0, count))  # they are copies
        self.assertGreater(real["nearer_than_test"], 0.99)
        self.assertGreater(real["precision"], 0.8)
        self.assertLess(far["precision"], 0.5)
        self.assertLess(far["parzen_log_likelihood"], real["parzen_log_likelihood"])

    def test_samples_that_are_validation_images_have_no_parzen_windows(self):
        copies = self.data.gray("validation")
        found = quality.sample_metrics(copies, self.data, "none")
        names = ("log_likelihood", "standard_error", "sigma")
        self.assertEqual(found, {"num_samples": len(copies), **{f"parzen_{name}": None for name in names}})

    def test_binary_samples_are_beside_binary_images(self):
        binary = self.data.examples("test", "threshold").astype("float32")
        found = self.metrics(binary, "threshold")
        self.assertAllClose(found["frechet_distance"], 0.0, atol=1e-6)
        self.assertEqual((found["precision"], found["recall"]), (1.0, 1.0))
        gray = self.metrics(self.data.gray("test"), "threshold")
        self.assertAllClose(gray["frechet_distance"], 0.0, atol=1e-6)

    def test_a_run_and_its_artifact_give_the_same_within_sampling(self):
        recipe = dataclasses.replace(TINY, hidden=(64,), latent_dim=8, epochs=10)
        run = train(recipe, self.folder / "run", verbose=0)
        artifact = export_run(run.path, self.folder / "dist" / "digits")
        evaluated = {}
        for name, flags in (("keras", []), ("onnx", ["--artifact", artifact])):
            with FEW:
                status, out, err = run_command(evaluate.main, run.path, "--features", self.network.path, *flags)
            self.assertEqual(status, 0, err)
            written = "evaluation_artifact.json" if flags else "evaluation.json"
            self.assertIn(written, out)
            evaluated[name] = json.loads((run.path / written).read_text())
        ours, theirs = (evaluated[name]["metrics"] for name in ("keras", "onnx"))
        self.assertEqual(evaluated["onnx"]["endpoint"], "decode")
        self.assertEqual(evaluated["onnx"]["features"]["sha256"], self.network.sha256)
        self.assertContainsSubset({"log_prob", "linear_class_accuracy", "coverage_of_train"}, ours)
        test = self.data.examples("test", "dynamic").astype("float32")
        wanted = np.mean((run.model().reconstruct(test) - test) ** 2)
        self.assertAllClose(ours["reconstruction_error"], wanted, rtol=1e-6)
        self.assertNotIn("log_prob", theirs)
        self.assertEqual(ours["frechet_distance_of_train"], theirs["frechet_distance_of_train"])
        # 300 other samples of the same model: shares within 4 standard deviations, sqrt(1/4 / 300) each.
        for name in ("precision", "nearer_than_test"):
            self.assertAllClose(ours[name], theirs[name], atol=0.12)
        self.assertAllClose(ours["frechet_distance"], theirs["frechet_distance"], rtol=0.3)
        with Image.open(run.path / "nearest.png") as picture:
            self.assertEqual(picture.size, (8 * 49 + 1, evaluate.ROWS * 49 + 1))

    def test_command_compares_two_files(self):
        paths = [self.folder / f"{name}.npz" for name in ("images", "others", "features", "neither")]
        images = self.data.gray("train")[:300], self.data.gray("train")[300:600]
        for path, array in zip(paths, images, strict=False):
            np.savez(path, images=array)
        np.savez(paths[2], features=self.network.features(images[1]))
        np.savez(paths[3], numbers=np.zeros(3))
        wanted = quality.distances(*(self.network.features(each) for each in images))
        for pair, flags in ((paths[:2], ["--features", self.network.path]), (paths[1:3], [])):
            status, out, err = run_command(quality_command.main, *pair, *flags)
            if flags:
                self.assertEqual(status, 0, err)
                self.assertIn(f"{wanted['frechet_distance']:.6g}", out)
                self.assertIn(self.network.sha256, out)
            else:
                self.assertEqual((status, "name the network of" in err), (1, True))
        status, _, err = run_command(quality_command.main, paths[3], paths[2])
        self.assertEqual((status, "holds no array features" in err), (1, True))
        status, out, err = run_command(quality_command.main, paths[2], paths[2])
        self.assertEqual(status, 0, err)
        self.assertRegex(out, r"recall +1\n")

    def test_table_of_the_zoo(self):
        def short(name):
            recipe = recipe_named(name)
            return dataclasses.replace(recipe, epochs=1, jit=False) if name == "vae_digits" else recipe

        families = {"PCA": "pca_digits", "VAE": "vae_digits"}
        changed = mock.patch.multiple(zoo_table, FAMILIES=families, DATA=("digits",), recipe_named=short)
        known = mock.patch.object(quality, "network_for", lambda data, path: self.network)
        with changed, known, FEW:
            (result,) = zoo_table.run(self.folder / "table", data=("digits",), record=self.folder / "recorded")
            with mock.patch.object(zoo_table, "evaluate", side_effect=AssertionError("it is measured")):
                (again,) = zoo_table.run(self.folder / "table", data=("digits",))
                status, out, err = run_command(studies.main, "zoo_table", "--workdir", self.folder / "table")
            with self.assertRaisesRegex(ValueError, "no family 'VEA'.*did you mean VAE"):
                zoo_table.run(self.folder / "table", families=["VEA"])
            with self.assertRaisesRegex(ValueError, "leave --record out"):
                zoo_table.run(self.folder / "table", families=["VAE"], record=self.folder / "recorded")
        self.assertEqual(again["rows"], result["rows"])
        self.assertEqual((status, str(self.folder / "table" / "zoo_table_digits.json") in out), (0, True), err)
        header, floors, pca, vae = zoo_table.table_rows(result)
        markdown = study_table(self.folder / "recorded", study="zoo_table", of="digits")
        self.assertIn(f"| {' | '.join(vae)} |", markdown)
        self.assertIn(result["rows"][0]["data"]["sha256"][:8], markdown)
        self.assertEqual({len(header)}, {len(cells) for cells in (floors, pca, vae)})
        self.assertEqual(floors[2], zoo_table.number(result["rows"][1]["metrics"]["frechet_distance_of_train"]))
        self.assertEqual((pca[0], pca[1][-6:], vae[0], vae[1][:2]), ("PCA", "(gray)", "VAE", ">="))
        with Image.open(self.folder / "table" / "zoo_table_digits.png") as picture:
            self.assertEqual(picture.size, (10 * 49 + 1, 3 * 49 + 1))

    def test_bad_input_is_one_sentence(self):
        run = train(dataclasses.replace(recipe_named("gan_ring"), epochs=1, jit=False), self.folder / "ring", verbose=0)
        ring = export_run(run.path, self.folder / "dist" / "ring")
        text, two_inputs = self.folder / "text.onnx", self.folder / "two.onnx"
        text.write_text("no model")
        *addends, total = (onnx.helper.make_tensor_value_info(name, 1, ["batch", 2]) for name in ("a", "b", "sum"))
        graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["a", "b"], ["sum"])], "two", addends, [total])
        opset = onnx.helper.make_opsetid("", 17)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), two_inputs)
        for flags, sentence in (
            (
                ["--artifact", ring],
                "no endpoint that turns noise into images; its endpoints are discriminate",
            ),
            (["--artifact", self.folder / "nothing"], "There is no folder"),
            (["--artifact", ring, "--record", self.folder], "--record is of a model"),
        ):
            status, _, err = run_command(evaluate.main, run.path, *flags)
            self.assertEqual(status, 1)
            self.assertRegex(err, f"^error: .*{sentence}")
        for path, sentence in ((text, "not a model that ONNX Runtime loads"), (two_inputs, "one input float")):
            with self.assertRaisesRegex(ValueError, sentence):
                features.Network(path)
        with self.assertRaisesRegex(ValueError, r"takes \[N, 8, 8, 1\]"):
            self.network.features(np.zeros((2, 28, 28, 1)))
        with self.assertRaisesRegex(ValueError, "values from 0.0 to 255.0"):
            self.network.features(255 * self.data.gray("test")[:9].round())
        with self.assertRaisesRegex(ValueError, "No classifier of ring comes"):
            features.classifier_of("ring")
        with self.assertRaisesRegex(ValueError, "at least 6 are wanted"):
            self.metrics(self.data.gray("test")[:4], "none")
