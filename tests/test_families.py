"""Recipes of every family through the one door: PCA, k-means and the linear VAE; what each takes and refuses."""

import csv
import dataclasses
import json
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score
from test_training import arrays_of, bytes_of, run_command

import zoo
from training import evaluate, sample
from training.__main__ import main as train_command
from training.callbacks import FinishEpoch
from training.data import load_data
from training.evaluate import evaluate as evaluate_run
from training.pictures import save_components, signed_colours
from training.recipe import settings_of
from training.recipes import RECIPES, recipe_named
from training.results import baseline_table
from training.run_folder import RunFolder
from training.train import train

PCA_DIGITS, KMEANS_DIGITS = recipe_named("pca_digits"), recipe_named("kmeans_digits")
LINEAR = dataclasses.replace(recipe_named("linear_vae_digits"), latent_dim=4, epochs=60, jit=False)
DIGITS = load_data("digits")
TRAIN, TEST = DIGITS.gray("train"), DIGITS.gray("test")
CELL = 49  # of a grid of digits, with its line


def size_of(path):
    with Image.open(path) as image:
        return image.size


def rows_of(run):
    with open(run.history_path, newline="") as file:
        return list(csv.DictReader(file))


class OneRun(tf.test.TestCase):
    """Trains `recipe` once for all tests of a class."""

    recipe = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        if cls.recipe is None:
            return
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.run_folder = train(cls.recipe, Path(folder.name) / "run", verbose=0)

    def assertSamples(self, run):
        path = run.path.parent / "grid.png"
        status, _, _ = run_command(sample.main, run.path, "--num-samples", 8, "--out", path)
        self.assertEqual(status, 0)
        self.assertEqual(size_of(path), (8 * CELL + 1, CELL + 1))


class PCATest(OneRun):
    recipe = PCA_DIGITS

    def test_one_epoch_reports_the_loss_and_leaves_the_figures(self):
        run = self.run_folder
        (row,) = rows_of(run)
        model = run.model()
        self.assertAllClose(float(row["loss"]), -np.mean(model.log_prob(TRAIN)), rtol=1e-4)  # reported in float32
        self.assertTrue(row["data"].startswith("digits/train/none/"))
        self.assertEqual([path.name for path in run.figures()], ["components.png", "explained_variance.png"])
        self.assertEqual(size_of(run.path / "components.png"), (8 * CELL + 1, 2 * CELL + 1))  # 11 pictures
        self.assertEqual(size_of(run.samples_path / "epoch_0001.png"), (8 * CELL + 1, 8 * CELL + 1))
        self.assertEqual(size_of(run.samples_path / "reconstructions.png"), (8 * CELL + 1, 8 * CELL + 1))
        self.assertSamples(run)

    def test_evaluation_is_that_of_scikit_learn(self):
        metrics = evaluate_run(self.run_folder.path, with_scikit_learn=True)["metrics"]
        train, test = TRAIN.reshape(-1, 64).astype("float64"), TEST.reshape(-1, 64).astype("float64")
        peer = PCA(10).fit(train)
        # Both in float64, from images that are float32.
        self.assertAllClose(metrics["log_prob"], peer.score(test), rtol=1e-6)
        self.assertAllClose(metrics["scikit_learn_log_prob"], peer.score(test), rtol=1e-6)
        reconstructed = peer.inverse_transform(peer.transform(test))
        self.assertAllClose(metrics["reconstruction_error"], np.mean((reconstructed - test) ** 2), rtol=1e-5)
        self.assertAllClose(metrics["explained_variance_ratio"], peer.explained_variance_ratio_.sum(), rtol=1e-6)
        self.assertAllClose(metrics["noise_variance"], peer.noise_variance_, rtol=1e-6)

    def test_finished_run_stays_as_it_is(self):
        before = self.run_folder.checkpoint_path.read_bytes()
        train(self.recipe, self.run_folder.path, verbose=0)
        self.assertEqual(before, self.run_folder.checkpoint_path.read_bytes())

    def test_components_are_white_at_0_and_of_opposite_colours(self):
        component = np.array([-2.0, 0.0, 2.0]).reshape(1, 1, 3, 1)
        blue, white, red = signed_colours(component)[0, 0]
        self.assertAllGreater(white, 0.95)
        self.assertGreater(blue[2], blue[0] + 0.2)
        self.assertGreater(red[0], red[2] + 0.2)

    def test_components_of_colour_images_and_of_features_are_pictured(self):
        for event_shape in ((4, 5, 3), (6,)):
            pca = zoo.PCA(event_shape, latent_dim=3)
            pca.adapt(np.random.default_rng(0).random((20, *event_shape)))
            path = Path(self.get_temp_dir()) / "components.png"
            save_components(pca, path)
            self.assertGreater(size_of(path)[0], 8 * 8)


