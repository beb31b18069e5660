"""torchvision: its two norms of images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from normcheck.survey.subject import Library, Subject

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LIBRARY", "frozen_batch_norm", "importable", "layer_norm_2d"]


_KEPT: list[object] = []  # an operator goes with the object that defined it


def importable() -> None:
    """Import torchvision, also where its compiled part was built for another torch.

    No norm needs that part, but the package imports only if the operators exist that it describes,
    and so does what imports it where it is installed. Does nothing where it is not.
    """
    import importlib
    import re
    from importlib.util import find_spec

    import torch

    while find_spec("torchvision") is not None:
        try:
            importlib.import_module("torchvision.ops")
        except RuntimeError as error:
            missing = re.search(r"operator torchvision::(\w+) does not exist", str(error))
            if missing is None:
                raise
            library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
            library.define(f"{missing[1]}() -> ()")  # type: ignore[no-untyped-call]
            _KEPT.append(library)
        else:
            return


def layer_norm_2d(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> object:
    """``ConvNeXt``'s LayerNorm2d: rows as the channels of images of one point."""
    importable()
    from torch.func import functional_call
    from torchvision.models.convnext import LayerNorm2d

    module = LayerNorm2d(x.shape[-1], eps=eps, elementwise_affine=weight is not None)
    values = {"weight": weight, "bias": bias}
    given = {name: value for name, value in values.items() if value is not None}
    y: Tensor = functional_call(module.to(x.dtype), given, (x.reshape(-1, x.shape[-1], 1, 1),))
    return y.reshape(x.shape)


def frozen_batch_norm(
    x: Tensor, running_mean: Tensor, running_var: Tensor, weight: Tensor, bias: Tensor,
    training: bool, eps: float,
) -> object:  # fmt: skip
    """``FrozenBatchNorm2d``, which never uses the batch."""
    importable()
    from torch.func import functional_call
    from torchvision.ops import FrozenBatchNorm2d

    if training or running_mean is None:
        raise ValueError("training is True, but FrozenBatchNorm2d has frozen statistics")
    module = FrozenBatchNorm2d(x.shape[1], eps=eps).to(x.dtype)
    values = {"running_mean": running_mean, "running_var": running_var}
    values |= {k: v for k, v in {"weight": weight, "bias": bias}.items() if v is not None}
    y: Tensor = functional_call(module, values, (x.reshape(*x.shape[:2], -1, 1),))
    return y.reshape(x.shape)


LIBRARY = Library(
    "torchvision",
    ("torchvision", "torch"),
    (
        Subject("LayerNorm2d", "layer_norm", ":layer_norm_2d"),
        Subject("FrozenBatchNorm2d", "batch_norm", ":frozen_batch_norm"),
    ),
    prepare="importable",
)
