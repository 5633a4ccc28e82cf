"""The theory of adversarial training: golden numbers, identities, the Dirac-GAN; and the studies of it, end to end."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image
from scipy import integrate, stats
from scipy.special import expit
from tensorflow_probability import distributions as tfd

from training.studies import density_ratio, dirac_gan, optimal_discriminator, vanishing_gradient
from training.studies.__main__ import main as studies_command
from training.studies.dirac_gan import DESCENTS, SLOPES, Protocol, eigenvalues, jacobian, trajectory
from training.studies.vanishing_gradient import FORMATS, GOLDEN, generator_gradient, measure
from zoo.divergences import f_divergence, jensen_shannon, optimal_logits, optimal_value
from zoo.objectives import OBJECTIVES


def normal(loc, scale=1.0):
    return tfd.Normal(tf.cast(loc, tf.float64), tf.cast(scale, tf.float64))


class OptimalDiscriminatorTest(tf.test.TestCase):
    def test_value_at_the_optimal_logits_is_2_jsd_minus_log_4(self):
        """E_p log D* + E_q log(1 - D*) by scipy, with the losses of the objective, against theorem 1."""
        p, q = normal(1.0), normal(0.0, 2.0)

        def integrand(x):
            logit = optimal_logits(p, q)(x)
            zero = tf.zeros((), tf.float64)  # the loss of either side, less that of a logit of 0 on the other
            real = OBJECTIVES["minimax"].discriminator(logit, zero) - np.log(2.0)
            fake = OBJECTIVES["minimax"].discriminator(zero, logit) - np.log(2.0)
            return -(stats.norm.pdf(x, 1, 1) * real + stats.norm.pdf(x, 0, 2) * fake)

        value = integrate.fixed_quad(np.vectorize(integrand), -20, 20, n=400)[0]
        self.assertAllClose(value, -1.129944, atol=5e-7)  # the golden number's digits
        self.assertAllClose(value, optimal_value(p, q), atol=1e-9)

    def test_no_other_logits_have_a_higher_value(self):
        problem = optimal_discriminator.problems()[0]
        x = problem.grid()
        log_p, log_q = problem.log_probs(x)
        best = optimal_discriminator.measures(problem, x, log_p - log_q)
        self.assertAllClose(best["value"], -1.129944, atol=1e-6)  # the densities are float32
        self.assertEqual((best["rmse"], best["value_error"]), (0.0, 0.0))
        for other in (0.9 * (log_p - log_q), log_p - log_q + 0.1, log_p - log_q + 0.1 * np.sin(x[:, 0])):
            self.assertGreater(optimal_discriminator.measures(problem, x, other)["value_error"], 1e-4)

    def test_training_comes_near(self):
        """A short training in one dimension; the study trains ten times as long, to 0.05 and 0.01."""
        short = replace(
            optimal_discriminator.FULL,
            steps=600,
            batch_size=1024,
            hidden=(16, 16),
            learning_rate=2e-2,
            average_decay=0.98,
        )
        row, _ = optimal_discriminator.score(optimal_discriminator.problems()[0], short)
        self.assertLess(row["rmse"], 0.25)
        self.assertBetween(row["value_error"], 0.0, 0.01)


class GeneratorGradientTest(parameterized.TestCase, tf.test.TestCase):
    @parameterized.parameters(*GOLDEN)
    def test_golden_numbers_hold_to_their_printed_digits(self, theta):
        row = measure(theta)
        for (name, form), golden in zip(FORMATS.items(), GOLDEN[theta], strict=True):
            self.assertEqual(f"{row[name]:{form}}", f"{golden:{form}}", name)

    @parameterized.parameters(0.3, 1.0, 2.5, 5.0, 9.0)
    def test_gradients_are_those_of_the_divergences(self, theta):
        """The envelope identities: D* stays where it is, and yet the gradient is that of the divergence."""
        location = tf.constant(theta, tf.float64)
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(location)
            p, q = normal(0.0), normal(location)
            twice_jsd = 2 * jensen_shannon(p, q)
            reverse = f_divergence("kl_reverse", p, q) - twice_jsd
        # Two quadratures in float64.
        self.assertAllClose(generator_gradient("minimax", theta), tape.gradient(twice_jsd, location), atol=1e-10)
        self.assertAllClose(generator_gradient("non_saturating", theta), tape.gradient(reverse, location), atol=1e-10)

    def test_gradients_by_scipy(self):
        """With D* = theta^2 / 2 - theta x its slope is -theta: E sigmoid(D*) theta and E sigmoid(-D*) theta."""
        for theta in (1.0, 3.0):

            def expectation(function, theta=theta):
                logit = lambda z: 0.5 * theta**2 - theta * (theta + z)  # noqa: E731 (a formula)
                return integrate.quad(lambda z: stats.norm.pdf(z) * theta * function(logit(z)), -12, 12)[0]

            self.assertAllClose(generator_gradient("minimax", theta), expectation(expit), atol=1e-8)
            self.assertAllClose(
                generator_gradient("non_saturating", theta), expectation(lambda t: expit(-t)), atol=1e-8
            )


class DiracGANTest(parameterized.TestCase, tf.test.TestCase):
    @parameterized.product(objective=sorted(set(OBJECTIVES) - {"wasserstein_gp"}), r1=(0.0, 0.3, 1.0, 2.5))
    def test_eigenvalues_in_closed_form_are_those_of_the_jacobian(self, objective, r1):
        expected = np.linalg.eigvals(jacobian(objective, r1))
        # Where both are equal (r1 = 1) they are known to the root of float64's rounding.
        self.assertAllClose(*map(np.sort_complex, (eigenvalues(objective, r1), expected)), atol=1e-7)
        if r1:
            self.assertLess(eigenvalues(objective, r1).real.max(), 0.0)
        else:
            self.assertAllEqual(eigenvalues(objective, r1).real, [0.0, 0.0])

    def test_eigenvalues_of_the_paper(self):
        """Mescheder et al. 2018: +- f'(0) i, and -gamma/2 +- sqrt(gamma^2/4 - f'(0)^2), with f'(0) = 1/2 of the GAN."""
        self.assertAllClose(eigenvalues("minimax"), [0.5j, -0.5j])
        self.assertAllClose(eigenvalues("non_saturating", 1.0), [-0.5, -0.5])
        self.assertAllClose(eigenvalues("wasserstein", 1.0), [-0.5 + 0.75**0.5 * 1j, -0.5 - 0.75**0.5 * 1j])
        self.assertEqual(set(SLOPES), set(OBJECTIVES))

    @parameterized.product(objective=("minimax", "non_saturating", "hinge", "relativistic"), r1=(0.0, 0.5))
    def test_descent_near_the_equilibrium_is_that_of_the_eigenvalues(self, objective, r1):
        """Simultaneous: |1 + h lambda|^n. Alternating without R1: |lambda| = 1, the distance keeps its range."""
        near = Protocol(start=(1e-4, 0.0), steps=200)
        simultaneous = trajectory(objective, "simultaneous", near, r1)
        step = np.eye(2) + near.learning_rate * jacobian(objective, r1)
        expected = np.linalg.matrix_power(step, near.steps) @ near.start
        self.assertAllClose(simultaneous[-1], expected, rtol=0, atol=1e-10)  # terms of the third order: 200 x 1e-12
        growth = abs(np.linalg.eigvals(step)).max()
        self.assertAllClose(growth, abs(1 + near.learning_rate * eigenvalues(objective, r1)[0]), rtol=1e-9)
        (self.assertLess if r1 else self.assertGreater)(growth, 1.0)
        if not r1:
            distances = np.linalg.norm(trajectory(objective, "alternating", near), axis=-1)
            # The invariant is a slightly skewed ellipse: its axes differ by h/2 of a slope of up to 1.
            self.assertAllInRange(distances / 1e-4, 0.9, 1.1)

    @parameterized.product(objective=("minimax", "least_squares", "hinge", "wasserstein"), descent=DESCENTS)
    def test_r1_makes_the_players_converge(self, objective, descent):
        protocol = Protocol()
        with_r1, without = (np.linalg.norm(trajectory(objective, descent, protocol, r1), axis=-1) for r1 in (0.5, 0.0))
        self.assertLess(with_r1[-50:].max(), 0.01)
        self.assertGreater(without[-50:].max(), 0.1)

    def test_continuous_circle_and_discrete_spiral_of_the_minimax_gan(self):
        """theta^2 + psi^2 is constant along the vector field, so that each simultaneous step adds h^2 |v|^2."""
        path = trajectory("minimax", "simultaneous", Protocol(steps=50))
        squares = np.sum(path**2, axis=-1)
        slope = expit(path[:-1, 0] * path[:-1, 1])  # v = sigmoid(psi theta) (psi, -theta)
        self.assertAllClose(np.diff(squares), 0.1**2 * slope**2 * squares[:-1], rtol=1e-9)

    def test_clipping_keeps_the_slope_in_its_interval(self):
        path = trajectory("wasserstein", "alternating", Protocol(clip=0.3))
        self.assertAllInRange(path[1:, 1], -0.3, 0.3)
        self.assertGreater(np.linalg.norm(path[-50:], axis=-1).max(), 0.1)