class KMeansTest(OneRun):
    recipe = KMEANS_DIGITS

    def test_stops_where_assignments_do_and_then_stays_so(self):
        run = self.run_folder
        rows = rows_of(run)
        self.assertLess(len(rows), 300)
        losses = [float(row["loss"]) for row in rows]
        self.assertAllClose(losses[-1], losses[-2], rtol=1e-6)
        before = arrays_of(run.checkpoint_path)
        train(self.recipe, run.path, verbose=0)
        self.assertEqual(len(rows_of(run)), len(rows))
        self.assertEqual(bytes_of(before), bytes_of(arrays_of(run.checkpoint_path)))

    def test_leaves_its_figures(self):
        run = self.run_folder
        self.assertEqual([path.name for path in run.figures()], ["centroids.png", "curves.png"])
        self.assertEqual(size_of(run.path / "centroids.png"), (5 * CELL + 1, 4 * CELL + 1))  # 20 clusters
        model = run.model()
        with Image.open(run.path / "centroids.png") as image:
            first = np.asarray(image)[1:CELL:6, 1:CELL:6]
        largest = model.centroids[np.argmax(model.frequencies), ..., 0]
        self.assertAllClose(first / 255, largest, atol=0.5 / 255)
        self.assertSamples(run)

    def test_killed_run_ends_bit_identical_to_the_uninterrupted(self):
        workdir = Path(self.get_temp_dir()) / "killed"
        finish = FinishEpoch.on_epoch_end

        def finish_and_die(callback, epoch, logs=None):
            finish(callback, epoch, logs)
            if epoch == 3:
                raise KeyboardInterrupt

        with mock.patch.object(FinishEpoch, "on_epoch_end", finish_and_die), self.assertRaises(KeyboardInterrupt):
            train(self.recipe, workdir, verbose=0)
        self.assertLen(rows_of(RunFolder(workdir)), 4)
        resumed = train(self.recipe, workdir, verbose=0)
        arrays = [arrays_of(run.checkpoint_path) for run in (self.run_folder, resumed)]
        self.assertEqual(*map(bytes_of, arrays))
        self.assertEqual(resumed.history_path.read_bytes(), self.run_folder.history_path.read_bytes())

    def test_evaluation_is_that_of_numpy_and_scikit_learn(self):
        metrics = evaluate_run(self.run_folder.path, with_scikit_learn=True)["metrics"]
        model = self.run_folder.model()
        centroids = model.centroids.reshape(20, 64)

        def squared(images):
            return np.sum((images.reshape(-1, 1, 64).astype("float64") - centroids) ** 2, axis=-1)

        # float32 distances against float64.
        self.assertAllClose(metrics["inertia"], squared(TRAIN).min(axis=1).sum(), rtol=1e-5)
        self.assertAllClose(metrics["mean_squared_distance"], squared(TEST).min(axis=1).mean(), rtol=1e-5)
        labels, truth = squared(TEST).argmin(axis=1), DIGITS.labels["test"]
        self.assertAllClose(metrics["adjusted_rand"], adjusted_rand_score(truth, labels))
        majority = [
            np.bincount(DIGITS.labels["train"][squared(TRAIN).argmin(axis=1) == cluster]).argmax()
            for cluster in range(20)
        ]
        self.assertAllClose(metrics["accuracy"], np.mean(np.array(majority)[labels] == truth))
        self.assertEqual(metrics["iterations"], len(rows_of(self.run_folder)))
        # Other starts end in other local optima.
        self.assertAllClose(metrics["inertia"], metrics["scikit_learn_inertia"], rtol=0.03)

    def test_minibatch_trains_through_the_same_door(self):
        recipe = dataclasses.replace(self.recipe, minibatch=True, epochs=3, batch_size=100, num_initializations=1)
        run = train(recipe, Path(self.get_temp_dir()) / "minibatch", verbose=0)
        self.assertLen(rows_of(run), 3)
        self.assertLess(float(rows_of(run)[-1]["loss"]), float(rows_of(run)[0]["loss"]))


