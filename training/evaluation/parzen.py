"""The Parzen-window log-likelihood: a Gaussian window around each sample of a model, as a density of the test images.

    log p(x) = log 1/N sum_n N(x; sample_n, sigma^2 I)
             = logsumexp_n(-||x - sample_n||^2 / 2 sigma^2) - log N - D/2 log(2 pi sigma^2)

A legacy metric, here because the papers of its time report it: it prefers the centroids of k-means to the data
themselves (Theis, van den Oord and Bethge 2016, table 1; `python -m training.studies parzen`), so it ranks no models.

Breuleux, Bengio and Vincent 2011, Quickly generating representative samples from an RBM-derived process.
Goodfellow et al. 2014, Generative adversarial nets, section 5.
"""

import math

import numpy as np

SIGMAS = np.logspace(-1, 0, 11)  # where the search starts: pixels in [0, 1]
SLIDES = 10  # of the grid, half a decade each, before the search is given up; below 1e-7 rounding would show
REFINEMENTS = 2  # the last grid's steps are of 1 %
BLOCK = 2**22  # distances held at a time: 32 MiB


def parzen(samples, validation, test, sigmas=SIGMAS):
    """Score `test` under windows around `samples`, their width chosen on `validation`.

    samples, validation, test: arrays [N, ...] of equally shaped images, gray values in [0, 1]; samples may lie outside.
    sigmas: the grid where the search for the width starts, see `best_sigma`.

    Returns a dict:
        log_likelihood: mean over `test`, nats per image: of a density over the gray values, so it may be positive.
        standard_error: of that mean over the test images, with samples and sigma given.
        sigma: the width. num_samples: N; scores of different N cannot be compared.

    Raises:
        ValueError: one sentence, for arrays that do not fit together, fewer than two test images, or no best width.
    """
    if len(test) < 2:
        raise ValueError(f"test holds {len(test)} images; at least 2 are wanted, for a standard error.")
    sigma = best_sigma(samples, validation, sigmas)
    log_likelihoods = log_density(test, samples, sigma)
    return {
        "log_likelihood": float(log_likelihoods.mean()),
        "standard_error": float(log_likelihoods.std(ddof=1) / math.sqrt(len(test))),
        "sigma": sigma,
        "num_samples": len(samples),
    }


def best_sigma(samples, validation, sigmas=SIGMAS):
    """The width with the best mean log-likelihood of `validation`: a float, of a logarithmic grid that is refined.

    Goodfellow's protocol (his parzen_ll.py) is one grid of ten widths in [0.1, 1]. A width that is off by a fraction e
    costs about D e^2 nats; half a step of that grid is 13 %, so its choice of widths moves a score of MNIST by up to
    13 nats. Here a grid whose best lies at its edge slides until that best is its centre, and is then narrowed twice
    to the neighbours of its best. The last steps are of 1 %, which leaves less than 0.02 nats at D = 784.

    Raises:
        ValueError: if the best lies at the edge still, 5 decades away: the validation images are among the samples,
            where ever narrower windows are ever better, or the values are far from [0, 1].
    """
    sigmas = np.asarray(sigmas, "float64")
    if sigmas.ndim != 1 or len(sigmas) < 5 or not (sigmas[0] > 0 and np.all(sigmas[:-1] < sigmas[1:])):
        raise ValueError(f"sigmas is {sigmas.tolist()}; at least 5 positive numbers are wanted, in rising order.")
    best = best_of(sigmas, samples, validation)
    slides = 0
    while best in (0, len(sigmas) - 1):
        if slides == SLIDES:
            raise ValueError(
                f"The validation images are ever more likely towards sigma = {sigmas[best]:.0e}; keep them out of the "
                "samples, and the values near [0, 1]."
            )
        sigmas = sigmas * (sigmas[best] / sigmas[len(sigmas) // 2])
        best = best_of(sigmas, samples, validation)
        slides += 1
    for _ in range(REFINEMENTS):
        sigmas = np.geomspace(sigmas[max(best - 1, 0)], sigmas[min(best + 1, len(sigmas) - 1)], len(sigmas))
        best = best_of(sigmas, samples, validation)
    return float(sigmas[best])


def best_of(sigmas, samples, validation):
    """Index of the width with the best mean log-likelihood of `validation`."""
    return int(np.argmax(log_density(validation, samples, sigmas).mean(axis=-1)))


def log_density(images, samples, sigma):
    """log p(x) of each of `images` under windows around `samples`: float64, nats per image.

    images: [M, ...]. samples: [N, ...], of the same shape each.
    sigma: the width of the windows, or an array of widths, which share the distances.

    Returns [M] for one width, else [*sigma.shape, M]. float64 throughout, in blocks of the images: beyond float64
    copies of the arguments, memory is that of 3 * `BLOCK` numbers (or of 3 * N, if that is more). A squared distance
    is ||x||^2 - 2 x s + ||s||^2 of centred vectors, so it errs by some 1e-15 * (||x||^2 + ||s||^2), and log p by
    that over 2 sigma^2: of the order of 1e-12 nats for images. Nothing underflows: the nearest sample is the unit.

    Raises:
        ValueError: one sentence, for arrays that are empty, not finite or of different shapes, or a width not above 0.
    """
    widths = np.asarray(sigma, "float64")
    if not (widths.size and np.all(widths > 0) and np.all(np.isfinite(widths))):
        raise ValueError(f"sigma is {sigma}; a finite number above 0 is wanted, or an array of such.")
    images, samples = flat(images, "images"), flat(samples, "samples")
    if images.shape[1] != samples.shape[1]:
        raise ValueError(f"images have {images.shape[1]} values, but samples {samples.shape[1]}; make them alike.")
    center = samples.mean(axis=0)
    images -= center
    samples -= center
    rows = max(1, BLOCK // len(samples))
    blocks = [log_density_of_block(images[i : i + rows], samples, widths.ravel()) for i in range(0, len(images), rows)]
    return np.concatenate(blocks, axis=1).reshape(*widths.shape, len(images))


def log_density_of_block(images, samples, sigmas):
    """[S, M] for centred images [M, D], samples [N, D] and widths [S]; the distances [M, N] are made once."""
    num_samples, dimensions = samples.shape
    distances = (-2.0 * images) @ samples.T  # [M, N], squared
    distances += np.einsum("md,md->m", images, images)[:, None]
    distances += np.einsum("nd,nd->n", samples, samples)
    np.maximum(distances, 0.0, out=distances)  # rounding may leave the distance of equal vectors below 0
    nearest = distances.min(axis=1)  # [M]
    distances -= nearest[:, None]
    terms = np.empty_like(distances)
    log_densities = []
    for sigma in sigmas:
        np.multiply(distances, -0.5 / sigma**2, out=terms)
        log_sum = np.log(np.exp(terms, out=terms).sum(axis=1)) - 0.5 * nearest / sigma**2
        log_densities.append(log_sum - math.log(num_samples) - 0.5 * dimensions * math.log(2 * math.pi * sigma**2))
    return np.stack(log_densities)


def flat(images, name):
    """A float64 copy [N, D] of an array [N, ...]."""
    images = np.asarray(images)
    if images.ndim < 2 or not images.size:
        raise ValueError(f"{name} has shape {images.shape}; [number, ...] is wanted, at least one image.")
    images = images.reshape(len(images), -1).astype("float64")
    if not np.all(np.isfinite(images)):
        raise ValueError(f"{name} holds NaN or infinite values; finite ones are wanted.")
    return images
