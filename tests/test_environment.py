"""normcheck.environment: what a target is written in, so that a record tells its version."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

from normcheck.environment import source_of


def here() -> None:
    """Stand in this file."""


@functools.lru_cache
def decorated() -> None:
    """Likewise, behind another module's code."""


def test_a_source_is_named_with_its_digest() -> None:
    digest = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    assert source_of(here) == f"test_environment.py sha256:{digest}"
    assert source_of(decorated) == source_of(here)


def test_what_is_in_no_file_has_no_source() -> None:
    assert source_of(len) == ""
