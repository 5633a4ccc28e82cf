"""Arrays of features, [N, width]: what the distances between samples and data are measured on, and their checks."""

import numpy as np


def checked(features, name, at_least=2):
    """`features` as float64 [N, width].

    Raises:
        ValueError: one sentence, for an array of another kind, of fewer rows than `at_least`, or of values that are not
            finite.
    """
    features = np.asarray(features)
    if features.ndim != 2 or not features.shape[1] or features.dtype.kind not in "fiu":
        raise ValueError(
            f"{name} came as {features.dtype} of shape {list(features.shape)}; numbers [N, width] are wanted, a row of "
            "features for each example."
        )
    if len(features) < at_least:
        raise ValueError(f"{name} holds {len(features)} rows; at least {at_least} are wanted.")
    if not np.all(np.isfinite(features)):
        raise ValueError(f"{name} holds NaN or infinite values; finite ones are wanted.")
    return features.astype("float64")


def checked_pair(samples, reference, at_least=2):
    """(samples, reference), each `checked`, of one width."""
    samples, reference = checked(samples, "samples", at_least), checked(reference, "reference", at_least)
    if samples.shape[1] != reference.shape[1]:
        raise ValueError(
            f"samples have {samples.shape[1]} features, but reference {reference.shape[1]}; take both from one network."
        )
    return samples, reference
