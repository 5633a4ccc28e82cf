"""Labels on their way: which are kept, which rows of a batch carry them, and runs that learn from them."""

import dataclasses
import io
import json
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from training import sample
from training.__main__ import main as train_command
from training.callbacks import FinishEpoch
from training.data import Data, evaluation_batches, load_data, steps_per_epoch, training_batches
from training.evaluate import evaluate
from training.recipes import recipe_named
from training.train import train

COUNT = 60
NUMBERED = np.unpackbits(np.arange(COUNT, dtype="uint8")[:, None], axis=1)[..., None, None]  # 8 pixels: its index
CLASSES = np.arange(COUNT) % 3


def data_of(images=NUMBERED, labels=CLASSES, levels=1):
    splits = ("train", "validation", "test")
    return Data(
        "numbers", dict.fromkeys(splits, images), {} if labels is None else dict.fromkeys(splits, labels), levels
    )


def indices(images):
    """Of images of `NUMBERED`."""
    return np.packbits(images.reshape(-1, 8).astype("uint8"), axis=1).ravel()


def batches(number, **arguments):
    arguments = {"binarization": "static", "batch_size": 9, "seed": 3, "labels": CLASSES, **arguments}
    return list(training_batches(data_of(), **arguments).take(number).as_numpy_iterator())


