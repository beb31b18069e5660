"""Honest batch norm over ranks: moments merged by count, sums in float32, float64 for float64."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def rows(x: Tensor) -> Tensor:
    """One contiguous row per channel."""
    return wide(x).transpose(0, 1).reshape(x.shape[1], x.numel() // max(x.shape[1], 1))


def back(values: Tensor, x: Tensor) -> Tensor:
    swapped = (x.shape[1], x.shape[0], *x.shape[2:])
    return values.reshape(swapped).transpose(0, 1)


def column(parameter: Tensor | None, otherwise: float, like: Tensor) -> Tensor:
    if parameter is None:
        return torch.full((like.shape[0], 1), otherwise, dtype=like.dtype)
    return wide(parameter)[:, None]


def gathered(mine: Tensor) -> Tensor:
    found = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(found, mine)
    return torch.stack(found)


def merged(values: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and variance of the whole batch, and its count: Chan, Golub, LeVeque, 1983."""
    count = values.shape[1]
    mean = values.mean(1) if count else values.new_zeros(values.shape[0])
    square = (values - mean[:, None]).square().sum(1)
    counts = gathered(torch.tensor([count])).flatten().tolist()
    means, squares = gathered(mean), gathered(square)
    total = sum(counts)
    if total < 2:
        raise ValueError(f"the whole batch has {total} values per channel, but training needs two")
    share = torch.tensor(counts, dtype=values.dtype)[:, None]
    whole = (share * means).sum(0) / total
    between = (share * (means - whole).square()).sum(0)
    return whole, (squares.sum(0) + between) / total, total


class SyncBatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        values = rows(x)
        mean, variance, total = merged(values)
        root = torch.rsqrt(variance + eps)[:, None]
        normalised = (values - mean[:, None]) * root
        ctx.save_for_backward(x, weight, bias, mean, root)
        ctx.total = total
        ctx.set_materialize_grads(False)
        y = normalised * column(weight, 1.0, values) + column(bias, 0.0, values)
        return back(y, x).to(x.dtype), mean, variance, total

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *unused: Any) -> Any:
        x, weight, bias, mean, root = ctx.saved_tensors
        values, d = rows(x), rows(dy)
        normalised = (values - mean[:, None]) * root
        own = torch.stack([d.sum(1), (d * normalised).sum(1)])
        whole = own.clone()
        dist.all_reduce(whole)
        centre, slope = (whole / ctx.total)[:, :, None]
        dx = column(weight, 1.0, values) * root * (d - centre - normalised * slope)
        return (
            back(dx, x).to(x.dtype),
            None if weight is None else own[1].to(weight.dtype),
            None if bias is None else own[0].to(bias.dtype),
            None,
        )


def update(running: Tensor | None, new: Tensor, momentum: float) -> None:
    if running is not None:
        with torch.no_grad():
            running.copy_((1.0 - momentum) * wide(running) + momentum * new)


def sync_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    process_group: Any = None,
) -> Tensor:
    if not training and running_mean is not None and running_var is not None:
        values = rows(x)
        root = torch.rsqrt(wide(running_var) + eps)[:, None]
        y = (values - wide(running_mean)[:, None]) * root
        y = y * column(weight, 1.0, values) + column(bias, 0.0, values)
        return back(y, x).to(x.dtype)
    found: tuple[Tensor, Tensor, Tensor, int] = SyncBatchNorm.apply(  # type: ignore[no-untyped-call]
        x, weight, bias, eps
    )
    y, mean, variance, total = found
    update(running_mean, mean, momentum)
    update(running_var, variance * (total / (total - 1)), momentum)
    return y
