"""The leading eigenvectors of a sample covariance, from a stream of blocks [rows, features], in float64.

    C = 1/(N - 1) sum_n (x_n - mean) (x_n - mean)^T = U diag(lambda) U^T

`exact` accumulates C itself in one pass; `randomized` multiplies C by a thin matrix in each of its passes and never
holds it. The memory of both depends on the features, not on the number of rows.
"""

from typing import NamedTuple

import numpy as np

OVERSAMPLING = 10  # columns of the thin matrix beyond those asked for (Halko et al. 2011, section 4.2)


class Spectrum(NamedTuple):
    """The leading part of the eigendecomposition of a sample covariance; float64.

    count: number of rows N.
    mean: [features].
    variances: [at least the number asked for]; eigenvalues, largest first, none below 0.
    components: [the same number, features]; eigenvectors, the largest entry of each positive.
    total_variance: the sum of all eigenvalues.
    smallest: what lies below it cannot be told from 0.
    """

    count: int
    mean: np.ndarray
    variances: np.ndarray
    components: np.ndarray
    total_variance: float
    smallest: float


def exact(blocks):
    """The whole `Spectrum`, in one pass.

    Each block is centred at its own mean, and the means are merged (Chan, Golub and LeVeque 1983, equation 2.1b), so
    that a mean far from 0 takes no digits from the covariance.
    """
    count, mean, scatter = 0, 0.0, 0.0
    for block in blocks:
        rows, features = block.shape
        block_mean = mean_of(block)
        centered = np.empty((rows + 1, features))
        np.subtract(block, block_mean, out=centered[:rows])
        # One more row adds the outer product of the difference between the means, with its weight.
        np.multiply(block_mean - mean, np.sqrt(count * rows / (count + rows)), out=centered[rows])
        scatter += centered.T @ centered
        count, mean = count + rows, mean + (block_mean - mean) * (rows / (count + rows))
    check_count(count)
    variances, vectors = np.linalg.eigh(scatter / (count - 1))
    variances, components = np.maximum(variances[::-1], 0.0), with_signs(vectors.T[::-1])
    total_variance = np.trace(scatter) / (count - 1)
    return Spectrum(count, mean, variances, components, total_variance, smallest_variance(variances[0], mean, count))


def randomized(pass_of_blocks, rank, passes, seed):
    """The leading `rank` or more, by a randomized block Krylov method (Musco and Musco 2015) and a Nystrom step.

    Q_0 is random, and each pass makes one Y_i = C Q_i, whose part outside of Q_0 ... Q_i, made orthonormal, is Q_i+1.
    Then, with all Q_i side by side in Q and all Y_i in Y = C Q (Tropp et al. 2017, equation 1.1),

        C ~ Y (Q^T Y)^-1 Y^T

    Args:
        pass_of_blocks: a function without arguments that starts a pass: it returns the blocks again.
        rank: number of eigenvectors wanted.
        passes: over the data, at least 1. Memory: 2 x features x (rank + 10) x passes numbers.
        seed: of Q_0.
    """
    center, basis, products = None, None, []
    for _ in range(passes):
        if center is None:
            count, center, squares, direction, product = first_product(pass_of_blocks(), rank, seed)
            basis = direction
        else:
            direction = orthonormal_beyond(basis, products[-1])
            if not direction.shape[1]:
                break  # Q spans everything
            basis = np.hstack([basis, direction])
            about_mean = (block - center for block in pass_of_blocks())
            product = sum(centered.T @ (centered @ direction) for centered in about_mean)
        products.append(product / (count - 1))
    variances, components = nystrom(basis, np.hstack(products))
    smallest = smallest_variance(variances[0], center, count)
    return Spectrum(count, center, variances, components, squares / (count - 1), smallest)


def mean_of(block):
    """The mean of the rows, to the last digit: a sum of thousands of equal numbers loses three of them."""
    mean = block.mean(axis=0, dtype=np.float64)
    return mean + (block - mean).mean(axis=0)


def first_product(blocks, rank, seed):
    """(count, mean, sum of squares about the mean, Q_0, (N - 1) C Q_0), about the first block's mean until the end."""
    center, count, total, squares, product = None, 0, 0.0, 0.0, 0.0
    for block in blocks:
        if center is None:
            center = mean_of(block)
            columns = min(rank + OVERSAMPLING, len(center))
            direction = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(center), columns)))[0]
        centered = block - center
        count, total = count + len(block), total + centered.sum(axis=0)
        squares += np.vdot(centered, centered)
        product += centered.T @ (centered @ direction)
    check_count(count)
    offset = total / count
    product -= count * np.outer(offset, offset @ direction)
    return count, center + offset, squares - count * np.vdot(offset, offset), direction, product


def orthonormal_beyond(basis, product):
    """An orthonormal basis of what `product` has outside of the span of `basis`."""
    direction = product[:, : basis.shape[0] - basis.shape[1]]
    for _ in range(2):  # the second time removes what rounding has left of the first
        direction = np.linalg.qr(direction - basis @ (basis.T @ direction))[0]
    return direction


def nystrom(basis, product):
    """Eigenvalues and eigenvectors (in rows) of Y (Q^T Y)^-1 Y^T, for Y = `product` = C Q, Q = `basis`."""
    shift = np.finfo(np.float64).eps * np.linalg.norm(product)  # added to C: keeps Q^T Y away from singular
    if shift == 0.0:
        return np.zeros(basis.shape[1]), with_signs(basis.T)
    product = product + shift * basis
    core = basis.T @ product
    values, vectors = np.linalg.eigh((core + core.T) / 2)
    root = product @ (vectors / np.sqrt(np.maximum(values, shift)))
    vectors, singular_values, _ = np.linalg.svd(root, full_matrices=False)
    return np.maximum(singular_values**2 - shift, 0.0), with_signs(vectors.T)


def check_count(count):
    if count < 2:
        raise ValueError(f"The number of examples is {count}; at least 2 are needed.")


def with_signs(components):
    """Each row times 1 or -1, so that its entry of largest magnitude is positive: the same fit gives the same rows."""
    largest = np.argmax(np.abs(components), axis=1)
    return components * np.sign(components[np.arange(len(components)), largest])[:, None]


def smallest_variance(largest, mean, count):
    """The rounding of float64: of the eigenvalues, and of differences between numbers as large as the mean."""
    epsilon = np.finfo(np.float64).eps
    return max(len(mean), count) * epsilon * largest + len(mean) * (epsilon * np.abs(mean).max()) ** 2
