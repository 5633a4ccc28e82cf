"""How often a model that classifies is wrong; and one whose classes are clusters that no label has shaped.

Clusters get their labels from the validation images. The rule of Makhzani et al. 2015, section 6: cluster i has the
label of the one validation image with the largest q(y=i|x). Beside it the label that most validation images of the
cluster have, which does not hang on a single image.
"""

import numpy as np


def classification_error(probabilities, labels):
    """Share of wrong answers of q(y|x) [N, num_classes], labels [N]."""
    return float(np.mean(probabilities.argmax(axis=1) != labels))


def clustering_errors(validation, validation_labels, test, test_labels):
    """Of q(y|x) of validation and test images, each [N, num_clusters], and their labels [N]: a dict of shares.

    clustering_error: by the rule of Makhzani et al. 2015. majority_clustering_error: by the majority.
    used_clusters: how many are the likeliest one of some test image.
    """
    nearest = labels_of_likeliest(validation, validation_labels)
    majority = labels_of_majority(validation, validation_labels, nearest)
    clusters = test.argmax(axis=1)
    return {
        "clustering_error": float(np.mean(nearest[clusters] != test_labels)),
        "majority_clustering_error": float(np.mean(majority[clusters] != test_labels)),
        "used_clusters": len(np.unique(clusters)),
    }


def labels_of_likeliest(probabilities, labels):
    """Each cluster's label, that of the image with the largest q(y=i|x): [num_clusters]."""
    return labels[probabilities.argmax(axis=0)]


def labels_of_majority(probabilities, labels, of_empty):
    """Each cluster's label, that of most of its images: [num_clusters]; of a cluster without images, as `of_empty`."""
    counts = np.zeros((probabilities.shape[1], 1 + labels.max()), int)
    np.add.at(counts, (probabilities.argmax(axis=1), labels), 1)
    return np.where(counts.any(axis=1), counts.argmax(axis=1), of_empty)
