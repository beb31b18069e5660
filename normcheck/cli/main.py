"""The group of commands, and what becomes of every way a command can end."""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import click

from normcheck.errors import NormcheckError, nearest

__all__ = ["main"]

COMMANDS = {
    "run": "normcheck.cli.run",
    "repro": "normcheck.cli.repro",
    "explain": "normcheck.cli.explain",
    "compare": "normcheck.cli.compare",
    "history": "normcheck.cli.history",
    "report": "normcheck.cli.report",
    "doctor": "normcheck.cli.doctor",
    "power": "normcheck.cli.power",
    "survey": "normcheck.cli.survey",
    "bench": "normcheck.cli.bench",
    "demo": "normcheck.cli.demo",
}


class _Lazy(click.Group):
    """Imports a command's module when the command is looked up; none of them imports torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found: click.Command = importlib.import_module(COMMANDS[name]).command
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            ctx.fail(f"command is {args[0]!r}, but must be known{nearest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        import normcheck

        click.echo(f"normcheck {normcheck.__version__}")
        ctx.exit()


_HELP = """Judge implementations of normalization against exact references with derived budgets.

\b
normcheck demo                                            see what it does
normcheck run torch.nn.functional:layer_norm              judge something installed
normcheck run path/to/file.py:my_rms_norm --op rms_norm   judge your own
"""


@click.group(cls=_Lazy, help=_HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, callback=_version, expose_value=False, is_eager=True,
    help="Print the version.",
)  # fmt: skip
@click.option("--debug", is_flag=True, help="Show tracebacks of normcheck's own errors.")
def _group(debug: bool) -> None:
    pass


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit."""
    # A target's name or a terminal's encoding must not end a report in a traceback.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
    # Threads of torch that spin while they wait slow a busy machine down thirtyfold; it is read
    # when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    debug = "--debug" in (sys.argv[1:] if arguments is None else arguments)
    try:
        status = _group.main(args=arguments, prog_name="normcheck", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        sys.exit(130)
    except NormcheckError as error:
        click.echo(f"normcheck: {error}", err=True)
        if debug:
            traceback.print_exc()
        sys.exit(error.exit_status)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:
        click.echo(f"normcheck: internal error: {type(error).__name__}: {error}", err=True)
        click.echo(
            "This is a fault of normcheck: please report it with --debug's output.", err=True
        )
        if debug:
            traceback.print_exc()
        sys.exit(3)
    sys.exit(status if isinstance(status, int) else 0)
