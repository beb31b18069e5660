"""Batch norms over ranks that are wrong in one way each: forward, backward, buffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True, slots=True)
class _Moments:
    """Of the whole batch, and of the shard."""

    mean: Tensor
    variance: Tensor
    total: int
    own_mean: Tensor
    own_variance: Tensor
    own_count: int


def _rows(x: Tensor) -> Tensor:
    h = x if x.dtype == torch.float64 else x.float()
    return h.transpose(0, 1).reshape(x.shape[1], x.numel() // max(x.shape[1], 1))


def _back(values: Tensor, x: Tensor) -> Tensor:
    swapped = (x.shape[1], x.shape[0], *x.shape[2:])
    return values.reshape(swapped).transpose(0, 1).to(x.dtype)


def _gathered(mine: Tensor) -> Tensor:
    found = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(found, mine)
    return torch.stack(found)


def _moments(values: Tensor, dtype: torch.dtype, fault: str) -> _Moments:
    count = values.shape[1]
    empty = count == 0 and fault != "empty is nan"
    mean = values.new_zeros(values.shape[0]) if empty else values.mean(1)
    square = (values - mean[:, None]).square().sum(1)
    counts = _gathered(torch.tensor([count])).to(values.dtype)
    means, squares = _gathered(mean), _gathered(square)
    if fault == "counts in half":
        total = int(counts.to(dtype).sum(0).nan_to_num(posinf=torch.finfo(dtype).max))
    else:
        total = int(counts.sum())
    if total < 2:
        raise ValueError(f"the whole batch has {total} values per channel")
    whole = means.mean(0) if fault == "equal weights" else (counts * means).sum(0) / total
    between = (counts * (means - whole).square()).sum(0)
    if fault == "variance of means":
        between = torch.zeros_like(between)
    variance = (squares.sum(0) + between) / total
    own = square / max(count, 1)
    return _Moments(whole, variance, total, mean, own, count)


class _Sync(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Any, bias: Any, moments: _Moments, eps: float, fault: str
    ) -> Tensor:
        values = _rows(x)
        mean = moments.mean[:, None]
        root = torch.rsqrt(moments.variance + eps)[:, None]
        ctx.save_for_backward(x, weight, bias, mean, root)
        ctx.total, ctx.fault = moments.total, fault
        y = (values - mean) * root
        y = y if weight is None else y * weight[:, None]
        return _back(y if bias is None else y + bias[:, None], x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        x, weight, bias, mean, root = ctx.saved_tensors
        values, d, fault = _rows(x), _rows(dy), ctx.fault
        x_hat = (values - mean) * root
        own = torch.stack([d.sum(1), (d * x_hat).sum(1)])
        whole = own.clone()
        if fault == "unweighted":
            whole /= max(values.shape[1], 1)
        if fault != "local gradient":
            dist.all_reduce(whole)
        count = dist.get_world_size() if fault == "unweighted" else ctx.total
        centre, slope = (whole / count)[:, :, None]
        dx = root * (d - centre - x_hat * slope)
        dx = dx if weight is None else dx * weight[:, None]
        if fault == "reduced twice":
            dist.all_reduce(own)
        dw = None if weight is None else own[1].to(weight.dtype)
        db = None if bias is None else own[0].to(bias.dtype)
        return _back(dx, x), dw, db, None, None, None


def _update(buffer: Tensor | None, value: Tensor, momentum: float) -> None:
    if buffer is not None:
        with torch.no_grad():
            buffer.copy_((1.0 - momentum) * buffer.to(value.dtype) + momentum * value)


def _norm(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float, fault: str,
) -> Tensor:  # fmt: skip
    values = _rows(x)
    if not training and running_mean is not None and running_var is not None:
        mean, variance = running_mean.to(values.dtype), running_var.to(values.dtype)
        h = (values - mean[:, None]) * torch.rsqrt(variance + eps)[:, None]
        h = h if weight is None else h * weight[:, None]
        return _back(h if bias is None else h + bias[:, None], x)
    with torch.no_grad():
        moments = _moments(values, x.dtype, fault)
    y: Tensor = _Sync.apply(x, weight, bias, moments, eps, fault)  # type: ignore[no-untyped-call]
    new_mean, new_variance, count = moments.mean, moments.variance, moments.total
    if fault == "local count":
        count = moments.own_count
    if fault == "own buffers" and moments.own_count:
        new_mean, new_variance = moments.own_mean, moments.own_variance
    _update(running_mean, new_mean, momentum)
    _update(running_var, new_variance * (count / max(count - 1, 1)), momentum)
    return y


def averaged_variances(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps, "variance of means"
    )


def equal_weights(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps, "equal weights"
    )


def local_count(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(x, running_mean, running_var, weight, bias, training, momentum, eps, "local count")


def counts_in_half(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps, "counts in half"
    )


def empty_shard_is_nan(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps, "empty is nan"
    )


def unweighted_gradient_means(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(x, running_mean, running_var, weight, bias, training, momentum, eps, "unweighted")


def local_gradient(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps, "local gradient"
    )


def parameters_reduced_twice(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(
        x, running_mean, running_var, weight, bias, training, momentum, eps, "reduced twice"
    )


def buffers_of_own_shard(
    x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None,
    bias: Tensor | None, training: bool, momentum: float, eps: float,
) -> Tensor:  # fmt: skip
    return _norm(x, running_mean, running_var, weight, bias, training, momentum, eps, "own buffers")
