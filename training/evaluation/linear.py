"""PCA measured by its exact likelihood; and a linear VAE beside the PCA that it should become.

Lucas et al. 2019, Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse, section 4: the ELBO of a linear
VAE has its maximum where probabilistic PCA has that of its likelihood, and no other local maxima.
"""

import numpy as np

import zoo
from training.evaluation.likelihood import likelihood, mean

TRAIN_IMPORTANCE_SAMPLES = 100  # an image: the linear VAE's posterior is nearly exact


def pca_metrics(model, test):
    """A dict of floats: log_prob, exact, nats an image; and what the components keep of the images `test` [N, ...].

    reconstruction_error: mean squared difference of a pixel from the nearest point in the space of the components.
    explained_variance_ratio: of the training images. noise_variance: of a pixel, in the directions left out.
    """
    return {
        "log_prob": mean(model.log_prob(test)),
        "reconstruction_error": float(np.mean(np.square(model.reconstruct(test) - test))),
        "explained_variance_ratio": float(model.explained_variance_ratio.sum()),
        "noise_variance": float(model.noise_variance.numpy()),
        "latent_dim": model.latent_dim,
    }


def scikit_learn_log_prob(model, train, test):
    """log_prob of `test` under scikit-learn's PCA of `train`, with as many components: nats an image."""
    from sklearn.decomposition import PCA

    train, test = (images.reshape(len(images), -1).astype("float64") for images in (train, test))
    return {"scikit_learn_log_prob": float(PCA(model.latent_dim).fit(train).score(test))}


def is_linear(model):
    """Whether a VAE's maximum of the ELBO is known: that of probabilistic PCA."""
    is_standard = model.prior_family == "standard_normal"
    return is_standard and model.is_gaussian and model.network == "dense" and not model.hidden


def beside_ppca(model, train, test):
    """Likelihoods of a linear VAE and of PCA with as many dimensions, fitted to the same images `train`; nats an image.

    train_log_prob, ppca_train_log_prob: of the training images, where no linear model can be above ppca's;
    train_relative_difference: of the two. ppca_log_prob: of the test images. noise_scale, ppca_noise_scale: of a pixel.
    """
    ppca = zoo.PCA(model.event_shape, model.latent_dim)
    ppca.adapt(train)
    found = likelihood(model, train, TRAIN_IMPORTANCE_SAMPLES)["log_prob"]
    exact = mean(ppca.log_prob(train))
    return {
        "ppca_log_prob": mean(ppca.log_prob(test)),
        "train_log_prob": found,
        "ppca_train_log_prob": exact,
        "train_relative_difference": abs(found - exact) / abs(exact),
        "noise_scale": float(model.noise_scale),
        "ppca_noise_scale": float(ppca.noise_variance.numpy() ** 0.5),
    }
