"""From what a contract asks for, and what a run was told, to a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from normcheck.errors import UsageError
from normcheck.plugin.contract import Contract
from normcheck.plugin.settings import Settings

if TYPE_CHECKING:
    from normcheck.plan import Plan
    from normcheck.targets.adapter import Adapter

__all__ = ["Planned", "device", "place_of", "plan", "target_of", "told_by_name"]


@dataclass(frozen=True, slots=True)
class Planned:
    """A contract with its plan.

    Attributes:
        contract: What was asked for.
        plan: What will be done, the options of the run filled in.
        place: Node id of the test or the target, which tells two contracts of one target apart.
    """

    contract: Contract
    plan: Plan
    place: str

    @property
    def text(self) -> str:
        """What the target is called."""
        return self.plan.adapter.text

    def key(self, dtype: str, variant: str = "") -> str:
        """Name what is judged at once."""
        return "\t".join((self.place, variant, dtype))

    def filled(self, fixtures: Mapping[str, object]) -> Adapter:
        """Return the target with the values of its fixtures."""
        from normcheck.targets.target import adapt

        contract, op = self.contract, self.plan.adapter.op
        if not contract.fixtures:
            return self.plan.adapter
        return adapt(
            contract.call(fixtures), contract.text, op, self.plan.policy,
            fixed=contract.fixed, framework=contract.framework,
        )  # fmt: skip


def place_of(key: str) -> str:
    """Return what the keys of one target's dtypes share."""
    return key.rpartition("\t")[0]


def target_of(key: str) -> str:
    """Return the node id of the target or contract, whatever the parameters of its fixtures."""
    return key.partition("\t")[0]


def plan(contract: Contract, settings: Settings, worker: str, fresh: int) -> Plan:
    """Plan a contract under the settings of a run.

    Args:
        contract: What was asked for.
        settings: What it leaves to the run.
        worker: Id of this worker of xdist, "" without xdist.
        fresh: The seed of a profile that takes a new one.

    Raises:
        NormcheckError: The target cannot be found or bound, or the device is absent.
    """
    from normcheck import config
    from normcheck.api import make_plan

    if not contract.op:
        _refuse_unless_told(contract.text)
    target: Any = contract.call(dict.fromkeys(contract.fixtures))
    dtypes = contract.dtypes or tuple(filter(None, settings["dtype"].split(",")))
    seed = contract.seed
    if seed is None and settings["seed"]:
        seed = _whole(settings["seed"])
    profile = contract.profile or settings["profile"]
    if seed is None and config.profile(profile).fresh_seed:
        seed = fresh
    made = make_plan(
        target, op=contract.op or None, dtypes=dtypes or config.DEFAULT_DTYPES,
        on=device(contract.device or settings["device"], worker),
        profile=profile, policies=contract.policies,
        fixed=contract.fixed, framework=contract.framework, properties=contract.properties,
        seed=seed, timeout_s=contract.timeout_s, text=contract.text,
    )  # fmt: skip
    budget = settings.time_budget_s
    if budget is None:
        return made
    return replace(made, profile=replace(made.profile, time_budget_s=budget))


def device(text: str, worker: str) -> str:
    """Give each worker of xdist a GPU of its own, of those that the caller can see."""
    if text not in ("cuda", "auto") or not worker:
        return text
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{int(worker.removeprefix('gw')) % count}" if count else text


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"seed is {text!r}, but must be a whole number") from None


def told_by_name(text: str) -> str:
    """Return the op that a target's name tells, "" if it tells none."""
    from normcheck.ops import catalogue

    try:
        return catalogue.guess(text)
    except UsageError:
        return ""


def _refuse_unless_told(text: str) -> None:
    """Refuse a target whose name does not tell its op, in the plugin's words."""
    from normcheck.ops import catalogue

    if not told_by_name(text):
        ops = ", ".join(catalogue.names())
        raise UsageError(
            f"the op of {text} cannot be told from its name: write --normcheck OP={text}, or "
            f"op=OP in its contract; OP is one of {ops}"
        )