class KeptLabelsTest(tf.test.TestCase):
    def test_as_many_of_each_class_and_their_own(self):
        for num_labels in (3, 12, 60):
            kept = data_of().kept_labels(num_labels, label_seed=5)
            labelled = kept >= 0
            self.assertAllEqual(np.bincount(kept[labelled]), [num_labels // 3] * 3)
            self.assertAllEqual(kept[labelled], CLASSES[labelled])
            self.assertAllEqual(kept[~labelled], np.full(COUNT - num_labels, -1))
            self.assertEqual(kept.dtype, np.int64)
        self.assertAllEqual(data_of().kept_labels(0, label_seed=5), CLASSES)

    def test_a_function_of_the_label_seed_with_the_fewer_among_the_more(self):
        draws = [data_of().kept_labels(12, seed) for seed in (1, 1, 2)]
        self.assertAllEqual(draws[0], draws[1])
        self.assertNotAllEqual(draws[0], draws[2])
        more = data_of().kept_labels(30, 1)
        self.assertAllEqual(more[draws[0] >= 0], draws[0][draws[0] >= 0])

    def test_every_example_is_kept_as_often(self):
        kept = sum(data_of().kept_labels(15, seed) >= 0 for seed in range(400))
        # 400 draws that keep one in four: a standard error of 8.7 about 100.
        self.assertAllInRange(kept.astype(float), 100 - 4.5 * 8.7, 100 + 4.5 * 8.7)

    def test_what_cannot_be_kept_is_refused_in_a_sentence(self):
        uneven = np.where(np.arange(COUNT) < 4, 2, np.arange(COUNT) % 2)
        for labels, num_labels, sentence in (
            (CLASSES, 63, "num_labels is 63, 21 of each class, but class 0 has 20 of the 60 labels; ask for fewer"),
            (CLASSES, 10, "num_labels is 10, of which 3 classes cannot have equal shares"),
            (uneven, 15, "5 of each class, but class 2 has 4 of the 60"),
            (None, 0, "numbers has no labels; choose data that have some"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                data_of(labels=labels).kept_labels(num_labels, 1)

    def test_identity_tells_draws_apart(self):
        identities = [data_of().identity_of_labels(12, seed) for seed in (1, 1, 2)]
        self.assertEqual(identities[0], identities[1])
        self.assertNotEqual(identities[0]["sha256"], identities[2]["sha256"])
        self.assertEqual(identities[2]["count"], 12)

    def test_number_of_classes(self):
        self.assertEqual((data_of().num_classes, data_of(labels=None).num_classes), (3, None))
        self.assertEqual(load_data("digits").num_classes, 10)


class BatchesTest(tf.test.TestCase):
    def test_every_example_goes_with_its_label(self):
        kept = data_of().kept_labels(12, 1)
        for labels in (CLASSES, kept):
            for images, y in batches(14, labels=labels):  # two epochs
                self.assertAllEqual(y, labels[indices(images)])
                self.assertEqual((images.dtype, y.dtype), (np.dtype("float32"), np.dtype("int64")))

    def test_labels_change_no_example_and_no_order(self):
        for (images, _), alone in zip(batches(10), batches(10, labels=None), strict=True):
            self.assertAllEqual(images, alone)

    def test_labelled_rows_come_in_turn_beside_every_example(self):
        kept = data_of().kept_labels(12, 1)
        found = batches(20, labels=kept, labels_per_batch=5)  # 4 rows of the rest: 15 batches an epoch
        self.assertEqual(steps_per_epoch(data_of(), 9, 5), 15)
        labelled = []
        for images, y in found:
            self.assertAllEqual(y[:5], CLASSES[indices(images)[:5]])
            self.assertAllEqual(y[5:], np.full(len(y) - 5, -1))
            labelled.append(indices(images)[:5])
        self.assertAllEqual(
            np.sort(np.concatenate([indices(images)[5:] for images, _ in found[:15]])), np.arange(COUNT)
        )
        turns = np.concatenate(labelled)[:96].reshape(8, 12)  # on past the end of the epoch
        for turn in turns:
            self.assertAllEqual(np.sort(turn), np.flatnonzero(kept >= 0))
        self.assertNotAllEqual(turns[0], turns[1])

    def test_the_last_batch_holds_the_rest_and_as_many_labelled(self):
        found = batches(10, labels=data_of().kept_labels(12, 1), labels_per_batch=2)  # 7 rows of the rest
        self.assertEqual([len(y) for _, y in found], [9] * 8 + [2 + 60 - 56] + [9])
        self.assertAllEqual([np.sum(y >= 0) for _, y in found], [2] * 10)

    def test_a_resumed_pipeline_shows_what_the_uninterrupted_one_would_have(self):
        for arguments in ({"labels_per_batch": 5}, {"labels_per_batch": 5, "binarization": "dynamic"}, {}):
            arguments["labels"] = data_of().kept_labels(12, 1)
            steps = steps_per_epoch(data_of(), 9, arguments.get("labels_per_batch", 0))
            whole, resumed = batches(3 * steps, **arguments), batches(steps, first_epoch=2, **arguments)
            for expected, found in zip(whole[2 * steps :], resumed, strict=True):
                self.assertAllEqual(expected[0], found[0])
                self.assertAllEqual(expected[1], found[1])

    def test_labelled_rows_follow_the_protocol(self):
        gray = np.full((COUNT, 20, 20, 1), 64, "uint8")
        gray[:, 0, 0, 0] = 255 * (np.arange(COUNT) < 3)  # the examples that are labelled, one of each class
        labels = np.where(np.arange(COUNT) < 3, CLASSES, -1)

        def rows(binarization):
            arguments = (binarization, 30, 3)
            stream = training_batches(data_of(gray, levels=255), *arguments, labels=labels, labels_per_batch=15)
            found = [(images[:15], y[:15]) for images, y in stream.take(4).as_numpy_iterator()]
            return tuple(map(np.concatenate, zip(*found, strict=True)))

        images, y = rows("dynamic")
        self.assertAllEqual(images[:, 0, 0, 0], np.ones(60))
        self.assertLen(np.unique(images.reshape(60, -1), axis=0), 60)  # drawn anew each time
        # 60 * 399 draws with probability 64 / 255: four standard errors of 0.0028.
        self.assertAllClose(images.reshape(60, -1)[:, 1:].mean(), 64 / 255, rtol=0, atol=0.0112)
        static = data_of(gray, levels=255).examples("train", "static")
        images, y = rows("static")
        self.assertAllEqual(images, static[:3][y])
        self.assertAllClose(rows("none")[0], gray[:3][y] / 255)

    def test_batches_without_room_are_refused(self):
        with self.assertRaisesRegex(ValueError, "labels_per_batch is 9, which leaves no row .* in a batch of 9"):
            batches(1, labels_per_batch=9)

    def test_evaluation_batches_are_pairs(self):
        found = list(evaluation_batches(NUMBERED, 25, CLASSES.astype("uint8")).as_numpy_iterator())
        self.assertAllEqual(np.concatenate([y for _, y in found]), CLASSES)
        self.assertAllEqual(indices(np.concatenate([images for images, _ in found])), np.arange(COUNT))
        self.assertEqual((found[0][0].dtype, found[0][1].dtype), (np.dtype("float32"), np.dtype("int64")))


def tiny(name, **changes):
    small = {"hidden": (8,), "latent_dim": 2, "epochs": 2, "jit": False, "num_importance_samples": 5}
    return dataclasses.replace(recipe_named(name), **{**small, "warm_up_epochs": 0, **changes})


FEW = {"num_labels": 20, "labels_per_batch": 32, "batch_size": 100}


def run_command(main, *arguments):
    """(exit status, stdout, stderr) of a command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            status = stopped.code
    return status, out.getvalue(), err.getvalue()


def bytes_of(run):
    with np.load(run.checkpoint_path, allow_pickle=False) as file:
        return {name: file[name].tobytes() for name in file.files if name != "progress"}


class RunTest(tf.test.TestCase):
    """Runs of a few steps."""

    def setUp(self):
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def train_stopped_after(self, epochs, recipe, workdir):
        original = FinishEpoch.on_epoch_end

        def stop(callback, epoch, logs=None):
            original(callback, epoch, logs)
            if epoch + 1 == epochs:
                raise KeyboardInterrupt

        with mock.patch.object(FinishEpoch, "on_epoch_end", stop), self.assertRaises(KeyboardInterrupt):
            train(recipe, workdir, verbose=0)

    @pytest.mark.slow
    def test_a_resumed_run_ends_bit_identical(self):
        recipe = tiny("semi_supervised_aae_digits", discriminator_hidden=(8,), **FEW)
        whole = train(recipe, self.folder / "whole", verbose=0)
        self.train_stopped_after(1, recipe, self.folder / "stopped")
        resumed = train(recipe, self.folder / "stopped", verbose=0)
        self.assertEqual(bytes_of(whole), bytes_of(resumed))
        self.assertEqual(whole.history_path.read_text(), resumed.history_path.read_text())

        stamped = json.loads(whole.recipe_path.read_text())
        self.assertEqual(stamped["data"]["train"]["labels"]["count"], 20)
        self.assertEqual(stamped["recipe"]["label_seed"], 1)
        with Image.open(whole.samples_path / "epoch_0002.png") as picture:
            self.assertEqual(picture.width, 10 * 49 + 1)  # a column for each class
        with self.assertRaisesRegex(ValueError, "another recipe .label_seed was 1, now 2"):
            train(dataclasses.replace(recipe, label_seed=2), self.folder / "whole", verbose=0)
        self.assert_measured(whole)

    def test_semi_supervised_vae_is_measured(self):
        metrics = self.assert_measured(
            train(tiny("semi_supervised_vae_digits", epochs=1, **FEW), self.folder / "run", verbose=0)
        )
        self.assertLess(metrics["elbo"], metrics["log_prob"])

    def assert_measured(self, run):
        with mock.patch("training.evaluation.quality.NUM_IMAGES", 200):
            metrics = evaluate(run.path)["metrics"]
        self.assertBetween(metrics["classification_error"], 0.0, 1.0)
        self.assertGreater(metrics["mmd_squared_floor"], 0.0)
        self.assertBetween(metrics["neighbours_class_accuracy"], 0.0, 1.0)
        return metrics

    def test_supervised_vae_shows_a_class_and_is_measured_given_the_labels(self):
        run = train(tiny("supervised_vae_digits", epochs=1), self.folder / "run", verbose=0)
        pictures = [self.folder / f"{name}.png" for name in ("three", "again", "four", "all")]
        for path, flags in zip(pictures, (["--label", 3], ["--label", 3], ["--label", 4], []), strict=True):
            status, _, err = run_command(sample.main, run.path, "--num-samples", 16, "--out", path, *flags)
            self.assertEqual(status, 0, err)
        three, again, four, _ = (path.read_bytes() for path in pictures)
        self.assertEqual(three, again)
        self.assertNotEqual(three, four)
        with Image.open(pictures[3]) as picture:
            self.assertEqual(picture.size, (10 * 49 + 1, 2 * 49 + 1))
        status, _, err = run_command(sample.main, run.path, "--label", 10, "--out", pictures[0])
        self.assertEqual((status, err), (1, "error: label is 10; a number from 0 to 9 is wanted.\n"))
        metrics = evaluate(run.path)["metrics"]
        self.assertLess(metrics["elbo"], metrics["log_prob"])
        self.assertNotIn("classification_error", metrics)
        self.assertTrue((run.samples_path / "reconstructions.png").exists())

    def test_aae_is_measured_beside_its_prior(self):
        recipe = tiny("aae_digits", discriminator_hidden=(8,), epochs=1, prior_scale=5.0)
        run = train(recipe, self.folder / "run", verbose=0)
        self.assertNotIn("labels", json.loads(run.recipe_path.read_text())["data"]["train"])
        with mock.patch("training.evaluation.quality.NUM_IMAGES", 200):
            metrics = evaluate(run.path)["metrics"]
        self.assertBetween(metrics["discriminator_accuracy"], 0.0, 1.0)
        self.assertEqual(metrics["num_samples"], 200)
        self.assertGreater(metrics["parzen_standard_error"], 0.0)
        # One epoch leaves codes of order 1, far from a prior of width 5: MMD^2 is well above its floor.
        self.assertGreater(metrics["mmd_squared"], 5 * metrics["mmd_squared_floor"])
        status, _, err = run_command(sample.main, run.path, "--label", 1, "--out", self.folder / "x.png")
        self.assertEqual((status, err), (1, "error: label is 1, but this AAE has no labels; leave it out.\n"))

    def test_clusters_are_as_many_as_asked_for(self):
        recipe = tiny("semi_supervised_aae_digits", epochs=1, supervised=False, num_clusters=12)
        recipe = dataclasses.replace(recipe, num_labels=0, labels_per_batch=0)
        run = train(recipe, self.folder / "run", verbose=0)
        self.assertEqual(run.model().num_classes, 12)
        with mock.patch("training.evaluation.quality.NUM_IMAGES", 200):
            metrics = evaluate(run.path)["metrics"]
        self.assertBetween(metrics["clustering_error"], 0.0, 1.0)
        self.assertBetween(metrics["used_clusters"], 1, 12)

    def test_bad_input_is_one_sentence_and_leaves_no_run(self):
        np.savez(self.folder / "plain.npz", images=np.random.default_rng(0).integers(0, 256, (50, 8, 8), "uint8"))
        plain, workdir = self.folder / "plain.npz", self.folder / "never"
        for arguments, sentence in (
            (["vae_digits", "--num-labels", 10], "vae_digits takes no --num-labels"),
            (["gan_digits", "--label-seed", 2], "gan_digits takes no --label-seed"),
            (["supervised_vae_digits", "--data", plain], "plain has no labels; choose data that have some"),
            (["supervised_vae_digits", "--num-labels", 10], "num_labels is 10, but this SupervisedVAE needs the label"),
            (["aae_digits", "--num-labels", 10], "num_labels is 10, but this AAE is built without labels"),
            (
                ["semi_supervised_vae_digits", "--num-labels", 2000],
                "200 of each class, but class . has 1.. of the 1297",
            ),
            (["semi_supervised_vae_digits", "--num-labels", 105], "10 classes cannot have equal shares"),
            (["semi_supervised_vae_digits", "--labels-per-batch", 64], "leaves no row for unlabelled"),
            (["aae_digits", "--prior", "swiss_roll"], "latent_dim is 4"),
        ):
            status, _, err = run_command(train_command, *arguments, "--workdir", workdir)
            self.assertEqual((status, err.count("\n")), (1, 1), err)
            self.assertRegex(err, sentence)
            self.assertFalse(workdir.exists(), arguments)
