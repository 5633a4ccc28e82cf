"""The data of the benchmarks, also on a machine where MNIST cannot be fetched."""

import sys

from training.data import load_data


def data_or_digits(name):
    """The data set; the digits of scikit-learn where it can neither be found nor fetched."""
    try:
        return load_data(name)
    except Exception as error:  # Keras raises a bare Exception where a download fails
        print(f"{name} cannot be loaded ({error}); the digits of scikit-learn are taken.", file=sys.stderr)
        return load_data("digits")
