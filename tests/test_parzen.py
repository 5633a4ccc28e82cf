"""The Parzen-window log-likelihood against scikit-learn and closed forms; the study of it, end to end."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image
from sklearn.neighbors import KernelDensity

from training.evaluation import parzen as metric
from training.evaluation.parzen import best_sigma, log_density, parzen
from training.recipes import recipe_named
from training.results import parzen_table
from training.studies import STUDIES
from training.studies import parzen as study
from training.studies.__main__ import main as studies_command
from training.train import train

ROUNDING = 1e-9  # nats: float64 against float64; the terms of the sums are of the order of 1e3


def images_of(seed, count, shape=(5, 5, 1)):
    return np.random.default_rng(seed).random((count, *shape), dtype="float32")


def kernel_density(images, samples, sigma):
    """The same density by scikit-learn, which computes differences and not a product of matrices."""
    tree = KernelDensity(bandwidth=sigma, kernel="gaussian", algorithm="auto", rtol=0, atol=0)
    samples, images = (array.reshape(len(array), -1).astype("float64") for array in (samples, images))
    return tree.fit(samples).score_samples(images)


class LogDensityTest(tf.test.TestCase):
    def test_agrees_with_scikit_learn(self):
        samples, images = images_of(0, 60), images_of(1, 40)
        for sigma in (0.05, 0.3, 2.0):
            expected = kernel_density(images, samples, sigma)
            self.assertAllClose(log_density(images, samples, sigma), expected, rtol=0, atol=ROUNDING)

    def test_one_window_is_a_gaussian(self):
        image, sample, sigma = images_of(0, 1), images_of(1, 1), 0.2
        squared = np.sum(np.square(image.astype("float64") - sample))
        expected = -0.5 * squared / sigma**2 - 0.5 * 25 * np.log(2 * np.pi * sigma**2)
        self.assertAllClose(log_density(image, sample, sigma), [expected], rtol=0, atol=ROUNDING)

    def test_far_outlier_does_not_underflow(self):
        """The density of an image 1e4 widths from every window is exp(-5e7): its logarithm is that of the nearest."""
        samples = np.zeros((3, 2))
        samples[1:] = 50.0
        image, sigma = np.array([[0.0, -100.0]]), 0.01
        expected = -np.log(3) - 0.5 * (100 / sigma) ** 2 - np.log(2 * np.pi * sigma**2)
        self.assertAllClose(log_density(image, samples, sigma), [expected], rtol=1e-14)
        self.assertAllClose(log_density(image, samples, sigma), kernel_density(image, samples, sigma), rtol=1e-14)

    def test_large_offset_costs_no_digits(self):
        """Centred first: uncentred, ||x||^2 - 2 x s + ||s||^2 would leave 1e-16 * 25 * 1e8 / 2 sigma^2 = 1e-5 nats."""
        samples, images = (images_of(seed, 20).astype("float64") + 1e4 for seed in (0, 1))
        expected = kernel_density(images, samples, 0.1)
        self.assertAllClose(log_density(images, samples, 0.1), expected, rtol=0, atol=1e-8)

    def test_sample_itself_has_the_height_of_its_window(self):
        samples = images_of(0, 7)
        expected = -np.log(7) - 0.5 * 25 * np.log(2 * np.pi * 1e-6)  # the others are 1,000 widths away
        self.assertAllClose(log_density(samples, samples, 1e-3), np.full(7, expected), rtol=0, atol=1e-6)

    def test_blocks_and_shared_distances_change_nothing(self):
        samples, images, sigmas = images_of(0, 33), images_of(1, 50), np.array([[0.1, 0.2], [0.5, 1.0]])
        together = log_density(images, samples, sigmas)
        self.assertEqual(together.shape, (2, 2, 50))
        for index in np.ndindex(2, 2):
            self.assertAllClose(together[index], log_density(images, samples, sigmas[index]), rtol=0, atol=ROUNDING)
        for block in (1, 100, 33 * 50):  # one image at a time; three; all
            with mock.patch.object(metric, "BLOCK", block):
                self.assertAllClose(log_density(images, samples, sigmas), together, rtol=0, atol=ROUNDING)

    def test_bad_input_is_refused_in_a_sentence(self):
        images = images_of(0, 4)
        for arguments, sentence in (
            ((images, images, 0.0), "sigma is 0.0; a finite number above 0"),
            ((images, images, np.nan), "sigma is nan"),
            ((images, images, []), "sigma is"),
            ((images, images_of(0, 4, (4, 4, 1)), 0.1), "images have 25 values, but samples 16"),
            ((images[:0], images, 0.1), "images has shape .0, 5, 5, 1."),
            ((images, np.full_like(images, np.nan), 0.1), "samples holds NaN"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                log_density(*arguments)


class SigmaTest(tf.test.TestCase):
    """Windows around copies of one image are one Gaussian, whose best sigma is the root mean squared difference."""

    def optimum(self, scale, **keywords):
        validation = scale * np.random.default_rng(0).standard_normal((200, 30))
        return best_sigma(np.zeros((3, 30)), validation, **keywords), np.sqrt(np.mean(np.square(validation)))

    def test_finds_a_known_optimum_wherever_it_lies(self):
        for scale in (0.3, 0.1, 1.0, 1e-3, 70.0):  # inside the grid, at its edges, far below it, far above
            found, expected = self.optimum(scale)
            self.assertAllClose(found, expected, rtol=0.005)  # half of the last step of 1 %

    def test_loss_of_the_grid_is_as_small_as_promised(self):
        found, expected = self.optimum(0.27)
        validation = 0.27 * np.random.default_rng(0).standard_normal((200, 30))
        scores = log_density(validation, np.zeros((3, 30)), [found, expected]).mean(axis=-1)
        self.assertBetween(scores[1] - scores[0], 0, 30 * 0.005**2)

    def test_grid_search_agrees_with_a_dense_one(self):
        samples, validation = images_of(0, 50), images_of(1, 60)
        dense = np.geomspace(0.05, 2, 2000)
        expected = dense[np.argmax(log_density(validation, samples, dense).mean(axis=-1))]
        self.assertAllClose(best_sigma(samples, validation), expected, rtol=0.007)  # half a step of each grid

    def test_validation_images_among_the_samples_are_refused(self):
        images = images_of(0, 5)
        with self.assertRaisesRegex(ValueError, "ever more likely towards sigma = 1e-06"):
            best_sigma(images, images)

    def test_bad_grids_are_refused(self):
        images = images_of(0, 5)
        for sigmas in ([0.1, 0.2], [0.0, 0.1, 0.2, 0.3, 0.4], [0.5, 0.4, 0.3, 0.2, 0.1]):
            with self.assertRaisesRegex(ValueError, "at least 5 positive numbers"):
                best_sigma(images, images, sigmas)


class ParzenTest(tf.test.TestCase):
    def test_scores_the_density_of_the_samples(self):
        """Samples of N(0, I) in two dimensions: the mean log density of others is near minus its entropy."""
        draws = np.random.default_rng(0).standard_normal((3, 4000, 2))
        score = parzen(*draws)
        entropy = np.log(2 * np.pi * np.e)
        self.assertEqual(score["num_samples"], 4000)
        self.assertBetween(score["sigma"], 0.1, 0.5)
        # The log density of N(0, I) has variance D / 2 = 1; the windows cost about 0.01 nats with so many samples.
        self.assertAllClose(score["standard_error"], 1 / np.sqrt(4000), rtol=0.1)
        self.assertAllClose(score["log_likelihood"], -entropy, atol=4 * score["standard_error"])

    def test_one_test_image_has_no_standard_error(self):
        images = images_of(0, 5)
        with self.assertRaisesRegex(ValueError, "test holds 1 images; at least 2"):
            parzen(images, images_of(1, 5), images[:1])


def run_command(*arguments):
    """(exit status, stdout, stderr) of python -m training.studies, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = studies_command([str(argument) for argument in arguments])
        except SystemExit as stopped:
            status = stopped.code
    return status, out.getvalue(), err.getvalue()


