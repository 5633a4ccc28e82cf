"""Mode collapse, measured: samples of a model against the mixture of Gaussians that it was trained on.

A sample is of high quality if it lies within 3 sigma of its nearest center; a mode is captured if it is the nearest
one of at least one such sample (Srivastava et al. 2017, VEEGAN, section 4.1). Beside each metric stands what exact
samples would have, without which it is easily misread: 100 % high quality is not perfect but too narrow.

With u = r^2 / (2 sigma^2), r being the distance of an exact sample from its center in the plane, u ~ Exponential(1), so

    P(r <= 3 sigma) = 1 - e^-4.5 = 98.889 %
    E[u | r <= 3 sigma] = 1 - 4.5 e^-4.5 / (1 - e^-4.5) = 0.9494, the variance of each coordinate in units of sigma^2.
"""

import math

import numpy as np

RADIUS = 3.0  # of high quality, in sigma
CEILING = -math.expm1(-(RADIUS**2) / 2)  # of the fraction of high quality
TRUNCATED_VARIANCE = 1 - RADIUS**2 / 2 * (1 - CEILING) / CEILING  # of a coordinate of exact samples of high quality
BLOCK = 10_000  # samples whose distances to all centers are held at a time


def modes_of(samples, mixture):
    """Measure `samples` [N, 2] against a `training.mixtures.Mixture` of K modes.

    Returns a dict of numbers, every one invariant to scale:
        modes: captured ones, of K.
        high_quality: fraction of the samples. high_quality_ceiling: that of exact samples, 0.98889.
        reverse_kl: KL(histogram of the modes || uniform) over the samples of high quality, nats; None if there are
            none. reverse_kl_floor: its expectation, (K - 1) / 2N, for N exact samples.
        sigma_ratio: standard deviation within the modes over the true sigma: of a coordinate of the samples of high
            quality, each about the mean of its own mode's samples, pooled over the modes, and divided by the value of
            exact samples, which being within 3 sigma vary by sqrt(0.9494) sigma. So exact samples have 1 in
            expectation, a point in each mode 0, and disks filled evenly, which is as wide as it can show, 1.54.
            None if no mode has two samples of high quality.
        num_samples: N.

    Example:
        modes_of(RING.sample(100_000, seed=0), RING)["modes"]  # 8

    Raises:
        ValueError: one sentence, for samples of another shape, none, or any that are not finite.
    """
    samples, num_modes = np.asarray(samples), len(mixture.centers)
    if samples.ndim != 2 or samples.shape[1] != 2 or not len(samples):
        raise ValueError(f"samples has shape {samples.shape}; [N, 2] is wanted, at least one sample.")
    counts = np.zeros(num_modes)  # of samples of high quality
    sums, squares = np.zeros((2, num_modes)), np.zeros(num_modes)  # of their offsets from the center, in sigma
    for start in range(0, len(samples), BLOCK):
        block = samples[start : start + BLOCK].astype("float64")
        if not np.all(np.isfinite(block)):
            raise ValueError("samples holds NaN or infinite values; the model that they are of has diverged.")
        nearest, offsets = offsets_of_block(block, mixture)
        counts += np.bincount(nearest, minlength=num_modes)
        sums += [np.bincount(nearest, offset, minlength=num_modes) for offset in offsets.T]
        squares += np.bincount(nearest, np.square(offsets).sum(axis=1), minlength=num_modes)
    return {
        "modes": int(np.count_nonzero(counts)),
        "high_quality": float(counts.sum() / len(samples)),
        "high_quality_ceiling": CEILING,
        "reverse_kl": reverse_kl(counts),
        "reverse_kl_floor": (num_modes - 1) / (2 * len(samples)),
        "sigma_ratio": sigma_ratio(counts, sums, squares),
        "num_samples": len(samples),
    }


def modes_of_classes(classes, num_modes):
    """The same of samples whose mode a classifier names: `classes`, whole numbers [N] below `num_modes`.

    Returns a dict: modes, those with a sample; reverse_kl, KL(histogram || uniform), nats; reverse_kl_floor, its
    expectation for N draws of uniform modes; num_samples.

    Raises:
        ValueError: one sentence, for classes that are none.
    """
    classes = np.asarray(classes)
    if classes.ndim != 1 or not len(classes) or classes.dtype.kind not in "iu":
        raise ValueError(
            f"classes is {classes.dtype} {list(classes.shape)}; whole numbers [N], at least one, are wanted."
        )
    if classes.min() < 0 or classes.max() >= num_modes:
        raise ValueError(f"classes are from {classes.min()} to {classes.max()}; 0 to {num_modes - 1} are wanted.")
    counts = np.bincount(classes, minlength=num_modes)
    return {
        "modes": int(np.count_nonzero(counts)),
        "reverse_kl": reverse_kl(counts),
        "reverse_kl_floor": (num_modes - 1) / (2 * len(classes)),
        "num_samples": len(classes),
    }


def offsets_of_block(block, mixture):
    """Of the samples of high quality among `block` [B, 2]: nearest mode [n], (sample - its center) / sigma [n, 2]."""
    offsets = (block[:, None] - mixture.centers) / mixture.sigma  # [B, K, 2]
    distances = np.square(offsets).sum(axis=2)
    nearest = distances.argmin(axis=1)
    every = np.arange(len(block))
    high_quality = distances[every, nearest] <= RADIUS**2
    return nearest[high_quality], offsets[every, nearest][high_quality]


def reverse_kl(counts):
    """sum_k p_k log(p_k K), p = counts / sum of counts; None if all are 0."""
    if not counts.any():
        return None
    frequencies = counts[counts > 0] / counts.sum()
    return max(0.0, float(np.sum(frequencies * np.log(frequencies * len(counts)))))  # rounding may leave -1e-17


def sigma_ratio(counts, sums, squares):
    """sqrt(sum_k sum_i |t_i - mean_k|^2 / (2 sum_k (n_k - 1)) / truncated variance), t in sigma: see `modes_of`."""
    captured = counts > 0
    degrees_of_freedom = 2 * np.sum(counts[captured] - 1)
    if not degrees_of_freedom:
        return None
    about_mean = squares[captured] - np.square(sums[:, captured]).sum(axis=0) / counts[captured]
    return math.sqrt(max(0.0, float(about_mean.sum() / degrees_of_freedom / TRUNCATED_VARIANCE)))
