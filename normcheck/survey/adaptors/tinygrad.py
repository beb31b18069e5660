"""tinygrad: modules on its own tensors; values go and come as NumPy arrays, without gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LIBRARY", "batch_norm", "group_norm", "layer_norm", "prepare",
           "rms_norm"]  # fmt: skip


def prepare() -> None:
    """Normalize one row: tinygrad compiles its kernels with clang."""
    import numpy as np

    layer_norm(np.ones((1, 4), np.float32), (4,), None, None, 1e-5)


def _call(module: Any, x: Any, **parameters: Any) -> Any:
    from tinygrad import Tensor

    for name, value in parameters.items():
        if value is not None:
            setattr(module, name, Tensor(value))
    return module(Tensor(x)).numpy()


def _both(module: Callable[[bool], Any], x: Any, weight: Any, bias: Any, size: Any) -> Any:
    """The modules have both parameters or none."""
    import numpy as np

    if weight is None and bias is None:
        return _call(module(False), x)
    weight = np.ones(size, x.dtype) if weight is None else weight
    bias = np.zeros(size, x.dtype) if bias is None else bias
    return _call(module(True), x, weight=weight, bias=bias)


def layer_norm(
    x: Any, normalized_shape: tuple[int, ...], weight: Any, bias: Any, eps: float
) -> object:
    """``nn.LayerNorm``."""
    from tinygrad import nn

    return _both(
        lambda affine: nn.LayerNorm(normalized_shape, eps, affine),
        x, weight, bias, normalized_shape,
    )  # fmt: skip


def rms_norm(x: Any, weight: Any, eps: float) -> object:
    """``nn.RMSNorm``."""
    from tinygrad import nn

    module = nn.RMSNorm(x.shape[-1], eps, elementwise_affine=weight is not None)
    return _call(module, x, weight=weight)


def group_norm(x: Any, num_groups: int, weight: Any, bias: Any, eps: float) -> object:
    """``nn.GroupNorm``."""
    from tinygrad import nn

    channels = x.shape[1]
    return _both(
        lambda affine: nn.GroupNorm(num_groups, channels, eps, affine), x, weight, bias, channels
    )


def batch_norm(
    x: Any, running_mean: Any, running_var: Any, weight: Any, bias: Any, training: bool,
    momentum: float, eps: float,
) -> object:  # fmt: skip
    """``nn.BatchNorm``; running statistics are written back."""
    from tinygrad import Context, Tensor, nn

    def module(affine: bool) -> Any:
        built = nn.BatchNorm(x.shape[1], eps, affine, running_mean is not None, momentum)
        if running_mean is not None:
            built.running_mean, built.running_var = Tensor(running_mean), Tensor(running_var)
        kept.append(built)
        return built

    kept: list[Any] = []
    with Context(TRAINING=int(training)):
        y = _both(module, x, weight, bias, x.shape[1])
    if running_mean is not None and training:
        running_mean[:] = kept[0].running_mean.numpy()
        running_var[:] = kept[0].running_var.numpy()
    return y


def _subject(name: str, op: str) -> Subject:
    return Subject(name, op, f":{op}", ("float16", "float32"), framework="numpy")


LIBRARY = Library(
    "tinygrad",
    ("tinygrad",),
    (
        _subject("LayerNorm", "layer_norm"),
        _subject("RMSNorm", "rms_norm"),
        _subject("GroupNorm", "group_norm"),
        _subject("BatchNorm", "batch_norm"),
    ),
    prepare="prepare",
)
