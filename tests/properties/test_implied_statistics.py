"""implied_statistics and gradient_identities: they kill their mutants and say what is wrong."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import normcheck
from normcheck.properties import registry
from normcheck.record import Check, Verdict

Shape = tuple[int, ...]
Affine = Tensor | None
OUTPUTS, GRADIENTS = "implied_statistics", "gradient_identities"


def wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def short(value: Tensor, bits: int) -> Tensor:
    """Keep that many bits of the significand, rounded to nearest."""
    fraction, exponent = torch.frexp(value)
    return torch.ldexp(torch.round(fraction * 2.0**bits), exponent - bits).to(value.dtype)


def layer(
    x: Tensor,
    weight: Affine,
    bias: Affine,
    eps: float,
    *,
    of_mean: Callable[[Tensor], Tensor] = lambda m: m,
    of_root: Callable[[Tensor], Tensor] = lambda r: r,
    of_value: Callable[[Tensor], Tensor] = lambda v: v,
) -> Tensor:
    """Layer norm over the last dimension, with a place to go wrong at each step."""
    h = wide(x)
    mean = of_mean(h.mean(-1, keepdim=True))
    variance = (h - h.mean(-1, keepdim=True)).square().mean(-1, keepdim=True)
    value = of_value((h - mean) * of_root(torch.rsqrt(variance + eps)))
    value = value if weight is None else value * weight
    return (value if bias is None else value + bias).to(x.dtype)


def right(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    return layer(x, weight, bias, eps)


def mean_in_bfloat16(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    return layer(x, weight, bias, eps, of_mean=lambda m: m.bfloat16().to(m.dtype))


def root_of_sixteen_bits(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    """An approximate reciprocal root without its Newton step."""
    return layer(x, weight, bias, eps, of_root=lambda r: short(r, 16))


def scale_of_long_rows(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    """Rows of 1000 elements and more come out 1 + 2**-9 times too large."""
    stretch = 1 + 2.0**-9 if x.shape[-1] >= 1000 else 1.0
    return layer(x, weight, bias, eps, of_value=lambda v: v * stretch)


def products_of_twenty_bits(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
    """A path for long rows that multiplies in a short format; the statistics are right."""
    bits = 20 if x.shape[-1] >= 4096 else 53
    return layer(x, weight, bias, eps, of_value=lambda v: short(v, bits) if bits < 24 else v)


def root_behind_a_cast(x: Tensor, weight: Affine, eps: float) -> Tensor:
    """Llama's RMSNorm, whose reciprocal root was rounded to the input's format."""
    h = wide(x)
    root = torch.rsqrt(h.square().mean(-1, keepdim=True) + eps).to(x.dtype)
    value = (h * root).to(x.dtype)
    return value if weight is None else weight * value


class _Norm(torch.autograd.Function):
    """A layer norm with its own backward pass, which a step may spoil."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, eps: float, spoil: str) -> Tensor:
        mean = h.mean(-1, keepdim=True)
        root = torch.rsqrt((h - mean).square().mean(-1, keepdim=True) + eps)
        value = (h - mean) * root
        ctx.spoil = spoil
        ctx.save_for_backward(value, root)
        return value

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        value, root = ctx.saved_tensors
        mean, projected = g.mean(-1, keepdim=True), (g * value).mean(-1, keepdim=True)
        match ctx.spoil:
            case "root":
                root = root.bfloat16().to(root.dtype)
            case "mean":
                mean = mean * (1 - 2.0**-11)
            case "projection":
                projected = projected.bfloat16().to(projected.dtype)
            case "unbiased":
                projected = projected * g.shape[-1] / max(g.shape[-1] - 1, 1)
        return root * (g - mean - value * projected), None, None


def differentiated(spoil: str) -> Callable[..., Tensor]:
    def layer_norm(x: Tensor, weight: Affine, bias: Affine, eps: float) -> Tensor:
        value: Tensor = _Norm.apply(wide(x), eps, spoil)  # type: ignore[no-untyped-call]
        value = value if weight is None else value * weight
        return (value if bias is None else value + bias).to(x.dtype)

    return layer_norm


