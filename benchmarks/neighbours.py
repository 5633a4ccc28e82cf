"""Precision and recall of many features: this project against PyTorch's `cdist`, in blocks, as tuned as we could."""

import resource
from functools import partial

import numpy as np
import torch

from benchmarks.timing import Comparison, interleaved, seconds_of
from training.evaluation import neighbours

PAUSE = 0.5
WIDTH, K = 64, 3
BLOCK = 2**24  # distances that PyTorch holds at a time: of 2^20 to 2^26 the fastest at 50,000 rows
GIBIBYTE = 2**30


def compare_neighbours(count, rounds):
    """The `Comparison` of seconds for `count` samples against as many examples, checked to give the same shares."""
    draws = np.random.default_rng(0)
    samples, reference = (scale * draws.standard_normal((count, WIDTH), "float32") for scale in (1.05, 1.0))
    ours = partial(neighbours.precision_recall, samples, reference, K)
    found = ours()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIBIBYTE  # before PyTorch computes anything
    tensors = torch.from_numpy(samples), torch.from_numpy(reference)
    wanted = torch_precision_recall(*tensors)
    if max(abs(found[name] - wanted[name]) for name in wanted) > 1e-4:
        raise ValueError(f"Precision and recall are {found} here and {wanted} in PyTorch.")
    contenders = {"zoo": ours, "PyTorch": partial(torch_precision_recall, *tensors)}
    seconds = interleaved({name: partial(seconds_of, each) for name, each in contenders.items()}, rounds, PAUSE)
    note = (
        f"{count:,} samples and {count:,} examples of {WIDTH} features, k = {K}; the same shares to 1e-4. Peak memory "
        f"of the process with ours, TensorFlow's own included: {peak:.2f} GiB, at most 4 is asked."
    )
    yield Comparison("Precision and recall", "s", 1.0, seconds, {"PyTorch": 2.0}, note)


@torch.inference_mode()
def torch_precision_recall(samples, reference):
    rows = max(1, BLOCK // len(reference))
    near_samples, near_reference = reach(samples, rows), reach(reference, rows)
    recalled, precise = [], torch.zeros(len(samples), dtype=torch.bool)
    for block, near in zip(reference.split(rows), near_reference.split(rows), strict=True):
        distances = torch.cdist(block, samples)
        recalled.append((distances <= near_samples).any(dim=1))
        precise |= (distances <= near[:, None]).any(dim=0)
    return {"precision": float(precise.float().mean()), "recall": float(torch.cat(recalled).float().mean())}


def reach(features, rows):
    nearest = [torch.cdist(block, features).topk(K + 1, largest=False).values[:, K] for block in features.split(rows)]
    return torch.cat(nearest)
