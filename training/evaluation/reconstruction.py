"""How well a model with a code gives an image again."""

import numpy as np

from training.evaluation.likelihood import mean


def reconstruction_error(model, data, binarization):
    """The mean squared difference of a test image's pixel from its reconstruction: a float.

    Labels are given to a model that cannot do without them.
    """
    test = data.examples("test", binarization).astype("float32")
    needs_labels = model.labels is not None and not model.labels.some
    given = (test, data.labels_of("test")) if needs_labels else (test,)
    return mean(np.square(model.reconstruct(*given) - test))
