"""``normcheck.contract``: one line in a test file that becomes one test per check."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from normcheck.errors import UsageError

__all__ = ["ARGUMENT", "Contract", "contract"]

ARGUMENT = "normcheck_check"
"""The argument through which pytest hands each test its check."""

Test = Callable[..., object]
_POSITIONAL = inspect.Parameter.POSITIONAL_OR_KEYWORD


@dataclass(frozen=True, slots=True)
class Contract:
    """What a test file asks for; empty fields are left to the options of the run.

    Attributes:
        target: The callable, or the text that names one.
        text: What the target is called in what is printed.
        op: What it is judged as; told from the name if empty.
        dtypes: Names of formats.
        device: Where the tensors live.
        profile: How much is tried.
        policies: Declared conventions.
        fixed: Values for parameters of the target that are none of the op's.
        framework: As of `normcheck.run`.
        properties: Names of properties; all if empty.
        seed: Seeds what is drawn.
        timeout_s: Seconds granted to one call.
        fixtures: The target's parameters that pytest fills in.
    """

    target: object
    text: str
    op: str = ""
    dtypes: tuple[str, ...] = ()
    device: str = ""
    profile: str = ""
    policies: tuple[str, ...] = ()
    fixed: Mapping[str, object] = field(default_factory=dict)
    framework: str = "auto"
    properties: tuple[str, ...] = ()
    seed: int | None = None
    timeout_s: float = 60.0
    fixtures: tuple[str, ...] = ()

    def call(self, given: Mapping[str, object]) -> object:
        """Return the target with its fixtures filled in, and a signature without them."""
        if not self.fixtures:
            return self.target
        function, fixtures = self.target, dict(given)
        assert callable(function), "only functions have fixtures"

        @functools.wraps(function)
        def call(*arguments: object, **named: object) -> object:
            return function(*arguments, **named, **fixtures)

        del call.__wrapped__
        shown = inspect.signature(function)
        kept = [p for name, p in shown.parameters.items() if name not in self.fixtures]
        call.__signature__ = shown.replace(parameters=kept)  # type: ignore[attr-defined]
        return call


def contract(
    target: Callable[..., object] | str | None = None,
    *,
    op: str = "",
    dtypes: Sequence[object] = (),
    device: str = "",
    profile: str = "",
    policy: str | Sequence[str] | Mapping[str, str] = (),
    fixed: Mapping[str, object] | None = None,
    framework: str = "auto",
    properties: Sequence[str] = (),
    seed: int | None = None,
    timeout_s: float = 60.0,
) -> Any:
    """Return a test that pytest multiplies: one per op, dtype, device and property.

    Assigned, as in ``test_rms_norm = normcheck.contract(rms_norm)``, or as a decorator of a
    function that says how the kernel is called; its parameters that are none of the op's are
    fixtures::

        @normcheck.contract(op="rms_norm", dtypes=["bfloat16"])
        def test_rms_norm(x, weight, eps, stream):
            return launch(x, weight, eps, stream)

    Args:
        target: A callable, an nn.Module class, or the text that names one; None to decorate.
        op: What it is judged as; told from its name if left out.
        dtypes: Names of formats, or torch's dtypes.
        device: ``cpu``, ``cuda``, ``cuda:1`` or ``auto``.
        profile: ``quick``, ``standard``, ``thorough`` or ``nightly``.
        policy: Declared conventions: ``"eps=outside"``, several of them, or a mapping.
        fixed: Values for parameters of the target that are none of the op's.
        framework: ``torch``, ``numpy``, ``jax``, or ``auto``.
        properties: Names of properties; all if empty.
        seed: Seeds what is drawn; a fixed one if left out.
        timeout_s: Seconds granted to one call of the target.

    Raises:
        UsageError: The target is neither callable nor a text.
    """
    given = Contract(
        None, "", op, tuple(str(dtype).removeprefix("torch.") for dtype in dtypes), device, profile,
        _policies(policy), dict(fixed or {}), framework, tuple(properties), seed, timeout_s,
    )  # fmt: skip
    if target is None:
        return lambda function: _decorated(given, function)
    text = target if isinstance(target, str) else _text(target)
    frame = inspect.currentframe()
    caller = frame.f_back if frame else None
    # Only the body of a class has a qualified name of its own.
    method = caller is not None and "__qualname__" in caller.f_locals
    return _test(replace(given, target=target, text=text), caller, method=method)


def _policies(given: str | Sequence[str] | Mapping[str, str]) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if isinstance(given, Mapping):
        return tuple(f"{name}={value}" for name, value in given.items())
    return tuple(given)


def _text(target: object) -> str:
    """Name a target so that ``normcheck repro`` finds it again."""
    if not callable(target):
        raise UsageError(f"target is {target!r}, but must be callable, or text that names one")
    module = getattr(target, "__module__", None) or type(target).__module__
    name = getattr(target, "__qualname__", type(target).__qualname__)
    file = getattr(sys.modules.get(module), "__file__", None)
    # A test module is imported by its path: no import statement finds it from elsewhere.
    if file and Path(file).name.startswith(("test_", "conftest")):
        return f"{_shortest(Path(file))}:{name}"
    return f"{module}:{name}"


def _shortest(path: Path) -> str:
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


def _decorated(given: Contract, function: Callable[..., object]) -> Test:
    from normcheck.ops import catalogue
    from normcheck.targets import aliases
    from normcheck.targets.binding import match, parameters_of

    text = _text(function)
    op = catalogue.find(given.op or catalogue.guess(text))
    parameters = parameters_of(function, text, op)
    names = set(match(op, aliases.of(op), parameters, text, given.fixed).values())
    names |= {*given.fixed, *aliases.DESTINATION, *aliases.AXIS, *op.names_in_parts(op.outputs)}
    outer = function.__qualname__.rpartition(".")[0]
    method = bool(outer) and not outer.endswith("<locals>")
    fixtures = tuple(
        p.name for p in parameters if p.name not in names and p.default is inspect.Parameter.empty
    )
    made = replace(given, target=function, text=text, op=op.name, fixtures=fixtures)
    test = _test(made, None, method=method)
    functools.update_wrapper(test, function)
    del test.__wrapped__  # type: ignore[attr-defined]
    test.place_as = function  # type: ignore[attr-defined]
    return test


def _test(made: Contract, frame: FrameType | None, *, method: bool) -> Test:
    """Return the function that pytest collects; called without a check, it is the target."""

    def test(*arguments: object, **given: object) -> object:
        check: Any = given.pop(ARGUMENT, None)
        if check is None:
            target: Any = made.target
            return target(*arguments, **given)
        request: Any = given["request"]
        fixtures = {name: given[name] for name in made.fixtures if name in given}
        if "self" in made.fixtures:
            # What pytest binds a method to is an argument of the function like any other.
            fixtures["self"] = arguments[0]
        check.judge(fixtures, _variant(request.node))
        return None

    if frame is not None:
        # Shown as the place of the test: the line that the user wrote.
        test.__code__ = _placed(test.__code__, frame)
    names = ["self"] if method else []
    names += [ARGUMENT, "request", *made.fixtures]
    parameters = [inspect.Parameter(name, _POSITIONAL) for name in dict.fromkeys(names)]
    test.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    test.normcheck_contract = made  # type: ignore[attr-defined]
    return test


def _variant(node: Any) -> str:
    """Tell the parameters of fixtures apart: with each of them a dtype is judged again.

    Not by the values of the fixtures, which are others for each test.
    """
    indices = {name: at for name, at in node.callspec.indices.items() if name != ARGUMENT}
    return ", ".join(f"{name}={at}" for name, at in sorted(indices.items()))


def _placed(code: CodeType, frame: FrameType) -> CodeType:
    return code.replace(co_filename=frame.f_code.co_filename, co_firstlineno=frame.f_lineno)
