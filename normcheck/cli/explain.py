"""``normcheck explain``: the page of a property, an op, a regime or a mutant."""

from __future__ import annotations

import textwrap

import click

__all__ = ["command"]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 96, initial_indent="  ", subsequent_indent="  ")


def _property(name: str) -> str:
    from normcheck.properties import registry

    page = registry.find(name).explanation
    lines = [
        f"{name}: a property",
        "",
        "Claim",
        _wrapped(page.claim),
        "",
        "Why",
        _wrapped(page.why),
    ]
    lines += ["", "Bound", _wrapped(page.bound), "", "Real bugs it would have caught"]
    return "\n".join([*lines, *(f"  {bug}" for bug in page.bugs)])


def _op(name: str) -> str:
    from normcheck.ops import catalogue

    op = catalogue.find(name)
    lines = [f"{name}: an op", _wrapped(op.summary), "", "Signature", f"  {op.signature()}", ""]
    lines += [f"Default eps {op.eps:g}, {op.eps_place}", ""]
    return "\n".join([*lines, f"  normcheck run TARGET --op {name}"])


def _regime(name: str) -> str:
    from normcheck.cases.regimes import MIXES, REGIMES

    if name in MIXES:
        return f"{name}: a mix of regimes, one per slice, cyclically\n" + _wrapped(
            " ".join(MIXES[name])
        )
    regime = REGIMES[name]
    token = f"{name}1e3" if regime.strength else name
    return f"{name}: a regime of values\n{_wrapped(regime.summary)}\n  as in a case id: {token}"


def _failure_mode(name: str) -> str:
    from normcheck.properties.failure_modes import catalogue

    mode = catalogue.find(name)
    lines = [f"{name}: a failure mode of {mode.op}", _wrapped(mode.summary), ""]
    lines += ["Caught by", f"  {mode.caught_by}", "", "See it caught"]
    return "\n".join([*lines, f"  normcheck run {mode.target} --op {mode.op} --profile quick"])


def _all() -> str:
    from normcheck.ops import catalogue
    from normcheck.properties import registry
    from normcheck.properties.failure_modes import catalogue as failure_modes

    lines = ["Properties: claims that must hold for every case"]
    for name in registry.names():
        lines.append(_wrapped(f"{name}: {registry.find(name).explanation.claim}"))
    lines += ["", "Ops"]
    lines += [f"  {catalogue.find(name).signature()}" for name in catalogue.names()]
    lines += ["", "Failure modes: ways to be wrong, each with a mutant that a run must catch"]
    for mode in failure_modes.modes():
        lines.append(_wrapped(f"{mode.name} ({mode.op}): {mode.summary}"))
    return "\n".join([*lines, "", "normcheck explain NAME prints the page of one, or of a regime."])


@click.command("explain")
@click.argument("name", required=False)
def command(name: str | None) -> int:
    """Explain NAME: a property, an op, a regime of values or a failure mode. All without NAME."""
    if name is None:
        click.echo(_all())
        return 0
    from normcheck.cases.regimes import MIXES, REGIMES
    from normcheck.errors import UsageError, nearest
    from normcheck.ops import catalogue
    from normcheck.properties import registry
    from normcheck.properties.failure_modes import catalogue as failure_modes

    modes = [mode.name for mode in failure_modes.modes()]
    for known, page in (
        (registry.names(), _property),
        (catalogue.names(), _op),
        ((*MIXES, *REGIMES), _regime),
        (modes, _failure_mode),
    ):
        if name in known:
            click.echo(page(name))
            return 0
    everything = [*registry.names(), *catalogue.names(), *MIXES, *REGIMES, *modes]
    raise UsageError(f"nothing is called {name!r}{nearest(name, everything)}")
