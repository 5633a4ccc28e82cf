"""One endpoint as one ONNX graph: conversion, canonical form, checks, and running it.

The converter neither raises on an operation it cannot convert nor keeps names stable; so `convert` brings the graph
into one canonical form, in which two exports are equal byte by byte, and `check` decides whether it is good.
tf2onnx and TensorFlow are imported by `convert` alone: `export.verify` runs without a converter.
"""

import functools
import logging

import onnx
import onnxruntime

from export.manifest import one_line

OPSET = 18  # the newest that tf2onnx 1.17 writes
PRODUCER = "generative-zoo"

# Pure functions of their inputs, in the standard domain. No random operation: noise is an input of an endpoint.
OPERATIONS = frozenset(
    """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
    Ceil Clip Concat ConcatFromSequence Constant ConstantOfShape Conv ConvTranspose Cos CumSum DepthToSpace Div Einsum
    Elu Equal Erf Exp Expand Floor GRU Gather GatherElements GatherND Gemm GlobalAveragePool GlobalMaxPool Greater
    GreaterOrEqual HardSigmoid Identity If IsInf IsNaN LSTM LayerNormalization LeakyRelu Less LessOrEqual Log
    LogSoftmax Loop MatMul Max MaxPool Min Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow Range Reciprocal ReduceL1
    ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu
    Reshape Resize ReverseSequence Round Scan ScatterElements ScatterND Selu SequenceAt SequenceEmpty SequenceInsert
    Shape Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split SplitToSequence Sqrt Squeeze Sub
    Sum Tan Tanh Tile TopK Transpose Trilu Unsqueeze Where Xor
    """.split()  # noqa: SIM905, a name to a line would fill pages
)
TYPES = {  # of inputs and outputs, as declared
    "float32": onnx.TensorProto.FLOAT,
    "int64": onnx.TensorProto.INT64,
    "uint8": onnx.TensorProto.UINT8,
}
OPTIMIZATION_LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")
FATAL_ONLY = 4  # ONNX Runtime's log severity; errors are raised as well as logged


def convert(name, function, description, metadata):
    """The endpoint `name` as a checked, canonical `onnx.ModelProto`.

    Args:
        function: takes tensors by the names of the inputs, returns a dict with the names of the outputs.
        description: of the endpoint, as `manifest.describe` gives it.
        metadata: str -> str, kept in the file as metadata_props.

    Raises:
        ValueError: for an endpoint that ONNX cannot hold.
    """
    import tensorflow as tf
    import tf2onnx

    signature = [
        tf.TensorSpec([None if isinstance(size, str) else size for size in tensor["shape"]], tensor["dtype"], name=key)
        for key, tensor in description["inputs"].items()
    ]
    graph_function = tf.function(
        lambda *tensors: function(**dict(zip(description["inputs"], tensors, strict=True))),
        autograph=False,
        input_signature=signature,
    )
    logger = logging.getLogger("tf2onnx")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it logs what it cannot convert; `check` raises instead
    try:
        model, _ = tf2onnx.convert.from_function(graph_function, input_signature=signature, opset=OPSET)
    except Exception as error:  # the converter has no exceptions of its own
        raise ValueError(f"the endpoint cannot be converted ({one_line(error)})") from error
    finally:
        logger.setLevel(level)
    check_operations(model)
    check_names(model, description)
    canonicalize(model, name, description, metadata)
    check(model, description)
    return model


def serialize(model):
    return model.SerializeToString(deterministic=True)


def parse(content):
    """The `onnx.ModelProto` in `content`; a ValueError if there is none."""
    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # whatever protobuf raises on foreign bytes
        raise ValueError(f"it is not an ONNX model ({one_line(error)})") from None


# Canonical form.


def canonicalize(model, name, description, metadata):
    """Rename values, nodes and dynamic axes by place alone, and drop what depends on the process."""
    graph = model.graph
    count_axes_from_the_front(model)
    names = {"": "", **{key: key for key in (*description["inputs"], *description["outputs"])}}
    collect_names(graph, names)
    rename(graph, names)
    graph.name, graph.doc_string = name, description["summary"]
    declare(graph.input, description["inputs"])
    declare(graph.output, description["outputs"])
    graph.initializer.sort(key=lambda tensor: tensor.name)

    model.producer_name, model.producer_version, model.doc_string = PRODUCER, metadata["zoo_version"], ""
    del model.opset_import[:], model.metadata_props[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))


