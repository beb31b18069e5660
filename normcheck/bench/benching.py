"""Take a bench: judge every implementation, then time each on the same inputs."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import torch
from torch import Tensor

from normcheck import environment
from normcheck.bench.clock import Clock, Timing, clock_of, timing
from normcheck.bench.contenders import Contender, contenders, judge
from normcheck.bench.document import SCHEMA, Bench, Copy, Direction, Judgement, Row
from normcheck.bench.memory import peak_bytes
from normcheck.bench.rivals import forget
from normcheck.bench.settings import Settings
from normcheck.bench.work import SIZES, least_bytes, plain_case, prepare, shape_of
from normcheck.cases.case import Case
from normcheck.cases.materialise import ELEMENT_CEILING, Inputs, materialise
from normcheck.errors import UsageError
from normcheck.ops import catalogue
from normcheck.plan import device
from normcheck.record import Verdict
from normcheck.targets.frameworks import NoGradientError
from normcheck.targets.resolve import first_line

__all__ = ["SUSPECT", "bench"]

SUSPECT = 1.05
"""Share of the copy's bandwidth above which a time is suspect."""


def _quiet(text: str) -> None:
    """Tell nobody."""


def bench(
    settings: Settings, tell: Callable[[str], None] = _quiet, clock: Clock | None = None
) -> Bench:
    """Judge and time a target and what it is compared with.

    Args:
        settings: What was asked for.
        tell: Told in words what comes next.
        clock: Takes the time; the device's own if None.

    Raises:
        UsageError: An argument is unknown; the message names the nearest valid one.
        TargetError: An implementation cannot be found, imported or bound.
        NothingToRunError: The device is absent.
    """
    settings = settings.checked()
    started, begun = datetime.now(UTC), time.perf_counter()
    place = device(settings.device)
    _refuse_what_is_too_large(settings)
    taking_part, notes = contenders(settings)
    taken = _Bench(settings, place, clock or clock_of(place, settings.least_s), taking_part, tell)
    for dtype in settings.dtypes:
        taken.judge_all(dtype)
    for dtype in settings.dtypes:
        for size in _sizes(settings):
            taken.time_all(dtype, size)
    return Bench(
        schema=SCHEMA,
        command=settings.command,
        target=taking_part[0].name,
        op=settings.op,
        device=str(place),
        clock=taken.clock.method,
        environment=environment.describe(place, torch.get_num_threads()),
        judgements=list(taken.judgements.values()),
        copies=list(taken.copies.values()),
        rows=taken.rows,
        notes=notes,
        started_at=started.isoformat(timespec="seconds"),
        elapsed_s=time.perf_counter() - begun,
    )


def _sizes(settings: Settings) -> tuple[int, ...]:
    return settings.sizes or SIZES[catalogue.find(settings.op).family]


def _refuse_what_is_too_large(settings: Settings) -> None:
    """Refuse sizes for which there are no inputs, before minutes are spent on the others."""
    for size in _sizes(settings):
        shape = shape_of(catalogue.find(settings.op), size, settings.rows)
        if math.prod(shape) > ELEMENT_CEILING:
            raise UsageError(
                f"size is {size}, which makes {math.prod(shape)} elements of "
                f"{'x'.join(map(str, shape))}, but the ceiling is {ELEMENT_CEILING}"
            )


