"""From the text that names a target to the object: ``pkg.mod:name`` or ``path/file.py:name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from types import ModuleType

from normcheck.errors import TargetError, nearest

__all__ = ["first_line", "resolve"]


def resolve(text: str) -> object:
    """Import what ``text`` names.

    Raises:
        TargetError: It has no ":", does not exist, or raises while it is imported. The message
            names the place and what to type next; nothing that a target raises passes through.
    """
    place, sep, name = text.rpartition(":")
    if not sep or not place or not name:
        raise TargetError(
            f"target is {text!r}, but must be MODULE:NAME or FILE.py:NAME, "
            "as in torch.nn.functional:layer_norm"
        )
    module = _from_file(Path(place), text) if place.endswith(".py") else _from_name(place, text)
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            public = [n for n in dir(found) if not n.startswith("_")]
            raise TargetError(
                f"{place} has no {part!r}, asked for by {text}{nearest(part, public)}"
            )
        found = getattr(found, part)
    return found


def _from_name(place: str, text: str) -> ModuleType:
    # What `python -m` would find, the console script must find too.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return _guarded(lambda: importlib.import_module(place), place, text)


def _from_file(path: Path, text: str) -> ModuleType:
    if not path.is_file():
        near = [p.name for p in path.parent.glob("*.py")] if path.parent.is_dir() else []
        hint = nearest(path.name, near) if near else ""
        raise TargetError(f"{path} is not a file, asked for by {text}{hint}")
    path = path.resolve()
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    # Under its own name it would shadow, or be shadowed by, an installed module.
    name = f"_normcheck_target_{path.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} cannot be loaded as Python, asked for by {text}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader = spec.loader

    def execute() -> ModuleType:
        try:
            loader.exec_module(module)
        except BaseException:
            # Half a module must not be found by the next who asks.
            del sys.modules[name]
            raise
        return module

    return _guarded(execute, str(path), text)


def _guarded(load: object, place: str, text: str) -> ModuleType:
    """Run an import of foreign code; whatever it raises becomes one line."""
    assert callable(load)
    try:
        module: ModuleType = load()
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as error:
        raise TargetError(_missing(error, place, text)) from error
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)
        line = f" at {where[-1].filename}:{where[-1].lineno}" if where else ""
        if isinstance(error, SyntaxError):
            line = f" at {error.filename}:{error.lineno}"
        first = first_line(error)
        what = f"{type(error).__name__}: {first}" if first else type(error).__name__
        raise TargetError(
            f"{place} raised {what}{line} when imported, asked for by {text}"
        ) from error
    return module


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, whatever the exception does."""
    try:
        text = str(error).strip()
    except Exception:
        return ""  # its own __str__ raises
    # A lone surrogate could not be written to a record.
    line = (text.splitlines() or [""])[0][:200]
    return line.encode("utf-8", "replace").decode("utf-8")


def _missing(error: ModuleNotFoundError, place: str, text: str) -> str:
    """Tell a module that does not exist from one that misses a dependency."""
    file = place.rpartition(".")[2]
    if error.name and (place == error.name or place.startswith(f"{error.name}.")):
        return (
            f"module {place} does not exist, asked for by {text}; "
            f"run where it can be imported, or name its file, as path/to/{file}.py:NAME"
        )
    return f"{place} needs {error.name}, which is not installed, asked for by {text}"