def judged(
    target: Callable[..., Tensor], name: str, dtype: str, op: str = "layer_norm", **more: Any
) -> Check:
    record = normcheck.run(
        target,
        op=op,
        dtypes=[dtype],
        profile="quick",
        properties=[name],
        fail_fast=True,
        **more,
        verdict_only=True,
    )
    (check,) = record.checks
    return check


FORWARD = [
    (mean_in_bfloat16, "float32", "layer_norm"),
    (mean_in_bfloat16, "bfloat16", "layer_norm"),
    (root_of_sixteen_bits, "float32", "layer_norm"),
    (root_of_sixteen_bits, "bfloat16", "layer_norm"),
    (root_of_sixteen_bits, "float64", "layer_norm"),
    (scale_of_long_rows, "bfloat16", "layer_norm"),
    (products_of_twenty_bits, "float32", "layer_norm"),
    (root_behind_a_cast, "bfloat16", "rms_norm"),
    (root_behind_a_cast, "float16", "rms_norm"),
]
WORDS = {
    mean_in_bfloat16: "the mean is off",
    root_of_sixteen_bits: "the reciprocal root is off",
    scale_of_long_rows: "the reciprocal root is off",
    products_of_twenty_bits: "no error of the statistics explains it",
    root_behind_a_cast: "the reciprocal root is off",
}


@pytest.mark.parametrize(
    ("mutant", "dtype", "op"), FORWARD, ids=[f"{m.__name__}-{d}" for m, d, _ in FORWARD]
)
def test_a_wrong_statistic_is_seen_in_the_outputs(
    mutant: Callable[..., Tensor], dtype: str, op: str
) -> None:
    check = judged(mutant, OUTPUTS, dtype, op)
    assert check.verdict is Verdict.FAIL
    assert WORDS[mutant] in check.failures[0].message
    assert check.failures[0].ratio > 1.0


BACKWARD = [
    ("root", "float32", "the root that the backward pass uses is off"),
    ("root", "bfloat16", "the root that the backward pass uses is off"),
    ("mean", "float32", "the term with the mean of g is off"),
    ("projection", "float32", "the term with the mean of g x^ is off"),
    ("projection", "float16", "the term with the mean of g x^ is off"),
    ("unbiased", "float64", "the term with the mean of g x^ is off"),
]


@pytest.mark.parametrize(
    ("spoil", "dtype", "words"), BACKWARD, ids=[f"{s}-{d}" for s, d, _ in BACKWARD]
)
def test_a_wrong_step_of_the_backward_pass_is_seen(spoil: str, dtype: str, words: str) -> None:
    check = judged(differentiated(spoil), GRADIENTS, dtype)
    assert check.verdict is Verdict.FAIL
    assert any(words in failure.message for failure in check.failures)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("name", [OUTPUTS, GRADIENTS])
def test_the_same_code_without_a_wrong_step_is_not_blamed(name: str, dtype: str) -> None:
    for target in (right, differentiated("")):
        check = judged(target, name, dtype)
        assert check.verdict is Verdict.PASS
        assert check.cases > 20
        assert check.worst_ratio <= 1.0


def test_what_hides_behind_the_statistics_of_long_rows_is_seen_by_this_property_alone() -> None:
    elementwise = judged(products_of_twenty_bits, "forward_accuracy", "float32")
    assert elementwise.verdict is Verdict.PASS
    assert judged(products_of_twenty_bits, OUTPUTS, "float32").verdict is Verdict.FAIL


def test_short_slices_are_not_judged() -> None:
    def rms_norm(x: Tensor, weight: Affine, eps: float) -> Tensor:
        if x.shape[-1] >= 16:
            raise ValueError(f"x has {x.shape[-1]} columns, but must have fewer than 16")
        return root_behind_a_cast(x, weight, eps)

    for name in (OUTPUTS, GRADIENTS):
        check = judged(rms_norm, name, "bfloat16", "rms_norm")
        assert check.verdict is Verdict.NOT_JUDGED


@pytest.mark.parametrize("name", [OUTPUTS, GRADIENTS])
def test_the_page_says_what_is_claimed_and_why(name: str) -> None:
    page = registry.find(name).explanation
    assert "docs/budgets.md" in page.bound
    assert page.claim.endswith(".")
    assert page.bugs
