"""Who takes part: the target, what it is compared with, and what normcheck says of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from normcheck.bench.document import Judgement
from normcheck.bench.rivals import COMPILED, EAGER, rivals
from normcheck.bench.settings import Implementation, Settings
from normcheck.errors import TargetError, UsageError
from normcheck.execution.ranks import OP_ON_RANKS
from normcheck.ops import catalogue
from normcheck.ops.op import Op
from normcheck.policy import Policy
from normcheck.record import Record, Verdict, read
from normcheck.survey.adaptors import torch_compiled
from normcheck.survey.running import Order, run
from normcheck.targets.adapter import Adapter
from normcheck.targets.own_kernels import kernel_of
from normcheck.targets.target import adapt, load
from normcheck.targets.torch_functions import MODULE, name_of

__all__ = ["Contender", "contenders", "judge"]

# Each variant takes seconds to compile: of a compiled function, results and gradients are judged.
_OF_COMPILED = ("forward_accuracy", "gradients")
_OWN = (EAGER, COMPILED)
_LIMIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Contender:
    """One implementation.

    Attributes:
        name: What it is called in the document.
        adapter: What is timed.
        judged: What is judged: the same, or for a compiled function the same with open shapes.
        properties: By which properties; all if empty.
    """

    name: str
    adapter: Adapter
    judged: Implementation
    properties: tuple[str, ...] = ()

    @property
    def policy(self) -> Policy:
        """The declared conventions."""
        return Policy.parse(self.judged.policies)


def contenders(settings: Settings) -> tuple[list[Contender], list[str]]:
    """Return who takes part, the target first, and notes on who does not.

    Raises:
        UsageError: The op is one of several ranks, or a rival is unknown.
        TargetError: The target, or what it is to be compared with, cannot be found or bound.
    """
    op = catalogue.find(settings.op)
    if op.name == OP_ON_RANKS:
        raise UsageError(f"op is {op.name!r}, but must be one that a single process computes")
    target = _loaded(settings.target, op)
    found, notes = {target.name: target}, []
    for each in settings.against:
        one = _own(each, op) if each.target in _OWN else _loaded(each, op)
        found.setdefault(one.name, one)
    for name in () if settings.against else _offered(op):
        try:
            one = _own(Implementation(name), op)
        except TargetError as error:
            notes.append(f"{name} was left out: {error}")
            continue
        if one.adapter.written is not target.adapter.written:
            found[name] = one
    if not settings.against and (kernel := kernel_of(op.name, settings.device)):
        found.setdefault(kernel, _loaded(Implementation(kernel), op))
    return list(found.values()), notes


def _loaded(each: Implementation, op: Op) -> Contender:
    if ":" not in each.target:
        raise UsageError(
            f"implementation is {each.target!r}, but must be MODULE:NAME or FILE.py:NAME, or "
            f"after --against {' or '.join(_OWN)}"
        )
    policy = Policy.parse(each.policies)
    adapter = load(each.target, op, policy, fixed=each.fixed, framework=each.framework)
    return Contender(each.name, adapter, each)


def _offered(op: Op) -> list[str]:
    """Return which of torch's own functions there are; what takes too long to judge is none."""
    eager = [EAGER] if name_of(op.name) else []
    return [*eager, *([COMPILED] if op.name in torch_compiled.__all__ else [])]


def _own(each: Implementation, op: Op) -> Contender:
    """Return torch's own function, as it is or compiled."""
    if each.target not in _offered(op):
        offered = " and ".join(_offered(op)) or "nothing"
        raise UsageError(f"against is {each.target!r}, but for {op.name} torch offers {offered}")
    function = rivals(op.name)[each.target]()
    policy = Policy.parse(each.policies)
    adapter = adapt(function, each.name, op, policy, fixed=each.fixed, framework=each.framework)
    if each.target == EAGER:
        return Contender(each.name, adapter, replace(each, target=f"{MODULE}:{name_of(op.name)}"))
    judged = replace(each, target=f"{torch_compiled.__name__}:{op.name}")
    return Contender(each.name, adapter, judged, _OF_COMPILED)


def judge(contender: Contender, dtype: str, settings: Settings) -> Judgement:
    """Judge an implementation in one format, in profile quick, for its verdict only.

    The run is a process of its own: some implementations, torch's among them, end theirs on a case
    that nobody times.
    """
    each = contender.judged
    with TemporaryDirectory() as folder:
        file, log = Path(folder, "record.json"), Path(folder, "log.txt")
        words = ["-m", "normcheck", "run", each.target, "--op", settings.op, "--dtype", dtype]
        words += ["--device", settings.device, "--timeout", str(settings.timeout_s)]
        words += ["--profile", "quick", "--verdict-only", "-q", "-j", "1", "--json", str(file)]
        words += [word for name in contender.properties for word in ("--property", name)]
        ended = run(Order((*words, *each.options()), {}, _LIMIT_S), log)
        try:
            return _judgement(contender, dtype, read(file))
        except UsageError:
            why = f"its run ended with status {ended.status} and left no record: {ended.said}"
    return Judgement(
        implementation=contender.name, target=each.target, dtype=dtype,
        verdict=Verdict.NOT_JUDGED, worst_ratio=0.0, checks=0, reason=why,
    )  # fmt: skip


def _judgement(contender: Contender, dtype: str, record: Record) -> Judgement:
    judged = [check for check in record.checks if check.verdict is not Verdict.NOT_JUDGED]
    refusals = [refusal.message for refusal in record.unsupported]
    why = record.incomplete or ("" if judged else next(iter(refusals), "no case applies"))
    return Judgement(
        implementation=contender.name,
        target=contender.judged.target,
        dtype=dtype,
        verdict=record.verdict,
        worst_ratio=record.worst_ratio,
        checks=len(judged),
        failing=[check.property for check in judged if check.verdict is Verdict.FAIL],
        reason=why,
        command=record.command,
    )
