"""The likelihood of a latent-variable model, and whether its posterior has collapsed."""

import numpy as np
import tensorflow as tf
from tensorflow_probability import distributions as tfd

BATCH = 500
ACTIVE = 0.01  # variance over the data of a unit's posterior mean, above which the unit is active (Burda et al. 2015)


def likelihood(model, images, num_importance_samples, seed=0, labels=None):
    """Means over `images` (binary, [N, ...]), in nats: a dict of floats.

    log_prob: importance-sampled; with log_prob_standard_error, of the Monte Carlo estimate alone (the test set is
        given), and effective_sample_size, the median over the images, of `num_importance_samples`.
    elbo, nll, kl: one z per image; elbo = -(nll + kl). The kl is in closed form where the model has one, else it is
        estimated at the same z; that of a model that classifies is of its classes as well.

    Given `labels` [N], these are of log p(x|y).
    """
    estimates, nlls, kls = [], [], []
    for index, start in enumerate(range(0, len(images), BATCH)):
        part = slice(start, start + BATCH)
        given = (images[part].astype("float32"), *(() if labels is None else (labels[part],)))
        estimates.append(model.importance_estimate(*given, num_importance_samples, seed=seed + index))
        nll, kl = model.elbo_terms(*given, seed=seed + index)
        nlls.append(nll)
        kls.append(kl)
    log_prob, standard_error, effective_sample_size = (np.concatenate(part) for part in zip(*estimates, strict=True))
    nll, kl = mean(np.concatenate(nlls)), mean(np.concatenate(kls))
    return {
        "log_prob": mean(log_prob),
        "log_prob_standard_error": float(np.sqrt(np.sum(np.square(standard_error, dtype="float64"))) / len(images)),
        "effective_sample_size": float(np.median(effective_sample_size)),
        "num_importance_samples": num_importance_samples,
        "elbo": -(nll + kl),
        "nll": nll,
        "kl": kl,
    }


def latent_diagnostics(model, images):
    """active_units; latent_dim beside it; and of a prior N(0, I) kl_per_dimension [latent_dim], nats, largest first."""
    posteriors = [
        model.posterior(images[start : start + BATCH].astype("float32")) for start in range(0, len(images), BATCH)
    ]
    active = np.var(np.concatenate([posterior.mean() for posterior in posteriors]), axis=0) > ACTIVE
    diagnostics = {"active_units": int(active.sum()), "latent_dim": len(active)}
    if not isinstance(model.prior, tfd.MultivariateNormalDiag):  # the KL from another prior is no sum over dimensions
        return diagnostics
    per_dimension = np.concatenate([kl_per_dimension(posterior) for posterior in posteriors])
    per_dimension = per_dimension.mean(axis=0, dtype="float64")
    return {"kl_per_dimension": sorted(map(float, per_dimension), reverse=True), **diagnostics}


def effective_beta(model, images):
    """The weight of the KL in the loss that the model minimizes, by measurement: (loss - nll) / kl.

    1 is the ELBO. A mean over pixels where a sum was meant would show here as 784.
    """
    logs = model.evaluate(images.astype("float32"), batch_size=BATCH, verbose=0, return_dict=True)
    return (logs["loss"] - logs["nll"]) / logs["kl"]


def kl_per_dimension(posterior):
    """KL(q(z_j|x) || N(0, 1)) of a diagonal Gaussian: [batch, latent_dim], in nats."""
    loc, scale = posterior.mean(), posterior.stddev()
    return -0.5 * (1.0 + 2.0 * tf.math.log(scale) - loc**2 - scale**2)


def mean(values):
    return float(np.mean(values, dtype="float64"))
