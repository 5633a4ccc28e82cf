"""The training door: what a run folder holds, resume after kill -9, refusals, the commands."""

import csv
import dataclasses
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import zoo
from training import evaluate, results, sample
from training.__main__ import main as train_command
from training.checkpoints import state_of
from training.evaluate import evaluate as evaluate_run
from training.files import locked, replacing
from training.pictures import grid
from training.recipe import Recipe
from training.recipes import RECIPES, recipe_named
from training.results import asked_table, benchmark_table, likelihood_table, record, with_tables
from training.run_folder import RunFolder, best_epoch, out_of_patience
from training.train import steps_per_execution, train

TINY = dataclasses.replace(recipe_named("vae_digits"), hidden=(8,), latent_dim=2, epochs=3, jit=False)
COMMAND = [sys.executable, "-m", "training", "vae_digits", "--hidden", "8", "--latent-dim", "2", "--no-jit"]


def run_command(main, *arguments):
    """(exit status, stdout, stderr) of a command, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stopped:
            status = stopped.code
    return status, out.getvalue(), err.getvalue()


def arrays_of(checkpoint):
    with np.load(checkpoint, allow_pickle=False) as file:
        return {name: file[name] for name in file.files if name != "progress"}


def bytes_of(arrays):
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in arrays.items()}


class RunFolderTest(tf.test.TestCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.workdir = Path(folder.name) / "run"
        cls.run_folder = train(TINY, cls.workdir, verbose=0)

    def test_holds_what_it_promises(self):
        stamped = json.loads((self.workdir / "recipe.json").read_text())
        self.assertEqual(stamped["recipe"]["name"], "vae_digits")
        self.assertEqual(stamped["recipe"]["epochs"], 3)
        self.assertIn("tensorflow", stamped["versions"])
        self.assertEqual(stamped["data"]["train"]["binarization"], "dynamic")
        with open(self.workdir / "history.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        self.assertEqual([row["epoch"] for row in rows], ["1", "2", "3"])
        self.assertTrue(all(row["data"].startswith("digits/train/dynamic/") for row in rows))
        self.assertTrue({"loss", "nll", "kl", "val_loss", "val_nll", "val_kl"} <= set(rows[0]))
        for name in ("epoch_0001.png", "epoch_0003.png", "reconstructions.png"):
            with Image.open(self.workdir / "samples" / name) as image:
                self.assertGreater(np.asarray(image).std(), 0)
        with Image.open(self.workdir / "curves.png") as image:
            self.assertGreater(image.width, 600)
        self.assertIsInstance(zoo.load(self.workdir / "model.keras"), zoo.VAE)
        self.assertEmpty([path for path in self.workdir.rglob(".*") if path.name != ".lock"])

    def test_trains_on_what_its_model_then_refuses_otherwise(self):
        model = self.run_folder.model()
        self.assertIsNone(model.binarization)
        self.assertEqual(model.warm_up_steps, TINY.warm_up_epochs * 41)  # 1,297 images in batches of 32

    def test_evaluation_reports_likelihood_and_collapse(self):
        evaluation = evaluate_run(self.workdir, num_importance_samples=20)
        self.assertEqual(evaluation, json.loads((self.workdir / "evaluation.json").read_text()))
        metrics = evaluation["metrics"]
        self.assertLess(metrics["elbo"], metrics["log_prob"])
        self.assertAllClose(metrics["elbo"], -(metrics["nll"] + metrics["kl"]), rtol=1e-5)
        self.assertAllClose(metrics["effective_beta"], 1.0, rtol=1e-4)
        self.assertAllClose(sum(metrics["kl_per_dimension"]), metrics["kl"], rtol=1e-5)
        self.assertBetween(metrics["effective_sample_size"], 1, 20)
        self.assertGreater(metrics["log_prob_standard_error"], 0)
        self.assertEqual(evaluation["data"]["split"], "test")
        again = evaluate_run(self.workdir, num_importance_samples=20)
        self.assertEqual(again["metrics"], metrics)

    def test_finished_run_stays_as_it_is(self):
        before = arrays_of(self.run_folder.checkpoint_path)
        train(TINY, self.workdir, verbose=0)
        after = arrays_of(self.run_folder.checkpoint_path)
        self.assertEqual(bytes_of(before), bytes_of(after))

    def test_another_recipe_is_refused_by_name(self):
        history = (self.workdir / "history.csv").read_bytes()
        with self.assertRaisesRegex(ValueError, "another recipe.*batch_size was 32, now 16.*seed was 1, now 2"):
            train(dataclasses.replace(TINY, batch_size=16, seed=2), self.workdir)
        with self.assertRaisesRegex(ValueError, "another recipe.*name was"):
            train(dataclasses.replace(TINY, name="other"), self.workdir)
        self.assertEqual(history, (self.workdir / "history.csv").read_bytes())

    def test_other_data_under_the_same_name_is_refused(self):
        stamped = self.run_folder.recipe_path.read_text()
        content = json.loads(stamped)
        content["data"]["train"]["sha256"] = "0" * 64
        self.run_folder.recipe_path.write_text(json.dumps(content))
        try:
            for call in (lambda: train(TINY, self.workdir), lambda: evaluate_run(self.workdir)):
                with self.assertRaisesRegex(ValueError, "another data"):
                    call()
        finally:
            self.run_folder.recipe_path.write_text(stamped)

    def test_second_process_on_one_folder_is_refused(self):
        with locked(self.workdir), self.assertRaisesRegex(ValueError, "Another process is training"):
            train(TINY, self.workdir)

    def test_damaged_checkpoint_is_named(self):
        content = self.run_folder.checkpoint_path.read_bytes()
        self.run_folder.checkpoint_path.write_bytes(content[:-30])
        try:
            with self.assertRaisesRegex(ValueError, r"last.npz is damaged"):
                train(TINY, self.workdir)
        finally:
            self.run_folder.checkpoint_path.write_bytes(content)

    def test_sample_command_draws_the_same_picture_again(self):
        pictures = [self.workdir.parent / f"{name}.png" for name in ("one", "two", "other")]
        for path, seed in zip(pictures, (4, 4, 5), strict=True):
            status, out, _ = run_command(sample.main, self.workdir, "--num-samples", 5, "--seed", seed, "--out", path)
            self.assertEqual(status, 0)
            self.assertIn(str(path), out)
        self.assertEqual(pictures[0].read_bytes(), pictures[1].read_bytes())
        self.assertNotEqual(pictures[0].read_bytes(), pictures[2].read_bytes())
        status, _, err = run_command(sample.main, self.workdir, "--out", self.workdir / "no" / "such.png")
        self.assertEqual((status, err.count("\n")), (1, 1))

    def test_only_finished_runs_of_published_recipes_are_recorded(self):
        evaluate_run(self.workdir, num_importance_samples=2)
        with self.assertRaisesRegex(ValueError, "differs from the recipe vae_digits"):
            record(self.workdir, self.get_temp_dir())
        longer = mock.patch.object(RunFolder, "recipe", lambda run: dataclasses.replace(TINY, epochs=TINY.epochs + 1))
        with longer, self.assertRaisesRegex(ValueError, "is not finished.*go on with the same command"):
            record(self.workdir, self.get_temp_dir())


@pytest.mark.slow
class ResumeTest(tf.test.TestCase):
    """In processes of their own, killed at instants drawn by a fixed seed."""

    EPOCHS = 12
    KILLS = 3

    def start(self, workdir):
        arguments = [*COMMAND, "--epochs", str(self.EPOCHS), "--patience", "50", "--workdir", str(workdir)]
        return subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    def test_killed_run_ends_bit_identical_to_the_uninterrupted(self):
        folder = Path(self.get_temp_dir())
        whole = self.start(folder / "whole")
        instants = random.Random(8)
        killed = RunFolder(folder / "killed")
        for _ in range(self.KILLS):
            process = self.start(killed.path)
            self.wait_for_an_epoch(process, killed.checkpoint_path)
            time.sleep(instants.uniform(0.0, 0.4))  # an epoch takes about 0.2 s, half of it writing
            process.send_signal(signal.SIGKILL)
            process.communicate()
        for process, workdir in ((whole, folder / "whole"), (self.start(killed.path), killed.path)):
            _, err = process.communicate(timeout=240)
            self.assertEqual(process.returncode, 0, f"{workdir}: {err}")

        expected, found = (arrays_of(folder / name / "checkpoints" / "last.npz") for name in ("whole", "killed"))
        self.assertEqual(bytes_of(expected), bytes_of(found))
        histories = [(folder / name / "history.csv").read_bytes() for name in ("whole", "killed")]
        self.assertEqual(*histories)
        states = [state_of(zoo.load(folder / name / "model.keras")) for name in ("whole", "killed")]
        for one, other in zip(*states, strict=True):
            self.assertAllEqual(one, other)

    def wait_for_an_epoch(self, process, checkpoint):
        """Until the process has finished one more epoch."""
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        for _ in range(2400):
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns > before:
                return
            self.assertIsNone(process.poll(), "the run ended before it could be killed")
            time.sleep(0.05)
        self.fail("no epoch was finished in two minutes")


class StopTest(tf.test.TestCase):
    def test_loss_that_is_not_finite_stops_with_epoch_and_step_and_keeps_the_checkpoint(self):
        workdir = Path(self.get_temp_dir()) / "diverging"
        run = train(dataclasses.replace(TINY, epochs=1), workdir, verbose=0)
        good = run.checkpoint_path.read_bytes()
        recipe = json.loads(run.recipe_path.read_text())
        recipe["recipe"]["epochs"] = 3
        run.recipe_path.write_text(json.dumps(recipe))
        original = zoo.VAE.compute_loss

        def compute_loss(model, *arguments, **keywords):
            loss = original(model, *arguments, **keywords)
            step = tf.cast(model.optimizer.iterations, tf.float32)
            return loss + tf.where(step >= 41 + 6, float("nan"), 0.0)

        stops = self.assertRaisesRegex(FloatingPointError, "loss is nan at epoch 2, step 7")
        with mock.patch.object(zoo.VAE, "compute_loss", compute_loss), stops:
            train(TINY, workdir, verbose=0)
        self.assertEqual(good, run.checkpoint_path.read_bytes())

    def test_steps_run_at_once_divide_the_epoch_and_change_nothing(self):
        self.assertEqual([steps_per_execution(steps) for steps in (860, 41, 64, 1)], [20, 1, 32, 1])
        recipe = dataclasses.replace(TINY, epochs=2, batch_size=59)  # 22 steps
        folder = Path(self.get_temp_dir())
        train(recipe, folder / "at_once", verbose=0)
        with mock.patch("training.train.steps_per_execution", lambda steps: 1):
            train(recipe, folder / "one_by_one", verbose=0)
        runs = [arrays_of(RunFolder(folder / name).checkpoint_path) for name in ("at_once", "one_by_one")]
        self.assertEqual(*map(bytes_of, runs))
        with self.assertRaisesRegex(FloatingPointError, "loss is .* at epoch 1, steps 1 to 22"):
            train(dataclasses.replace(recipe, learning_rate=1e30), folder / "diverging", verbose=0)

    def test_patience_counts_from_the_end_of_the_warm_up(self):
        history = [{"val_loss": value} for value in (1.0, 5.0, 4.0, 4.5, 4.6)]
        self.assertEqual(best_epoch(history, 0), 0)
        self.assertEqual(best_epoch(history, 1), 2)
        self.assertIsNone(best_epoch(history, 5))
        self.assertTrue(out_of_patience(history, 1, 2))
        self.assertFalse(out_of_patience(history, 1, 3))
        self.assertFalse(out_of_patience(history, 5, 1))
        self.assertFalse(out_of_patience(history, 1, 0))

    def test_patience_ends_a_run_and_keeps_the_best_model(self):
        recipe = dataclasses.replace(TINY, epochs=40, patience=2, learning_rate=0.3, warm_up_epochs=1)
        run = train(recipe, Path(self.get_temp_dir()) / "impatient", verbose=0)
        history, _, _ = run.progress()
        self.assertLess(len(history), 40)
        best = best_epoch(history, 1)
        self.assertEqual(len(history) - 1 - best, 2)
        data = np.load(run.checkpoint_path)  # one more step than the model's, per later batch
        self.assertEqual(int(run.model().optimizer.iterations), 41 * (best + 1))
        self.assertIn(41 * len(history), [data[name] for name in data.files if data[name].shape == ()][1:])


class FilesTest(tf.test.TestCase):
    def test_replacing_leaves_the_old_file_on_failure(self):
        path = Path(self.get_temp_dir()) / "file.txt"
        path.write_text("old")
        with self.assertRaises(RuntimeError), replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError
        self.assertEqual(path.read_text(), "old")
        self.assertEqual([each.name for each in path.parent.iterdir() if "file" in each.name], ["file.txt"])

    def test_grid_places_images_row_by_row(self):
        images = np.zeros((3, 8, 8, 1), "float32")
        images[1] = 1.0
        picture = grid(images, columns=2)
        self.assertEqual(picture.shape, (2 * 49 + 1, 2 * 49 + 1, 1))
        self.assertAllEqual(picture[1:49, 50:98], np.full((48, 48, 1), 255))
        self.assertAllEqual(picture[50:98, 1:49], np.zeros((48, 48, 1)))


class ResultsTest(tf.test.TestCase):
    def test_a_row_never_mixes_data(self):
        folder = Path(self.get_temp_dir())
        result = {
            "data": {
                "name": "mnist",
                "split": "test",
                "num_examples": 9,
                "binarization": "dynamic",
                "sha256": "ab" * 32,
            },
            "metrics": {"log_prob": -94.0, "num_importance_samples": 500},
            "minutes": 4.0,
            "evaluation_minutes": 1.0,
            "seed": 1,
        }
        other = {**result, "seed": 2, "metrics": {"log_prob": -93.0, "num_importance_samples": 500}}
        (folder / "vae_mnist.json").write_text(json.dumps([result, other]))
        self.assertIn("| -93.50 +- 0.71 | 2 | -93.84 +- 0.30 |", likelihood_table(folder))
        other["data"] = {**result["data"], "binarization": "threshold"}
        (folder / "vae_mnist.json").write_text(json.dumps([result, other]))
        with self.assertRaisesRegex(ValueError, "cannot be compared"):
            likelihood_table(folder)

    def test_what_is_asked_of_a_median_stands_beside_it(self):
        folder = Path(self.get_temp_dir())
        for name, metric in (("aae_clusters_mnist", "clustering_error"), ("vae_binarized_mnist", "log_prob")):
            rows = [
                {"data": {}, "minutes": 10, "seed": seed, "metrics": {metric: value}}
                for seed, value in ((1, 0.2), (2, 0.125), (3, 0.1))
            ]
            (folder / f"{name}.json").write_text(json.dumps(rows))
        lines = asked_table(folder).splitlines()
        self.assertIn("| clustering_error | 0.125 of 0.2, 0.125, 0.1 | median <= 0.15 | 3 | 10 |", lines[-1])
        self.assertIn("| log_prob | 0.2, 0.125, 0.1 |  | 3 | 10 |", lines[-2])

    def test_benchmarks_stand_as_median_and_ratio(self):
        contenders = {
            "zoo": {"median_seconds": 1.5, "ratio": 1.0, "asked_ratio": None},
            "peer": {"median_seconds": 3.0, "ratio": 0.51, "asked_ratio": 1.0},
        }
        comparison = {"title": "training", "ours": "zoo", "contenders": contenders}
        folder = Path(self.get_temp_dir())
        (folder / "bench_x.json").write_text(json.dumps({"comparisons": [comparison]}))
        self.assertIn("| training: peer | 3.00 s | 0.51 x | <= 1.00 x |", benchmark_table(folder))

    def test_readme_shows_what_results_hold(self):
        root = Path(__file__).parent.parent
        text = (root / "README.md").read_text(encoding="utf-8")
        updated = with_tables(text, root / "results")
        self.assertTrue(updated == text, "run python -m training.results README.md")

    def test_every_result_is_complete(self):
        for path in (Path(__file__).parent.parent / "results").glob("vae_mnist*.json"):
            for result in json.loads(path.read_text()):
                self.assertEqual(result["recipe"], path.stem)
                self.assertTrue({"seed", "data", "versions", "minutes", "metrics", "settings"} <= set(result))
                self.assertIn("log_prob_standard_error", result["metrics"])


class CommandsTest(tf.test.TestCase):
    def assertSentence(self, outcome, sentence):
        status, _, err = outcome
        self.assertNotEqual(status, 0)
        self.assertRegex(err, sentence)
        self.assertNotIn("Traceback", err)

    def test_list_shows_every_recipe(self):
        status, out, _ = run_command(train_command, "--list")
        self.assertEqual(status, 0)
        for name in RECIPES:
            self.assertIn(name, out)

    def test_every_field_of_the_recipe_is_a_flag(self):
        status, out, _ = run_command(train_command, "--help")
        self.assertEqual(status, 0)
        for field in dataclasses.fields(Recipe):
            if field.name not in ("name", "summary", "model"):
                self.assertIn("--" + field.name.replace("_", "-"), out)

    def test_bad_input_is_one_sentence_and_a_status(self):
        folder = Path(self.get_temp_dir())
        workdir = folder / "never"
        for arguments, sentence in (
            (["vae_digist"], "no recipe 'vae_digist' .did you mean vae_digits"),
            (["vae_digits", "--data", "mnits"], "did you mean mnist"),
            (["vae_digits", "--latent-dim", "0"], "latent_dim is 0; at least 1"),
            (["vae_digits", "--epochs", "0"], "epochs is 0"),
            (["vae_digits", "--hidden", "8", "0"], "hidden is"),
            (["vae_digits", "--batch-size", "5000"], "batch_size is 5000, but there are 1297"),
            (["vae_digits", "--binarization", "grey"], "invalid choice"),
            (["vae_digits", "--activation", "rellu"], "activation"),
            (["vae_digits", "--learning-rate", "nan"], "learning_rate is nan"),
            (["vae_digits", "--data", folder / "no.npz"], "There is no file"),
            ([], "a recipe is wanted"),
        ):
            self.assertSentence(run_command(train_command, *arguments, "--workdir", workdir), sentence)
            self.assertFalse(workdir.exists(), arguments)

    def test_workdir_that_cannot_be_used_is_refused(self):
        folder = Path(self.get_temp_dir())
        file = folder / "a_file"
        file.write_text("mine")
        self.assertSentence(run_command(train_command, "vae_digits", "--workdir", file), "not writable")
        self.assertSentence(run_command(train_command, "vae_digits", "--workdir", "/proc/run"), "not writable")
        foreign = folder / "foreign"
        foreign.mkdir()
        (foreign / "thesis.txt").write_text("mine")
        self.assertSentence(run_command(train_command, "vae_digits", "--workdir", foreign), "thesis.txt and no run")
        self.assertEqual([path.name for path in foreign.iterdir()], ["thesis.txt"])

    def test_a_run_without_a_finished_epoch_is_refused(self):
        folder = Path(self.get_temp_dir()) / "unfinished"
        folder.mkdir()
        for main in (evaluate.main, sample.main):
            self.assertSentence(run_command(main, folder), "no run folder")
        (folder / "recipe.json").write_text(json.dumps({"recipe": dataclasses.asdict(TINY)}))
        for main in (evaluate.main, sample.main):
            self.assertSentence(run_command(main, folder), "no finished epoch")
        (folder / "recipe.json").write_text("{")
        for main in (evaluate.main, sample.main):
            self.assertSentence(run_command(main, folder), "cannot be read as JSON")

    def test_results_command_needs_its_markers(self):
        path = Path(self.get_temp_dir()) / "other.md"
        path.write_text("nothing")
        self.assertSentence(run_command(results.main, path), "has no lines")

    def test_console_script_in_a_process_of_its_own(self):
        """Exit status and stderr as a shell sees them."""
        environment = {**os.environ, "PYTHONPATH": os.getcwd()}
        outcome = subprocess.run(
            [*COMMAND, "--epochs", "0"], capture_output=True, text=True, env=environment, check=False
        )
        self.assertEqual(outcome.returncode, 1)
        self.assertEqual(outcome.stderr.strip().splitlines()[-1], "error: epochs is 0; at least 1 is wanted.")
