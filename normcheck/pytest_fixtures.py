"""Fixtures for a user's own tests. Nothing heavy is imported before one is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

__all__ = ["normcheck_case", "normcheck_record", "normcheck_reference"]


@pytest.fixture
def normcheck_case() -> Callable[[str], dict[str, Any]]:
    """Build a case by its id: the op's tensors by name, bit for bit those that were judged."""

    def build(case: str) -> dict[str, Any]:
        from normcheck.cases.case import Case
        from normcheck.cases.materialise import materialise

        return dict(materialise(Case.parse(case)).tensors)

    return build


@pytest.fixture
def normcheck_reference() -> Callable[[str], Any]:
    """Return the exact output of a case, in float64, by its id."""

    def reference(case: str) -> Any:
        from normcheck.cases.case import Case
        from normcheck.plugin.reference import exact_output

        return exact_output(Case.parse(case))

    return reference


@pytest.fixture
def normcheck_record(request: pytest.FixtureRequest) -> Callable[[str, object], None]:
    """Note a value of a test of your own: it goes into JUnit, beside ours."""

    def record(name: str, value: object) -> None:
        request.node.user_properties.append((f"normcheck.user.{name}", str(value)))

    return record
