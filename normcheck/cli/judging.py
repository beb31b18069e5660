"""From the words of a command line to a run and its record."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from normcheck.events import Event
from normcheck.record import SCHEMA, Environment, Record, Verdict

__all__ = ["Request", "judge_for_cli"]


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for, as typed."""

    target: str
    op: str | None = None
    dtype: str = ""
    profile: str = "standard"
    properties: tuple[str, ...] = ()
    seed: int | None = None
    fail_fast: bool = False
    device: str = "cpu"
    policies: tuple[str, ...] = ()
    fixed: Mapping[str, object] = field(default_factory=dict)
    framework: str = "auto"
    timeout_s: float = 60.0
    verdict_only: bool = False
    deaths: tuple[tuple[str, str, str], ...] = ()
    part: tuple[str, ...] = ()

    def checked(self) -> Request:
        """Return it with its words read and a seed, before the seconds that torch takes.

        Raises:
            UsageError: A word is unknown; the message names the nearest valid one.
        """
        from normcheck import config
        from normcheck.ops import catalogue
        from normcheck.policy import Policy
        from normcheck.properties import registry

        profile = config.profile(self.profile)
        dtypes = config.dtypes(self.dtype)
        Policy.parse(self.policies)
        op = self.op or catalogue.guess(self.target)
        if op not in catalogue.names():
            catalogue.find(op)
        for name in self.properties:
            if name not in registry.names():
                registry.find(name)
        # All processes of a run draw from one seed.
        fresh = secrets.randbelow(2**31) if profile.fresh_seed else None
        seed = fresh if self.seed is None else self.seed
        return replace(self, op=op, dtype=",".join(dtypes), seed=seed)

    def refusal(self, why: str, *, failed: bool = False) -> str:
        """Return the record of a run that did not take place, or that the target ended."""
        record = Record(
            schema=SCHEMA,
            verdict=Verdict.FAIL if failed else Verdict.NOT_JUDGED,
            target=self.target,
            op=self.op or "",
            binding="",
            profile=self.profile,
            seed=self.seed or 0,
            command="",
            policies=dict(p.partition("=")[::2] for p in self.policies),
            checks=[],
            cases_judged=0,
            incomplete=why,
            environment=_bare_environment(),
            started_at=datetime.now(UTC).isoformat(timespec="seconds"),
            elapsed_s=0.0,
            elapsed_target_s=0.0,
            elapsed_judge_s=0.0,
        )
        return record.to_json()


def _bare_environment() -> Environment:
    """Describe the machine without importing torch, which may be what failed."""
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import normcheck

    try:
        torch = version("torch")
    except PackageNotFoundError:
        torch = "not installed"
    return Environment(
        normcheck=normcheck.__version__,
        python=platform.python_version(),
        torch=torch,
        platform=f"{platform.system()} {platform.machine()}",
        threads=0,
        cpu_capability="",
        devices={},
    )


def judge_for_cli(
    request: Request,
    listener: Callable[[Event], None],
    hung: Callable[[str], None] | None = None,
    noted: Callable[[str, str], None] | None = None,
) -> Record:
    """Plan and run what was asked for, or this process's part of it.

    Args:
        request: What was asked for; its words have been checked.
        listener: Told of everything as it happens.
        hung: Called from a thread with a case id when a call cannot be interrupted.
        noted: Called with a case id and a property before each call.

    Raises:
        NormcheckError: The target cannot be judged.
    """
    from normcheck.api import make_plan
    from normcheck.engine import execute

    plan = make_plan(
        request.target, op=request.op, dtypes=request.dtype.split(","),
        on=request.device, profile=request.profile,
        policies=request.policies, fixed=request.fixed, framework=request.framework,
        properties=request.properties, seed=request.seed, fail_fast=request.fail_fast,
        timeout_s=request.timeout_s, verdict_only=request.verdict_only,
    )  # fmt: skip

    plan = replace(plan, deaths=request.deaths, part=request.part)
    return execute(plan, listener, hung, noted)
