"""What a run will do: target, op, dtypes, device, properties and profile."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from normcheck.cases.case import Case
from normcheck.config import Profile
from normcheck.errors import NothingToRunError, UsageError
from normcheck.policy import Policy
from normcheck.properties import registry
from normcheck.properties.property import Property
from normcheck.targets.adapter import Adapter

__all__ = ["ENVELOPE", "SHRINKING", "Plan", "device"]

SHRINKING = "shrinking:"
ENVELOPE = "envelope"
"""What is being done where no property of the run is judged."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that decides what a run does.

    Attributes:
        adapter: The target, bound to its op.
        dtypes: Names of formats, in order.
        device: Where the target's tensors live.
        properties: Names of properties, in order.
        profile: How much is tried.
        seed: Seeds what Hypothesis draws.
        policy: Declared conventions.
        fail_fast: Whether the first violation ends the run.
        timeout_s: Seconds granted to one call.
        command: What a user types to run it again.
        deaths: Cases in which the target has ended its process, each with what was being done (the
            property that was judged, `SHRINKING` and its name, or `ENVELOPE`) and how it did
            ("ended the process (SIGSEGV)"); they are not called again.
        verdict_only: Whether power and envelope are left out.
        part: The dtypes that this process judges, where several share a run; empty for all.
    """

    adapter: Adapter
    dtypes: tuple[str, ...]
    device: torch.device
    properties: tuple[str, ...]
    profile: Profile
    seed: int
    policy: Policy
    fail_fast: bool = False
    timeout_s: float = 60.0
    command: str = ""
    deaths: tuple[tuple[str, str, str], ...] = ()
    verdict_only: bool = False
    part: tuple[str, ...] = ()

    @property
    def here(self) -> tuple[str, ...]:
        """The dtypes that this process judges, in order."""
        return self.part or self.dtypes

    def died(self, case: str) -> tuple[str, str]:
        """Return the property and the manner of a death while a case was judged, or empty texts."""
        found = ((doing, how) for name, doing, how in self.deaths if name == case)
        return next((death for death in found if death[0] in self.properties), ("", ""))

    def is_fatal(self, case: str) -> bool:
        """Whether the target has died in a case, whatever was being done."""
        return any(name == case for name, _, _ in self.deaths)

    def died_beside(self, dtype: str, name: str) -> list[tuple[str, str]]:
        """Return the cases, and the manners, of deaths in what else a check did than judge.

        It shrinks failures; the envelope, which is no check, counts with the first.
        """
        doing = {f"{SHRINKING}{name}"}
        doing |= {ENVELOPE} if self.checked(dtype)[0].name == name else set()
        found = [(case, how) for case, what, how in self.deaths if what in doing]
        return [death for death in found if Case.parse(death[0]).dtype == dtype]

    def is_deadly(self, dtype: str, name: str) -> bool:
        """Whether the target has died of a property in two cases of a dtype: that is enough."""
        died = [case for case, prop, _ in self.deaths if prop == name]
        return sum(Case.parse(case).dtype == dtype for case in died) > 1

    def checked(self, dtype: str = "") -> tuple[Property, ...]:
        """Return the properties, or those that say anything about a format."""
        found = tuple(registry.find(name) for name in self.properties)
        return tuple(p for p in found if not dtype or not p.formats or dtype in p.formats)

    def check_id(self, dtype: str, name: str) -> str:
        """Return the id of a check: op-dtype-device-property."""
        return f"{self.adapter.op.name}-{dtype}-{self.device.type}-{name}"


def device(text: str) -> torch.device:
    """Read a device.

    Raises:
        UsageError: It is not a device that torch knows.
        NothingToRunError: It is not present on this machine.
    """
    if text == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(text)
    except RuntimeError:
        raise UsageError(f"device is {text!r}, but must be cpu, cuda, cuda:1 or auto") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise NothingToRunError(f"device is {text}, but torch sees no CUDA device here")
    if found.type not in ("cpu", "cuda"):
        raise UsageError(f"device is {text!r}, but only cpu and cuda are judged")
    return found
