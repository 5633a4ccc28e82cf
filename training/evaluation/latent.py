"""The codes of a model: how far they are from the prior, and what they tell about the class.

    MMD^2(p, q) = E k(z, z') + E k(w, w') - 2 E k(z, w),    z, z' ~ p;  w, w' ~ q

is 0 for equal distributions alone (Gretton et al. 2012). From m codes z and n reference codes w, without bias:

    1/(m(m-1)) sum_{i != j} k(z_i, z_j) + 1/(n(n-1)) sum_{i != j} k(w_i, w_j) - 2/(mn) sum_{i, j} k(z_i, w_j),

which may be below 0. The kernel is a mean of Gaussians, k(z, w) = mean_s exp(-||z - w||^2 / 2 s^2), of widths s around
the median distance between two reference codes: the heuristic of Gretton et al., with several widths so that coarse
and fine differences both count, as in Li, Swersky and Zemel 2015. As the widths are of the reference, numbers of models
with the same prior can be compared. k(z, z) = 1, so MMD^2 is at most 2.

Gretton et al. 2012, A Kernel Two-Sample Test, section 2.2 and equation 3.
Li, Swersky and Zemel 2015, Generative Moment Matching Networks.
"""

import numpy as np
import tensorflow as tf

from training.data import generator
from zoo.aae import AAE
from zoo.distributions import stateless_seed
from zoo.semi_supervised_aae import SemiSupervisedAAE

WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the kernel, in median distances of the reference
NUM_CODES = 2000  # of either kind that are compared: their kernel matrix takes 128 MB
NUM_TRAIN_CODES = 10_000  # from which the class is learned
NUM_PERMUTATIONS = 200
FLOOR = 0.95  # quantile over the permutations
NEIGHBOURS = 10
NEIGHBOURS_OF_FEW = 5  # where there are few labels


# Of a model.


def latent_metrics(model, data, binarization):
    """Of one code for each test example, z ~ q(z|x), beside the prior: what `mmd` gives.

    Where there are labels, also `mmd_of_classes`, `class_from_code`, learned from 10,000 training codes, and
    `clusters_of_codes`.
    """
    test = codes_of(model, data, "test", binarization)
    reference = prior_codes(model, len(test))
    metrics = mmd(test, reference)
    if not data.labels:
        return metrics
    test_labels = data.labels_of("test")
    chosen = generator("codes", 0).permutation(len(data.images["train"]))[:NUM_TRAIN_CODES]
    train = codes_of(model, data, "train", binarization, chosen)
    metrics |= mmd_of_classes(test, test_labels, reference) | clusters_of_codes(test, test_labels)
    return metrics | class_from_code(train, data.labels_of("train")[chosen], test, test_labels)


def codes_of(model, data, split, binarization, chosen=slice(None)):
    """z ~ q(z|x) of the examples of a split, [N, latent_dim]: the same on each call."""
    examples = data.examples(split, binarization)[chosen].astype("float32")
    if isinstance(model, AAE):
        with model.repeatable_draws():
            return model.in_batches(model.draw_codes, examples)
    needs_labels = model.labels is not None and not model.labels.some
    given = (examples, data.labels_of(split)[chosen]) if needs_labels else (examples,)
    codes = model.predict(*given, batch_size=500, verbose=0)["z"]
    return codes[:, 0] if codes.ndim == 3 else codes  # of an IWAE the first of those that its bound takes


def prior_codes(model, num_codes, seed=0):
    """z ~ p(z): [num_codes, latent_dim]."""
    if isinstance(model, AAE):
        return model.draw_prior(num_codes, seed).numpy()
    if isinstance(model, SemiSupervisedAAE):
        return (
            model.prior_scale * tf.random.stateless_normal((num_codes, model.latent_dim), stateless_seed(seed)).numpy()
        )
    return np.asarray(model.draw_prior(num_codes, stateless_seed(seed)))


# Distance from the prior.


def mmd(codes, reference, seed=0):
    """How far the distribution of `codes` [m, d] is from that of `reference` [n, d], m, n >= 2: a dict of floats.

    mmd_squared: the unbiased estimate.
    mmd_squared_floor: what it stays below in 95 of 100 cases where the distributions are equal, from 200 divisions of
        all codes into m and n, drawn from `seed`.

    Of more than `NUM_CODES`, so many are taken.

    Raises:
        ValueError: for fewer than two codes, of different dimensions, or that are not finite.
    """
    codes, reference = checked_codes(codes, "codes"), checked_codes(reference, "reference")
    if codes.shape[1] != reference.shape[1]:
        raise ValueError(f"codes have {codes.shape[1]} dimensions, but reference {reference.shape[1]}.")
    together = np.concatenate([codes, reference])
    kernel = kernel_matrix(together, median_distance(reference))
    np.fill_diagonal(kernel, 0.0)  # pairs of a code with itself do not count
    among_codes = np.arange(len(together)) < len(codes)
    draws = generator("permutations", seed)
    permuted = np.stack([among_codes, *(draws.permutation(among_codes) for _ in range(NUM_PERMUTATIONS))], axis=1)
    found, *others = divided(kernel, permuted.astype("float64"))
    return {"mmd_squared": float(found), "mmd_squared_floor": float(np.quantile(others, FLOOR))}


