"""Batch norms whose outputs or gradients are wrong in one way each."""

from __future__ import annotations

import torch
from torch import Tensor

from normcheck.properties.failure_modes.misreading import bits_as, in_storage_order
from normcheck.properties.failure_modes.right_ops import batch_norm
from normcheck.properties.failure_modes.steps import Frame, Step, averaged


@batch_norm("variance")
def one_pass_variance(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    return (averaged(h.square(), frame) - mean.square()).clamp_min(0)


@batch_norm("variance")
def half_sum_of_squares(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    total = averaged((h - mean).square(), frame, summed=True)
    return total.half().to(h.dtype) / max(frame.count, 1)


@batch_norm("root")
def eps_outside(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return 1.0 / (variance.sqrt() + eps)


@batch_norm("root")
def eps_minimum(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return torch.rsqrt(variance + max(eps, 1.001e-5))


@batch_norm("root")
def no_eps_in_evaluation(right: Step, variance: Tensor, eps: float, frame: Frame) -> Tensor:
    return right(variance, 0.0 if frame.fixed is not None else eps, frame)


@batch_norm("variance")
def unbiased_output(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(h, mean, frame)
    return found * (frame.count / max(frame.count - 1, 1))


@batch_norm("variance")
def padded_samples(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # Blocks of eight samples; those past the batch are zeros less the mean.
    missing = -h.shape[0] % 8 * h.shape[2]
    found: Tensor = right(h, mean, frame)
    return found + mean.square() * (missing / max(frame.count, 1))


@batch_norm("variance")
def averaged_shards(right: Step, h: Tensor, mean: Tensor, frame: Frame) -> Tensor:
    # Two shards of the batch: their variances are averaged, and how their means differ is lost.
    if h.shape[0] < 2:
        found: Tensor = right(h, mean, frame)
        return found
    parts = h.tensor_split(2)
    own = [averaged((p - averaged(p, frame)).square(), frame) for p in parts]
    return sum(v * (p.shape[0] / h.shape[0]) for v, p in zip(own, parts, strict=True))  # type: ignore[return-value]


@batch_norm("mean")
def shards_weighted_alike(right: Step, h: Tensor, frame: Frame) -> Tensor:
    # A shard of one sample counts as much as one of all the others.
    mean: Tensor = right(h, frame)
    if h.shape[0] < 3:
        return mean
    return (averaged(h[:1], frame) + averaged(h[1:], frame)) / 2.0


@batch_norm("dw")
def weight_gradient_of_one_shard(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    # Each rank keeps the gradient of its own half of the batch.
    found: Tensor = right(terms[: (terms.shape[0] + 1) // 2], frame)
    return found


@batch_norm("dx")
def unweighted_shard_means(
    right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame
) -> Tensor:
    # The means of two unequal shards of g are averaged as if they were equal.
    dx: Tensor = right(g, x_hat, root, frame)
    if frame.fixed is not None or g.shape[0] < 3:
        return dx
    wrong = (averaged(g[:1], frame) + averaged(g[1:], frame)) / 2.0
    return dx + (averaged(g, frame) - wrong) * root


@batch_norm("read")
def channels_last_as_contiguous(right: Step, x: Tensor, frame: Frame) -> Tensor:
    return right(in_storage_order(x), frame)


@batch_norm("read")
def one_by_one_taken_for_channels_last(right: Step, x: Tensor, frame: Frame) -> Tensor:
    # A layout told from strides alone: with one channel, both orders fit.
    h: Tensor = right(x, frame)
    ambiguous = x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last)
    if not (ambiguous and x.is_contiguous() and x.shape[1] > 1):
        return h
    return h.reshape(-1).reshape(x.shape[1], x.shape[0]).t().reshape(h.shape)


@batch_norm("read_dy")
def dy_read_in_storage_order(right: Step, dy: Tensor, frame: Frame) -> Tensor:
    return right(in_storage_order(dy), frame)


@batch_norm("affine")
def weight_bits_reinterpreted(
    right: Step, y: Tensor, weight: Tensor | None, bias: Tensor | None, frame: Frame
) -> Tensor:
    # The kernel is compiled for float32 parameters, and given others.
    if weight is not None and weight.dtype == torch.float16:
        weight = bits_as(weight, torch.bfloat16)
    return right(y, weight, bias, frame)


@batch_norm("dx")
def training_gradient_in_evaluation(
    right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame
) -> Tensor:
    return (g - averaged(g, frame) - x_hat * averaged(g * x_hat, frame)) * root


@batch_norm("dx")
def batch_root_in_evaluation(
    right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame
) -> Tensor:
    # The statistics of the batch, saved by the forward, where the running ones were used.
    dx: Tensor = right(g, x_hat, root, frame)
    if frame.fixed is None:
        return dx
    c = x_hat / root
    spread = averaged((c - averaged(c, frame)).square(), frame)
    return g * torch.rsqrt(spread + 1e-5)


@batch_norm("dw")
def no_weight_gradient_in_evaluation(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(terms, frame)
    return 0.0 * found if frame.fixed is not None else found


@batch_norm("dx")
def mean_term_missing(right: Step, g: Tensor, x_hat: Tensor, root: Tensor, frame: Frame) -> Tensor:
    dx: Tensor = right(g, x_hat, root, frame)
    return dx if frame.fixed is not None else dx + averaged(g, frame) * root


@batch_norm("saved")
def variance_saved_for_root(
    right: Step, x_hat: Tensor, variance: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    return x_hat, variance


_FIRST: dict[torch.Size, Tensor] = {}


@batch_norm("saved")
def root_of_the_first_step(
    right: Step, x_hat: Tensor, variance: Tensor, root: Tensor
) -> tuple[Tensor, Tensor]:
    # A compiled training step that keeps the statistics with which it was traced.
    return x_hat, _FIRST.setdefault(x_hat.shape, root.detach()).to(root.dtype)


@batch_norm("db")
def bfloat16_bias_gradient(right: Step, terms: Tensor, frame: Frame) -> Tensor:
    sums = terms.sum(2, keepdim=True).bfloat16().to(terms.dtype)
    found: Tensor = right(sums, frame)
    return found


@batch_norm("write")
def samples_over_65535(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    launched = (torch.arange(y.shape[0], device=y.device) < 65535).to(y.dtype)
    return right(y * launched.reshape(-1, 1, 1), x, frame)


@batch_norm("write")
def float32_in_training(right: Step, y: Tensor, x: Tensor, frame: Frame) -> Tensor:
    found: Tensor = right(y, x, frame)
    return found.float() if frame.fixed is None else found
