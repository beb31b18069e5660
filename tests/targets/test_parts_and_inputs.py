"""Targets that take tensors in parts, along another axis, or more inputs than x."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normcheck.cases.case import Case
from normcheck.cases.corpus import expressible
from normcheck.cases.materialise import materialise
from normcheck.errors import TargetError
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter, UnexpectedReturn
from normcheck.targets.target import adapt

PAIR = Case("qk_norm", "float32", (2, 1, 3, 2, 4))


def bound(target: object, op: str, **options: Any) -> Adapter:
    policy = options.pop("policy", Policy())
    return adapt(target, "file.py:f", catalogue.find(op), policy, **options)


def doubled(query: Tensor, key: Tensor, wq: Tensor, wk: Tensor, eps: float) -> tuple[Tensor, ...]:
    return 2 * query + wq, 3 * key + wk


def test_parts_are_handed_out_and_stacked_back() -> None:
    adapter = bound(doubled, "qk_norm")
    assert adapter.binding.describe() == "query←q, key←k, wq←q_weight, wk←k_weight, eps"
    inputs = materialise(PAIR)
    tensors = {name: t.clone().requires_grad_() for name, t in inputs.tensors.items()}
    call = adapter.prepare(inputs, tensors)
    outputs = call.run()
    x, weight = inputs.tensors["x"], inputs.tensors["weight"]
    assert torch.equal(outputs["y"][0], 2 * x[0] + weight[0])
    assert torch.equal(outputs["y"][1], 3 * x[1] + weight[1])
    found = call.backward(outputs, inputs.dy)
    assert torch.equal(found["x"][0], 2 * inputs.dy["y"][0])
    assert torch.equal(found["x"][1], 3 * inputs.dy["y"][1])
    assert torch.allclose(found["weight"], inputs.dy["y"].sum((1, 2, 3)))


def test_a_pair_without_weights_is_judged_without() -> None:
    def plain(q: Tensor, k: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        return q, k

    adapter = bound(plain, "qk_norm")
    assert adapter.binding.missing == ("weight",)
    assert adapter.conform(PAIR).weight == "none"


def test_one_part_without_the_other_is_refused() -> None:
    def half(q: Tensor, k: Tensor, q_weight: Tensor, eps: float) -> Tensor:
        return q

    def single(x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return x

    with pytest.raises(TargetError, match="has no parameter for k_weight, but qk_norm has q, k, "):
        bound(half, "qk_norm")
    with pytest.raises(TargetError, match="has parameter 'x', but qk_norm has q, k, q_weight"):
        bound(single, "qk_norm")


def test_parts_of_different_shapes_are_unexpected() -> None:
    def grouped(q: Tensor, k: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        return q, k[:, :, :1]

    inputs = materialise(PAIR.changed(weight="none"))
    call = bound(grouped, "qk_norm").prepare(inputs, inputs.tensors)
    message = "file.py:f returned q_out, k_out as (1, 3, 1, 4) of torch.float32 and (1, 3, 2, 4)"
    with pytest.raises(UnexpectedReturn, match=re.escape(message)):
        call.run()


def test_one_tensor_is_no_pair() -> None:
    def stacked(q: Tensor, k: Tensor, eps: float) -> Tensor:
        return torch.stack([q, k])

    inputs = materialise(PAIR.changed(weight="none"))
    call = bound(stacked, "qk_norm").prepare(inputs, inputs.tensors)
    message = "returned a Tensor, but qk_norm returns the tensors (q_out, k_out)"
    with pytest.raises(UnexpectedReturn, match=re.escape(message)):
        call.run()


def test_destinations_of_parts_are_poisoned_and_filled() -> None:
    def into(q_out: Tensor, k_out: Tensor, q: Tensor, k: Tensor, eps: float) -> None:
        assert q_out.isnan().all()
        q_out.copy_(q)

    inputs = materialise(PAIR.changed(weight="none"))
    y = bound(into, "qk_norm").prepare(inputs, inputs.tensors).run()["y"]
    assert torch.equal(y[0], inputs.tensors["x"][0])
    assert y[1].isnan().all()


def test_parts_that_are_declared_to_be_written_in_place_are() -> None:
    def inplace(q: Tensor, k: Tensor, eps: float) -> None:
        q.zero_()
        k.fill_(1.0)

    inputs = materialise(PAIR.changed(weight="none"))
    adapter = bound(inplace, "qk_norm", policy=Policy(inplace=("x",)))
    tensors = {"x": inputs.tensors["x"].clone()}
    y = adapter.prepare(inputs, tensors).run()["y"]
    assert y[0].eq(0).all()
    assert y[1].eq(1).all()


def numpy_pair(q: Any, k: Any, eps: float) -> tuple[Any, Any]:
    return 2 * q, 3 * k


def test_numpy_parts_are_stacked_too() -> None:
    inputs = materialise(PAIR.changed(weight="none"))
    adapter = bound(numpy_pair, "qk_norm", framework="numpy")
    y = adapter.prepare(inputs, inputs.tensors).run()["y"]
    assert torch.equal(y[1], 3 * inputs.tensors["x"][1])


def test_a_module_of_parts_is_refused_with_an_adaptor() -> None:
    class QKNorm(nn.Module):
        pass

    with pytest.raises(TargetError, match="is a module, but qk_norm is judged on functions"):
        bound(QKNorm, "qk_norm")


@pytest.mark.parametrize("default", [True, False])
def test_the_axis_of_a_weight_norm_is_the_first(default: bool) -> None:
    def with_default(v: Tensor, g: Tensor, dim: int = -1) -> Tensor:
        assert dim == 0
        return v * g

    def without(v: Tensor, g: Tensor, dim: int) -> Tensor:
        assert dim == 0
        return v * g

    adapter = bound(with_default if default else without, "weight_norm")
    assert adapter.binding.describe() == "v←x, g←weight, dim←0"
    inputs = materialise(Case("weight_norm", "float32", (4, 3, 2)))
    assert inputs.tensors["weight"].shape == (4, 1, 1)
    assert adapter.prepare(inputs, inputs.tensors).run()["y"].shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("op", "parameters", "absent"),
    [
        ("weight_norm", "v", "weight"),
        ("rms_norm_gated", "x, weight, eps", "z"),
        ("ada_layer_norm", "x, scale, eps", "bias"),
        ("masked_batch_norm", "x, weight, bias, eps", "mask"),
        ("add_rms_norm", "x, weight, eps", "residual"),
    ],
)
def test_a_target_without_a_tensor_that_the_op_needs_is_refused(
    op: str, parameters: str, absent: str
) -> None:
    target = eval(f"lambda {parameters}: x")  # a signature is all that binding looks at
    with pytest.raises(TargetError, match=f"has no parameter for {absent}, but {op} has "):
        bound(target, op)


def test_a_gate_without_groups_is_tried_on_one_group() -> None:
    def gated(hidden_states: Tensor, gate: Tensor, weight: Tensor, eps: float) -> Tensor:
        return hidden_states * gate

    adapter = bound(gated, "rms_norm_gated")
    assert adapter.binding.missing == ("group_size",)
    assert adapter.conform(Case("rms_norm_gated", "float32", (4, 6), groups=3)).groups == 1


def test_the_size_of_a_group_is_passed() -> None:
    def gated(x: Tensor, g: Tensor, weight: Tensor, group_size: int, eps: float) -> Tensor:
        assert group_size == 2
        return x * g

    inputs = materialise(Case("rms_norm_gated", "float32", (4, 6), groups=3))
    adapter = bound(gated, "rms_norm_gated")
    assert adapter.binding.names["z"] == "g"
    assert adapter.prepare(inputs, inputs.tensors).run()["y"].shape == (4, 6)


@pytest.mark.parametrize("name", ["qk_norm", "ada_layer_norm", "masked_batch_norm"])
def test_a_case_conforms_to_the_shapes_of_the_op_and_stays_there(name: str) -> None:
    op = catalogue.find(name)
    case = expressible(Case(name, "float32", (8, 6)), op)
    assert case is not None
    assert expressible(case, op) == case


class Gated(nn.Module):
    def __init__(self, hidden_size: int, eps: float = 1e-5, group_size: int | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(hidden_size))
        self.eps, self.group_size = eps, group_size

    def forward(self, hidden_states: Tensor, gate: Tensor | None = None) -> Tensor:
        assert gate is not None
        assert self.group_size == 2
        return hidden_states * gate * self.weight


def test_a_module_gets_a_gate_under_its_own_name() -> None:
    adapter = bound(Gated, "rms_norm_gated")
    inputs = materialise(Case("rms_norm_gated", "float32", (4, 6), groups=3))
    t = inputs.tensors
    y = adapter.prepare(inputs, t).run()["y"]
    assert torch.equal(y, t["x"] * t["z"] * t["weight"])


class Adaptive(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()

    def forward(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return x * scale[:, None] + shift[:, None]


def test_a_scale_that_comes_with_every_call_is_no_parameter_of_the_module() -> None:
    adapter = bound(Adaptive, "ada_layer_norm")
    inputs = materialise(Case("ada_layer_norm", "float32", (2, 3, 4)))
    t = inputs.tensors
    y = adapter.prepare(inputs, t).run()["y"]
    assert torch.equal(y, t["x"] * t["weight"][:, None] + t["bias"][:, None])


class Ungated(nn.Module):
    def __init__(self, hidden_size: int, eps: float = 1e-5) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_a_module_that_takes_no_gate_is_refused() -> None:
    message = "the forward of file.py:f has no parameter for z, but rms_norm_gated has x, z, weight"
    with pytest.raises(TargetError, match=message):
        bound(Ungated, "rms_norm_gated")