class LinearVAETest(OneRun):
    recipe = LINEAR

    def test_reaches_the_likelihood_of_ppca_within_half_a_percent(self):
        """Few dimensions and epochs; after a tenth of them it is still 7 % off."""
        evaluation = evaluate_run(self.run_folder.path, num_importance_samples=20)
        metrics = evaluation["metrics"]
        ppca = zoo.PCA((8, 8, 1), 4)
        ppca.adapt(TRAIN)
        self.assertAllClose(metrics["ppca_train_log_prob"], np.mean(ppca.log_prob(TRAIN)))
        self.assertAllClose(metrics["ppca_log_prob"], np.mean(ppca.log_prob(TEST)))
        difference = metrics["train_log_prob"] - metrics["ppca_train_log_prob"]
        self.assertLess(abs(difference) / abs(metrics["ppca_train_log_prob"]), 0.005)
        self.assertLess(difference, 1e-3)  # the maximum of the likelihood, but for float32 and importance sampling
        self.assertAllClose(metrics["noise_scale"], metrics["ppca_noise_scale"], rtol=0.01)
        self.assertAllClose(metrics["effective_beta"], 1.0, rtol=1e-4)
        self.assertEqual(evaluation["data"]["binarization"], "none")
        self.assertSamples(self.run_folder)

    def test_learning_rate_falls_to_0(self):
        rate = self.run_folder.model().optimizer.learning_rate
        self.assertAllClose(rate, 0.0, atol=1e-9)


