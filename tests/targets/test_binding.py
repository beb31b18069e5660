"""Binding: which parameter takes what, said in one line; and what cannot be told is refused."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.cases.pose import observed_of, pose
from normcheck.errors import TargetError, UsageError
from normcheck.execution.in_process import InProcess
from normcheck.execution.observation import Observation, Trouble
from normcheck.execution.watchdog import Watchdog
from normcheck.numerics.judge import judge
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter
from normcheck.targets.target import adapt, load

SAMPLES = Path(__file__).with_name("sample_targets.py")
PLACE = f"{SAMPLES}:"


def loaded(name: str, op: str = "rms_norm", policy: Policy | None = None, **fixed: Any) -> Adapter:
    return load(f"{PLACE}{name}", catalogue.find(op), policy or Policy(), fixed=fixed)


def called(
    adapter: Adapter, case: Case, policy: Policy | None = None
) -> tuple[Inputs, Observation]:
    policy = policy or Policy()
    inputs = materialise(adapter.conform(case))
    executor = InProcess(adapter, torch.device("cpu"), policy, Watchdog(60.0))
    forward_only = policy.inplace or adapter.binding.destinations
    return inputs, (executor.forward if forward_only else executor.backward)(inputs)


def violations(adapter: Adapter, case: Case, policy: Policy | None = None) -> dict[str, int]:
    policy = policy or Policy()
    inputs, seen = called(adapter, case, policy)
    assert seen.raised is None, seen.raised
    assert not seen.mutated
    observed = observed_of(inputs, seen.outputs, seen.gradients, seen.state)
    found = judge(pose(inputs, policy), observed)
    return {
        tensor: min(c.violations for c in policies.values()) for tensor, policies in found.items()
    }


NONE = "; no normalized_shape"
BOUND = [
    ("rms_norm", "rms_norm", {}, "x, weight, eps" + NONE),
    (
        "llama_names",
        "rms_norm",
        {},
        "hidden_states\u2190x, gamma\u2190weight, variance_epsilon\u2190eps" + NONE,
    ),
    ("capitals", "rms_norm", {}, "X\u2190x, Weight\u2190weight, Epsilon\u2190eps" + NONE),
    ("defaulted", "rms_norm", {}, "x, weight, eps, power=2 (default)" + NONE),
    ("with_cache", "rms_norm", {"cache": 3}, "x, weight, eps, cache=3 (set)" + NONE),
    ("into", "rms_norm", {}, "x, weight, eps, out\u2190output" + NONE),
    ("along", "l2_norm", {}, "x, eps, dim\u2190-1"),
    ("hidden", "rms_norm", {}, "x, hidden_size\u2190normalized_shape, weight, eps"),
    ("Namespace.Inner.norm", "rms_norm", {}, "x, weight, eps" + NONE),
    ("OwnEpsilon", "rms_norm", {}, "dim\u2190normalized_shape; no eps"),
    ("NeedsMore", "rms_norm", {"heads": 2}, "eps, dim\u2190normalized_shape, heads=2 (set)"),
]


@pytest.mark.parametrize(("name", "op", "fixed", "text"), BOUND, ids=[b[0] for b in BOUND])
def test_the_binding_is_told_and_the_target_judged_right(
    name: str, op: str, fixed: dict[str, Any], text: str
) -> None:
    adapter = loaded(name, op, **fixed)
    assert adapter.binding.describe() == text
    for dtype in ("float32", "float64"):
        found = violations(adapter, Case(op, dtype, (14, 65), "calm", seed=3))
        assert found["y"] == 0
        assert not any(found.values())


def test_an_unfit_shape_is_folded_into_what_the_target_takes() -> None:
    case = Case("rms_norm", "float32", (3, 4, 5), dims=2)
    assert loaded("hidden").conform(case).dims == 1
    assert loaded("rms_norm").conform(case).dims == 1
    assert (
        adapt(
            torch.nn.functional.rms_norm, "torch:rms_norm", catalogue.find("rms_norm"), Policy()
        ).conform(case)
        == case
    )


def test_what_is_missing_is_noted() -> None:
    assert loaded("rms_norm").notes == ("judged over the last dimension only",)
    assert loaded("without_epsilon").notes[0] == (
        "takes no eps: judged at 1e-06; declare its own with --set eps=VALUE"
    )
    notes = loaded("without_epsilon", "layer_norm", eps="1e-5").notes
    assert notes == ("judged over the last dimension and without bias only",)
    assert loaded("OwnEpsilon").notes == ("takes no eps: judged at its own, 0.001",)


def test_an_epsilon_inside_the_target_is_the_one_it_is_judged_at() -> None:
    case = Case("rms_norm", "float32", (9, 33), "vareps1", eps=0.5)
    declared = loaded("without_epsilon", eps="1e-5")
    assert declared.conform(case).eps == 1e-5
    assert not any(violations(declared, case).values())
    assert violations(loaded("without_epsilon"), case)["y"] > 0
    own = loaded("OwnEpsilon")
    assert own.conform(case).eps == 1e-3
    assert not any(violations(own, case).values())


def test_an_epsilon_that_is_set_under_the_target_s_own_name_is_the_one_it_is_judged_at() -> None:
    adapter = loaded("capitals", Epsilon=1e-3)
    assert not any(violations(adapter, Case("rms_norm", "float32", (9, 33), "vareps1")).values())


def test_outputs_are_read_from_destinations_and_from_overwritten_arguments() -> None:
    policy = Policy(inplace=("x", "residual"))
    adapter = loaded("add_in_place", "add_rms_norm", policy)
    case = Case("add_rms_norm", "bfloat16", (9, 33), "calm")
    assert violations(adapter, case, policy) == {"residual_out": 0, "y": 0}
    undeclared = loaded("add_in_place", "add_rms_norm")
    executor = InProcess(undeclared, torch.device("cpu"), Policy(), Watchdog(60.0))
    seen = executor.forward(materialise(case))
    assert seen.raised is not None
    assert seen.raised.trouble is Trouble.UNEXPECTED
    assert seen.mutated == ("x", "residual")


def test_a_destination_that_is_never_written_is_not_right_by_chance() -> None:
    def lazy(x: Tensor, out: Tensor) -> None:
        out[: len(x) // 2] = torch.nn.functional.normalize(x[: len(x) // 2], dim=-1)

    adapter = adapt(lazy, "m:lazy", catalogue.find("l2_norm"), Policy(), fixed={"eps": 1e-12})
    _, seen = called(adapter, Case("l2_norm", "float32", (4, 8)))
    assert seen.outputs["y"][2:].isnan().all()
    assert seen.outputs["y"][:2].isfinite().all()


def refused(name: str, op: str = "rms_norm", **fixed: Any) -> str:
    with pytest.raises(TargetError) as caught:
        loaded(name, op, **fixed)
    return str(caught.value)


KNOWN = "but rms_norm has x, normalized_shape, weight, eps"
LEAD = [
    ("with_cache", {}, f"has parameter 'cache', {KNOWN}; fix it with --set cache=VALUE, or paste"),
    ("two_names", {}, f"has parameter 'gamma', {KNOWN}; fix it with --set gamma=VALUE, or paste"),
    ("with_cache", {"cash": 3}, "has no parameter 'cash', which --set names"),
    ("anything", {}, "takes *args: 'Any', **options: 'float', so its parameters cannot be told;"),
    (
        "NeedsMore",
        {},
        f"has constructor parameter 'heads', {KNOWN}; fix it with --set heads=VALUE, or paste",
    ),
    (
        "Refuses",
        {},
        "raised ValueError: no kernel for 4 columns when built with eps, dim\u2190normalized_shape",
    ),
    ("constant", {}, "is a float, but must be callable or an nn.Module class"),
]


@pytest.mark.parametrize(("name", "fixed", "lead"), LEAD, ids=[lead[2][:24] for lead in LEAD])
def test_what_cannot_be_bound_says_what_to_do(name: str, fixed: dict[str, Any], lead: str) -> None:
    assert refused(name, **fixed).startswith(f"{PLACE}{name} {lead}")


def test_too_few_destinations_are_refused() -> None:
    assert refused("into", "add_rms_norm").startswith(
        f"{PLACE}into writes to out, but add_rms_norm has the outputs y, residual_out; paste"
    )


def pasted(message: str, completed: str, folder: Path) -> ModuleType:
    """Save the adaptor of a message with its call completed, and import it."""
    path = folder / "adaptor.py"
    lines = re.findall(r"^    (.*)$", message, re.MULTILINE)
    source = "\n".join(lines)
    call = source.rpartition("return ")[2]
    path.write_text(source.replace(call, completed))
    spec = importlib.util.spec_from_file_location("adaptor", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_candidates_are_refused_with_an_adaptor_that_works_when_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SAMPLES.parent))
    text, op = "sample_targets:ambiguous", catalogue.find("rms_norm")
    with pytest.raises(TargetError) as caught:
        load(text, op, Policy())
    message = str(caught.value)
    assert message.startswith(f"{text}: gamma and scale could both be the weight of rms_norm; ")
    assert "ambiguous(x=..., scale=..., gamma=..., eps=...)" in message
    module = pasted(message, "ambiguous(x=x, scale=None, gamma=weight, eps=eps)", tmp_path)
    adapter = adapt(module.rms_norm, "adaptor.py:rms_norm", op, Policy())
    assert adapter.binding.describe() == "x, normalized_shape, weight, eps"
    assert not any(violations(adapter, Case("rms_norm", "float32", (9, 33), "calm")).values())


@pytest.mark.parametrize(
    "text", [f"{PLACE}ambiguous", "sample_targets:Nested.ambiguous"], ids=["file", "attribute"]
)
def test_the_adaptor_of_a_file_or_an_attribute_works_when_completed(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(SAMPLES.parent))
    with pytest.raises(TargetError) as caught:
        load(text, catalogue.find("rms_norm"), Policy())
    name = text.rpartition(":")[2]
    module = pasted(str(caught.value), f"{name}(x, weight, None, eps)", tmp_path)
    assert module.rms_norm(torch.ones(2, 2), (2,), None, 0.0).eq(1).all()


def test_a_builtin_without_a_signature_is_refused_with_an_adaptor() -> None:
    with pytest.raises(TargetError, match=r"^torch:layer_norm has no signature that Python can"):
        load("torch:layer_norm", catalogue.find("layer_norm"), Policy())


def test_positional_only_parameters_are_passed_by_position() -> None:
    def divided(x: Tensor, eps: float = 1e-12, /) -> Tensor:
        return torch.nn.functional.normalize(x, dim=-1, eps=eps)

    adapter = adapt(divided, "m:divided", catalogue.find("l2_norm"), Policy())
    assert not any(violations(adapter, Case("l2_norm", "float32", (4, 8))).values())


def test_an_unknown_framework_names_the_nearest() -> None:
    message = "framework is 'numpyy', but must be known; did you mean numpy?"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        load(f"{PLACE}rms_norm", catalogue.find("rms_norm"), Policy(), framework="numpyy")
