"""Keras 3: the same layers on its torch and its JAX backend; weights are passed, not stored."""

from __future__ import annotations

from typing import Any

from normcheck.survey.subject import Library, Subject

__all__ = [
    "LIBRARY",
    "batch_norm",
    "batch_norm_of_a_batch",
    "group_norm",
    "l2_norm",
    "layer_norm",
    "rms_norm",
]


def _dtype(x: Any) -> str:
    import keras

    return str(keras.backend.standardize_dtype(x.dtype))


def _call(layer: Any, x: Any, weight: Any, bias: Any) -> Any:
    layer.build(tuple(x.shape))
    trainable = [value for value in (weight, bias) if value is not None]
    fixed = [variable.value for variable in layer.non_trainable_variables]
    y, _ = layer.stateless_call(trainable, fixed, x)
    return y


def layer_norm(
    x: Any, normalized_shape: tuple[int, ...], weight: Any, bias: Any, eps: float
) -> object:
    """``LayerNormalization``."""
    import keras

    axes = list(range(x.ndim - len(normalized_shape), x.ndim))
    layer = keras.layers.LayerNormalization(
        axis=axes, epsilon=eps, scale=weight is not None, center=bias is not None, dtype=_dtype(x)
    )
    return _call(layer, x, weight, bias)


def rms_norm(x: Any, weight: Any, eps: float) -> object:
    """``RMSNormalization``, which always has a scale."""
    import keras

    scale = keras.ops.ones(x.shape[-1:], dtype=_dtype(x)) if weight is None else weight
    layer = keras.layers.RMSNormalization(axis=-1, epsilon=eps, dtype=_dtype(x))
    return _call(layer, x, scale, None)


def group_norm(x: Any, num_groups: int, weight: Any, bias: Any, eps: float) -> object:
    """``GroupNormalization`` with its channels in second place; -1 group means one of each."""
    import keras

    if num_groups < 1:
        raise ValueError(f"num_groups is {num_groups}, but must be at least 1")
    layer = keras.layers.GroupNormalization(
        groups=num_groups, axis=1, epsilon=eps, scale=weight is not None,
        center=bias is not None, dtype=_dtype(x),
    )  # fmt: skip
    return _call(layer, x, weight, bias)


def l2_norm(x: Any) -> object:
    """``UnitNormalization``, whose epsilon is 1e-12."""
    import keras

    return keras.layers.UnitNormalization(axis=-1, dtype=_dtype(x))(x)


def _batch_layer(x: Any, weight: Any, bias: Any, momentum: float, eps: float) -> Any:
    import keras

    layer = keras.layers.BatchNormalization(
        axis=1, momentum=momentum, epsilon=eps, scale=weight is not None,
        center=bias is not None, dtype=_dtype(x),
    )  # fmt: skip
    layer.build(tuple(x.shape))
    return layer


def batch_norm(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, training: bool,
    momentum: float, eps: float,
) -> object:  # fmt: skip
    """``BatchNormalization`` on the torch backend; moving statistics are written back.

    The layer is built in the format of x, and rounds what it assigns to its variables to it.
    """
    if running_mean is not None and running_mean.dtype != x.dtype:
        raise TypeError(f"running_mean is {running_mean.dtype}, but the layer is of {x.dtype}")
    layer = _batch_layer(x, weight, bias, momentum, eps)
    trainable = [value for value in (weight, bias) if value is not None]
    moving = [running_mean, running_var]
    if running_mean is None:
        moving = [variable.value for variable in layer.non_trainable_variables]
    y, after = layer.stateless_call(trainable, moving, x, training=training)
    if running_mean is not None and training:
        for own, new in zip(moving, after, strict=True):
            own.copy_(new.detach())
    return y


def batch_norm_of_a_batch(x: Any, weight: Any, bias: Any, eps: float) -> object:
    """``BatchNormalization`` in training; its moving statistics are not looked at."""
    layer = _batch_layer(x, weight, bias, 0.9, eps)
    trainable = [value for value in (weight, bias) if value is not None]
    fixed = [variable.value for variable in layer.non_trainable_variables]
    y, _ = layer.stateless_call(trainable, fixed, x, training=True)
    return y


_RUNNING = ("running_var=biased", "momentum=old")
_LAYERS = (
    ("LayerNormalization", "layer_norm", ":layer_norm"),
    ("RMSNormalization", "rms_norm", ":rms_norm"),
    ("GroupNormalization", "group_norm", ":group_norm"),
    ("UnitNormalization", "l2_norm", ":l2_norm"),
)


def _torch(name: str, op: str, target: str, policies: tuple[str, ...] = ()) -> Subject:
    variables = {"KERAS_BACKEND": "torch"}
    return Subject(
        f"{name} on torch", op, target, policies=policies, framework="torch", variables=variables
    )


# Every shape is compiled for every format: one narrow format stands for both.
def _jax(name: str, op: str, target: str) -> Subject:
    return Subject(
        f"{name} on jax", op, target, ("bfloat16", "float32"), ("subnormals=flushed",),
        framework="jax",
        variables={"KERAS_BACKEND": "jax"},
    )  # fmt: skip


LIBRARY = Library(
    "Keras",
    ("keras", "torch", "jax"),
    (
        *(_torch(*layer) for layer in _LAYERS),
        _torch("BatchNormalization", "batch_norm", ":batch_norm", _RUNNING),
        *(_jax(*layer) for layer in _LAYERS),
        _jax("BatchNormalization", "batch_norm", ":batch_norm_of_a_batch"),
    ),
)
