"""Cases beyond the corpus: Hypothesis draws recipes, and climbs towards larger ratios."""

from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, seed, settings, target

from normcheck.cases.case import Case
from normcheck.plan import Plan
from normcheck.properties.strategies import cases

__all__ = ["explore"]


def explore(
    plan: Plan, dtype: str, judge: Callable[[Case], float], enough: Callable[[], bool]
) -> None:
    """Draw cases and judge them.

    Hypothesis only generates, and steers towards cases with a large error: a violation does not
    end the search, and shrinking works on recipes (see `cases.shrink`), for cases of the corpus as
    for drawn ones. No profile is loaded and no database is written: a run must leave the
    settings of a user's own tests alone, and its seed and ids reproduce it.

    Args:
        plan: What to do.
        dtype: Name of the format.
        judge: Judges a case and returns its largest ratio.
        enough: Whether to stop drawing.
    """
    if plan.profile.drawn == 0:
        return

    # explain and shrink would run after a failing example; no example of ours fails.
    @seed(plan.seed)
    @settings(
        max_examples=plan.profile.drawn,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.target),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(case=cases(plan.adapter.op, dtype, plan.profile.limit))
    def drawn(case: Case) -> None:
        if enough():
            return
        ratio = judge(case)
        if ratio > 0.0:
            target(math.log2(ratio), label="error over budget")

    drawn()
