"""The metrics of mode collapse on samples with known answers; the mixtures; the study mode_collapse, end to end."""

import dataclasses
import functools
import io
import json
import os
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image
from scipy import integrate, stats

from training.data import SPLITS, evaluation_batches, load_data, training_batches
from training.evaluation import modes as metric
from training.evaluation.modes import modes_of
from training.mixtures import GRID, MIXTURES, RING, UNIT_GRID, Mixture
from training.results import mode_collapse_table
from training.studies import mode_collapse as study
from training.studies import mode_collapse_protocols as protocols
from training.studies import workers
from training.studies.__main__ import main as studies_command

COUNT = 100_000


def truncated_moment(power):
    """E[r^power; r <= 3] of the distance r of a standard normal point in the plane, by quadrature."""
    value, _ = integrate.quad(lambda r: r**power * stats.rayleigh.pdf(r), 0, 3, epsabs=1e-13)
    return value


def points_at(mixture, counts):
    """So many samples exactly on each center."""
    return np.repeat(mixture.centers, counts, axis=0)


class MixtureTest(tf.test.TestCase):
    def test_ring_has_eight_distinct_modes(self):
        self.assertEqual(RING.centers.shape, (8, 2))
        distances = np.linalg.norm(RING.centers[:, None] - RING.centers, axis=-1)
        # Neighbours on the unit circle are 2 sin(pi / 8) apart; float64 rounds at 1e-16.
        self.assertAllClose(np.sort(distances, axis=1)[:, 1], np.full(8, 2 * np.sin(np.pi / 8)), rtol=1e-14)
        self.assertAllClose(np.linalg.norm(RING.centers, axis=1), np.ones(8), rtol=1e-14)
        # The widely copied code, with the end point: the first mode is there twice.
        angles = np.linspace(0, 2 * np.pi, 8)
        copied = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        self.assertLen(np.unique(copied.round(9), axis=0), 7)
        self.assertLen(np.unique(RING.centers.round(9), axis=0), 8)

    def test_grids_are_the_published_ones(self):
        expected = {(x, y) for x in (-4, -2, 0, 2, 4) for y in (-4, -2, 0, 2, 4)}
        self.assertEqual({tuple(center) for center in GRID.centers}, expected)
        self.assertEqual((RING.sigma, GRID.sigma, UNIT_GRID.sigma), (0.01, 0.05, 0.0125))
        self.assertEqual(np.abs(UNIT_GRID.centers).max(), 1.0)

    def test_samples_are_of_the_mixture(self):
        samples = GRID.sample(COUNT, seed=3)
        self.assertEqual((samples.shape, samples.dtype), ((COUNT, 2), np.float32))
        nearest = np.rint(samples / 2) * 2
        # Frequencies by the chi-squared test, noise by Kolmogorov's: a right sampler passes all but once in 1e4.
        _, counts = np.unique(nearest, axis=0, return_counts=True)
        self.assertGreater(stats.chisquare(counts).pvalue, 1e-4)
        noise = (samples - nearest) / 0.05  # 20 sigma from the border of the next mode
        self.assertGreater(stats.kstest(noise.ravel(), "norm").pvalue, 1e-4)
        self.assertLess(abs(np.corrcoef(noise.T)[0, 1]), 4 / np.sqrt(COUNT))

    def test_samples_are_a_function_of_number_and_seed(self):
        self.assertAllEqual(RING.sample(50, seed=1), RING.sample(50, seed=1))
        self.assertNotAllEqual(RING.sample(50, seed=1), RING.sample(50, seed=2))
        self.assertAllEqual(UNIT_GRID.sample(50, seed=1), GRID.sample(50, seed=1) / 4)  # exact: a power of 2


