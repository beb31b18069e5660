"""ONNX Runtime: one node of one operator, on its CPU provider."""

from __future__ import annotations

from functools import cache
from typing import Any

from normcheck.survey.subject import Library, Subject

__all__ = [
    "LIBRARY",
    "add_layer_norm",
    "add_rms_norm",
    "batch_norm",
    "instance_norm",
    "l2_norm",
    "layer_norm",
    "rms_norm",
    "simplified_layer_norm",
]

_MICROSOFT = "com.microsoft"


@cache
def _session(
    operator: str, domain: str, opset: int, dtype: str, ranks: tuple[int, ...],
    outputs: tuple[str, ...], attributes: tuple[tuple[str, Any], ...],
) -> Any:  # fmt: skip
    import numpy as np
    import onnxruntime
    from onnx import helper

    element = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    names = [f"i{place}" for place in range(len(ranks))]
    node = helper.make_node(operator, names, list(outputs), domain=domain, **dict(attributes))
    inputs = [
        helper.make_tensor_value_info(name, element, [None] * rank)
        for name, rank in zip(names, ranks, strict=True)
    ]
    results = [helper.make_tensor_value_info(o, element, [None] * ranks[0]) for o in outputs if o]
    graph = helper.make_graph([node], "norm", inputs, results)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid(_MICROSOFT, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _run(
    operator: str, inputs: list[Any], *, domain: str = "", opset: int = 23,
    outputs: tuple[str, ...] = ("y",), **attributes: Any,
) -> list[Any]:  # fmt: skip
    ranks = tuple(value.ndim for value in inputs)
    key = tuple(sorted(attributes.items()))
    session = _session(operator, domain, opset, inputs[0].dtype.name, ranks, outputs, key)
    given = {f"i{place}": value for place, value in enumerate(inputs)}
    found: list[Any] = session.run([o for o in outputs if o], given)
    return found


def _scale(x: Any, shape: tuple[int, ...], weight: Any, bias: Any) -> list[Any]:
    """The operators require a scale, and some a bias."""
    import numpy as np

    filled = [np.ones(shape, x.dtype) if weight is None else weight]
    return filled + ([] if bias is None else [bias])


def layer_norm(
    x: Any, normalized_shape: tuple[int, ...], weight: Any, bias: Any, eps: float
) -> object:
    """``LayerNormalization`` of opset 17."""
    inputs = [x, *_scale(x, normalized_shape, weight, bias)]
    axis = -len(normalized_shape)
    return _run("LayerNormalization", inputs, opset=17, axis=axis, epsilon=eps)[0]


def rms_norm(x: Any, normalized_shape: tuple[int, ...], weight: Any, eps: float) -> object:
    """``RMSNormalization`` of opset 23."""
    inputs = [x, *_scale(x, normalized_shape, weight, None)]
    return _run("RMSNormalization", inputs, axis=-len(normalized_shape), epsilon=eps)[0]


def simplified_layer_norm(x: Any, weight: Any, eps: float) -> object:
    """``SimplifiedLayerNormalization``, an RMSNorm that its optimizer fuses to."""
    inputs = [x, *_scale(x, x.shape[-1:], weight, None)]
    return _run("SimplifiedLayerNormalization", inputs, axis=-1, epsilon=eps)[0]


def add_rms_norm(x: Any, residual: Any, weight: Any, eps: float) -> object:
    """``SkipSimplifiedLayerNormalization``; it takes three dimensions, and its sum comes fourth."""
    scale = _scale(x, x.shape[-1:], weight, None)
    folded = [value.reshape(1, -1, x.shape[-1]) for value in (x, residual)]
    found = _run(
        "SkipSimplifiedLayerNormalization", [*folded, *scale], domain=_MICROSOFT,
        outputs=("y", "", "", "sum"), epsilon=eps,
    )  # fmt: skip
    return tuple(value.reshape(x.shape) for value in found)


def add_layer_norm(x: Any, residual: Any, weight: Any, bias: Any, eps: float) -> object:
    """``SkipLayerNormalization``; it takes three dimensions, and its sum comes fourth."""
    scale = _scale(x, x.shape[-1:], weight, bias)
    folded = [value.reshape(1, -1, x.shape[-1]) for value in (x, residual)]
    found = _run(
        "SkipLayerNormalization", [*folded, *scale], domain=_MICROSOFT,
        outputs=("y", "", "", "sum"), epsilon=eps,
    )  # fmt: skip
    return tuple(value.reshape(x.shape) for value in found)


def instance_norm(x: Any, weight: Any, bias: Any, eps: float) -> object:
    """``InstanceNormalization``."""
    import numpy as np

    shift = np.zeros(x.shape[1], x.dtype) if bias is None else bias
    inputs = [x, *_scale(x, x.shape[1:2], weight, shift)]
    return _run("InstanceNormalization", inputs, epsilon=eps)[0]


def batch_norm(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, training: bool,
    eps: float,
) -> object:  # fmt: skip
    """``BatchNormalization`` for inference."""
    import numpy as np

    if training or running_mean is None:
        raise ValueError("training is True, but this node is for inference")
    shift = np.zeros(x.shape[1], x.dtype) if bias is None else bias
    inputs = [x, *_scale(x, x.shape[1:2], weight, shift), running_mean, running_var]
    return _run("BatchNormalization", inputs, epsilon=eps)[0]


def l2_norm(x: Any) -> object:
    """``LpNormalization``, which has no epsilon."""
    return _run("LpNormalization", [x], opset=22, axis=-1, p=2)[0]


def _subject(name: str, op: str, function: str, *fixed: str) -> Subject:
    return Subject(name, op, f":{function}", ("float16", "float32"), fixed=fixed, framework="numpy")


LIBRARY = Library(
    "ONNX Runtime",
    ("onnxruntime", "onnx"),
    (
        _subject("LayerNormalization", "layer_norm", "layer_norm"),
        _subject("RMSNormalization", "rms_norm", "rms_norm"),
        _subject("SimplifiedLayerNormalization", "rms_norm", "simplified_layer_norm"),
        _subject("SkipLayerNormalization", "add_layer_norm", "add_layer_norm"),
        _subject("SkipSimplifiedLayerNormalization", "add_rms_norm", "add_rms_norm"),
        _subject("InstanceNormalization", "instance_norm", "instance_norm"),
        _subject("BatchNormalization", "batch_norm", "batch_norm"),
        _subject("LpNormalization", "l2_norm", "l2_norm", "eps=0"),
    ),
)
