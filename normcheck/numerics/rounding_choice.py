"""Which rounding policies still explain every case: one must explain them all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from normcheck.numerics.comparison import Comparison

__all__ = ["ROUNDED_SUM", "RoundingChoice"]

# Before the name of a policy: a fused addition normalises the sum that it returns.
ROUNDED_SUM = "rounded_sum+"


@dataclass(slots=True)
class RoundingChoice:
    """Per tensor, the policies that were offered, and those that failed where another held.

    A target that needs one policy here and another there fails: once a policy has failed a case
    that another explains, it no longer excuses anything.
    """

    seen: dict[str, set[str]] = field(default_factory=dict)
    dead: dict[str, set[str]] = field(default_factory=dict)

    def copy(self) -> RoundingChoice:
        """Return an independent copy, to judge variations of a case without learning from them."""
        return RoundingChoice(
            {tensor: set(names) for tensor, names in self.seen.items()},
            {tensor: set(names) for tensor, names in self.dead.items()},
        )

    def choose(self, tensor: str, offered: Mapping[str, Comparison]) -> tuple[str, Comparison]:
        """Return the policy that explains a tensor best, and strike out those that do not.

        When none of the remaining ones does, all of them stay: the case is the target's failure,
        and must not decide how later cases are judged.
        """
        dead = self.dead.setdefault(tensor, set())
        self.seen.setdefault(tensor, set()).update(offered)
        # Without weight and bias only `fused` is offered, and stands for every policy.
        candidates = [name for name in offered if name not in dead] or list(offered)
        passing = [name for name in candidates if offered[name].ratio <= 1.0]
        if passing and len(offered) > 1:
            dead |= set(candidates) - set(passing)
        best = min(candidates, key=lambda name: (offered[name].violations, offered[name].ratio))
        return best, offered[best]

    def excludes(self, tensor: str, policy: str) -> bool:
        """Whether a policy no longer excuses anything."""
        return policy in self.dead.get(tensor, ())

    def excludes_reading(self, prefix: str) -> bool:
        """Whether outputs have ruled out one reading of a residual sum.

        Args:
            prefix: `ROUNDED_SUM`, or "" for the unrounded sum.
        """
        mine = {n for n in self.seen.get("y", ()) if n.startswith(ROUNDED_SUM) == bool(prefix)}
        return bool(mine) and mine <= self.dead.get("y", set())

    def explaining(self) -> dict[str, list[str]]:
        """Return, per tensor, the policies that explain every case so far."""
        return {
            tensor: sorted(names - self.dead.get(tensor, set()))
            for tensor, names in self.seen.items()
        }
