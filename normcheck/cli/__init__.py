"""The command line, a file per command.

stdout carries the result and nothing else, stderr the progress. Exit status: 0 pass, 1 fail, 2
wrong usage, 3 normcheck's own fault, 4 target not judged, 5 nothing ran, 130 interrupted.
"""

from __future__ import annotations

from normcheck.cli.main import main

__all__ = ["main"]
