"""The Frechet distance of two sets of features, each taken for a Gaussian.

    d^2 = ||m_p - m_q||^2 + tr(C_p + C_q - 2 (C_p C_q)^(1/2))

is the squared 2-Wasserstein distance of N(m_p, C_p) and N(m_q, C_q) (Dowson and Landau 1982). On the features of an
Inception network it is the FID (Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, section 3); Inception
is trained on photographs, and other images want features of their own. It is biased: of two samples of one
distribution it is above 0, the more so the fewer they are, so it stands beside the distance of real data to real data
of the same sizes.
"""

import numpy as np

from training.evaluation.features import checked_pair


def frechet_distance(samples, reference):
    """d^2 of two arrays of features [N, width] and [M, width], N, M >= 2: a float in squared units of the features.

    Covariances divide by N - 1. Also where they are singular, with fewer examples than features or a feature that is
    constant: with C = L L', tr (C_p C_q)^(1/2) is the sum of the singular values of L_p' L_q, of which none has to be
    inverted and none can come out below 0.

    >>> samples = np.array([[0.0], [2.0]])  # N(1, 2)
    >>> frechet_distance(samples, samples + 3.0)
    9.0

    Raises:
        ValueError: one sentence, for arrays of other shapes, of different widths, or not finite.
    """
    samples, reference = checked_pair(samples, reference)
    difference = samples.mean(axis=0) - reference.mean(axis=0)
    roots = [root_of_covariance(features) for features in (samples, reference)]
    traces = [np.sum(root**2) for root in roots]
    of_product = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return max(0.0, float(difference @ difference + traces[0] + traces[1] - 2.0 * of_product))


def root_of_covariance(features):
    """R [min(N, width), width] with R' R the covariance of features [N, width]."""
    centred = features - features.mean(axis=0)
    return np.linalg.qr(centred, mode="r") / np.sqrt(len(features) - 1)
