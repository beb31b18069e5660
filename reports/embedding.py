"""What a page carries in itself: files to save, and a script that a strict policy lets run."""

from __future__ import annotations

import base64
import gzip
import hashlib
from dataclasses import dataclass

__all__ = ["Download", "gzipped", "plain", "source_hash"]


@dataclass(frozen=True, slots=True)
class Download:
    """A file in the page.

    Attributes:
        name: What it is saved as.
        href: Its bytes, as a ``data:`` URL.
        size: Their number.
    """

    name: str
    href: str
    size: int


def _download(name: str, kind: str, data: bytes) -> Download:
    return Download(name, f"data:{kind};base64,{base64.b64encode(data).decode()}", len(data))


def plain(name: str, text: str) -> Download:
    """Return a text file."""
    return _download(name, "text/plain", text.encode("utf-8"))


def gzipped(name: str, text: str) -> Download:
    """Return a text file, compressed: the same text gives the same bytes."""
    return _download(f"{name}.gz", "application/gzip", gzip.compress(text.encode("utf-8"), mtime=0))


def source_hash(script: str) -> str:
    """Return the source under which a policy allows an inline script, and no other."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
