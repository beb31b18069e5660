"""Weight, bias, residual and buffers in other formats than x: taken as they are, and judged."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.cases.pose import observed_of, pose
from normcheck.numerics.judge import Comparisons, judge
from normcheck.policy import Policy

BF16, F32, F64 = torch.bfloat16, torch.float32, torch.float64
Norm = Callable[[Tensor, Tensor, float], Tensor]


def mixed(tail: str, **dtypes: torch.dtype) -> Inputs:
    """Build a case, then replace parameters by values that only their own format holds."""
    inputs = materialise(Case.parse(f"nc1:{tail}"))
    tensors = dict(inputs.tensors)
    for name, dtype in dtypes.items():
        noise = torch.linspace(0.9, 1.1, tensors[name].numel(), dtype=F64)
        tensors[name] = (tensors[name].double() * noise.reshape(tensors[name].shape)).to(dtype)
    return replace(inputs, tensors=tensors)


def normalised(x: Tensor, eps: float) -> Tensor:
    h = x.float()
    return h * torch.rsqrt(h.square().mean(-1, keepdim=True) + eps)


def fused(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return (normalised(x, eps) * weight.float()).to(x.dtype)


def fused_promoted(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return normalised(x, eps) * weight.float()


def cast_then_scale(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return (weight * normalised(x, eps).to(x.dtype)).to(x.dtype)


def cast_then_scale_promoted(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return weight * normalised(x, eps).to(x.dtype)


def weight_rounded_first(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return (normalised(x, eps) * weight.to(x.dtype)).to(x.dtype)


def weight_rounded_to_half(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    return (normalised(x, eps) * weight.bfloat16()).to(x.dtype)


def judged(norm: Norm, inputs: Inputs, policy: Policy = Policy()) -> Comparisons:  # noqa: B008
    """Judge a norm's outputs and autograd's gradients."""
    leaves = {n: inputs.tensors[n].clone().requires_grad_() for n in ("x", "weight")}
    y = norm(leaves["x"], leaves["weight"], inputs.eps)
    dy = inputs.dy["y"].to(y.dtype)
    found = torch.autograd.grad(y, list(leaves.values()), dy)
    posed = replace(inputs, dy={"y": dy})
    observed = observed_of(posed, {"y": y.detach()}, dict(zip(leaves, found, strict=True)), {})
    return judge(pose(posed, policy), observed)


def best(compared: Comparisons, tensor: str) -> float:
    return min(found.ratio for found in compared[tensor].values())


CASE = "rms_norm/{}/66x64/calm"
PAIRS = [("bf16", BF16, F32), ("bf16", BF16, F64), ("f16", torch.float16, F32),
         ("f32", F32, BF16), ("f32", F32, F64)]  # fmt: skip


@pytest.mark.parametrize(
    "norm", [fused, fused_promoted, cast_then_scale, cast_then_scale_promoted],
    ids=lambda norm: norm.__name__,
)  # fmt: skip
@pytest.mark.parametrize(("short", "dtype", "parameter"), PAIRS)
def test_honest_norms_with_another_weight_pass(
    norm: Norm, short: str, dtype: torch.dtype, parameter: torch.dtype
) -> None:
    inputs = mixed(CASE.format(short), weight=parameter)
    assert (inputs.tensors["x"].dtype, inputs.tensors["weight"].dtype) == (dtype, parameter)
    compared = judged(norm, inputs)
    for tensor in ("y", "grad_x", "grad_weight"):
        assert best(compared, tensor) <= 1.0, tensor
        assert all(found.judged for found in compared[tensor].values())


@pytest.mark.parametrize(("short", "parameter"), [("bf16", F32), ("f16", F32), ("bf16", F64)])
def test_a_wider_weight_that_is_rounded_to_the_input_fails(
    short: str, parameter: torch.dtype
) -> None:
    inputs = mixed(CASE.format(short), weight=parameter)
    assert best(judged(weight_rounded_first, inputs), "y") > 1.0


def test_a_weight_that_is_rounded_to_half_beside_a_float32_input_fails() -> None:
    inputs = mixed(CASE.format("f32"), weight=F32)
    assert best(judged(weight_rounded_to_half, inputs), "y") > 1000.0


def test_each_policy_explains_only_its_own_form_beside_a_wide_weight() -> None:
    inputs = mixed(CASE.format("bf16"), weight=F32)
    first, second = judged(fused, inputs)["y"], judged(cast_then_scale, inputs)["y"]
    assert first["fused"].ratio <= 1.0 < first["cast_then_scale"].ratio
    assert second["cast_then_scale"].ratio <= 1.0 < second["fused"].ratio
    promoted = judged(cast_then_scale_promoted, inputs)["y"]
    assert promoted["cast_then_scale"].ratio <= 1.0 < promoted["fused"].ratio


def test_a_narrow_weight_s_gradient_is_judged_in_its_own_format() -> None:
    compared = judged(fused, mixed(CASE.format("f32"), weight=BF16))
    (found,) = compared["grad_weight"].values()
    assert 0.5 < found.ratio <= 1.0


def residual_in(dtype: torch.dtype, *, rounds: torch.dtype | None) -> tuple[float, float]:
    """Judge a fused addition to a residual of that format; ratios of sum and output."""
    inputs = mixed("add_rms_norm/bf16/66x64/calm", residual=dtype)
    x, residual, weight = (inputs.tensors[n] for n in ("x", "residual", "weight"))
    total = x.float() + residual.float()
    read = total if rounds is None else total.to(rounds).float()
    y = (normalised(read, inputs.eps) * weight.float()).to(x.dtype)
    observed = observed_of(inputs, {"y": y, "residual_out": total.to(dtype)}, {}, {})
    compared = judge(pose(inputs, Policy()), observed)
    return best(compared, "residual_out"), best(compared, "y")


def test_a_float32_residual_is_read_as_it_is() -> None:
    # What the norm reads is the sum as accumulated or as returned, in float32 either way.
    assert max(residual_in(F32, rounds=None)) <= 1.0
    assert max(residual_in(F32, rounds=F32)) <= 1.0
    ratio, wrong = residual_in(F32, rounds=BF16)
    assert ratio <= 1.0 < wrong
    assert max(residual_in(BF16, rounds=BF16)) <= 1.0


@pytest.mark.parametrize("buffers", [F32, F64])
@pytest.mark.parametrize("mode", ["train", "eval"])
def test_wider_running_statistics_are_taken_as_they_are(mode: str, buffers: torch.dtype) -> None:
    tail = f"batch_norm/bf16/5x36x7/calm/mode={mode}"
    inputs = mixed(tail, running_mean=buffers, running_var=buffers)
    t = inputs.tensors
    x, count = t["x"].float(), 35
    mean, variance = x.mean((0, 2)), x.var((0, 2), unbiased=False)
    state = {}
    if mode == "eval":
        mean, variance = t["running_mean"].float(), t["running_var"].float()
    else:
        new = (mean, variance * (count / (count - 1)))
        for name, value in zip(("running_mean", "running_var"), new, strict=True):
            state[name] = (0.8 * t[name].float() + 0.2 * value).to(buffers)
    root = torch.rsqrt(variance + inputs.eps)
    y = (x - mean[:, None]) * root[:, None] * t["weight"].float()[:, None]
    y = (y + t["bias"].float()[:, None]).to(BF16)
    compared = judge(pose(inputs, Policy()), observed_of(inputs, {"y": y}, {}, state))
    assert set(compared) == {"y", *state}
    assert all(best(compared, tensor) <= 1.0 for tensor in compared)
