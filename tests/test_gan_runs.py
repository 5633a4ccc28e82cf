"""GANs through the one door: what a run leaves, both optimizers resumed, what is refused, measures, export."""

import csv
import dataclasses
import inspect
import json
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
import test_training
from PIL import Image
from test_families import OneRun, rows_of, size_of
from test_training import run_command

import zoo
from export import card, verify
from export.__main__ import main as export_command
from training import evaluate, sample
from training.__main__ import main as train_command
from training.checkpoints import state_of
from training.evaluate import evaluate as evaluate_run
from training.evaluate import value_text
from training.evaluation import adversarial
from training.recipe import settings_of
from training.recipes import RECIPES, recipe_named
from training.train import train, validation_batch

HIDDEN = {"generator_hidden": (8,), "discriminator_hidden": (8,)}
DIGITS = dataclasses.replace(recipe_named("gan_digits"), **HIDDEN, epochs=2, batch_size=50, jit=False)
GRID = 8 * 49 + 1  # pixels of a grid of 64 digits
POINTS = (2 * 482, 482)  # of a picture of points


class DigitsTest(OneRun):
    """With two steps of the discriminator on packs of two: 1,297 images in 12 batches of 100 and one of 97."""

    recipe = dataclasses.replace(DIGITS, discriminator_steps=2, pack=2)

    def test_holds_what_run_folders_hold(self):
        run = self.run_folder
        rows = rows_of(run)
        self.assertLen(rows, 2)
        losses = {"g_loss", "d_loss", "accuracy", "r1", "r2"}
        self.assertContainsSubset(losses | {f"val_{name}" for name in losses}, rows[0])
        self.assertContainsSubset({"generator_gradient", "discriminator_gradient"}, rows[0])
        self.assertTrue(rows[0]["data"].startswith("digits/train/none/"))
        pictures = sorted(path.name for path in run.samples_path.iterdir())
        self.assertEqual(pictures, ["epoch_0001.png", "epoch_0002.png"])  # a GAN reconstructs nothing
        self.assertEqual(size_of(run.samples_path / pictures[-1]), (GRID, GRID))
        self.assertEqual([path.name for path in run.figures()], ["curves.png"])
        self.assertIsInstance(run.model(), zoo.GAN)
        self.assertSamples(run)

    def test_each_player_has_its_own_adam_and_its_own_count(self):
        model = self.run_folder.model()
        for player, steps in (("generator", 13), ("discriminator", 26)):
            optimizer = model.optimizers[player]
            self.assertEqual(int(optimizer.iterations), 2 * steps)
            self.assertAllClose(optimizer.learning_rate, 0.0, atol=1e-9)  # the cosine ends with the last epoch
            self.assertEqual((optimizer.beta_1, optimizer.beta_2), (0.0, 0.99))

    def test_state_holds_every_variable_of_both_optimizers(self):
        model = self.run_folder.model()
        state = {id(variable) for variable in state_of(model)}
        for optimizer in model.optimizers.values():
            self.assertLessEqual({id(variable) for variable in optimizer.variables}, state)
        self.assertLen(state, len(state_of(model)))

    def test_finished_run_stays_as_it_is(self):
        before = self.run_folder.checkpoint_path.read_bytes()
        train(self.recipe, self.run_folder.path, verbose=0)
        self.assertEqual(before, self.run_folder.checkpoint_path.read_bytes())

    def test_evaluation_reports_the_losses_on_the_test_split(self):
        evaluation = evaluate_run(self.run_folder.path)
        self.assertEqual(evaluation, json.loads(self.run_folder.evaluation_path.read_text()))
        losses = {"g_loss", "d_loss", "discriminator_accuracy", "r1", "r2"}
        of_samples = {"num_samples", *(f"parzen_{name}" for name in ("log_likelihood", "standard_error", "sigma"))}
        self.assertEqual(set(evaluation["metrics"]), losses | of_samples)
        self.assertBetween(evaluation["metrics"]["discriminator_accuracy"], 0.0, 1.0)
        self.assertEqual(evaluation["data"]["split"], "test")
        self.assertEqual(evaluate_run(self.run_folder.path)["metrics"], evaluation["metrics"])

    def test_leaves_as_an_artifact(self):
        evaluate_run(self.run_folder.path)
        out = Path(self.get_temp_dir()) / "artifact"
        status, _, err = run_command(export_command, self.run_folder.path, "--out", out)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual({row[0] for row in verify.verify(out)}, {"generate", "discriminate", "generate_uint8"})
        with Image.open(out / "samples.png") as image:
            self.assertGreater(np.asarray(image).std(), 0)
        text = (out / "README.md").read_text()
        self.assertIn("`generate` is the default one", text)
        self.assertIn("input `images`: float32 [batch, 2, 8, 8, 1]", text)
        self.assertNotIn("likelihoods", text)


