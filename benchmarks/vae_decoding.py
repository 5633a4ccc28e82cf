"""Decoding: the exported decoder in ONNX Runtime, the SavedModel, and the same decoder in PyTorch."""

import math
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import tensorflow as tf
import torch

from benchmarks.timing import Comparison, interleaved, seconds_of_a_call
from benchmarks.torch_vae import decoder, with_threads
from export import export_model
from export.manifest import SAVED_MODEL, onnx_path
from training.recipes import VAE_MNIST
from training.train import build

EVENT_SHAPE = (28, 28, 1)
BATCH_SIZES = (1, 256)
OUTPUTS = ("probabilities", "logits")
TOLERANCE = 1e-5  # of probabilities and logits between the contenders
PAUSE = 0.05  # seconds: a thread pool that spins after its work is at rest by then
ONNX, SAVED = "zoo, ONNX Runtime", "zoo, SavedModel"
TORCH, TORCH_ALONE = "PyTorch", "PyTorch, 1 thread"
ASKED = {TORCH: 1.0, TORCH_ALONE: 1.0}


def compare_decoding(rounds, calls, threads):
    """A `Comparison` of seconds a call for each batch size; a turn is the median of `calls` calls."""
    model = build(VAE_MNIST, EVENT_SHAPE, steps_per_epoch=1)
    disturb(model.decoder)
    with tempfile.TemporaryDirectory() as folder:
        artifact = export_model(model, Path(folder) / "artifact")
        contenders = {
            ONNX: onnx_decoder(artifact / onnx_path("decode"), threads),
            SAVED: saved_model_decoder(artifact / SAVED_MODEL),
            TORCH: torch_decoder(model),
            TORCH_ALONE: torch_decoder(model),
        }
        return [compare_batch(contenders, batch_size, rounds, calls, threads) for batch_size in BATCH_SIZES]


def disturb(network):
    """Move every weight, as training does: an exporter leaves out the addition of a bias that is still zero."""
    generator = np.random.default_rng(0)
    network.set_weights([weight + 0.1 * generator.standard_normal(weight.shape) for weight in network.get_weights()])


def compare_batch(contenders, batch_size, rounds, calls, threads):
    z = np.random.default_rng(batch_size).standard_normal((batch_size, VAE_MNIST.latent_dim), dtype="float32")
    decoders = {name: decoder_of(z) for name, decoder_of in contenders.items()}
    error = largest_difference(decoders)
    if error > TOLERANCE:
        raise ValueError(f"The decoders differ by {error:.1e}; at most {TOLERANCE:.0e} is wanted.")
    turns = {
        name: with_threads(1 if name == TORCH_ALONE else threads, partial(seconds_of_a_call, decode, calls))
        for name, decode in decoders.items()
    }
    seconds = interleaved(turns, rounds, PAUSE)
    note = (
        f"The decoder of {VAE_MNIST.name}, probabilities and logits; a turn is the median of {calls} calls, each "
        f"contender with its own kind of array; the largest difference between their outputs is {error:.1e}."
    )
    return Comparison(f"decoding, batch {batch_size}", "us a call", 1e6, seconds, ASKED, note)


def largest_difference(decoders):
    """Between the outputs of the first decoder and those of the others."""
    first, *others = ([np.asarray(each).reshape(-1) for each in decode()] for decode in decoders.values())
    return max(np.abs(one - other).max() for outputs in others for one, other in zip(first, outputs, strict=True))


# Each contender: a function of the codes z that gives the function to be timed, which returns the `OUTPUTS`.


def onnx_decoder(path, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda z: lambda: session.run(OUTPUTS, {"z": z})


def saved_model_decoder(folder):
    loaded = tf.saved_model.load(str(folder))
    signature = loaded.signatures["decode"]

    def of_codes(z):
        codes = tf.constant(z)

        def decode():
            outputs = signature(z=codes)
            return [outputs[name] for name in OUTPUTS]

        return decode

    of_codes.keep_alive = loaded  # a signature does not keep its variables
    return of_codes


def torch_decoder(model):
    """The decoder of the zoo's `model` in PyTorch, with its weights."""
    module = decoder(math.prod(EVENT_SHAPE), VAE_MNIST)
    weights = [weight.T if weight.ndim == 2 else weight for weight in model.decoder.get_weights()]
    with torch.no_grad():
        for parameter, weight in zip(module.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(weight))
    module.eval()

    def of_codes(z):
        codes = torch.from_numpy(z)

        def decode():
            with torch.inference_mode():
                logits = module(codes)
                return [torch.sigmoid(logits), logits]

        return decode

    return of_codes
