"""``normcheck survey``: judge the normalizations of the libraries that are installed."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from normcheck import config
from normcheck.config import DEFAULT_DTYPES, PROFILES

if TYPE_CHECKING:
    from normcheck.survey.document import Entry

__all__ = ["command"]

_HELP = """Judge the normalizations of installed libraries, each in a process of its own.

\b
normcheck survey                                 all that is installed
normcheck survey --library flax --library keras  two of them
normcheck survey --list                          which ones there are

DIR gets survey.md, survey.html and survey.json, and the record of every run. The exit status is 0
whatever the implementations do; `normcheck run` judges one of them.
"""


@click.command("survey", help=_HELP)
@click.option(
    "--library", "libraries", multiple=True, metavar="NAME", help="Only this; repeatable."
)
@click.option("--list", "only_list", is_flag=True, help="List libraries and what is installed.")
@click.option(
    "--dtype",
    default=",".join(DEFAULT_DTYPES),
    show_default=True,
    help="One or more, joined by commas.",
)
@click.option("--profile", default="quick", show_default=True, help=f"{', '.join(PROFILES)}.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1.")
@click.option(
    "--jobs", default=1, show_default=True, type=click.IntRange(min=1),
    help="Implementations judged at once.",
)  # fmt: skip
@click.option(
    "--limit", "limit_s", default=300.0, show_default=True, metavar="SECONDS",
    type=click.FloatRange(min=0.1), help="Most seconds for one implementation.",
)  # fmt: skip
@click.option(
    "-o", "folder", default="normcheck-survey", show_default=True, metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False), help="Where the pages go.",
)  # fmt: skip
@click.option("--resume", is_flag=True, help="Take over what an earlier survey left in DIR.")
@click.option("--json", "to_stdout", is_flag=True, help="Print the survey as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="No progress on stderr.")
def command(
    libraries: tuple[str, ...], only_list: bool, dtype: str, profile: str, device: str,
    jobs: int, limit_s: float, folder: Path, resume: bool, to_stdout: bool, quiet: bool,
) -> int:  # fmt: skip
    """Take a survey; the words of the command line as typed."""
    from normcheck.survey import catalogue
    from normcheck.survey.surveying import Settings, survey

    if only_list:
        _list()
        return 0
    settings = Settings(
        profile=config.profile(profile).name,
        dtypes=config.dtypes(dtype),
        device=device,
        limit_s=limit_s,
        jobs=jobs,
        folder=folder,
        resume=resume,
        command=_repeat(libraries, dtype, profile, device),
    )

    def told(entry: Entry) -> None:
        if not quiet:
            click.echo(_progress(entry), err=True)

    chosen = {name: catalogue.find(name) for name in libraries or catalogue.names()}
    found = survey(chosen, settings, told)
    from normcheck.reports.survey import html, markdown

    (folder / "survey.json").write_text(found.to_json() + "\n", encoding="utf-8")
    (folder / "survey.md").write_text(markdown(found), encoding="utf-8")
    (folder / "survey.html").write_text(html(found), encoding="utf-8")
    if to_stdout:
        click.echo(found.to_json())
    else:
        click.echo(f"survey: {folder / 'survey.md'}, {folder / 'survey.html'}")
    return 0


def _repeat(libraries: tuple[str, ...], dtype: str, name: str, device: str) -> str:
    words = ["normcheck", "survey"]
    for library in libraries:
        words += ["--library", library]
    return shlex.join([*words, "--dtype", dtype, "--profile", name, "--device", device])


def _list() -> None:
    from normcheck.survey import catalogue

    for name in catalogue.names():
        library = catalogue.find(name)
        installed, missing = catalogue.versions(library)
        told = ", ".join(f"{k} {v}" for k, v in installed.items())
        lacking = f"not installed: {', '.join(missing)}" if missing else ""
        subjects = f"{len(library.subjects)} implementations"
        click.echo("; ".join(filter(None, [f"{name}: {library.name}, {subjects}", told, lacking])))


def _progress(entry: Entry) -> str:
    from normcheck.ratio import ratio_text
    from normcheck.reports.text import verdict_text

    cells = " ".join(
        f"{cell.dtype} {ratio_text(cell.worst_ratio) if cell.checks else '?'}"
        for cell in entry.cells
    )
    why = "" if entry.cells and not entry.reason else f"{entry.status}: {entry.reason}"
    parts = [verdict_text(entry.verdict), entry.id, cells, why, f"{entry.elapsed_s:g} s"]
    return "  ".join(part for part in parts if part)