class RingTest(OneRun):
    """WGAN-GP, two steps of the critic: 100,000 points in 10 batches of 10,000."""

    recipe = dataclasses.replace(
        recipe_named("gan_ring"),
        objective="wasserstein_gp",
        r1=0.0,
        r2=0.0,
        discriminator_steps=2,
        **HIDDEN,
        epochs=1,
        batch_size=5000,
        jit=False,
    )

    def test_points_are_pictured_beside_the_data(self):
        run = self.run_folder
        self.assertEqual([path.name for path in run.samples_path.iterdir()], ["epoch_0001.png"])
        self.assertEqual(size_of(run.samples_path / "epoch_0001.png"), POINTS)
        with open(run.history_path, newline="") as file:
            (row,) = csv.DictReader(file)
        self.assertContainsSubset({"wasserstein", "gradient_penalty", "val_gradient_penalty"}, row)
        path = Path(self.get_temp_dir()) / "points.png"
        status, _, _ = run_command(sample.main, run.path, "--num-samples", 200, "--out", path)
        self.assertEqual((status, size_of(path)), (0, POINTS))

    def test_evaluation_counts_the_modes(self):
        """Against a count that shares nothing with it but the definition: within 3 sigma of a center of the ring."""
        with mock.patch.object(zoo.GAN, "sample", near_two_modes), mock.patch.object(adversarial, "NUM_POINTS", 400):
            metrics = evaluate_run(self.run_folder.path)["metrics"]
            points = near_two_modes(None, 400, seed=0)
        distances = np.hypot(points[:, :1] - [1.0, 0.0], points[:, 1:] - [0.0, 1.0])
        self.assertEqual(metrics["modes"], 2)
        self.assertAllClose(metrics["high_quality"], np.mean(distances.min(axis=1) <= 0.03))
        self.assertEqual(metrics["num_samples"], 400)
        self.assertContainsSubset({"g_loss", "d_loss", "discriminator_wasserstein", "gradient_penalty"}, metrics)

    def test_command_prints_what_there_is_none_of(self):
        far = mock.patch.object(zoo.GAN, "sample", lambda model, num_samples, seed: np.full((num_samples, 2), 5.0))
        with far, mock.patch.object(adversarial, "NUM_POINTS", 100):
            status, out, _ = run_command(evaluate.main, self.run_folder.path)
        self.assertEqual(status, 0)
        self.assertRegex(out, r"reverse_kl +. none +. nats")
        self.assertRegex(out, r"modes +. 0")
        self.assertEqual(card.number_text(None), "none")
        self.assertEqual(value_text([0.1, 0.25]), "0.100 0.250")


def near_two_modes(model, num_samples, seed):
    """Around two of the centers, and some of them too far."""
    centers = np.array([[1.0, 0.0], [0.0, 1.0]])[np.arange(num_samples) % 2]
    return centers + 0.015 * np.random.default_rng(seed).normal(size=(num_samples, 2))


class BiGANTest(OneRun):
    recipe = dataclasses.replace(
        recipe_named("bigan_digits"), **HIDDEN, encoder_hidden=(8,), epochs=1, batch_size=100, jit=False
    )

    def test_reconstructs_what_its_encoder_sees(self):
        self.assertEqual(size_of(self.run_folder.samples_path / "reconstructions.png"), (GRID, GRID))
        self.assertIsInstance(self.run_folder.model(), zoo.BiGAN)
        self.assertSamples(self.run_folder)