def count_axes_from_the_front(model):
    """Write the axis -1 of a reduction as the axis it is: ONNX Runtime leaves it unreduced where a batch is empty."""
    inferred = onnx.shape_inference.infer_shapes(model)
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for graph in graphs(inferred.graph)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for graph in graphs(model.graph):
        for node in graph.node:
            axes = constants.get(node.input[1]) if len(node.input) > 1 else None
            if node.op_type.startswith("Reduce") and axes is not None and node.input[0] in ranks:
                counted = onnx.numpy_helper.to_array(axes) % ranks[node.input[0]]
                node.input[1] = f"{node.name}/axes_from_the_front"
                model.graph.initializer.append(onnx.numpy_helper.from_array(counted, node.input[1]))
    used = {key for graph in graphs(model.graph) for node in graph.node for key in node.input}
    used |= {value.name for graph in graphs(model.graph) for value in graph.output}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def collect_names(graph, names):
    """Add a new name for every value of `graph` and its subgraphs to `names`, in the order of first use."""
    for value in graph.input:
        names.setdefault(value.name, f"Input_{len(names)}")
    for node in graph.node:
        for key in node.input:
            names.setdefault(key, f"Value_{len(names)}")  # an initializer, or a value of the graph around
        for subgraph in subgraphs(node):
            collect_names(subgraph, names)
        for key in node.output:
            names.setdefault(key, f"{node.op_type}_{len(names)}")
    for value in (*graph.output, *graph.initializer):
        names.setdefault(value.name, f"Value_{len(names)}")


def rename(graph, names):
    del graph.value_info[:]  # shapes that the converter noted; the checks infer them anew
    for value in (*graph.input, *graph.output, *graph.initializer):
        value.name, value.doc_string = names[value.name], ""
    for index, node in enumerate(graph.node):
        node.name, node.doc_string = f"{node.op_type}_node_{index}", ""
        node.input[:] = [names[key] for key in node.input]
        node.output[:] = [names[key] for key in node.output]
        for subgraph in subgraphs(node):
            rename(subgraph, names)


def subgraphs(node):
    """The bodies of a Loop or Scan, the branches of an If."""
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def graphs(graph):
    """`graph` and all graphs inside it."""
    yield graph
    for node in graph.node:
        for subgraph in subgraphs(node):
            yield from graphs(subgraph)


def declare(values, tensors):
    """Set `values`, the inputs or outputs of a graph, to the declared tensors in the declared order."""
    del values[:]
    for name, tensor in tensors.items():
        values.append(onnx.helper.make_tensor_value_info(name, TYPES[tensor["dtype"]], tensor["shape"]))


# Checks.


def check(model, description):
    """Every static check of one graph; a ValueError whose sentence goes on from the name of the file."""
    check_self_contained(model)
    check_operations(model)
    check_names(model, description)
    check_tensors(model.graph.input, description["inputs"])
    check_tensors(model.graph.output, description["outputs"])
    try:
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # onnx has an exception class for each check, and its C++ adds more
        raise ValueError(f"it is not a valid ONNX model ({one_line(error)})") from None


def check_self_contained(model):
    versions = {each.domain: each.version for each in model.opset_import}
    if versions != {"": OPSET}:
        raise ValueError(f"it needs operation sets {versions}; the standard one, version {OPSET}, is wanted")
    if model.functions or model.training_info or model.graph.sparse_initializer:
        raise ValueError("it holds functions, training steps or sparse tensors; one plain graph is wanted")


def check_operations(model):
    foreign = {each for each in operations(model.graph) if each not in OPERATIONS}
    if foreign:
        raise ValueError(
            f"it holds {', '.join(sorted(foreign))}, which no graph of this zoo may hold; "
            "write the endpoint with operations that ONNX has, and take noise as an input"
        )


def operations(graph):
    """Names of the operations in `graph` and its subgraphs, with their domain; "external data" for such tensors."""
    for each in graphs(graph):
        tensors = list(each.initializer)
        for node in each.node:
            yield f"{node.domain}.{node.op_type}" if node.domain else node.op_type
            tensors += [tensor for attribute in node.attribute for tensor in (attribute.t, *attribute.tensors)]
        if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in tensors):
            yield "external data"


def check_names(model, description):
    for kind, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
        found = sorted(value.name for value in values)
        if found != sorted(description[kind]):
            raise ValueError(f"its {kind} are {found}, declared are {sorted(description[kind])}")


def check_tensors(values, tensors):
    for value in values:
        tensor = value.type.tensor_type
        shape = [each.dim_param or each.dim_value for each in tensor.shape.dim]
        wanted = tensors[value.name]
        if tensor.elem_type != TYPES[wanted["dtype"]] or shape != wanted["shape"]:
            raise ValueError(
                f"{value.name} is of type {tensor.elem_type}, {shape}; {wanted['dtype']} {wanted['shape']} is declared"
            )


# Running.


def open_sessions(content):
    """ONNX Runtime on the CPU at each optimization level: level -> function from name -> array to name -> array."""
    sessions = {}
    for level in OPTIMIZATION_LEVELS:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        options.log_severity_level = FATAL_ONLY
        try:
            session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no class of their own
            raise ValueError(f"ONNX Runtime does not load it at level {level} ({one_line(error)})") from None
        sessions[level] = functools.partial(run, session)
    return sessions


def run(session, inputs):
    names = [output.name for output in session.get_outputs()]
    try:
        return dict(zip(names, session.run(names, inputs), strict=True))
    except Exception as error:  # as above
        raise ValueError(f"ONNX Runtime does not run it ({one_line(error)})") from None