class SettingsTest(tf.test.TestCase):
    def assertSentence(self, arguments, sentence):
        workdir = Path(self.get_temp_dir()) / "never"
        status, _, err = run_command(train_command, *arguments, "--workdir", workdir)
        self.assertEqual(status, 1)
        self.assertRegex(err, sentence)
        self.assertEqual(err.count("error:"), 1)
        self.assertFalse(workdir.exists(), arguments)

    def test_flags_that_a_model_does_not_use_are_refused(self):
        self.assertSentence(["pca_digits", "--hidden", "8"], "pca_digits takes no --hidden; its settings are --data, ")
        self.assertSentence(["pca_digits", "--epochs", "3"], "takes no --epochs")
        self.assertSentence(["pca_digits", "--no-jit"], "takes no --jit")
        self.assertSentence(
            ["kmeans_digits", "--learning-rate", "1", "--latent-dim", "2"], "no --learning-rate, --latent-dim"
        )
        self.assertSentence(["vae_digits", "--num-clusters", "3"], "vae_digits takes no --num-clusters")

    def test_binarization_that_does_not_suit_a_model_is_refused(self):
        self.assertSentence(["vae_digits", "--binarization", "none"], "leaves pixels gray, but a Bernoulli likelihood")
        self.assertSentence(["kmeans_digits", "--binarization", "dynamic"], "draws other pixels for every epoch")
        self.assertSentence(["pca_digits", "--latent-dim", "65"], "64 features")

    def test_a_refusal_by_the_model_leaves_the_folder_to_the_next_try(self):
        workdir = Path(self.get_temp_dir()) / "run"
        with self.assertRaisesRegex(ValueError, "examples is 1297"):
            train(dataclasses.replace(KMEANS_DIGITS, num_clusters=1298), workdir, verbose=0)
        train(dataclasses.replace(KMEANS_DIGITS, num_clusters=2, epochs=1), workdir, verbose=0)

    def test_models_of_real_numbers_take_binary_pixels(self):
        for recipe, binarization in ((PCA_DIGITS, "dynamic"), (KMEANS_DIGITS, "threshold")):
            recipe = dataclasses.replace(recipe, binarization=binarization, num_initializations=1)
            run = train(recipe, Path(self.get_temp_dir()) / recipe.name, verbose=0)
            self.assertEqual(evaluate_run(run.path)["data"]["binarization"], binarization)

    def test_only_what_matters_is_recorded(self):
        settings = PCA_DIGITS.settings()
        self.assertContainsSubset({"latent_dim", "whiten", "data", "seed"}, settings)
        self.assertNoCommonElements({"hidden", "epochs", "learning_rate", "num_clusters", "beta"}, settings)
        self.assertContainsSubset({"epochs", "num_clusters", "initialization"}, KMEANS_DIGITS.settings())
        self.assertNoCommonElements({"jit", "precision", "latent_dim"}, KMEANS_DIGITS.settings())
        self.assertNoCommonElements({"whiten", "minibatch"}, settings_of("VAE"))
        for recipe in RECIPES.values():
            self.assertContainsSubset(settings_of(recipe.model), [field.name for field in dataclasses.fields(recipe)])

    def test_a_run_of_before_the_newer_settings_reads_as_the_present_recipe(self):
        """recipe.json and results/ as they were when there was only the VAE."""
        for path in (Path(__file__).parent.parent / "results").glob("vae_mnist*.json"):
            for result in json.loads(path.read_text()):
                old = {name: value for name, value in result["settings"].items() if name not in ("likelihood", "decay")}
                run = RunFolder(Path(self.get_temp_dir()) / f"{path.stem}-{result['seed']}")
                run.create()
                run.recipe_path.write_text(json.dumps({"recipe": {**old, "seed": result["seed"], "data_path": ""}}))
                published = dataclasses.replace(recipe_named(path.stem), seed=result["seed"])
                self.assertEqual(run.recipe(), published)
                self.assertEqual(run.recipe().settings(), published.settings())


class CommandsTest(tf.test.TestCase):
    def test_train_and_evaluate_print_figures_and_units(self):
        workdir = Path(self.get_temp_dir()) / "run"
        status, out, _ = run_command(train_command, "kmeans_digits", "--epochs", 2, "--workdir", workdir)
        self.assertEqual(status, 0)
        for name in ("model.keras", "centroids.png", "curves.png"):
            self.assertIn(str(workdir / name), out)
        status, out, _ = run_command(evaluate.main, workdir)
        self.assertEqual(status, 0)
        for text in ("squared distance", "nats", "adjusted_rand"):
            self.assertIn(text, out)

    def test_baselines_stand_beside_the_number(self):
        folder = Path(self.get_temp_dir())
        data = {"name": "mnist", "sha256": "ab" * 32}
        metrics = {"log_prob": 517.63, "scikit_learn_log_prob": 517.625}
        (folder / "pca_mnist.json").write_text(json.dumps([{"data": data, "metrics": metrics, "minutes": 0.2}]))
        row = "| `pca_mnist` | log_prob | 517.63 | 517.62 | scikit-learn's PCA | 1 | 0.2 |"
        self.assertIn(row, baseline_table(folder))
