"""timm: norms of rows, and of the channels of images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "LIBRARY",
    "group_norm_1",
    "layer_norm",
    "layer_norm_2d",
    "layer_norm_exp_2d",
    "layer_norm_fp32",
    "prepare",
    "rms_norm",
    "rms_norm_2d",
    "rms_norm_fp32",
]


def prepare() -> None:
    """Import timm's norms; timm imports torchvision."""
    from normcheck.survey.adaptors.torchvision import importable

    importable()
    import timm.layers  # noqa: F401


def _call(name: str, x: Tensor, weight: Tensor, bias: Any, eps: float, image: bool) -> object:
    """Call a module on rows, or on rows as the channels of images of one point."""
    prepare()
    import timm.layers.norm
    from torch.func import functional_call

    columns = x.shape[-1]
    module = getattr(timm.layers.norm, name)(columns, eps=eps).to(x.dtype)
    values = {"weight": weight, "bias": bias}
    given = {key: value for key, value in values.items() if value is not None}
    shaped = x.reshape(-1, columns, 1, 1) if image else x
    y: Tensor = functional_call(module, given, (shaped,))
    return y.reshape(x.shape)


def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> object:
    """``LayerNorm``."""
    return _call("LayerNorm", x, weight, bias, eps, image=False)


def layer_norm_fp32(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> object:
    """``LayerNormFp32``."""
    return _call("LayerNormFp32", x, weight, bias, eps, image=False)


def layer_norm_2d(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> object:
    """``LayerNorm2d``."""
    return _call("LayerNorm2d", x, weight, bias, eps, image=True)


def layer_norm_exp_2d(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> object:
    """``LayerNormExp2d`` on an image that is not contiguous, for which it has its own formula."""
    prepare()
    import timm.layers.norm
    from torch.func import functional_call

    columns = x.shape[-1]
    module = timm.layers.norm.LayerNormExp2d(columns, eps=eps).to(x.dtype)
    values = {"weight": weight, "bias": bias}
    given = {key: value for key, value in values.items() if value is not None}
    # Two points, one of them read: a single one is contiguous whatever its strides are.
    image = x.reshape(-1, 1, 1, columns).expand(-1, 1, 2, columns).permute(0, 3, 1, 2)
    y: Tensor = functional_call(module, given, (image,))
    return y[..., 0].reshape(x.shape)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> object:
    """``RmsNorm``."""
    return _call("RmsNorm", x, weight, None, eps, image=False)


def rms_norm_fp32(x: Tensor, weight: Tensor, eps: float) -> object:
    """``RmsNormFp32``."""
    return _call("RmsNormFp32", x, weight, None, eps, image=False)


def rms_norm_2d(x: Tensor, weight: Tensor, eps: float) -> object:
    """``RmsNorm2d``."""
    return _call("RmsNorm2d", x, weight, None, eps, image=True)


def group_norm_1(x: Tensor, num_groups: int, weight: Tensor, bias: Tensor, eps: float) -> object:
    """``GroupNorm1``, which has one group."""
    prepare()
    import timm.layers.norm
    from torch.func import functional_call

    if num_groups != 1:
        raise ValueError(f"num_groups is {num_groups}, but GroupNorm1 has one group")
    module = timm.layers.norm.GroupNorm1(x.shape[1], eps=eps).to(x.dtype)
    values = {"weight": weight, "bias": bias}
    given = {key: value for key, value in values.items() if value is not None}
    return functional_call(module, given, (x,))


LIBRARY = Library(
    "timm",
    ("timm", "torchvision", "torch"),
    (
        Subject("LayerNorm", "layer_norm", ":layer_norm"),
        Subject("LayerNormFp32", "layer_norm", ":layer_norm_fp32"),
        Subject("LayerNorm2d", "layer_norm", ":layer_norm_2d"),
        Subject("LayerNormExp2d", "layer_norm", ":layer_norm_exp_2d"),
        Subject("RmsNorm", "rms_norm", ":rms_norm"),
        Subject("RmsNormFp32", "rms_norm", ":rms_norm_fp32"),
        Subject("RmsNorm2d", "rms_norm", ":rms_norm_2d"),
        Subject("GroupNorm1", "group_norm", ":group_norm_1"),
    ),
    prepare="prepare",
)