def checked_codes(codes, name):
    codes = np.asarray(codes, "float64")
    if len(codes) > NUM_CODES:
        codes = codes[generator("codes", 0).permutation(len(codes))[:NUM_CODES]]
    if codes.ndim != 2 or len(codes) < 2 or not np.all(np.isfinite(codes)):
        raise ValueError(f"{name} has shape {codes.shape}; at least 2 finite codes [number, dimensions] are wanted.")
    return codes


def divided(kernel, first):
    """MMD^2 of each division of the codes in two: [divisions].

    kernel: [N, N] with 0 on the diagonal. first: [N, divisions], 1.0 for a code of the first set, else 0.0.
    """
    second = 1.0 - first
    m, n = first.sum(axis=0), second.sum(axis=0)
    to_first = kernel @ first  # [N, divisions]
    to_second = kernel.sum(axis=1, keepdims=True) - to_first
    within_first, within_second = np.sum(first * to_first, axis=0), np.sum(second * to_second, axis=0)
    between = np.sum(first * to_second, axis=0)
    return within_first / (m * (m - 1)) + within_second / (n * (n - 1)) - 2.0 * between / (m * n)


def kernel_matrix(codes, distance):
    """k of each pair: [N, N]."""
    squared = squared_distances(codes)
    return sum(np.exp(squared / (-2.0 * (width * distance) ** 2)) for width in WIDTHS) / len(WIDTHS)


def median_distance(codes):
    """Over all pairs of different codes; a ValueError if it is 0."""
    distance = float(np.median(np.sqrt(squared_distances(codes)[np.triu_indices(len(codes), k=1)])))
    if not distance:
        raise ValueError("More than half of the pairs of reference codes are equal; codes that vary are wanted.")
    return distance


def squared_distances(codes):
    centred = codes - codes.mean(axis=0)
    norms = np.einsum("nd,nd->n", centred, centred)
    return np.maximum(norms[:, None] - 2.0 * centred @ centred.T + norms, 0.0)


def mmd_of_classes(codes, labels, reference, seed=0):
    """`mmd` of the codes of each class, q(z|y), against as many of `reference`: means over the classes, a dict.

    class_mmd_squared; class_mmd_squared_floor; and largest_class_mmd_squared. Classes with one code are left out.
    """
    of_classes = [codes[labels == label] for label in np.unique(labels)]
    found = [mmd(each, reference[: max(2, len(each))], seed) for each in of_classes if len(each) > 1]
    if not found:
        raise ValueError("No class has two codes; codes [number, dimensions] and their labels [number] are wanted.")
    return {
        "class_mmd_squared": float(np.mean([each["mmd_squared"] for each in found])),
        "class_mmd_squared_floor": float(np.mean([each["mmd_squared_floor"] for each in found])),
        "largest_class_mmd_squared": float(np.max([each["mmd_squared"] for each in found])),
    }


# What a code tells about the class.


def class_from_code(train_codes, train_labels, test_codes, test_labels):
    """How often the class can be read from a code: shares of the test codes, a dict.

    linear_class_accuracy: by scikit-learn's LogisticRegression of standardized codes.
    neighbours_class_accuracy: by the majority of the 10 nearest training codes.
    chance: by always naming the most frequent class of the training codes.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    neighbours = KNeighborsClassifier(min(NEIGHBOURS, len(train_codes)))
    most_frequent = np.bincount(train_labels).argmax()
    return {
        "linear_class_accuracy": float(linear.fit(train_codes, train_labels).score(test_codes, test_labels)),
        "neighbours_class_accuracy": float(neighbours.fit(train_codes, train_labels).score(test_codes, test_labels)),
        "chance": float(np.mean(test_labels == most_frequent)),
    }


def clusters_of_codes(codes, labels):
    """How well clusters of the codes, as many as there are classes, agree with the labels: a dict.

    code_clusters_adjusted_rand (0 by chance, 1 at best) and code_clusters_mutual_info, normalized (0 to 1), of
    scikit-learn's KMeans, the best of 3.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    clusters = KMeans(len(np.unique(labels)), n_init=3, random_state=0).fit_predict(codes)
    return {
        "code_clusters_adjusted_rand": float(adjusted_rand_score(labels, clusters)),
        "code_clusters_mutual_info": float(normalized_mutual_info_score(labels, clusters)),
    }


def class_from_few_labels(train_codes, kept_labels, test_codes, test_labels):
    """Share of the test codes whose class the majority of the 5 nearest labelled codes names: a float.

    kept_labels: [N], -1 for a training code without a label, as `Data.kept_labels` draws them. On a sphere, Euclidean
    neighbours are those of the cosine distance.
    """
    from sklearn.neighbors import KNeighborsClassifier

    labelled = kept_labels >= 0
    neighbours = KNeighborsClassifier(min(NEIGHBOURS_OF_FEW, int(labelled.sum())))
    return float(neighbours.fit(train_codes[labelled], kept_labels[labelled]).score(test_codes, test_labels))
