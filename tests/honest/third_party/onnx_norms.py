"""ONNX Runtime's LayerNormalization on the CPU."""

from functools import cache

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

Array = NDArray[np.generic]
ELEMENTS = {
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
}


@cache
def session(
    dtype: str, rank: int, dims: int, eps: float, bias: bool
) -> onnxruntime.InferenceSession:
    element = ELEMENTS[dtype]
    names = ["x", "weight", *(["bias"] if bias else [])]
    node = helper.make_node("LayerNormalization", names, ["y"], axis=-dims, epsilon=eps)
    ranks = [rank, dims, dims]
    inputs = [
        helper.make_tensor_value_info(name, element, [None] * size)
        for name, size in zip(names, ranks, strict=False)
    ]
    y = helper.make_tensor_value_info("y", element, [None] * rank)
    graph = helper.make_graph([node], "layer_norm", inputs, [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def layer_norm(
    x: Array,
    normalized_shape: tuple[int, ...],
    weight: Array | None,
    bias: Array | None,
    eps: float,
) -> Array:
    if weight is None:
        raise ValueError("weight is None, but LayerNormalization requires a scale")
    given = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    run = session(x.dtype.name, x.ndim, len(normalized_shape), eps, bias is not None)
    y: Array = run.run(["y"], given)[0]
    return y
