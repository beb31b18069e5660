"""The judge's exact results of the newer ops, against torch's own functions in float64.

Inputs are float32, and what float64 autograd makes of them is handed to the judge as a float64
observation: its error is 2**-53 times a few hundred, the budget that of float32. A wrong formula
would be off by the size of the tensor, 10**7 times the budget.
"""

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.cases.pose import observed_of, pose
from normcheck.numerics.judge import judge
from normcheck.policy import Policy

Tensors = Mapping[str, Tensor]


def weight_norm(t: Tensors, inputs: Inputs) -> Tensor:
    return torch._weight_norm(t["x"], t["weight"], 0)


def qk_norm(t: Tensors, inputs: Inputs) -> Tensor:
    size = t["x"].shape[-1:]
    weights = t.get("weight", [None, None])
    pairs = zip(t["x"], weights, strict=True)
    return torch.stack([F.rms_norm(x, size, w, inputs.eps) for x, w in pairs])


def qk_layer_norm(t: Tensors, inputs: Inputs) -> Tensor:
    size = t["x"].shape[-1:]
    none = [None, None]
    triples = zip(t["x"], t.get("weight", none), t.get("bias", none), strict=True)
    return torch.stack([F.layer_norm(x, size, w, b, inputs.eps) for x, w, b in triples])


def qk_l2_norm(t: Tensors, inputs: Inputs) -> Tensor:
    return torch.stack([F.normalize(x, dim=-1, eps=inputs.eps) for x in t["x"]])


def grouped_rms(x: Tensor, inputs: Inputs) -> Tensor:
    size = x.shape[-1] // inputs.case.groups
    groups = x.reshape(*x.shape[:-1], -1, size)
    return F.rms_norm(groups, (size,), None, inputs.eps).reshape(x.shape)


def rms_norm_gated(t: Tensors, inputs: Inputs) -> Tensor:
    return grouped_rms(t["x"], inputs) * t.get("weight", torch.tensor(1.0)) * F.silu(t["z"])


def rms_norm_gated_before(t: Tensors, inputs: Inputs) -> Tensor:
    return grouped_rms(t["x"] * F.silu(t["z"]), inputs) * t.get("weight", torch.tensor(1.0))


def ada_layer_norm(t: Tensors, inputs: Inputs) -> Tensor:
    normalised = F.layer_norm(t["x"], t["x"].shape[-1:], None, None, inputs.eps)
    return normalised * (1 + t["weight"][:, None]) + t["bias"][:, None]


def ada_layer_norm_plain(t: Tensors, inputs: Inputs) -> Tensor:
    normalised = F.layer_norm(t["x"], t["x"].shape[-1:], None, None, inputs.eps)
    return normalised * t["weight"][:, None] + t["bias"][:, None]


def masked_batch_norm(t: Tensors, inputs: Inputs) -> Tensor:
    case, mask = inputs.case, t["mask"]
    chosen = t["x"].transpose(1, 2)[mask]
    y = F.batch_norm(
        chosen, t.get("running_mean"), t.get("running_var"), t.get("weight"), t.get("bias"),
        case.mode == "train", case.momentum, inputs.eps,
    )  # fmt: skip
    empty = torch.zeros_like(t["x"]).transpose(1, 2)
    return empty.index_put(mask.nonzero(as_tuple=True), y).transpose(1, 2)