def run_command(*arguments):
    """(exit status, stdout, stderr) of python -m training.studies, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = studies_command([str(argument) for argument in arguments])
    return status, out.getvalue(), err.getvalue()


class StudyTest(parameterized.TestCase, tf.test.TestCase):
    @parameterized.parameters(
        ("optimal_discriminator", ["--quick"]),
        ("density_ratio", ["--quick"]),
        ("vanishing_gradient", []),
        ("dirac_gan", []),
    )
    @pytest.mark.slow
    def test_study_end_to_end(self, name, flags):
        workdir = Path(self.get_temp_dir()) / name
        status, out, err = run_command(name, *flags, "--workdir", workdir)
        self.assertEqual(status, 0, err)
        self.assertIn(str(workdir / f"{name}.json"), out)
        result = json.loads((workdir / f"{name}.json").read_text())
        self.assertEqual(result["study"], name)
        self.assertIn("tensorflow", result["versions"])
        with Image.open(workdir / f"{name}.png") as image:
            self.assertGreater(np.asarray(image.convert("L")).std(), 0)
        getattr(self, f"check_{name}")(result)

    def check_optimal_discriminator(self, result):
        line, plane = result["rows"]
        self.assertAllClose(line["optimal_value"], -1.129944, atol=1e-6)
        for row in (line, plane):
            self.assertGreater(row["value_error"], 0.0)  # the optimum is above
            self.assertAllClose(row["optimal_value"] - row["value"], row["value_error"])

    def check_density_ratio(self, result):
        self.assertAllClose(result["odds"]["log_prior_odds"], np.log(3.0), rtol=1e-6)
        self.assertLess(result["odds"]["corrected"]["rmse"], result["odds"]["not corrected"]["rmse"])
        self.assertEqual(sum(each["count"] for each in result["calibration"]), 2000 + 666)
        near, far = result["chasm"]
        self.assertAllClose([near["truth"], far["truth"]], [0.5, 32.0])
        self.assertLess(abs(near["plug_in"] - 0.5), 0.2)
        self.assertLess(far["plug_in"], 20.0)  # the known failure

    def check_vanishing_gradient(self, result):
        self.assertEqual([row["theta"] for row in result["rows"]], list(GOLDEN))
        minimax = [row["minimax"] for row in result["curve"]]
        self.assertLess(minimax[-1], 1e-6 * max(minimax))

    def check_dirac_gan(self, result):
        self.assertLen(result["rows"], 2 * len(OBJECTIVES))
        for row in result["rows"]:
            converges = row["r1"] > 0 and row["objective"] != "wasserstein_gp"
            self.assertEqual([row[descent]["converged"] for descent in DESCENTS], [converges] * 2, row)

    def test_only_the_full_settings_are_recorded(self):
        folder = Path(self.get_temp_dir())
        for name in ("optimal_discriminator", "density_ratio"):
            for flags in (["--quick"], ["--seed", 1]):
                status, _, err = run_command(name, *flags, "--workdir", folder / "run", "--record", folder / "results")
                self.assertEqual((status, err.count("\n")), (1, 1))
                self.assertIn("leave --record out", err)
                self.assertFalse((folder / "run").exists() or (folder / "results").exists())
        result = vanishing_gradient.run(folder / "run", record=folder / "results")
        self.assertEqual(json.loads((folder / "results" / "vanishing_gradient.json").read_text()), result)

    def test_same_seed_same_numbers(self):
        protocol = replace(density_ratio.QUICK, steps=20)
        p, q = density_ratio.normal(0.0), density_ratio.normal(1.0)
        first, second = (density_ratio.chasm(1.0, protocol) for _ in range(2))
        self.assertEqual(first, second)
        draws = density_ratio.new_samples(p, q, protocol)
        self.assertNotAllClose(draws[0], draws[1])
        self.assertNotAllClose(draws[0], density_ratio.draw_samples(p, len(draws[0]), "p", protocol))
        self.assertEqual(dirac_gan.Protocol(), Protocol())
