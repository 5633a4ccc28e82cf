"""Autoregressive models: drawing from caches, by full passes, in ONNX Runtime; the scan of the Diagonal BiLSTM."""

import time
from functools import partial

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
import torch
from tensorflow.python.framework import op_callbacks

import zoo
from benchmarks.timing import Comparison, interleaved, seconds_of, seconds_of_a_call
from benchmarks.torch_diagonal_bilstm import TorchDiagonalBiLSTM
from export import manifest, onnx_graph

PAUSE = 0.5
BATCH = 16
TOLERANCE = 1e-4  # of outputs and gradients, relative to the largest entry
MODELS = {  # name -> the model, of 28x28 binary images
    "PixelCNN, 15 layers": partial(zoo.PixelCNN, num_layers=15),
    "gated PixelCNN, 7 layers": partial(zoo.PixelCNN, gated=True, num_layers=7),
    "PixelRNN, Row LSTM": partial(zoo.PixelRNN, cell="row_lstm", units=32),
    "PixelRNN, Diagonal BiLSTM": partial(zoo.PixelRNN, cell="diagonal_bilstm", units=32),
}
CACHED, NAIVE, RUNTIME = "zoo, cached", "zoo, full passes", "ONNX Runtime, cached"
ASKED_FASTER, ASKED_FEWER = 50.0, 300.0  # of the PixelCNN of 15 layers


def compare_sampling(side, rounds, naive_rounds, threads):
    """The `Comparison`s of seconds for a batch of images, for each model, with its multiply-adds in the note.

    side: pixels of an image's side.
    naive_rounds: turns in which full passes take part, which cost minutes.
    """
    for name, new in MODELS.items():
        keras.utils.set_random_seed(1)
        model = new(event_shape=(side, side, 1))
        noise = np.random.default_rng(0).random((BATCH, side, side, 1), dtype="float32")
        nothing = np.zeros_like(noise)  # of the images, as `sample` gives them: nothing of them is kept
        cached = partial(model.compiled_draw, noise, nothing, nothing)
        naive = partial(tf.function(model.draw_by_full_passes, jit_compile=True), noise)
        started = time.monotonic()
        runtime = runtime_of(model, threads)
        conversion = time.monotonic() - started
        if not np.array_equal(cached(), naive()) or not np.array_equal(cached(), runtime(noise)):
            raise ValueError(f"{name}: the samplers draw different images from the same noise.")
        few, many = multiply_adds(model)
        asked = {NAIVE: 1.0 / ASKED_FASTER} if name.startswith("PixelCNN") else {}
        seconds = interleaved(
            {
                CACHED: partial(seconds_of, lambda cached=cached: np.asarray(cached())),
                RUNTIME: partial(seconds_of, partial(runtime, noise)),
            },
            rounds,
            PAUSE,
        )
        slow = interleaved({NAIVE: partial(seconds_of, lambda naive=naive: np.asarray(naive()))}, naive_rounds, PAUSE)
        seconds[NAIVE] = [float(np.median(slow[NAIVE]))] * rounds
        note = (
            f"{BATCH} images of {side} x {side}; {few / 1e6:,.1f} million multiply-adds an image against "
            f"{many / 1e6:,.0f} million in full passes, {many / few:,.0f} times as many; the images are equal in every "
            f"pixel. Full passes had {naive_rounds} turns of their own, of which the median stands. The sampler became "
            f"one ONNX graph in {conversion:.1f} s."
        )
        yield Comparison(f"Drawing, {name}", f"s for {BATCH} images", 1.0, seconds, asked, note)


