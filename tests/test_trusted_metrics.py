"""The distances of features equal those of the implementations that papers use, which the extra `bench` brings."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from training.evaluation import classifier_score, frechet, kernel_distance, neighbours

# In a process of its own: TensorFlow and PyTorch for GPUs bring two copies of LLVM, which do not share one.
TRUSTED = """
import json, sys
import numpy as np, prdc, torch
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

arrays = np.load(sys.argv[1])
samples, real = (torch.from_numpy(arrays[name]) for name in ("samples", "real"))
statistics = [metric_fid.fid_features_to_statistics(each) for each in (samples, real)]
found = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
size = len(real)  # one subset, of all: then nothing is drawn
found |= metric_kid.kid_features_to_metric(samples[:size], real, kid_subsets=1, kid_subset_size=size, verbose=False)
found |= metric_isc.isc_features_to_metric(3.0 * samples[:, :10], splits=1)
found |= metric_prc.prc_features_to_metric(samples, real, verbose=False)
of_prdc = prdc.compute_prdc(arrays["real"], arrays["samples"], nearest_k=5)
found |= {name: float(of_prdc[name]) for name in ("density", "coverage")}
json.dump(found, open(sys.argv[2], "w"))
"""
NEEDED = ("torch", "torch_fidelity", "prdc")


def features():
    """Of 1,500 samples and 1,200 real examples, 64 each, correlated and with heavy tails."""
    draws = np.random.default_rng(0)
    mix = draws.standard_normal((64, 64)) / 8
    samples, real = (draws.standard_t(8, (number, 64)) @ mix for number in (1500, 1200))
    return samples + 0.05, real


@pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in NEEDED), reason="pip install '.[test,bench]' brings them"
)
class TrustedTest(tf.test.TestCase):
    def test_same_values(self):
        samples, real = features()
        arrays, results = (os.path.join(self.get_temp_dir(), name) for name in ("features.npz", "results.json"))
        np.savez(arrays, samples=samples, real=real)
        subprocess.run([sys.executable, "-c", TRUSTED, arrays, results], check=True)
        with open(results) as file:
            wanted = json.load(file)
        logits = 3.0 * samples[:, :10]
        probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        found = {
            "frechet_inception_distance": frechet.frechet_distance(samples, real),
            "kernel_inception_distance_mean": kernel_distance.kernel_distance(samples[:1200], real, 1, 1200)[
                "kernel_distance"
            ],
            "inception_score_mean": classifier_score.classifier_score(probabilities, 1)["classifier_score"],
            **neighbours.precision_recall(samples, real),
            **neighbours.density_coverage(samples, real),
        }
        for name, value in found.items():
            # 1e-4 was asked for; the distances of torch-fidelity and of ours are float32 where theirs are.
            self.assertAllClose(value, wanted[name], rtol=1e-4, msg=name)