@dataclass(slots=True)
class _Bench:
    """One bench on its way."""

    settings: Settings
    device: torch.device
    clock: Clock
    contenders: Sequence[Contender]
    tell: Callable[[str], None]
    judgements: dict[tuple[str, str], Judgement] = field(default_factory=dict)
    copies: dict[int, Copy] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def case(self, dtype: str, size: int) -> Case:
        """Return inputs that all implementations can be called with; the target has the last word.

        One without a bias, say, means that nobody gets a bias.
        """
        op = catalogue.find(self.settings.op)
        case = plain_case(op, dtype, shape_of(op, size, self.settings.rows))
        for contender in reversed(self.contenders):
            case = contender.adapter.conform(case)
        return case

    def judge_all(self, dtype: str) -> None:
        """Judge every implementation in one format."""
        for contender in self.contenders:
            self.tell(f"judging {contender.name} in {dtype}")
            self.judgements[contender.name, dtype] = judge(contender, dtype, self.settings)

    def time_all(self, dtype: str, size: int) -> None:
        """Time every implementation on one size, in both directions."""
        case = self.case(dtype, size)
        inputs = materialise(case)
        forget()
        memory = {c.name: self._memory(c, inputs) for c in self.contenders}
        for direction in Direction:
            self.tell(f"timing {direction} of {case.id}")
            for contender in self.contenders:
                row = self._row(contender, inputs, direction, size)
                self.rows.append(row.model_copy(update={"memory_bytes": memory[contender.name]}))

    def _row(self, contender: Contender, inputs: Inputs, direction: Direction, size: int) -> Row:
        """Time one implementation; whatever it raises is why it has no time."""
        judgement = self.judgements[contender.name, inputs.case.dtype]
        moved = least_bytes(inputs, direction, contender.policy)
        row = Row(
            implementation=contender.name, dtype=inputs.case.dtype, direction=direction,
            shape=list(inputs.case.shape), size=size, case=inputs.case.id,
            verdict=judgement.verdict, worst_ratio=judgement.worst_ratio, bytes=moved,
            reason=_why_not_ranked(judgement),
        )  # fmt: skip
        copy = self._copy(moved)
        why = self._why_not_timed(contender, judgement, inputs.case)
        if why:
            return row.model_copy(update={"reason": why})
        try:
            taken = self._timed(contender, inputs, direction)
        except NoGradientError as error:
            return row.model_copy(update={"reason": f"no backward: {error}"})
        except Exception as error:
            why = f"raised {type(error).__name__}: {first_line(error)}"
            return row.model_copy(update={"reason": why})
        speed = moved / taken.median / 1e9
        share = speed / copy.gb_per_s
        return row.model_copy(
            update={
                "runs": taken.runs, "median_s": taken.median, "min_s": taken.least,
                "iqr_s": taken.iqr, "gb_per_s": speed, "share_of_copy": share,
                "suspect": share > SUSPECT,
            }
        )  # fmt: skip

    def _why_not_timed(self, contender: Contender, judgement: Judgement, case: Case) -> str:
        if judgement.reason:
            return f"not timed: {judgement.reason}"
        own = contender.adapter.conform(case)
        # An epsilon of its own changes no time.
        return "" if own.changed(eps=case.eps) == case else f"takes other inputs: {own.id}"

    def _timed(self, contender: Contender, inputs: Inputs, direction: Direction) -> Timing:
        gradients = direction is Direction.BACKWARD
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            work = prepare(contender.adapter, inputs, self.device, gradients=gradients)
            if gradients:
                return timing(self.clock.seconds(work.forward, work.backward))
            return timing(self.clock.seconds(lambda: None, lambda _: work.forward()))

    def _copy(self, size: int) -> Copy:
        """Time a copy that moves as many bytes, once for each number of them."""
        if size not in self.copies:
            # A half is read and a half is written, in elements of four bytes.
            source = torch.ones(max(size // 8, 1), device=self.device)
            target = torch.empty_like(source)

            def copied(_: None) -> Tensor:
                return target.copy_(source)

            taken = timing(self.clock.seconds(lambda: None, copied))
            self.copies[size] = Copy(
                bytes=size, median_s=taken.median, min_s=taken.least, iqr_s=taken.iqr,
                gb_per_s=size / taken.median / 1e9,
            )  # fmt: skip
        return self.copies[size]

    def _memory(self, contender: Contender, inputs: Inputs) -> int | None:
        """Return what a forward and a backward call together allocate, None if they cannot."""
        judgement = self.judgements[contender.name, inputs.case.dtype]
        if self._why_not_timed(contender, judgement, inputs.case):
            return None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                work = prepare(contender.adapter, inputs, self.device, gradients=True)
                # A first call compiles and fills caches.
                work.backward(work.forward())
                return peak_bytes(lambda: work.backward(work.forward()), self.device)
        except Exception:
            return None


def _why_not_ranked(judgement: Judgement) -> str:
    if judgement.verdict is Verdict.PASS:
        return ""
    if judgement.failing:
        return f"not comparable: fails {', '.join(judgement.failing)}"
    return f"not comparable: {judgement.reason or 'nothing was judged'}"
