"""One target from its making on: what is done with it, and what its state has to be by then."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.execution.in_process import InProcess, same_bits
from normcheck.execution.observation import Observation, Trouble
from normcheck.execution.watchdog import TargetHungError
from normcheck.execution.way import Way
from normcheck.targets.module import ModuleAdapter
from normcheck.targets.stateful import BUFFERS, Stateful

__all__ = ["KINDS", "Call", "Life", "StateError"]

_TRAINS = ("train", "train_with_gradients", "one_sample")
_WAYS = {
    "train_with_gradients": Way(gradients=True),
    "eval_with_gradients": Way(gradients=True),
    "frozen": Way(gradients=True, wanted=("x",)),
}
KINDS = (
    "train", "eval", "train_with_gradients", "one_sample", "eval_with_gradients", "frozen",
    "restore", "convert",
)  # fmt: skip
"""What users do with a norm."""


class StateError(Exception):
    """The state is not what it has to be, or the target is dead.

    Attributes:
        tensor: Name of the buffer, or ``target``.
        text: What is wrong, one line.
        dead: Whether the target hung or ended the process.
    """

    def __init__(self, tensor: str, text: str, *, dead: bool = False) -> None:
        super().__init__(text)
        self.tensor, self.text, self.dead = tensor, text, dead


@dataclass(frozen=True, slots=True)
class Call:
    """One call that went well.

    Attributes:
        observed: What came back.
        inputs: With what it was made: the buffers are the reference state.
        way: How.
    """

    observed: Observation
    inputs: Inputs
    way: Way


class Life:
    """A target that keeps its state.

    The reference state is set to the observed buffers after every training step, so that each step
    has the budget of one step. That hides no drift: after k steps the buffers are off by at most
    the sum over i of (1 - m)^(k - i) times the budget of step i, which is what a reference with a
    life of its own would have to grant.

    Attributes:
        momentum: What the module was made with; None is a cumulative average.
        steps: What was done, as told to a user.
        refused: What the target said where it refused something.
    """

    def __init__(self, executor: InProcess, inputs: Inputs, momentum: float | None) -> None:
        self.momentum = momentum
        self.steps: list[str] = []
        self.refused = ""
        self._is_module = isinstance(executor.adapter, ModuleAdapter)
        self._target = Stateful(executor.adapter, cumulative=momentum is None)
        # The same clock and time limit.
        self._executor = copy.copy(executor)
        self._executor.adapter = self._target
        self._state: Mapping[str, Tensor] = {name: inputs.tensors[name] for name in BUFFERS}
        self._case, self._seen = inputs.case.id, 0

    def call(self, kind: str, batch: Inputs, momentum: float | None) -> Call | None:
        """Call on a batch.

        Args:
            kind: One of `KINDS` that is a call.
            batch: With what; its buffers are not used.
            momentum: For a function; a module has its own.

        Returns:
            The call, to be judged; None where it was refused or has no meaning.

        Raises:
            StateError: It changed what it must not change, or never returned.
        """
        trains = kind in _TRAINS
        if trains and batch.reduction.count < 2:
            return None
        given = self.momentum if self._is_module else momentum
        self.steps.append(f"{kind}(momentum={given})" if trains else f"{kind}()")
        # A cumulative average over k batches gives the last one the weight 1/k.
        weight = 1.0 / (self._seen + 1) if given is None else given
        case = batch.case.changed(mode="train" if trains else "eval", momentum=weight)
        inputs = replace(batch, case=case, tensors={**batch.tensors, **self._state})
        way = _WAYS.get(kind, Way())
        observed = self._executor.call(inputs, way)
        if self._troubled(observed):
            self._state, self._seen = observed.state or self._state, self._target.counter or 0
            return None
        if not trains:
            self._unchanged(observed.state, "changed in evaluation mode")
        self._count(trains)
        self._state = {**self._state, **observed.state}
        return Call(observed, inputs, way)

    def save(self) -> Callable[[], None]:
        """Save the state; what is returned loads it."""
        self.steps.append("save()")
        saved, state, seen = self._target.save(), self._state, self._seen

        def load() -> None:
            self._state, self._seen = state, seen
            self._do("load", lambda: self._target.restore(saved), "not what was saved")

        return load

    def convert(self) -> None:
        """Put the state into new memory."""
        self._do("convert", self._target.move, "changed by a conversion to float64 and back")

    def _do(self, kind: str, action: Callable[[], None], words: str) -> None:
        if not self._target.state():
            return  # nothing was called yet, or every call was refused
        self.steps.append(f"{kind}()")
        watchdog = self._executor.watchdog
        try:
            with watchdog.watch(self._case), warnings.catch_warnings():
                action()
        except TargetHungError:
            text = f"the target did not return within {watchdog.limit_s:g} s"
            raise StateError("target", text, dead=True) from None
        except Exception as error:
            self.refused = self.refused or f"{kind}: {type(error).__name__}"
            self._state = self._target.state()
        self._unchanged(self._target.state(), words)

    def _troubled(self, observed: Observation) -> bool:
        raised = observed.raised
        if raised is None or (raised.trouble is Trouble.NO_GRADIENT and observed.outputs):
            return False
        if raised.trouble in (Trouble.HUNG, Trouble.EXITED):
            raise StateError("target", f"the target {raised.text}", dead=True)
        self.refused = self.refused or raised.text
        return True

    def _unchanged(self, state: Mapping[str, Tensor], words: str) -> None:
        """Hold the buffers to the reference state, bit for bit."""
        for name in sorted(self._state.keys() & state.keys()):
            expected = self._state[name]
            now = state[name].reshape(expected.shape)
            if not same_bits(now, expected):
                i = int((now != expected).flatten().int().argmax())
                got, wanted = now.flatten()[i].item(), expected.flatten()[i].item()
                text = f"{name}[{i}] = {got:.6g}, but must be {wanted:.6g}: {words}"
                raise StateError(name, text)

    def _count(self, trained: bool) -> None:
        """Hold a module's counter of training calls to what was called."""
        before, count = self._seen, self._target.counter
        self._seen += trained
        if count is None or count == self._seen:
            return
        if self.momentum is not None and count == before:
            self._seen = before  # nothing depends on it: it may also stand still
            return
        text = f"num_batches_tracked is {count}, but must be {self._seen}"
        raise StateError("num_batches_tracked", text)
