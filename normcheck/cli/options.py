"""Options that several commands share."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from normcheck.errors import UsageError, nearest

if TYPE_CHECKING:
    from normcheck.comparison_of_runs import FailOn

__all__ = [
    "Implementation", "fail_on_option", "fail_on_values", "fixed_values", "implementation",
    "place_to_write", "target_options",
]  # fmt: skip

F = TypeVar("F", bound=Callable[..., object])

_POLICY = click.option(
    "--policy", "policies", multiple=True, metavar="NAME=VALUE",
    help="Declare a convention, as eps=outside or weight=one_plus; repeatable.",
)  # fmt: skip
_SET = click.option(
    "--set", "fixed", multiple=True, metavar="NAME=VALUE",
    help="Give a value to a parameter of the target that is none of the op's; repeatable.",
)  # fmt: skip
_FRAMEWORK = click.option(
    "--framework", default="auto", show_default=True,
    help="What the target works on: torch, numpy, jax or auto.",
)  # fmt: skip


def target_options(function: F) -> F:
    """Add what says how a target is to be called and judged."""
    for option in (
        click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1, auto."),
        _POLICY,
        _SET,
        _FRAMEWORK,
        click.option(
            "--timeout", "timeout_s", default=60.0, show_default=True, metavar="SECONDS",
            type=click.FloatRange(min=0.01, max=86400.0),
            help="Most seconds for one call of the target.",
        ),
    ):  # fmt: skip
        function = option(function)
    return function


def fail_on_option(default: str) -> Callable[[F], F]:
    """Return the option that says what a comparison is to fail on."""
    return click.option(
        "--fail-on", "fail_on", multiple=True, default=(default,), show_default=True,
        metavar="WHAT",
        help="new-failure, worse (a ratio twice as bad, or no longer judged), any-failure or "
        "never; repeatable, or joined by commas.",
    )  # fmt: skip


def fail_on_values(words: Sequence[str]) -> frozenset[FailOn]:
    """Read ``--fail-on``.

    Raises:
        UsageError: A word is unknown, or ``never`` is not alone.
    """
    from normcheck.comparison_of_runs import FailOn

    choices = [str(choice) for choice in FailOn]
    found = {word.strip() for words_ in words for word in words_.split(",")}
    for word in sorted(found - set(choices)):
        listed = f"{', '.join(choices[:-1])} or {choices[-1]}"
        close = nearest(word, choices)
        hint = close if "did you mean" in close else ""
        raise UsageError(f"--fail-on is {word!r}, but must be {listed}{hint}")
    if FailOn.NEVER in found and len(found) > 1:
        raise UsageError(f"--fail-on is {','.join(sorted(found))}, but never stands alone")
    return frozenset(map(FailOn, found))


def place_to_write(path: Path, suffixes: Sequence[str] = ()) -> None:
    """Refuse a place that cannot be written before time is spent on what goes there.

    Raises:
        UsageError: Its ending is none of ``suffixes``, its folder is missing, or it is a folder.
    """
    if suffixes and path.suffix not in suffixes:
        listed = f"{', '.join(suffixes[:-1])} or {suffixes[-1]}"
        raise UsageError(f"output is {path}, but must end in {listed}")
    if not path.resolve().parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder, asked for by {path}")
    if path.is_dir():
        raise UsageError(f"{path} is a folder, but must be a file to write")


@dataclass(frozen=True, slots=True)
class Implementation:
    """One that is compared with the target.

    Attributes:
        text: As it was typed.
        target: What names it.
        policies: Conventions of its own.
        fixed: Values for parameters of it that are none of the op's.
        framework: What it works on.
    """

    text: str
    target: str
    policies: tuple[str, ...] = ()
    fixed: Mapping[str, object] = field(default_factory=dict)
    framework: str = "auto"


@click.command(add_help_option=False)
@_POLICY
@_SET
@_FRAMEWORK
def _own(policies: tuple[str, ...], fixed: tuple[str, ...], framework: str) -> None:
    """What may follow the target of ``--against``."""


def implementation(text: str) -> Implementation:
    """Read ``--against "TARGET --policy NAME=VALUE --set NAME=VALUE --framework NAME"``.

    Raises:
        UsageError: Something else follows the target.
    """
    target, sep, rest = text.partition(" --")
    try:
        words = shlex.split(f"--{rest}") if sep else []
        given = _own.make_context("--against", words).params
    except (ValueError, click.UsageError) as error:
        why = error.message if isinstance(error, click.UsageError) else error
        raise UsageError(
            f"--against is {text!r}, but only --policy, --set and --framework may follow its "
            f"target: {why}"
        ) from None
    fixed = fixed_values(given["fixed"])
    return Implementation(text, target.strip(), given["policies"], fixed, given["framework"])


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
