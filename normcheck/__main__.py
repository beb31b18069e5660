"""``python -m normcheck``."""

from __future__ import annotations

from normcheck.cli import main

main()
