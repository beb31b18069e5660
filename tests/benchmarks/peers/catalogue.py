"""All protocols, and everything that they are run on."""

from __future__ import annotations

from pathlib import Path

from normcheck.config import DTYPES
from normcheck.properties.failure_modes import catalogue as failure_modes
from normcheck.properties.failure_modes.catalogue import FailureMode
from tests.benchmarks.peers import (
    benchmarks,
    kernel_libraries,
    pytorch,
    serving,
    training,
    transformer_engine,
)
from tests.benchmarks.peers.protocol import Protocol
from tests.benchmarks.peers.subject import Subject

OPS = ("layer_norm", "rms_norm")
HOME = Path(__file__).resolve().parents[2] / "honest" / "implementations.py"
PROTOCOLS: tuple[Protocol, ...] = tuple(
    sorted(
        (
            protocol
            for module in (
                pytorch,
                kernel_libraries,
                serving,
                training,
                transformer_engine,
                benchmarks,
            )
            for protocol in module.PROTOCOLS
        ),
        key=lambda protocol: OPS.index(protocol.op),
    )
)


def _honest(
    name: str,
    *,
    policies: tuple[str, ...] = (),
    forward_only: bool = False,
    dtypes: tuple[str, ...] = DTYPES,
) -> Subject:
    op = "layer_norm" if name.startswith("layer_norm") else "rms_norm"
    return Subject(
        name, f"{HOME}:{name}", op, policies=policies, forward_only=forward_only, dtypes=dtypes
    )


# A kernel that multiplies by 1 + weight is left out: it is another function than the one tested.
HONEST: tuple[Subject, ...] = (
    _honest("layer_norm_two_pass"),
    _honest("layer_norm_welford"),
    _honest("layer_norm_scale_and_shift"),
    _honest("layer_norm_in_float64"),
    _honest("layer_norm_cast_then_scale"),
    _honest("layer_norm_cast_each_step"),
    _honest("layer_norm_into"),
    # A leaf that requires a gradient cannot be overwritten.
    _honest("layer_norm_in_place", policies=("inplace=x",), forward_only=True),
    _honest("rms_norm_two_pass"),
    _honest("rms_norm_llama"),
    _honest("rms_norm_into"),
    # Its gradients in half precision are docs/findings.md, "Terms of dx".
    _honest("rms_norm_t5", forward_only=True, dtypes=("float32",)),
)

_BACKWARD = frozenset(
    {
        "gradients",
        "gradient_identities",
        "requires_grad_subsets",
        "interleaved_calls",
        "second_derivatives",
        "forward_mode",
    }
)


def broken() -> tuple[FailureMode, ...]:
    """The failure modes of both ops, but for those of a convention that protocols do not know."""
    return tuple(mode for mode in failure_modes.modes() if mode.op in OPS and not mode.policies)


def is_backward(mode: FailureMode) -> bool:
    """Tell whether only who asks for gradients can see the fault."""
    by_name = mode.name.endswith("_dy") or "_dy_" in mode.name or "gradient" in mode.name
    lost_without = mode.name.endswith("without_gradients")
    return mode.caught_by in _BACKWARD or (by_name and not lost_without)


def mutant(mode: FailureMode) -> Subject:
    return Subject(mode.name, mode.target, mode.op)
