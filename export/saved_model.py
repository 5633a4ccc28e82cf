"""All endpoints as the signatures of one SavedModel: writing it, checking it unloaded, running it.

A SavedModel is a program, and loading it runs parts of it. `check` therefore reads saved_model.pb as data and allows
only operations that compute; `open_signatures` comes after it. TensorFlow is imported inside the functions, so that
`export.verify` reads no more of an artifact than it has found good.
"""

import contextlib
from pathlib import Path

from export.manifest import one_line

# Pure functions of their inputs and of the variables, and control flow. Nothing that draws, reads, writes or calls out.
ENDPOINT_OPERATIONS = frozenset(
    """
    Abs Acos Acosh Add AddN AddV2 All Any ArgMax ArgMin Asin Asinh Atan Atan2 Atanh AvgPool BatchMatMul BatchMatMulV2
    BatchMatMulV3 BatchToSpaceND BiasAdd Bitcast BitwiseAnd BitwiseOr BitwiseXor BroadcastArgs BroadcastTo Case Cast
    Ceil CheckNumerics ClipByValue Concat ConcatV2 Const Conv1D Conv2D Conv2DBackpropInput Conv3D Cos Cosh Cumprod
    Cumsum DepthToSpace DepthwiseConv2dNative Digamma Div DivNoNan Einsum Elu EmptyTensorList EnsureShape Equal Erf
    Erfc Erfinv Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod FusedBatchNorm FusedBatchNormV3 Gather GatherNd
    GatherV2 Greater GreaterEqual Identity IdentityN If Inv InvertPermutation IsFinite IsInf IsNan L2Loss LeakyRelu
    LeftShift Less LessEqual Lgamma LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot LogicalOr MatMul Max MaxPool
    Maximum Mean Min Minimum MirrorPad Mod Mul MulNoNan Ndtri Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2
    PartitionedCall Placeholder Pow PreventGradient Prod Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6
    Reshape ResizeBilinear ResizeNearestNeighbor Reverse ReverseSequence ReverseV2 RightShift Rint Round Rsqrt
    ScatterNd Select SelectV2 Selu Shape ShapeN Sigmoid Sign Sin Sinh Size Slice Snapshot Softmax Softplus Softsign
    SpaceToBatchND SpaceToDepth Split SplitV Sqrt Square SquaredDifference Squeeze StatefulPartitionedCall
    StatelessCase StatelessIf StatelessWhile StopGradient StridedSlice Sub Sum Tan Tanh TensorListConcatV2
    TensorListElementShape TensorListFromTensor TensorListGather TensorListGetItem TensorListLength
    TensorListPushBack TensorListReserve TensorListResize TensorListScatterV2 TensorListSetItem TensorListStack
    TensorScatterAdd TensorScatterUpdate Tile TopKV2 Transpose TruncateDiv Unpack UnsortedSegmentSum VarHandleOp
    VarIsInitializedOp Where While Xdivy Xlog1py Xlogy ZerosLike
    """.split()  # noqa: SIM905, a name to a line would fill pages
)
RESTORE_OPERATIONS = ENDPOINT_OPERATIONS | {"AssignVariableOp", "RestoreV2"}  # what a server runs once, on loading
SAVE_OPERATIONS = RESTORE_OPERATIONS | {  # what runs if someone saves the model anew
    "DisableCopyOnRead",
    "MergeV2Checkpoints",
    "SaveV2",
    "ShardedFilename",
    "StaticRegexFullMatch",
    "StringJoin",
}
OBJECTS = {"user_object", "function", "bare_concrete_function", "variable", "constant", "captured_tensor"}
INITIALIZER = "__saved_model_init_op"  # the signature that a server runs on loading; it holds a NoOp
SERVING_DEFAULT = "serving_default"


def write(model, endpoints, folder):
    """Write the `zoo.Endpoint`s of a built Keras model as a SavedModel; the first becomes `serving_default`."""
    import keras

    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, endpoint in endpoints.items():
        signature = [
            keras.InputSpec(
                shape=[None if isinstance(size, str) else size for size in each.shape], dtype=each.dtype, name=key
            )
            for key, each in endpoint.inputs.items()
        ]
        archive.add_endpoint(name, never_empty(endpoint), signature)
    archive.write_out(str(folder), verbose=False)
    with contextlib.suppress(OSError):
        (Path(folder) / "assets").rmdir()  # it is empty, and archives lose empty folders


def never_empty(endpoint):
    """The function of a `zoo.Endpoint`, of tensors in the declared order; see `zoo.base.never_empty`.

    TensorFlow's oneDNN convolutions give an empty batch the shape of their input instead of their output's.
    """
    from zoo.base import never_empty as padded

    function = padded(endpoint.function)
    return lambda *tensors: function(**dict(zip(endpoint.inputs, tensors, strict=True)))


# Checks.


def check(folder, endpoints, serving_default):
    """Check a SavedModel without loading it.

    Args:
        folder: that holds saved_model.pb.
        endpoints: name -> description, as `manifest.describe` gives it.
        serving_default: the endpoint which is also the default signature.

    Raises:
        ValueError: for operations that do not belong in an artifact, and signatures other than the declared ones.
    """
    meta_graph = read_meta_graph(folder)
    check_objects(meta_graph)
    check_operations(meta_graph)
    found, wanted = set(meta_graph.signature_def) - {INITIALIZER}, {*endpoints, SERVING_DEFAULT}
    if found != wanted:
        raise ValueError(f"its signatures are {sorted(found)}, declared are {sorted(wanted)}")
    for name in wanted:
        description = endpoints[serving_default if name == SERVING_DEFAULT else name]
        check_tensors(name, meta_graph.signature_def[name].inputs, description["inputs"])
        check_tensors(name, meta_graph.signature_def[name].outputs, description["outputs"])


