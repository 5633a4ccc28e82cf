"""TensorFlow in each of the test processes, with two logical CPU devices for the tests under MirroredStrategy."""

import gc
import os
import zlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import pytest
import tensorflow as tf

CPU = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(CPU, [tf.config.LogicalDeviceConfiguration()] * 2)


@pytest.fixture(autouse=True)
def without_waiting_for_garbage():
    """Graphs are freed after their test, few at a time: those of a hundred tests together take Python minutes.

    What remains is looked at no more. It is a million objects at the end, most of them of TensorFlow's modules.
    """
    yield
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def the_same_draws_in_any_order(request):
    """A test draws from the GENERATOR of its module what it would draw alone, whatever ran before in its process."""
    generator = getattr(request.module, "GENERATOR", None)
    if generator is not None:
        seed = zlib.crc32(request.node.name.encode())
        generator.bit_generator.state = np.random.default_rng(seed).bit_generator.state
