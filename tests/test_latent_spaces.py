"""The study latent_spaces, for a moment on the digits."""

import dataclasses
import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

import zoo
from training.results import study_table
from training.studies import latent_spaces as study


class CodesTest(tf.test.TestCase):
    def test_the_map_has_its_poles_above_and_below(self):
        points = np.array([[0, 0, 1], [0, 0, -1], [1, 0, 0], [0, 1, 0], [-1, 0, 0]], "float32")
        self.assertAllClose(study.to_map(points)[:2, 1], [np.pi / 2, -np.pi / 2])
        self.assertAllClose(study.to_map(points)[2:], [[0, 0], [np.pi / 2, 0], [np.pi, 0]])

    def test_codes_of_a_normal_prior_are_at_its_quantiles(self):
        codes = study.even_codes(zoo.VAE((8, 8, 1), latent_dim=2, hidden=(4,)))
        # The scale is that of 10,000 draws of two coordinates: 1 to a standard error of 0.005.
        self.assertAllClose(np.abs(codes).max(axis=0), [1.6449, 1.6449], atol=0.03)
        self.assertAllClose(codes.mean(axis=0), [0, 0], atol=1e-5)
        self.assertTrue(codes[0, 0] < 0 < codes[0, 1])  # the upper left

    def test_codes_on_the_sphere_stand_for_equal_areas(self):
        codes = study.even_codes(zoo.HypersphericalVAE((8, 8, 1), latent_dim=2, hidden=(4,)))
        self.assertAllClose(np.linalg.norm(codes, axis=1), np.ones(100))
        # Of points of equal areas, E z = 0 and E z_3^2 = 1/3, but for the width of the 10 bands: 1/300.
        self.assertAllClose(codes.mean(axis=0), [0, 0, 0], atol=1e-6)
        self.assertAllClose(np.mean(codes[:, 2] ** 2), 1 / 3 - 1 / 300, atol=1e-5)

    def test_codes_of_a_ring_fill_the_square_about_it(self):
        aae = zoo.AAE((8, 8, 1), latent_dim=2, prior="gaussian_mixture", hidden=(4,), discriminator_hidden=(4,))
        codes = study.even_codes(aae)
        reference = aae.draw_prior(10_000, seed=0).numpy()
        self.assertTrue(np.all(codes >= reference.min(axis=0)) and np.all(codes <= reference.max(axis=0)))
        self.assertLen(np.unique(codes.round(4), axis=0), 100)


class TableTest(tf.test.TestCase):
    def test_every_line_has_as_many_cells_in_markdown(self):
        folder = Path(self.get_temp_dir())
        self.assertEqual(study_table(folder, "latent_spaces"), "")
        row = {"name": "VAE", "expected": None, "chance": 0.1, **dict.fromkeys(study.METRICS, 0.125)}
        test = {"name": "mnist", "split": "test", "num_examples": 10_000, "sha256": "ab" * 32}
        result = {"rows": [row], "data": {"test": test}, "protocol": {"epochs": 30}}
        (folder / "latent_spaces.json").write_text(json.dumps(result))
        header, rule, line, _, caption = study_table(folder, "latent_spaces").splitlines()
        self.assertLen({each.replace("\\|", "").count("|") for each in (header, rule, line)}, 1)
        self.assertIn("| VAE | 12.5% | 12.5% | 0.1250 |", line)
        self.assertIn("10.0%; 30 epochs, sha256 abababab", caption)


class StudyTest(tf.test.TestCase):
    @pytest.mark.slow
    def test_end_to_end(self):
        folder = Path(self.get_temp_dir())
        few = {name: study.MODELS[name] for name in ("VAE", "HypersphericalVAE", "AAE, normal, labels decoded")}
        quick = dataclasses.replace(study.QUICK, epochs=1, hidden=(8,))
        with mock.patch.object(study, "MODELS", few), mock.patch.object(study, "QUICK", quick):
            result = study.run(folder, quick=True)
            study.show(result)
            again = study.run(folder, quick=True)
        self.assertEqual([row["name"] for row in result["rows"]], list(few))
        self.assertEqual(result["rows"], again["rows"])  # nothing is trained anew
        self.assertEqual(result["rows"], json.loads((folder / "latent_spaces.json").read_text())["rows"])
        for row in result["rows"]:
            self.assertContainsSubset(study.METRICS, row)
        self.assertTrue((folder / "latent_spaces.png").is_file())
        with self.assertRaisesRegex(ValueError, "leave --record out"):
            study.run(folder, quick=True, record=folder / "results")