class StudyTest(tf.test.TestCase):
    def test_quick_study_end_to_end(self):
        workdir = Path(self.get_temp_dir()) / "parzen"
        status, out, err = run_command("parzen", "--quick", "--workdir", workdir)
        self.assertEqual(status, 0, err)
        self.assertIn(str(workdir / "parzen.json"), out)
        result = json.loads((workdir / "parzen.json").read_text())
        rows = {row["name"]: row for row in result["rows"]}
        self.assertEqual(
            list(rows),
            [
                "training images",
                "k-means, each centroid",
                "k-means, centroids drawn",
                "k-means, mixture",
                "PCA, with its noise",
                "PCA, without its noise",
            ],
        )
        for name, row in rows.items():
            self.assertIn(name, out)
            self.assertEqual(row["num_samples"], study.QUICK.num_samples)
            self.assertGreater(row["standard_error"], 0)
            self.assertIsNone(row["published"])  # of another protocol
        self.assertEqual(result["data"]["test"]["binarization"], "none")
        self.assertIn("tensorflow", result["versions"])
        # The lesson: averages of images above images; here by 8 nats, where each standard error is 1.
        self.assertGreater(
            rows["k-means, each centroid"]["log_likelihood"], rows["training images"]["log_likelihood"] + 1
        )
        with Image.open(workdir / "parzen.png") as image:
            self.assertGreater(np.asarray(image.convert("L")).std(), 0)
        again = study.run(workdir.parent / "again", quick=True)
        self.assertEqual(
            [row["log_likelihood"] for row in again["rows"]], [row["log_likelihood"] for row in result["rows"]]
        )

    def test_trained_model_contends_on_its_own_data_only(self):
        folder = Path(self.get_temp_dir())
        recipe = replace(recipe_named("vae_digits"), hidden=(8,), latent_dim=2, epochs=1, jit=False)
        train(recipe, folder / "vae", verbose=0)
        result = study.run(folder / "parzen", quick=True, vae=folder / "vae")
        row = result["rows"][-1]
        self.assertEqual(row["name"], "vae_digits")
        self.assertEqual(row["num_samples"], study.QUICK.num_samples)
        # After one epoch its images are all about the mean image: far below the data, by tens of nats.
        self.assertLess(row["log_likelihood"], result["rows"][0]["log_likelihood"])
        np.savez(folder / "noise.npz", images=images_of(0, 40, (8, 8)))
        with self.assertRaisesRegex(ValueError, "is a run on other data, digits; one on noise is wanted"):
            study.run(folder / "other", data=str(folder / "noise.npz"), quick=True, vae=folder / "vae")

    def test_only_the_published_protocol_is_recorded(self):
        folder = Path(self.get_temp_dir())
        for flags in (["--quick"], ["--data", "fashion_mnist"], ["--seed", 1]):
            status, _, err = run_command("parzen", *flags, "--workdir", folder / "run", "--record", folder / "results")
            self.assertEqual((status, err.count("\n")), (1, 1))
            self.assertIn("leave --record out", err)
            self.assertFalse((folder / "run").exists() or (folder / "results").exists())

    def test_bad_input_is_one_sentence_and_a_status(self):
        folder = Path(self.get_temp_dir())
        for flags, sentence in (
            (["parsen"], "no study 'parsen' .did you mean parzen"),
            (["parzen", "--data", "digits"], "1297 training images; 10000 samples"),
            (["parzen", "--data", "mnits"], "did you mean mnist"),
            (["parzen", "--quick", "--vae", folder / "none"], "is no run folder"),
        ):
            status, _, err = run_command(*flags, "--workdir", folder / "never")
            self.assertEqual((status, err.count("\n")), (1, 1), err)
            self.assertRegex(err, sentence)
            self.assertFalse((folder / "never").exists())

    def test_list_and_help_show_every_study(self):
        for flags in (["--list"], []):
            status, out, err = run_command(*flags)
            self.assertEqual(status, 0 if flags else 2)
            self.assertIn("parzen" if flags else "a study is wanted", out + err)
        for name in STUDIES:
            status, out, _ = run_command(name, "--help")
            self.assertEqual(status, 0)
            self.assertIn("--workdir", out)


class TableTest(tf.test.TestCase):
    def test_obtained_stands_beside_published(self):
        folder = Path(self.get_temp_dir())
        self.assertEqual(parzen_table(folder).count("\n"), 1)  # the header alone, before there is a result
        score = {"standard_error": 1.96, "sigma": 0.1738, "num_samples": 10_000}
        rows = [
            {"name": name, "log_likelihood": value, **score, "published": study.PUBLISHED.get(name)}
            for name, value in (("training images", 242.6), ("k-means, each centroid", 310.0), ("PCA", 100.0))
        ]
        test = {"name": "mnist", "split": "test", "num_examples": 10_000, "sha256": "ab" * 32}
        (folder / "parzen.json").write_text(json.dumps({"rows": rows, "data": {"test": test}}))
        table = parzen_table(folder)
        self.assertIn("| training images | 242.6 +- 2.0 | 243 +- 2, Theis et al. 2016, table 1 | 0.174 |", table)
        self.assertIn("| PCA | 100.0 +- 2.0 |  | 0.174 |", table)
        self.assertIn("puts k-means, each centroid above the data themselves", table)
