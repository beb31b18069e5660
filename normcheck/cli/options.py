"""Options that several commands share."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import TypeVar

import click

from normcheck.errors import UsageError

__all__ = ["fixed_values", "target_options"]

F = TypeVar("F", bound=Callable[..., object])


def target_options(function: F) -> F:
    """Add what says how a target is to be called and judged."""
    for option in (
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, auto."),
        click.option(
            "--policy", "policies", multiple=True, metavar="NAME=VALUE",
            help="Declare a convention, as eps=outside or weight=one_plus; repeatable.",
        ),
        click.option(
            "--set", "fixed", multiple=True, metavar="NAME=VALUE",
            help="Give a value to a parameter of the target that is none of the op's; repeatable.",
        ),
        click.option(
            "--framework", default="auto", show_default=True,
            help="What the target works on: torch, numpy, jax or auto.",
        ),
        click.option(
            "--timeout", "timeout_s", default=60.0, show_default=True, metavar="SECONDS",
            type=click.FloatRange(min=0.01, max=86400.0),
            help="Most seconds for one call of the target.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def fixed_values(pairs: tuple[str, ...]) -> dict[str, object]:
    """Read ``--set NAME=VALUE``: Python literals, anything else as text.

    Raises:
        UsageError: There is no "=".
    """
    values: dict[str, object] = {}
    for pair in pairs:
        name, sep, text = pair.partition("=")
        if not sep or not name:
            raise UsageError(f"--set is {pair!r}, but must be NAME=VALUE, as in --set dim=-1")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values
