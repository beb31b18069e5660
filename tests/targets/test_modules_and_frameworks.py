"""Module classes with their parameters, and functions of other frameworks' arrays."""

from types import FunctionType, ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from normcheck.cases.case import Case
from normcheck.cases.materialise import Inputs, materialise
from normcheck.cases.pose import observed_of, pose
from normcheck.execution.in_process import InProcess
from normcheck.execution.observation import Observation, Trouble
from normcheck.execution.watchdog import Watchdog
from normcheck.numerics.judge import judge
from normcheck.ops import catalogue
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter
from normcheck.targets.frameworks import framework_of
from normcheck.targets.target import adapt

CPU = torch.device("cpu")


def adapted(target: object, op: str, **fixed: Any) -> Adapter:
    return adapt(target, f"m:{op}", catalogue.find(op), Policy(), fixed=fixed)


def seen_and_judged(adapter: Adapter, case: Case) -> tuple[Inputs, Observation, dict[str, int]]:
    inputs = materialise(adapter.conform(case))
    seen = InProcess(adapter, CPU, Policy(), Watchdog(60.0)).backward(inputs)
    observed = observed_of(inputs, seen.outputs, seen.gradients, seen.state)
    found = judge(pose(inputs, Policy()), observed)
    return inputs, seen, {t: min(c.violations for c in p.values()) for t, p in found.items()}


MODULES = [
    (nn.LayerNorm, "layer_norm/f32/9x65/calm", {"x", "weight", "bias"}),
    (nn.LayerNorm, "layer_norm/f32/3x4x5/calm/dims=2/bias=none", {"x", "weight"}),
    (nn.LayerNorm, "layer_norm/f32/9x65/calm/weight=none/bias=none", {"x"}),
    (nn.RMSNorm, "rms_norm/f32/9x65/calm", {"x", "weight"}),
    (nn.RMSNorm, "rms_norm/f64/3x4x5/calm/dims=2/weight=none", {"x"}),
    (nn.GroupNorm, "group_norm/f32/4x12x9/calm/groups=3", {"x", "weight", "bias"}),
    (nn.GroupNorm, "group_norm/f32/4x12x9/calm/groups=6/weight=none", {"x"}),
    (nn.BatchNorm1d, "batch_norm/f32/9x6x5/calm/momentum=0.9", {"x", "weight", "bias"}),
    (nn.BatchNorm1d, "batch_norm/f32/9x6/calm/mode=eval", {"x", "weight", "bias"}),
    (nn.BatchNorm2d, "batch_norm/f32/4x6x3x5/calm/stats=none", {"x", "weight", "bias"}),
    (nn.BatchNorm2d, "batch_norm/f32/4x6x3x5/calm/weight=none", {"x"}),
    (nn.InstanceNorm1d, "instance_norm/f32/4x6x9/calm", {"x", "weight", "bias"}),
    (nn.InstanceNorm1d, "instance_norm/f32/4x6x9/calm/mode=eval", {"x", "weight", "bias"}),
    (nn.InstanceNorm1d, "instance_norm/f32/4x6x9/calm/weight=none/stats=none", {"x"}),
]


@pytest.mark.parametrize(
    ("module", "tail", "gradients"), MODULES, ids=[f"{m.__name__}-{t}" for m, t, _ in MODULES]
)
def test_a_module_gets_the_parameters_of_the_case_and_is_judged_right(
    module: type[nn.Module], tail: str, gradients: set[str]
) -> None:
    case = Case.parse(f"nc1:{tail}")
    inputs, seen, found = seen_and_judged(adapted(module, case.op), case)
    assert seen.raised is None
    assert not seen.mutated
    assert set(seen.gradients) == gradients
    tracked = {"running_mean", "running_var"} & set(inputs.tensors)
    assert set(seen.state) == tracked
    assert set(found) >= {"y", "grad_x"} | (tracked if case.mode == "train" else set())
    assert not any(found.values())


def test_a_module_that_scales_its_output_is_found() -> None:
    class Wrong(nn.LayerNorm):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) * (1 + 1 / 64)

    case = Case("layer_norm", "float32", (9, 8))
    _, _, found = seen_and_judged(adapted(Wrong, "layer_norm"), case)
    assert found["y"] > 36
    assert found["grad_x"] > 36


def test_a_case_that_a_module_reads_in_another_way_is_not_held_against_it() -> None:
    case = Case("instance_norm", "float32", (4, 4, 9))
    assert not any(seen_and_judged(adapted(nn.InstanceNorm2d, "instance_norm"), case)[2].values())


def test_every_call_gets_a_module_of_its_own() -> None:
    built: list[nn.Module] = []

    class Counted(nn.BatchNorm1d):
        def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
            super().__init__(num_features, eps, momentum)
            built.append(self)

    adapter, case = adapted(Counted, "batch_norm"), Case("batch_norm", "float32", (9, 6))
    first, second = (seen_and_judged(adapter, case)[1] for _ in range(2))
    assert torch.equal(first.state["running_var"], second.state["running_var"])
    # One more was built to learn its parameters.
    assert len(set(map(id, built))) == 3


