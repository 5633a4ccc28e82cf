"""The likelihood of a latent-variable model, and whether its posterior has collapsed."""

import numpy as np
import tensorflow as tf

BATCH = 500
ACTIVE = 0.01  # variance over the data of a unit's posterior mean, above which the unit is active (Burda et al. 2015)


def likelihood(model, images, num_importance_samples, seed=0):
    """Means over `images` (binary, [N, ...]), in nats: a dict of floats.

    log_prob: importance-sampled; with log_prob_standard_error, of the Monte Carlo estimate alone (the test set is
        given), and effective_sample_size, the median over the images, of `num_importance_samples`.
    elbo, nll, kl: one z per image; elbo = -(nll + kl).
    """
    estimates, elbos, kls = [], [], []
    for index, start in enumerate(range(0, len(images), BATCH)):
        batch = images[start : start + BATCH].astype("float32")
        estimates.append(model.importance_estimate(batch, num_importance_samples, seed=seed + index))
        elbos.append(model.elbo(batch, seed=seed + index))
        kls.append(tf.reduce_sum(kl_per_dimension(model.posterior(batch)), axis=-1))
    log_prob, standard_error, effective_sample_size = (np.concatenate(part) for part in zip(*estimates, strict=True))
    elbo, kl = np.concatenate(elbos), np.concatenate(kls)
    return {
        "log_prob": mean(log_prob),
        "log_prob_standard_error": float(np.sqrt(np.sum(np.square(standard_error, dtype="float64"))) / len(images)),
        "effective_sample_size": float(np.median(effective_sample_size)),
        "num_importance_samples": num_importance_samples,
        "elbo": mean(elbo),
        "nll": mean(-elbo - kl),
        "kl": mean(kl),
    }


def latent_diagnostics(model, images):
    """kl_per_dimension [latent_dim] in nats, largest first; active_units; and latent_dim beside it."""
    locs, kls = [], []
    for start in range(0, len(images), BATCH):
        posterior = model.posterior(images[start : start + BATCH].astype("float32"))
        locs.append(posterior.mean())
        kls.append(kl_per_dimension(posterior))
    active = np.var(np.concatenate(locs), axis=0) > ACTIVE
    per_dimension = np.concatenate(kls).mean(axis=0, dtype="float64")
    return {
        "kl_per_dimension": sorted(map(float, per_dimension), reverse=True),
        "active_units": int(active.sum()),
        "latent_dim": len(active),
    }


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