Oracle = Callable[[Tensors, Inputs], Tensor]
CASES: list[tuple[str, Oracle, Policy]] = [
    ("weight_norm/f32/5x33/calm", weight_norm, Policy()),
    ("weight_norm/f32/4x3x5x2/plain", weight_norm, Policy()),
    ("qk_norm/f32/2x2x3x4x16/calm", qk_norm, Policy()),
    ("qk_norm/f32/2x1x3x2x33/plain/weight=none/eps=0.5", qk_norm, Policy()),
    ("qk_layer_norm/f32/2x2x3x4x16/calm", qk_layer_norm, Policy()),
    ("qk_layer_norm/f32/2x1x5x1x7/plain/bias=none", qk_layer_norm, Policy()),
    ("qk_l2_norm/f32/2x2x3x4x16/calm", qk_l2_norm, Policy()),
    ("rms_norm_gated/f32/9x48/calm", rms_norm_gated, Policy()),
    ("rms_norm_gated/f32/3x5x48/calm/groups=6/eps=0.01", rms_norm_gated, Policy()),
    ("rms_norm_gated/f32/9x48/calm/weight=none", rms_norm_gated, Policy()),
    ("rms_norm_gated/f32/9x48/calm/groups=4", rms_norm_gated_before, Policy(gate="before")),
    ("rms_norm_gated/f32/9x17/calm/weight=none", rms_norm_gated_before, Policy(gate="before")),
    ("ada_layer_norm/f32/3x7x16/calm", ada_layer_norm, Policy()),
    ("ada_layer_norm/f32/3x7x16/calm", ada_layer_norm, Policy(weight="one_plus")),
    ("ada_layer_norm/f32/1x7x33/plain", ada_layer_norm_plain, Policy(weight="plain")),
    ("masked_batch_norm/f32/5x4x9/calm", masked_batch_norm, Policy()),
    ("masked_batch_norm/f32/5x4x9/calm/seed=1", masked_batch_norm, Policy()),
    ("masked_batch_norm/f32/5x4x9/calm/mode=eval", masked_batch_norm, Policy()),
    ("masked_batch_norm/f32/6x3x8/calm/stats=none/weight=none/bias=none", masked_batch_norm,
     Policy()),
]  # fmt: skip


def worst_ratios(tail: str, oracle: Oracle, policy: Policy) -> dict[str, float]:
    """Judge what float64 makes of a float32 case; ratios by tensor."""
    inputs = materialise(Case.parse(f"nc1:{tail}"))
    wide = {n: t.double() if t.is_floating_point() else t for n, t in inputs.tensors.items()}
    leaves = [p.name for p in inputs.op.tensors if p.differentiable and p.name in wide]
    for name in leaves:
        wide[name] = wide[name].clone().requires_grad_()
    y = oracle(wide, inputs)
    found = torch.autograd.grad(y, [wide[n] for n in leaves], inputs.dy["y"].double())
    state: dict[str, torch.Tensor] = {
        n: wide[n] for n in ("running_mean", "running_var") if n in wide
    }
    state = state if inputs.case.mode == "train" else {}
    observed = observed_of(inputs, {"y": y.detach()}, dict(zip(leaves, found, strict=True)), state)
    compared = judge(pose(inputs, policy), observed)
    assert set(compared) == {"y", *(f"grad_{n}" for n in leaves), *state}
    assert all(c.judged for offered in compared.values() for c in offered.values())
    return {n: offered["fused"].ratio for n, offered in compared.items()}


@pytest.mark.parametrize(
    ("tail", "oracle", "policy"), CASES, ids=[f"{o.__name__}-{t}" for t, o, _ in CASES]
)
def test_exact_results_are_those_of_torch_in_float64(
    tail: str, oracle: Oracle, policy: Policy
) -> None:
    for tensor, ratio in worst_ratios(tail, oracle, policy).items():
        assert ratio <= 2.0**-18, tensor


@pytest.mark.parametrize(
    ("tail", "oracle", "policy"),
    [
        ("rms_norm_gated/f32/9x48/calm", rms_norm_gated_before, Policy()),
        ("rms_norm_gated/f32/9x48/calm", rms_norm_gated, Policy(gate="before")),
        ("rms_norm_gated/f32/9x48/calm/groups=4", rms_norm_gated, Policy(weight="one_plus")),
        ("ada_layer_norm/f32/3x7x16/calm", ada_layer_norm_plain, Policy()),
        ("qk_norm/f32/2x2x3x4x16/calm", qk_norm, Policy(eps="outside")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_another_convention_than_the_declared_one_is_wrong(
    tail: str, oracle: Oracle, policy: Policy
) -> None:
    assert worst_ratios(tail, oracle, policy)["y"] > 1000