class DataTest(tf.test.TestCase):
    def test_mixtures_are_data_sets(self):
        for name, mixture in MIXTURES.items():
            data = load_data(name)
            self.assertEqual((data.name, data.event_shape, data.levels), (name, (2,), 1))
            self.assertEqual([len(data.images[split]) for split in SPLITS], [100_000, 10_000, 10_000])
            for split in SPLITS:
                points = data.examples(split, "none", seed=5, epoch=2)
                self.assertEqual(points.dtype, np.float32)
                self.assertAllEqual(points, data.images[split])
                self.assertAllEqual(points, data.gray(split))
            self.assertNotAllEqual(data.images["validation"], data.images["test"])
            self.assertEqual(modes_of(data.images["test"], mixture)["modes"], len(mixture.centers))
        grid, unit = load_data("grid"), load_data("unit_grid")
        self.assertAllEqual(grid.images["train"], 4 * unit.images["train"])

    def test_identity_is_that_of_the_bytes(self):
        identity = load_data("ring").identity("train", "none")
        self.assertEqual(identity, load_data("ring").identity("train", "none"))
        self.assertEqual((identity["num_examples"], identity["binarization"]), (100_000, "none"))
        self.assertIsNone(identity["binarization_seed"])
        hashes = {load_data(name).identity(split, "none")["sha256"] for name in MIXTURES for split in SPLITS}
        self.assertLen(hashes, 9)

    def test_batches_show_each_point_once_an_epoch(self):
        data = load_data("unit_grid")
        batches = list(training_batches(data, "none", 30_000, seed=1).take(5).as_numpy_iterator())
        self.assertEqual([len(batch) for batch in batches], [30_000, 30_000, 30_000, 10_000, 30_000])
        epoch = np.concatenate(batches[:4])
        self.assertNotAllEqual(epoch, data.images["train"])
        self.assertAllEqual(np.sort(epoch, axis=0), np.sort(data.images["train"], axis=0))
        test = data.examples("test", "none")
        self.assertAllEqual(np.concatenate(list(evaluation_batches(test).as_numpy_iterator())), test)

    def test_points_have_no_pixels_to_make_binary(self):
        data = load_data("ring")
        for use in (
            lambda: data.identity("train", "dynamic"),
            lambda: data.examples("train", "threshold"),
            lambda: training_batches(data, "static", 100, seed=0),
        ):
            with self.assertRaisesRegex(ValueError, "ring are points; binarization is '.*', none is wanted"):
                use()
        with self.assertRaisesRegex(ValueError, "did you mean unit_grid"):
            load_data("unitgrid")