def test_what_a_module_always_has_is_always_given() -> None:
    class Fixed(nn.Module):
        def __init__(self, dim: int, eps: float = 1e-6) -> None:
            super().__init__()
            self.scale, self.eps = nn.Parameter(torch.ones(dim)), eps

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.rms_norm(x, (len(self.scale),), self.scale, self.eps)

    adapter = adapted(Fixed, "rms_norm")
    case = Case("rms_norm", "float32", (9, 8), weight="none", dims=2)
    assert adapter.conform(case) == Case("rms_norm", "float32", (9, 8))
    assert not any(seen_and_judged(adapter, case)[2].values())


NUMPY = """
import numpy as np
def rms_norm(x, weight, eps=1e-6):
    y = x / np.sqrt((x * x).mean(-1, keepdims=True, dtype=x.dtype) + x.dtype.type(eps))
    return y if weight is None else y * weight
"""
JAX = """
import jax, jax.numpy as jnp
def rms_norm(x, weight, eps=1e-6):
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    y = wide / jnp.sqrt((wide * wide).mean(-1, keepdims=True) + eps)
    return (y if weight is None else y * weight).astype(x.dtype)
"""


def function_of(source: str) -> FunctionType:
    scope: dict[str, Any] = {}
    exec(source, scope)
    found: FunctionType = scope["rms_norm"]
    return found


@pytest.mark.parametrize("weight", ["mixed", "none"])
@pytest.mark.parametrize("layout", ["contiguous", "strided"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_numpy_function_is_judged_without_gradients(dtype: str, layout: str, weight: str) -> None:
    function = function_of(NUMPY)
    case = Case("rms_norm", dtype, (9, 65), "calm", layout=layout, weight=weight)
    _, seen, found = seen_and_judged(adapted(function, "rms_norm"), case)
    assert found == {"y": 0}
    assert str(seen.outputs["y"].dtype) == f"torch.{dtype}"
    assert seen.raised is not None
    assert seen.raised.trouble is Trouble.NO_GRADIENT
    assert seen.raised.text == "NumPy has no autograd"


def test_numpy_arrays_are_views_so_that_a_write_is_seen() -> None:
    source = NUMPY.replace("    y = x", "    x[0, 0] = 7\n    y = x")
    function = function_of(source)
    adapter = adapted(function, "rms_norm")
    _, seen, _ = seen_and_judged(adapter, Case("rms_norm", "float32", (9, 8)))
    assert seen.mutated == ("x",)


@pytest.mark.parametrize("weight", ["mixed", "none"])
@pytest.mark.parametrize("layout", ["contiguous", "strided"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_a_jax_function_is_judged_with_gradients_in_every_format(
    dtype: str, layout: str, weight: str
) -> None:
    pytest.importorskip("jax")
    function = function_of(JAX)
    case = Case("rms_norm", dtype, (9, 33), "calm", layout=layout, weight=weight)
    _, seen, found = seen_and_judged(adapted(function, "rms_norm"), case)
    assert seen.raised is None
    assert {str(t.dtype) for t in (*seen.outputs.values(), *seen.gradients.values())} == {
        f"torch.{dtype}"
    }
    parameters = {"y", "grad_x"} | ({"grad_weight"} if weight == "mixed" else set())
    assert found == dict.fromkeys(parameters, 0)


def test_a_wrong_jax_gradient_is_found() -> None:
    pytest.importorskip("jax")
    function = function_of(JAX.replace("(wide * wide)", "jax.lax.stop_gradient(wide * wide)"))
    case = Case("rms_norm", "float32", (9, 33), "calm")
    _, _, found = seen_and_judged(adapted(function, "rms_norm"), case)
    assert found["y"] == 0
    assert found["grad_x"] > 9 * 33 // 2


def test_float64_is_enabled_only_where_the_case_has_it() -> None:
    jax = pytest.importorskip("jax")
    function = function_of(JAX)
    adapter = adapted(function, "rms_norm")
    seen_and_judged(adapter, Case("rms_norm", "float64", (3, 8)))
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize(
    ("modules", "framework"),
    [
        ({"np": np, "torch": torch}, "torch"),
        ({"np": np}, "numpy"),
        ({"F": torch.nn.functional, "np": np}, "torch"),
        ({"jnp": ModuleType("jax.numpy"), "np": np}, "jax"),
        ({}, "torch"),
    ],
    ids=["torch-and-numpy", "numpy", "submodule", "jax-and-numpy", "nothing"],
)
def test_the_framework_is_told_from_what_the_module_imports(
    modules: dict[str, ModuleType], framework: str
) -> None:
    scope: dict[str, Any] = dict(modules)
    exec("def f(x): return x", scope)
    assert framework_of(scope["f"]).name == framework
