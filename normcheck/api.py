"""The Python door: judge a callable and get the record."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence

from normcheck import config
from normcheck.engine import execute
from normcheck.errors import NothingToRunError, UsageError, nearest
from normcheck.events import Event, Listener
from normcheck.execution.ranks import OP_ON_RANKS
from normcheck.ops import catalogue
from normcheck.plan import Plan, device
from normcheck.policy import Policy
from normcheck.properties import registry
from normcheck.record import Record
from normcheck.targets.target import adapt, load
from normcheck.targets.triton_interpreter import PREFIX, interprets

__all__ = ["DEFAULT_SEED", "make_plan", "run"]

DEFAULT_SEED = 20261121


def _quiet(event: Event) -> None:
    """Listen to nothing."""


def make_plan(
    target: str | Callable[..., object],
    *,
    op: str | None = None,
    dtypes: Sequence[str] = config.DEFAULT_DTYPES,
    on: str = "cpu",
    profile: str = "standard",
    policies: Sequence[str] = (),
    fixed: Mapping[str, object] | None = None,
    framework: str = "auto",
    properties: Sequence[str] = (),
    seed: int | None = None,
    fail_fast: bool = False,
    timeout_s: float = 60.0,
    verdict_only: bool = False,
    text: str = "",
) -> Plan:
    """Resolve and bind a target, and plan its run; arguments as of `run`.

    ``text`` is what a callable is called in what is printed; told from its name if empty.
    """
    text = _called(target, text)
    chosen = config.profile(profile)
    formats = config.dtypes(",".join(dtypes))
    found = catalogue.find(op or catalogue.guess(text))
    policy = Policy.parse(policies)
    wanted = [registry.find(name) for name in properties or registry.names()]
    for name in policy.inplace:
        tensors = [parameter.name for parameter in found.tensors]
        if name not in tensors:
            raise UsageError(f"inplace is {name!r}, but must be a tensor{nearest(name, tensors)}")
    place = device(on)
    if isinstance(target, str):
        adapter = load(text, found, policy, fixed=fixed, framework=framework)
    else:
        adapter = adapt(target, text, found, policy, fixed=fixed, framework=framework)
    names = tuple(
        p.name
        for p in wanted
        if p.concerns(adapter)
        and p.declared in ("", *policies)
        and not (p.local and found.name == OP_ON_RANKS)
    )
    if not names:
        needs = {f"--policy {p.declared}" for p in wanted if p.declared}
        hint = f"; declare {' or '.join(sorted(needs))}" if needs else ""
        raise NothingToRunError(
            f"nothing to judge: {', '.join(properties)} says nothing about {text}{hint}"
        )
    if seed is None:
        seed = secrets.randbelow(2**31) if chosen.fresh_seed else DEFAULT_SEED
    command = ["normcheck", "run", text, "--op", found.name, "--dtype", ",".join(formats)]
    command += ["--device", on, "--profile", chosen.name, "--seed", str(seed)]
    for declaration in policies:
        command += ["--policy", declaration]
    for name, value in (fixed or {}).items():
        command += ["--set", f"{name}={value!r}"]
    if framework != "auto":
        command += ["--framework", framework]
    for name in properties:
        command += ["--property", name]
    command += ["--fail-fast"] if fail_fast else []
    command += ["--verdict-only"] if verdict_only else []
    return Plan(
        adapter, formats, place, names, chosen, seed, policy, fail_fast, timeout_s,
        (PREFIX if interprets() else "") + shlex.join(command), verdict_only=verdict_only,
    )  # fmt: skip


def _called(target: str | Callable[..., object], text: str) -> str:
    if isinstance(target, str):
        return target
    return text or f"{target.__module__}:{target.__qualname__}"


def run(
    target: str | Callable[..., object],
    *,
    op: str | None = None,
    dtypes: Sequence[str] = config.DEFAULT_DTYPES,
    on: str = "cpu",
    profile: str = "standard",
    policies: Sequence[str] = (),
    fixed: Mapping[str, object] | None = None,
    framework: str = "auto",
    properties: Sequence[str] = (),
    seed: int | None = None,
    fail_fast: bool = False,
    timeout_s: float = 60.0,
    verdict_only: bool = False,
    listener: Listener = _quiet,
) -> Record:
    """Judge one implementation of a normalization.

    Args:
        target: A callable, an nn.Module class, or the text that names one.
        op: What it is judged as; told from its name if left out.
        dtypes: Names of formats.
        on: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
        profile: ``quick``, ``standard``, ``thorough`` or ``nightly``.
        policies: Declared conventions, such as ``eps=outside``.
        fixed: Values for parameters of the target that are none of the op's.
        framework: ``torch``, ``numpy``, ``jax``, or ``auto``.
        properties: Names of properties; all if empty.
        seed: Seeds what is drawn; a fixed one if left out.
        fail_fast: Whether the first failure ends the run.
        timeout_s: Seconds granted to one call of the target.
        verdict_only: Whether to leave out what the run would have caught, and the envelope.
        listener: Told of everything as it happens.

    Returns:
        The run record.

    Raises:
        UsageError: An argument is unknown; the message names the nearest valid one.
        TargetError: The target cannot be found, imported, bound or called.
        NothingToRunError: The device is absent.
    """
    plan = make_plan(
        target, op=op, dtypes=dtypes, on=on, profile=profile, policies=policies, fixed=fixed,
        framework=framework, properties=properties, seed=seed, fail_fast=fail_fast,
        timeout_s=timeout_s, verdict_only=verdict_only,
    )  # fmt: skip
    return execute(plan, listener)
