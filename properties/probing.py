"""Several calls of one case that must all be right: what each says, and what they say together.

A probe whose answer has the bits of the plain call's needs no judging. Any other answer is held to
the same budget as the plain one. What plain calls get wrong is their own property's finding: a
probe that is no more wrong than they are adds nothing to it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import torch

from normcheck.cases.materialise import Inputs
from normcheck.cases.pose import output_format
from normcheck.cases.sweeps import FIRST_SEED
from normcheck.execution.observation import Observation, Trouble
from normcheck.execution.session import same_bits
from normcheck.execution.way import Way
from normcheck.numerics.comparison import Worst
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.properties.outcomes import from_trouble
from normcheck.properties.property import Finding, Outcome, SpecialCall, Status
from normcheck.properties.trial import Trial

__all__ = ["Probes", "applies", "unready"]


def applies(trial: Trial, *, elements: int, every: int = 1, offset: int = 0) -> bool:
    """Return whether a costly property looks at a case: a small one, and one of every so many.

    It depends on the case alone, so that judging the case again by its id says the same. Sweeps of
    sizes are left to the plain calls.
    """
    case = trial.inputs.case
    small = 0 < case.elements <= elements and case.seed < FIRST_SEED
    return small and case.seed % every == offset % every


def unready(trial: Trial) -> Outcome | None:
    """Return why a case's plain call gives nothing to compare with, None if it does."""
    if trial.forward.raised is not None:
        return from_trouble(trial.forward.raised)
    if not trial.comparisons:
        return Outcome(Status.INAPPLICABLE, reason="shape or dtype of the output is wrong")
    return None


@dataclass(slots=True)
class Probes:
    """The calls of one property on one case.

    Attributes:
        trial: The case.
        choice: Rounding policies that still explain the answers, where the calls take another path
            through the target, which may round elsewhere; None for those of the plain calls.
        held: Answers that were right.
        refused: What the target said where it refused a probe.
        finding: The first thing that is wrong.
        worst: The element with the largest ratio of all answers.
    """

    trial: Trial
    choice: RoundingChoice | None = None
    held: int = 0
    refused: str = ""
    finding: Finding | None = None
    worst: Worst | None = None
    _blamed: set[str] | None = field(default=None)

    @property
    def blamed(self) -> set[str]:
        """Tensors that the plain calls already get wrong."""
        if self._blamed is None:
            found = {name: self.trial.compared(name) for name in self.trial.comparisons}
            wrong = {name for name, chosen in found.items() if chosen and chosen[1].ratio > 1.0}
            self._blamed = {name.removesuffix("_with_gradients") for name in wrong}
        return self._blamed

    def ask(
        self, words: str, way: Way, inputs: Inputs | None = None, base: Observation | None = None
    ) -> Observation:
        """Call, and hold the answer to the budget.

        Args:
            words: What is special about the call, to follow "when".
            way: How it is made.
            inputs: With what; the case's own if left out.
            base: A call on equal inputs: an answer with its bits is as right as it is.
        """
        observed = self.trial.call(way, inputs)
        call = SpecialCall(inputs or self.trial.inputs, way)
        self.hold(words, observed, inputs, base, call=call)
        return observed

    def hold(
        self,
        words: str,
        observed: Observation,
        inputs: Inputs | None = None,
        base: Observation | None = None,
        dtypes: Collection[torch.dtype] = (),
        call: SpecialCall | None = None,
    ) -> None:
        """Hold the answer of a call that was made to the budget; arguments as of `ask`.

        ``dtypes`` are formats that an output may have besides the one of the contract; ``call`` is
        how a script makes the call again.
        """
        if self.finding is not None or self._troubled(words, observed):
            return
        given = inputs or self.trial.inputs
        fault = self._form(words, observed, given, dtypes)
        if fault is not None:
            self.finding = fault
        elif base is not None and _same(observed, base):
            self.held += 1
        else:
            self._compare(words, observed, given, call)

    def fail(self, tensor: str, detail: str) -> None:
        """Note what is wrong where no number says it."""
        if self.finding is None:
            self.finding = Finding(tensor, detail)

    def _troubled(self, words: str, observed: Observation) -> bool:
        raised = observed.raised
        if raised is None:
            return False
        if raised.trouble in (Trouble.HUNG, Trouble.EXITED):
            self.finding = Finding("target", f"the target {raised.text} {words}", dead=True)
        elif raised.trouble is Trouble.UNEXPECTED:
            self.fail("target", f"{raised.text}, {words}")
        elif raised.trouble is Trouble.REFUSED or not observed.outputs:
            self.refused = self.refused or f"{words}: {raised.text}"
            return True
        return self.finding is not None

    def _form(
        self, words: str, observed: Observation, given: Inputs, dtypes: Collection[torch.dtype]
    ) -> Finding | None:
        shape = given.tensors["x"].shape
        allowed = {output_format(given, self.trial.policy), *dtypes}
        for name, y in observed.outputs.items():
            if y.shape != shape:
                text = f"shape is {tuple(y.shape)}, but x has {tuple(shape)}, {words}"
                return Finding(name, text)
            if y.dtype not in allowed:
                wanted = " or ".join(sorted(map(str, allowed)))
                return Finding(name, f"dtype is {y.dtype}, but must be {wanted}, {words}")
        for name, gradient in observed.gradients.items():
            if gradient.shape != given.tensors[name].shape:
                have, want = tuple(gradient.shape), tuple(given.tensors[name].shape)
                return Finding(f"grad_{name}", f"shape is {have}, but must be {want}, {words}")
        return None

    def _compare(
        self, words: str, observed: Observation, given: Inputs, call: SpecialCall | None
    ) -> None:
        choice = self.choice or self.trial.choice
        for tensor, offered in self.trial.judge(observed, given, choice).items():
            if tensor in self.blamed:
                continue
            policy, found = choice.choose(tensor, offered)
            if found.worst is None or 1.0 < found.ratio <= self.trial.plain_ratio(tensor):
                continue
            self.held += 1
            if self.worst is None or found.ratio > self.worst.ratio:
                self.worst = found.worst
                if found.ratio > 1.0:
                    counts = found.violations, found.judged
                    self.finding = Finding(tensor, words, found.worst, policy, *counts, call=call)

    def outcome(self) -> Outcome:
        """Say what the calls say together."""
        ratio = self.worst.ratio if self.worst is not None else 0.0
        if self.finding is not None:
            return Outcome(Status.VIOLATED, ratio, self.worst, self.finding)
        if self.held:
            return Outcome(Status.HELD, ratio, self.worst)
        if self.refused:
            return Outcome(Status.UNSUPPORTED, reason=self.refused)
        return Outcome(Status.INAPPLICABLE, reason="nothing that the plain call gets right")


def _same(observed: Observation, base: Observation) -> bool:
    """Whether everything that a call returned has the bits of another call's."""
    pairs = (
        (observed.outputs, base.outputs),
        (observed.gradients, base.gradients),
        (observed.state, base.state),
    )
    return all(
        name in others and same_bits(value, others[name])
        for mine, others in pairs
        for name, value in mine.items()
    )