@pytest.mark.slow
class ResumeTest(test_training.ResumeTest):
    """kill -9, as for the VAE: weights, average and both optimizers end bit-identical."""

    EPOCHS = 6
    KILLS = 1

    def start(self, workdir):
        flags = ["--generator-hidden", "8", "--discriminator-hidden", "8", "--batch-size", "100", "--no-jit"]
        command = [sys.executable, "-m", "training", "gan_digits", *flags, "--epochs", str(self.EPOCHS)]
        return subprocess.Popen(
            [*command, "--workdir", str(workdir)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )


class StopTest(tf.test.TestCase):
    def test_gradient_that_is_not_finite_stops_by_name_and_keeps_the_checkpoint(self):
        workdir = Path(self.get_temp_dir()) / "diverging"
        run = train(dataclasses.replace(DIGITS, epochs=1), workdir, verbose=0)
        good = run.checkpoint_path.read_bytes()
        recipe = json.loads(run.recipe_path.read_text())
        recipe["recipe"]["epochs"] = 2
        run.recipe_path.write_text(json.dumps(recipe))
        original = zoo.GAN.generator_loss

        def generator_loss(model, *arguments, **keywords):
            step = tf.cast(model.optimizers["generator"].iterations, tf.float32)
            return original(model, *arguments, **keywords) * tf.where(step >= 26 + 6, float("nan"), 1.0)

        one_by_one = mock.patch("training.train.steps_per_execution", lambda steps: 1)
        stops = self.assertRaisesRegex(FloatingPointError, "^generator_gradient is nan at epoch 2, step 7;")
        with mock.patch.object(zoo.GAN, "generator_loss", generator_loss), one_by_one, stops:
            train(dataclasses.replace(DIGITS, epochs=2), workdir, verbose=0)
        self.assertEqual(good, run.checkpoint_path.read_bytes())

    def test_losses_that_diverge_are_named(self):
        recipe = dataclasses.replace(DIGITS, objective="least_squares", learning_rate=1e20)
        stops = self.assertRaisesRegex(FloatingPointError, "d_loss is (nan|inf).* at epoch 1")
        with stops:
            train(recipe, Path(self.get_temp_dir()) / "diverging", verbose=0)


class RefusalsTest(tf.test.TestCase):
    def assertSentence(self, arguments, sentence, status=1):
        workdir = Path(self.get_temp_dir()) / "never"
        found, _, err = run_command(train_command, *arguments, "--workdir", workdir)
        self.assertEqual(found, status)
        self.assertRegex(err, sentence)
        self.assertEqual(err.count("error:"), 1)
        self.assertFalse(workdir.exists(), arguments)

    def test_flags_that_a_model_does_not_use_are_refused(self):
        self.assertSentence(["gan_digits", "--hidden", "8", "--beta", "2"], "gan_digits takes no --hidden, --beta; its")
        self.assertSentence(["gan_digits", "--patience", "3"], "takes no --patience")
        self.assertSentence(["gan_digits", "--encoder-hidden", "8"], "takes no --encoder-hidden")
        self.assertSentence(["vae_digits", "--objective", "hinge", "--beta-1", "0"], "no --objective, --beta-1")
        self.assertSentence(["bigan_digits", "--pack", "2"], "bigan_digits takes no --pack")

    def test_bad_settings_are_one_sentence(self):
        for arguments, sentence in (
            (["--pack", "3"], "batch_size is 32, which packs of 3 do not divide; choose a multiple of 3"),
            (
                ["--pack", "4", "--batch-size", "36", "--discriminator-steps", "9"],
                "last batch would hold 1, too few for 9",
            ),
            (["--discriminator-steps", "0"], "discriminator_steps is 0; at least 1"),
            (["--r1", "-1"], "r1 is -1.0; at least 0"),
            (["--clip", "0"], "clip is 0.0; a finite number > 0"),
            (["--average-decay", "1"], r"average_decay is 1.0; a number in \[0, 1\)"),
            (["--discriminator-activation", "rellu"], "rellu"),
            (["--data", "ring", "--binarization", "dynamic"], "are points; binarization is 'dynamic', none is wanted"),
            (["--data", "ring", "--network", "convolutional"], "need event_shape .height, width, channels."),
        ):
            self.assertSentence(["gan_digits", *arguments], sentence)
        self.assertSentence(["gan_digits", "--objective", "hing"], "invalid choice", status=2)

    def test_examples_outside_the_range_of_the_generator_are_refused(self):
        path = Path(self.get_temp_dir()) / "signed.npz"
        np.savez(path, images=np.random.default_rng(0).uniform(-1, 1, (20, 8, 8)))
        self.assertSentence(["gan_digits", "--data", path], r"holds values in \[-")

    def test_only_what_matters_is_recorded(self):
        settings = recipe_named("gan_digits").settings()
        self.assertContainsSubset({"objective", "pack", "beta_1", "discriminator_learning_rate", "epochs"}, settings)
        self.assertNoCommonElements({"hidden", "patience", "likelihood", "encoder_hidden", "num_clusters"}, settings)
        self.assertContainsSubset({"encoder_hidden", "stochastic_encoder"}, settings_of("BiGAN"))
        self.assertNoCommonElements({"objective", "pack", "beta_1", "beta_2", "r1"}, settings_of("VAE"))
        self.assertNoCommonElements({"objective", "beta_1", "discriminator_steps"}, settings_of("KMeans"))

    def test_settings_are_the_defaults_of_the_model(self):
        """What a recipe does not say is what the model does without being told; "" is None, as activation."""
        defaults = inspect.signature(zoo.GAN.__init__).parameters
        of_recipes = ("latent_dim", "activation", "seed", "event_shape", "self", "kwargs")
        fields = {field.name: field.default for field in dataclasses.fields(RECIPES["gan_ring"])}
        for name in set(defaults) - set(of_recipes):
            self.assertEqual(fields[name] or None, defaults[name].default or None, name)

    def test_validation_batches_hold_whole_packs(self):
        sizes = [
            validation_batch(dataclasses.replace(DIGITS, batch_size=12, pack=pack, discriminator_steps=steps))
            for pack, steps in ((1, 1), (3, 1), (4, 5), (12, 100))
        ]
        self.assertEqual(sizes, [500, 498, 500, 1200])