class MetricTest(tf.test.TestCase, parameterized.TestCase):
    def test_constants_agree_with_quadrature(self):
        self.assertAllClose(metric.CEILING, truncated_moment(0), rtol=1e-12)
        self.assertAllClose(metric.CEILING, 0.98889, atol=5e-6)
        self.assertAllClose(metric.TRUNCATED_VARIANCE, truncated_moment(2) / 2 / truncated_moment(0), rtol=1e-12)

    @parameterized.parameters("ring", "grid", "unit_grid")
    def test_exact_samples_score_what_they_should(self, name):
        mixture = MIXTURES[name]
        measured = modes_of(mixture.sample(COUNT, seed=11), mixture)
        ceiling, num_modes = measured["high_quality_ceiling"], len(mixture.centers)
        self.assertEqual((measured["modes"], measured["num_samples"]), (num_modes, COUNT))
        # Four binomial standard errors, 0.13 %.
        allowed = 4 * np.sqrt(ceiling * (1 - ceiling) / COUNT)
        self.assertAllClose(measured["high_quality"], ceiling, rtol=0, atol=allowed)
        # 2 n KL is chi-squared of K - 1 degrees of freedom, n the samples of high quality.
        statistic = 2 * COUNT * measured["high_quality"] * measured["reverse_kl"]
        self.assertBetween(statistic, *stats.chi2.ppf([1e-4, 1 - 1e-4], num_modes - 1))
        self.assertAllClose(measured["reverse_kl_floor"], (num_modes - 1) / (2 * COUNT), rtol=1e-12)
        # The mean of u = r^2 / 2 over n truncated samples errs by sd(u) / sqrt(n), the ratio by half of that share.
        mean = truncated_moment(2) / 2 / ceiling
        spread = np.sqrt(truncated_moment(4) / 4 / ceiling - mean**2)
        self.assertAllClose(measured["sigma_ratio"], 1.0, rtol=0, atol=4 * spread / mean / 2 / np.sqrt(COUNT))

    def test_floor_is_the_mean_of_many_draws(self):
        draws = [modes_of(RING.sample(2500, seed=seed), RING)["reverse_kl"] for seed in range(200)]
        floor = modes_of(RING.sample(2500, seed=0), RING)["reverse_kl_floor"]
        self.assertAllClose(floor, 0.0014, atol=5e-5)  # the reference's, rounded
        # KL has a standard deviation of sqrt(2 * 7) / 2n; 1.2 % of the samples do not count, which raises it as much.
        allowed = 4 * np.sqrt(14) / 5000 / np.sqrt(200) + 0.012 * floor
        self.assertAllClose(np.mean(draws), floor, rtol=0, atol=allowed)

    def test_collapse_to_one_mode(self):
        noise = RING.sigma * np.random.default_rng(0).standard_normal((5000, 2))
        measured = modes_of(RING.centers[3] + noise, RING)
        self.assertEqual(measured["modes"], 1)
        self.assertAllClose(measured["reverse_kl"], np.log(8), rtol=1e-12)
        self.assertAllClose(measured["sigma_ratio"], 1.0, atol=0.03)  # what is there is as wide as it should be

    def test_mode_of_double_weight(self):
        """The ring of the copied code, whose seven distinct modes are at other angles, one of them twice."""
        counts = np.array([2, 1, 1, 1, 1, 1, 1, 0]) * 100
        measured = modes_of(points_at(RING, counts), RING)
        self.assertEqual(measured["modes"], 7)
        expected = stats.entropy(counts / counts.sum(), np.full(8, 1 / 8))
        self.assertAllClose(measured["reverse_kl"], expected, rtol=1e-12)
        self.assertAllClose(expected, 0.25 * np.log(2), rtol=1e-12)

    def test_stray_points_count_against_quality_alone(self):
        strays = np.random.default_rng(0).uniform(-0.5, 0.5, (300, 2))  # inside of the ring, 50 sigma from any mode
        near = RING.sample(700, seed=0)
        alone, mixed = modes_of(near, RING), modes_of(np.concatenate([strays, near]), RING)
        self.assertAllClose(mixed["high_quality"], 0.7 * alone["high_quality"], rtol=1e-12)
        for name in ("modes", "reverse_kl", "sigma_ratio"):
            self.assertAllClose(mixed[name], alone[name], rtol=1e-12)

    def test_three_sigma_is_within_and_more_is_not(self):
        for distance, count in ((2.999, 1), (3.001, 0)):
            measured = modes_of(GRID.centers[:1] + np.array([0, distance * GRID.sigma]), GRID)
            self.assertEqual((measured["modes"], measured["high_quality"]), (count, count))

    def test_sigma_ratio_is_that_of_the_spread(self):
        """Too narrow modes have more than the ceiling of high quality; the place of a mode is not its width."""
        for share in (0.2, 0.5):
            narrow = Mixture("narrow", GRID.centers + 0.5 * GRID.sigma, share * GRID.sigma)
            measured = modes_of(narrow.sample(COUNT, seed=0), GRID)
            self.assertGreater(measured["high_quality"], metric.CEILING)
            # Of N(0, share^2) next to nothing is cut off, so the ratio is share over the spread of truncated samples,
            # with a standard error of 1 / (2 sqrt(N)) of itself; at share 0.5, half a sigma off, 2e-6 are cut off.
            expected = share / np.sqrt(truncated_moment(2) / 2 / truncated_moment(0))
            self.assertAllClose(measured["sigma_ratio"], expected, rtol=4 / (2 * np.sqrt(COUNT)) + 1e-4)
        self.assertAllClose(modes_of(points_at(GRID, 10), GRID)["sigma_ratio"], 0.0, atol=1e-7)
        # Disks filled evenly: E r^2 / 2 = 9 / 4 sigma^2.
        draws = np.random.default_rng(0)
        radius, angle = 3 * RING.sigma * np.sqrt(draws.random(COUNT)), draws.uniform(0, 2 * np.pi, COUNT)
        disks = np.tile(RING.centers, (COUNT // 8, 1)) + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
        self.assertAllClose(modes_of(disks, RING)["sigma_ratio"], 1.54, atol=0.01)  # two standard errors, rounded

    def test_no_sample_of_high_quality(self):
        measured = modes_of(np.zeros((10, 2)), RING)
        self.assertEqual((measured["modes"], measured["high_quality"]), (0, 0.0))
        self.assertIsNone(measured["reverse_kl"])
        self.assertIsNone(measured["sigma_ratio"])
        self.assertIsNone(modes_of(RING.centers[:3], RING)["sigma_ratio"])  # one sample a mode has no spread

    def test_scale_and_blocks_change_nothing(self):
        samples = np.concatenate([GRID.sample(900, seed=0), np.random.default_rng(0).normal(0, 3, (100, 2))])
        whole = modes_of(samples, GRID)
        self.assertEqual(modes_of(samples / 4, UNIT_GRID), whole)  # exact: a power of 2
        for name, value in modes_of(3e3 * samples, GRID.scaled(3e3)).items():
            self.assertAllClose(value, whole[name], rtol=1e-9)
        for block in (1, 7, 1000):
            with mock.patch.object(metric, "BLOCK", block):
                for name, value in modes_of(samples, GRID).items():
                    self.assertAllClose(value, whole[name], rtol=1e-12)

    @parameterized.parameters(
        (np.zeros((5, 3)), r"shape \(5, 3\); \[N, 2\] is wanted"),
        (np.zeros(2), r"shape \(2,\)"),
        (np.zeros((0, 2)), "at least one sample"),
        (np.array([[0.0, 1.0], [np.nan, 0.0]]), "NaN or infinite"),
        (np.array([[0.0, np.inf]]), "NaN or infinite"),
    )
    def test_bad_samples_are_refused_in_a_sentence(self, samples, sentence):
        with self.assertRaisesRegex(ValueError, sentence):
            modes_of(samples, RING)


def run_command(*arguments):
    """(exit status, stdout, stderr) of python -m training.studies mode_collapse, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            status = studies_command(["mode_collapse", *(str(argument) for argument in arguments)])
        except SystemExit as stopped:
            status = stopped.code
    return status, out.getvalue(), err.getvalue()


def constant_run(run):
    """What stands for a training where only what is around it matters: exact samples, and no time taken."""
    samples = MIXTURES[run.data].sample(run.protocol.num_samples, run.seed)
    row = {"method": run.method.name, "data": run.data, "seed": run.seed, **modes_of(samples, MIXTURES[run.data])}
    return {**row, "diverged": False, "seconds": 0.0, "cpu_seconds": 0.0}, samples


def without_training():
    return mock.patch.object(study, "trained_and_measured", constant_run)


class StudyTest(tf.test.TestCase):
    def test_smoke_end_to_end_and_resume(self):
        workdir = Path(self.get_temp_dir()) / "smoke"
        flags = ["--protocol", "smoke", "--methods", "r3gan", "--data", "ring", "--workdir", workdir]
        status, out, err = run_command(*flags, "--workers", 0)
        self.assertEqual(status, 0, err)
        for text in ("r3gan", "98.89 %", str(workdir / "mode_collapse_smoke.json")):
            self.assertIn(text, out)
        result = json.loads((workdir / "mode_collapse_smoke.json").read_text())
        self.assertEqual([row["method"] for row in result["runs"]], ["r3gan"])
        self.assertEqual(result["settings"]["r3gan"]["arguments"]["r1"], 0.1)
        self.assertEqual(result["data"]["ring"], load_data("ring").identity("train", "none"))
        self.assertEqual(result["failed"], {})
        for row in result["runs"]:
            self.assertFalse(row["diverged"])
            with np.load(workdir / "smoke" / f"{row['method']}_ring_0.npz", allow_pickle=False) as file:
                samples = file["samples"]
            self.assertEqual(samples.shape, (1000, 2))
            measured = modes_of(samples, RING)
            self.assertEqual({name: row[name] for name in measured}, measured)
        with Image.open(workdir / "mode_collapse_smoke.png") as image:
            self.assertGreater(np.asarray(image.convert("L")).std(), 0)

        with mock.patch.object(study, "train", side_effect=AssertionError("trained again")):
            again = study.run(workdir, "smoke", ["r3gan"], ["ring"], workers=0)
        self.assertEqual(again, result)
        (workdir / "smoke" / "r3gan_ring_0.json").unlink()  # a run is a function of its settings, data and seed
        again = study.run(workdir, "smoke", ["r3gan"], ["ring"], workers=0)
        timeless = [[{**row, "seconds": 0, "cpu_seconds": 0} for row in each["runs"]] for each in (again, result)]
        self.assertEqual(*timeless)

    def test_a_worker_does_the_runs_in_a_process_of_its_own(self):
        workdir = Path(self.get_temp_dir()) / "spawned"
        result = study.run(workdir, "smoke", ["minimax"], ["ring"], seeds=(4,), workers=1)
        self.assertEqual([(row["seed"], row["diverged"]) for row in result["runs"]], [(4, False)])
        self.assertEqual(result["failed"], {})

    def test_a_process_that_dies_and_a_run_that_fails_do_not_lose_the_others(self):
        workdir = Path(self.get_temp_dir()) / "dying"
        with mock.patch.object(workers, "prepare_worker", functools.partial(os._exit, 1)):
            result = study.run(workdir, "smoke", ["minimax"], ["ring", "grid"], workers=1)
        self.assertEqual(list(result["failed"]), ["minimax_ring_0", "minimax_grid_0"])
        self.assertIn("process died", result["failed"]["minimax_ring_0"])

        def fails_on_the_ring(run):
            return constant_run(run) if run.data != "ring" else 1 / 0

        with mock.patch.object(study, "trained_and_measured", fails_on_the_ring):
            result = study.run(workdir, "smoke", ["minimax"], ["ring", "grid"], workers=0)
        self.assertEqual([row["data"] for row in result["runs"]], ["grid"])
        self.assertEqual(result["failed"], {"minimax_ring_0": "ZeroDivisionError: division by zero"})
        with redirect_stdout(io.StringIO()), self.assertRaisesRegex(ValueError, "1 runs failed, minimax_ring_0"):
            study.show(result)

    def test_results_of_other_settings_are_refused(self):
        workdir = Path(self.get_temp_dir()) / "others"
        chosen = {"protocol": "smoke", "methods": ["r3gan"], "data": ["ring"], "workers": 0}
        with without_training():
            study.run(workdir, **chosen)
        shorter = dataclasses.replace(protocols.SMOKE, iterations=40)
        for change, sentence in (
            (mock.patch.dict(study.PROTOCOLS, smoke=shorter), "another protocol .iterations was 50, now 40."),
            (mock.patch.object(protocols, "VERSION", 0), "another protocol .version was 1, now 0."),
            (mock.patch.object(study, "versions", lambda *names: {"keras": "4"}), "another set of versions"),
            (mock.patch.object(study, "train_identity", lambda name: {"sha256": "ab"}), "another data set .*sha256"),
        ):
            with change, self.assertRaisesRegex(ValueError, sentence):
                study.run(workdir, **chosen)

    def test_a_run_that_diverges_is_a_row(self):
        workdir = Path(self.get_temp_dir()) / "diverged"
        with mock.patch.object(study, "train", side_effect=FloatingPointError("g_loss is nan")):
            result = study.run(workdir, "smoke", ["minimax"], ["ring"], workers=0)
        row = result["runs"][0]
        self.assertTrue(row["diverged"])
        self.assertEqual((row["modes"], row["high_quality"], row["reverse_kl"]), (0, 0.0, None))
        self.assertEqual(result["summary"][0]["num_diverged"], 1)
        self.assertEqual(result["summary"][0]["reverse_kl"], [None, None])
        out = io.StringIO()
        with redirect_stdout(out):
            study.show(result)
        self.assertIn("diverged", out.getvalue())

    def test_whole_protocols_are_recorded_and_stand_in_the_table(self):
        folder = Path(self.get_temp_dir()) / "recorded"
        self.assertEqual(mode_collapse_table(folder, "sharp").count("\n"), 1)  # the header alone
        with without_training():
            result = study.run(folder / "run", "sharp", workers=0, record=folder / "results")
        recorded = json.loads((folder / "results" / "mode_collapse_sharp.json").read_text())
        self.assertEqual(recorded, result)
        self.assertLen(recorded["runs"], 5 * 2)
        summary = recorded["summary"][0]
        values = [row["high_quality"] for row in recorded["runs"] if row["data"] == "ring"]
        self.assertAllClose(summary["high_quality"], [np.mean(values), stats.sem(values)], rtol=1e-12)
        self.assertEqual((summary["num_all_modes"], summary["published"]), (5, None))
        table = mode_collapse_table(folder / "results", "sharp")
        self.assertIn("| ring | r3gan | 8.0 +- 0.0 | 98.9 +- 0.0 | 0.0000 +- 0.0000 | 1.00 +- 0.00 |", table)
        self.assertIn("| 5 of 5 runs |", table)
        self.assertIn("ring: Protocol sharp", table)

    def test_methods_are_recorded_one_after_another(self):
        """The second call finds the first method's rows, keeps them, and puts the methods in the protocol's order."""
        folder = Path(self.get_temp_dir()) / "parts"
        with without_training():
            study.run(folder / "run", "quick", ["veegan"], workers=0, record=folder / "results")
            study.run(folder / "other run", "quick", ["minimax"], workers=0, record=folder / "results")
        recorded = json.loads((folder / "results" / "mode_collapse_quick.json").read_text())
        self.assertEqual(list(recorded["settings"]), ["minimax", "veegan"])
        self.assertEqual([row["method"] for row in recorded["summary"]], ["minimax", "veegan"] * 2)
        self.assertLen(recorded["runs"], 2 * 2 * 10)

        recorded["settings"]["veegan"]["iterations"] = 7
        (folder / "results" / "mode_collapse_quick.json").write_text(json.dumps(recorded))
        with without_training(), self.assertRaisesRegex(ValueError, "another protocol .veegan was"):
            study.run(folder / "run", "quick", ["minimax"], workers=0, record=folder / "results")

    def test_published_numbers_stand_beside_their_own_protocol_alone(self):
        folder = Path(self.get_temp_dir()) / "published"
        chosen = {"methods": ["pacgan2"], "seeds": (0,), "workers": 0}
        with without_training():
            results = {name: study.run(folder, name, **chosen) for name in ("pacgan", "quick")}
        self.assertEqual([row["published"] for row in results["quick"]["summary"]], [None, None])
        self.assertEqual(results["pacgan"]["summary"][1]["published"]["modes"], (23.8, 0.7))
        table = mode_collapse_table(folder, "pacgan")
        self.assertIn("| ring | pacgan2, Lin et al. 2018 (PacGAN), table 1 | 7.9 +- 0.1 | 95.6 +- 2.0 | 0.0700", table)
        # m packed examples are m points; the batch counts packed examples.
        self.assertEqual(results["pacgan"]["settings"]["pacgan2"]["batch_size"], 200)

    def test_bad_input_is_one_sentence_and_a_status(self):
        workdir = Path(self.get_temp_dir()) / "never"
        for flags, sentence in (
            (["--methods", "r3gna"], "no method 'r3gna' .did you mean r3gan"),
            (["--data", "gird"], "no mixture 'gird' .did you mean grid"),
            (["--protocol", "smoke", "--record", workdir], "leave --record out"),
            (["--seeds", "0-3", "--record", workdir], "Only a part of the data sets and seeds of the protocol quick"),
            (["--workers", "-1"], "workers is -1"),
        ):
            status, _, err = run_command(*flags, "--workdir", workdir)
            self.assertEqual((status, err.count("\n")), (1, 1), err)
            self.assertRegex(err, sentence)
            self.assertFalse(workdir.exists())
        for flags in (["--protocol", "quikc"], ["--seeds", "x"]):
            self.assertEqual(run_command(*flags)[0], 2)

    def test_seeds_are_numbers_and_ranges(self):
        self.assertEqual(study.whole_numbers("0-3,7"), (0, 1, 2, 3, 7))
        self.assertEqual(study.whole_numbers("100"), (100,))

    def test_settings_are_those_of_the_papers(self):
        """R3GAN on the quick protocol; the exact PacGAN protocol: 400 epochs of 100,000 in batches of 100."""
        settings = protocols.QUICK.settings(protocols.QUICK.method_named("r3gan"))
        self.assertEqual(settings["iterations"], 25_000)
        self.assertEqual(settings["arguments"]["average_decay"], 0.999)
        adam = {"learning_rate": 1e-3, "beta_1": 0.0, "beta_2": 0.99, "decay": 0.02}
        self.assertEqual(settings["optimizers"], {"generator": adam, "discriminator": adam})
        self.assertEqual(protocols.PACGAN.iterations, 400 * 100_000 // protocols.PACGAN.batch_size)
        self.assertEqual(
            [len(protocols.PACGAN.seeds), len(protocols.QUICK.seeds), len(protocols.SHARP.seeds)], [10, 10, 5]
        )

    def test_an_iteration_takes_the_points_of_all_its_discriminator_steps(self):
        """Batches of one size, also where an epoch ends: three of 33,000 points, then one that begins with its rest."""
        protocol = dataclasses.replace(protocols.SMOKE, batch_size=11_000, iterations=2500)
        model = mock.Mock(discriminator_steps=3)
        study.train(model, study.Run(protocol, protocols.R3GAN, "ring", 0, Path("unused")))
        (batches,), arguments = model.fit.call_args
        self.assertEqual(arguments["steps_per_epoch"] * arguments["epochs"], 2500)
        shown = list(batches.take(5).as_numpy_iterator())
        self.assertEqual([batch.shape for batch in shown], [(33_000, 2)] * 5)
        epoch = np.concatenate(shown)[:100_000]
        self.assertAllEqual(np.sort(epoch, axis=0), np.sort(load_data("ring").images["train"], axis=0))

    def test_learning_rate_falls_over_the_steps_of_its_player(self):
        protocol = dataclasses.replace(protocols.SMOKE, iterations=50)
        method = dataclasses.replace(
            protocols.R3GAN, arguments={**protocols.R3GAN.arguments, "discriminator_steps": 4}, name="several"
        )
        model = study.compiled(study.Run(protocol, method, "ring", 0, Path("unused")))
        for player, steps in (("generator", 50), ("discriminator", 200)):
            schedule = model.optimizers[player].get_config()["learning_rate"]["config"]
            self.assertEqual((schedule["decay_steps"], schedule["alpha"]), (steps, 0.02))
        self.assertEqual(model.steps_per_execution, 50)

    def test_an_exponential_fall_ends_where_it_says_and_is_among_the_settings(self):
        """1e-3 to 1e-6 over 100 steps: at half of them their geometric mean. (float32, hence six digits.)"""
        schedule = study.optimizer(protocols.SHARP_ADAM, 100).get_config()["learning_rate"]
        rate = keras.optimizers.schedules.deserialize(schedule)
        self.assertAllClose([rate(0), rate(50), rate(100)], [1e-3, 1e-3 / 1000**0.5, 1e-6], rtol=1e-6, atol=0)
        settings = protocols.SHARP.settings(protocols.SHARP.method_named("r3gan"))
        self.assertTrue(settings["optimizers"]["generator"]["exponential"])
