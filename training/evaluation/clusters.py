"""k-means measured: its objective, its likelihood as a mixture, and its clusters beside the labels of the data."""

import numpy as np

from training.evaluation.likelihood import mean


def kmeans_metrics(model, train, test, history):
    """A dict of numbers, distances in units of a pixel's value.

    mean_squared_distance: of the images `test` to their centroids, summed over pixels. inertia: the sum of the squared
    distances of the images `train`, the objective. log_prob: of `test` under the mixture, nats an image.
    iterations, reseeded: of the training; reseeded counts the empty clusters of all its runs.
    """
    return {
        "mean_squared_distance": mean(nearest(model, test) ** 2),
        "inertia": float(np.sum(nearest(model, train).astype("float64") ** 2)),
        "log_prob": mean(model.log_prob(test)),
        "num_clusters": model.num_clusters,
        "iterations": len(history),
        "reseeded": model.reseeded,
    }


def nearest(model, images):
    """The distance of each image to its centroid: [N]."""
    return model.predict(images, verbose=0)["distances"].min(axis=-1)


def against_labels(model, data, train, test):
    """How well the clusters of `test` agree with its labels, which k-means has never seen; {} if there are none.

    adjusted_rand (0 by chance, 1 at best), normalized_mutual_info (0 to 1), and accuracy, where each cluster stands for
    the label that most of its training images have.
    """
    if not data.labels:
        return {}
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    found, found_train = (model.predict(images, verbose=0)["labels"] for images in (test, train))
    counts = np.zeros((model.num_clusters, 1 + int(max(data.labels["train"].max(), data.labels["test"].max()))))
    np.add.at(counts, (found_train, data.labels["train"]), 1)
    return {
        "adjusted_rand": float(adjusted_rand_score(data.labels["test"], found)),
        "normalized_mutual_info": float(normalized_mutual_info_score(data.labels["test"], found)),
        "accuracy": float(np.mean(counts.argmax(axis=1)[found] == data.labels["test"])),
    }


def scikit_learn_inertia(model, train):
    """inertia of scikit-learn's KMeans, the best of as many runs from k-means++: some minutes for MNIST."""
    from sklearn.cluster import KMeans

    peer = KMeans(model.num_clusters, n_init=model.num_initializations, random_state=0, max_iter=1000, tol=0.0)
    return {"scikit_learn_inertia": float(peer.fit(train.reshape(len(train), -1)).inertia_)}