def read_meta_graph(folder):
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((Path(folder) / "saved_model.pb").read_bytes())
    except Exception as error:  # protobuf's own class of errors
        raise ValueError(f"it cannot be parsed ({error})") from None
    if len(saved_model.meta_graphs) != 1:
        raise ValueError(f"it holds {len(saved_model.meta_graphs)} graphs; one is wanted")
    return saved_model.meta_graphs[0]


def check_objects(meta_graph):
    """Refuse tables, assets and savers of their own: loading runs the functions of such objects."""
    for node in meta_graph.object_graph_def.nodes:
        if node.WhichOneof("kind") not in OBJECTS or node.saveable_objects or node.registered_saver:
            raise ValueError(f"it holds an object of kind {node.WhichOneof('kind')} that acts when it is loaded")
    if meta_graph.asset_file_def:
        raise ValueError("it refers to files outside the graph")


def check_operations(meta_graph):
    """Allow what an endpoint may do in all that signatures and objects reach; restoring and saving in savers alone."""
    signatures = meta_graph.signature_def.values()
    ends = [each.name for every in signatures for each in (*every.inputs.values(), *every.outputs.values())]
    ends += [each for collection in meta_graph.collection_def.values() for each in collection.node_list.value]
    graph = meta_graph.graph_def
    everything = {node.op for node in graph.node}
    everything |= {node.op for function in graph.library.function for node in function.node_def}
    parts = (
        (reached(graph, ends, meta_graph.object_graph_def.concrete_functions), ENDPOINT_OPERATIONS),
        (reached(graph, [meta_graph.saver_def.restore_op_name]), RESTORE_OPERATIONS),
        (everything, SAVE_OPERATIONS),
    )
    for found, allowed in parts:
        if found - allowed:
            raise ValueError(
                f"it holds {', '.join(sorted(found - allowed))}, which no endpoint of this zoo may hold: "
                "an endpoint computes, and takes noise as an input"
            )


def reached(graph, ends, functions=()):
    """Names of the operations that the nodes `ends` and the functions `functions` run, whatever calls whatever."""
    nodes = {node.name: node for node in graph.node}
    library = {function.signature.name: function for function in graph.library.function}
    waiting_nodes, waiting_functions = [node_name(end) for end in ends], list(functions)
    found, seen = set(), set()
    while waiting_nodes or waiting_functions:
        if waiting_nodes:
            name = waiting_nodes.pop()
            new = [nodes[name]] if name in nodes and name not in seen else []
            waiting_nodes += [node_name(key) for node in new for key in node.input]
        else:
            name = waiting_functions.pop()
            new = library[name].node_def if name in library and name not in seen else []
        seen.add(name)
        found |= {node.op for node in new}
        waiting_functions += [function for node in new for function in called(node)]
    return found


def called(node):
    """Names of the functions in the attributes of `node`."""
    for attribute in node.attr.values():
        for function in (attribute.func, *attribute.list.func):
            if function.name:
                yield function.name


def node_name(key):
    """The node behind a tensor's name: "^node", "node", "node:0"."""
    return key.lstrip("^").split(":")[0]


def check_tensors(signature, found, declared):
    import tensorflow as tf

    if set(found) != set(declared):
        raise ValueError(f"signature {signature} has {sorted(found)}, declared are {sorted(declared)}")
    for name, tensor in found.items():
        sizes = [each.size for each in tensor.tensor_shape.dim]
        wanted = [-1 if isinstance(size, str) else size for size in declared[name]["shape"]]
        # An output's size that TensorFlow cannot infer is -1; running it shows the size.
        fits = len(sizes) == len(wanted) and all(size in (-1, other) for size, other in zip(sizes, wanted, strict=True))
        dtype = declared[name]["dtype"]
        if tensor.dtype != tf.as_dtype(dtype).as_datatype_enum or not fits:
            raise ValueError(
                f"{name} of signature {signature} is of type {tensor.dtype}, {sizes}; {dtype} {wanted} is declared"
            )


# Running.


def open_signatures(folder):
    """name -> function of a checked SavedModel, each from name -> array to name -> array."""
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises its own classes, and Python's, on damaged variables
        raise ValueError(f"TensorFlow does not load it ({one_line(error)})") from None
    functions = {name: as_arrays(function) for name, function in loaded.signatures.items()}
    for function in functions.values():
        function.keep_alive = loaded  # a signature does not keep its variables
    return functions


def as_arrays(function):
    """A signature, a function from tensors by name to a dict of tensors, on NumPy arrays and in full float32."""
    import tensorflow as tf

    def run(inputs):
        try:
            with full_float32():
                outputs = function(**{name: tf.constant(array) for name, array in inputs.items()})
        except Exception as error:  # TensorFlow's classes, and Python's from the code of an endpoint
            raise ValueError(f"TensorFlow does not run it ({one_line(error)})") from error
        return {name: tensor.numpy() for name, tensor in outputs.items()}

    return run


@contextlib.contextmanager
def full_float32():
    """Without TensorFloat-32, which on recent GPUs rounds the factors of a matrix product to 10 bits."""
    import tensorflow as tf

    enabled = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(enabled)