def runtime_of(model, threads):
    endpoint = model.endpoints()["sample"]
    graph = onnx_graph.convert(
        "sample", endpoint.function, manifest.describe(endpoint), {"zoo_version": zoo.__version__}
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(graph.SerializeToString(), options)
    return lambda noise: session.run(None, {"noise": noise})[0]


def multiply_adds(model):
    """Of an image: in the cached sampler, and in full passes; of the products that TensorFlow is seen to compute."""
    noise = np.zeros((1, *model.event_shape), "float32")
    one_pass = counted(lambda: model.logits_of(tf.constant(noise)))
    return counted(lambda: model.draw(tf.constant(noise))), one_pass * noise.size


def counted(function):
    """The multiply-adds of the matrix products and convolutions in an eager call."""
    total = 0

    def callback(op_type, inputs, attrs, outputs, op_name=None, graph=None):
        nonlocal total
        if op_type in PRODUCTS:
            total += PRODUCTS[op_type](inputs, outputs[0])

    op_callbacks.add_op_callback(callback)
    try:
        function()
    finally:
        op_callbacks.remove_op_callback(callback)
    return total


PRODUCTS = {  # of no transposed products: a draw and a pass have none
    "MatMul": lambda inputs, output: int(tf.size(output)) * inputs[0].shape[-1],
    "BatchMatMulV2": lambda inputs, output: int(tf.size(output)) * inputs[0].shape[-1],
    "Conv2D": lambda inputs, output: int(tf.size(output)) * int(np.prod(inputs[1].shape[:3])),
}


def compare_scan(side, rounds, calls):
    """The `Comparison` of a training step of the Diagonal BiLSTM layer, forwards and backwards, with PyTorch."""
    keras.utils.set_random_seed(1)
    model = zoo.PixelRNN((side, side, 1), cell="diagonal_bilstm", units=32)
    layer = model.pixel_layers[1]
    for variable in (layer.h_outside, layer.c_outside):
        variable.assign(np.random.default_rng(2).normal(size=variable.shape, scale=0.1))
    u = np.random.default_rng(1).standard_normal((BATCH, side, side, 64), dtype="float32")
    torch_layer = TorchDiagonalBiLSTM(layer)
    variables = [
        *(layer.input_to_state.kernel_of_row, layer.input_to_state.bias, layer.state_to_state),
        *(layer.h_outside, layer.c_outside, layer.out.kernel_of_row, layer.out.bias),
    ]

    @tf.function(jit_compile=True)
    def zoo_step(u):
        with tf.GradientTape() as tape:
            tape.watch(u)
            loss = tf.reduce_mean(layer(u) ** 2)
        return loss, tape.gradient(loss, [u, *(variable.value for variable in variables)])

    def torch_step(u):
        u = u.detach().requires_grad_()
        loss = (torch_layer(u) ** 2).mean()
        return loss, torch.autograd.grad(loss, [u, *torch_layer.parameters()])

    # The features themselves, not the losses: XLA adds up 800,000 squares one after another, to four digits.
    ours = [layer(u), *zoo_step(tf.constant(u))[1]]
    theirs = [torch_layer(torch.from_numpy(u)).detach(), *torch_step(torch.from_numpy(u))[1]]
    difference = max(
        np.abs(a.numpy() - b.numpy()).max() / np.abs(b.numpy()).max() for a, b in zip(ours, theirs, strict=True)
    )
    if difference > TOLERANCE:
        raise ValueError(f"Features or gradients differ from PyTorch's by {difference:.1e} of their largest entry.")
    seconds = interleaved(
        {
            "zoo": partial(seconds_of_a_call, partial(zoo_step, tf.constant(u)), calls),
            "PyTorch": partial(seconds_of_a_call, partial(torch_step, torch.from_numpy(u)), calls),
        },
        rounds,
        PAUSE,
    )
    note = (
        f"{BATCH} maps of {side} x {side}, h = 32, forwards and backwards; features and gradients differ by at most "
        f"{difference:.1e} of their largest entry. A turn is the median of {calls} calls."
    )
    yield Comparison("Diagonal BiLSTM, a layer's training step", "ms", 1e3, seconds, {"PyTorch": 1 / 1.5}, note)
