"""Several calls of a target on the same tensors, and what each of them left behind."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.execution.arrangement import Arranged, arrange, as_given
from normcheck.execution.observation import Observation, Raised, Trouble
from normcheck.execution.stopwatch import threads
from normcheck.execution.watchdog import TargetHungError
from normcheck.execution.way import Way
from normcheck.targets.adapter import UnexpectedReturn
from normcheck.targets.frameworks import Call, NoGradientError
from normcheck.targets.resolve import first_line

if TYPE_CHECKING:
    from normcheck.execution.in_process import InProcess

__all__ = ["Session", "same_bits"]

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_BUFFERS = ("running_mean", "running_var")
# What torch and JAX say of a custom backward that returned gradients of another shape or number.
_WRONG_GRADIENTS = re.compile(
    r"returned an (invalid gradient at index|incorrect number of gradients)"
    r"|returned a gradient different than None"
    r"|bwd rule .*must produce"
)


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are bit-equal: NaN equals itself, 0.0 differs from -0.0."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    integer = _INTEGERS[first.dtype.itemsize]
    return torch.equal(first.contiguous().view(integer), second.contiguous().view(integer))


class Session:
    """One prepared call of a target, which can be made again.

    Attributes:
        inputs: What the tensors hold before the next call.
        way: How the calls are made.
        returned: The outputs of the last call as the target returned them, not copied.
    """

    def __init__(self, executor: InProcess, inputs: Inputs, way: Way) -> None:
        self.executor, self.inputs, self.way = executor, inputs, way
        self.returned: dict[str, Tensor] = {}
        self._placed = {n: self._place(n, t) for n, t in inputs.tensors.items()}
        self._tensors = {name: placed.tensor for name, placed in self._placed.items()}
        if way.gradients:
            for parameter in inputs.op.tensors:
                wanted = way.wanted is None or parameter.name in way.wanted
                if parameter.differentiable and wanted and parameter.name in self._tensors:
                    self._tensors[parameter.name].requires_grad_()
        self._dy = {
            name: self._place("dy", t) for name, t in (inputs.dy if way.gradients else {}).items()
        }
        self._call: Call | None = None

    def _place(self, name: str, tensor: Tensor) -> Arranged:
        how = dict(self.way.arranged).get(name)
        device = self.executor.device
        return as_given(tensor, device) if how is None else arrange(tensor, how, device)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The very tensors that the target gets, by the op's name."""
        return self._tensors if self._call is None else self._call.tensors

    def load(self, inputs: Inputs) -> None:
        """Write the values of other inputs of the same shapes into the tensors, in place."""
        with torch.no_grad():
            for name, value in inputs.tensors.items():
                own = self.tensors[name]
                own.copy_(value.reshape(own.shape))
            for name, value in inputs.dy.items():
                if name in self._dy:
                    self._dy[name].tensor.copy_(value)
        self.inputs = inputs

    def run(self) -> Observation:
        """Call once, and differentiate where gradients are taken."""
        return self._observed(lambda: self._forward() | self._backward())

    def forward(self) -> Observation:
        """Call once; leave the gradients for `backward`."""
        return self._observed(self._forward)

    def backward(self) -> Observation:
        """Differentiate the outputs of the last call."""
        return self._observed(self._backward)

    def _forward(self) -> dict[str, dict[str, Tensor]]:
        if self._call is None:
            self._call = self.executor.adapter.prepare(self.inputs, self._tensors)
        self.returned = self._call.run()
        return {"outputs": {n: _kept(n, y) for n, y in self.returned.items()}}

    def _backward(self) -> dict[str, dict[str, Tensor]]:
        dy = {name: placed.tensor for name, placed in self._dy.items()}
        # A wrong shape is the output contract's finding, not an exception of autograd.
        if not dy or any(y.shape != dy[n].shape for n, y in self.returned.items()):
            return {}
        assert self._call is not None, "forward comes before backward"
        found = self._call.backward(self.returned, dy)
        return {"gradients": {n: _kept(n, g) for n, g in found.items()}}

    def _observed(self, step: Callable[[], dict[str, dict[str, Tensor]]]) -> Observation:
        executor = self.executor
        raised = None
        found: dict[str, dict[str, Tensor]] = {}
        started = time.perf_counter()
        self_made = self.returned
        try:
            with (
                threads(executor.threads),
                executor.watchdog.watch(self.inputs.case.id),
                self.way.entered(executor.device),
                warnings.catch_warnings(),
            ):
                # What torch warns of concerns our probes, not the user.
                warnings.simplefilter("ignore")
                found = step()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raised = _trouble(error, executor.watchdog.limit_s)
        elapsed = time.perf_counter() - started
        executor.stopwatch.target_s += elapsed
        outputs = found.get("outputs", {})
        if (
            raised is not None
            and raised.trouble is Trouble.NO_GRADIENT
            and self.returned is not self_made
        ):
            # The call itself went well.
            outputs = {n: _kept(n, y) for n, y in self.returned.items()}
        return replace(self._left_behind(), outputs=outputs, gradients=found.get("gradients", {}),
                       raised=raised, elapsed_s=elapsed)  # fmt: skip

    def _left_behind(self) -> Observation:
        """What a call left of its arguments and buffers."""
        after = self.tensors
        placed = {**self._placed, **{f"d{n}": p for n, p in self._dy.items()}}
        return Observation(
            state={n: after[n].detach().cpu().clone() for n in _BUFFERS if n in after},
            mutated=self._mutated(after),
            devices={n: y.device.type for n, y in self.returned.items()},
            trespassed=tuple(n for n, p in placed.items() if self.way.arranged and p.trespassed()),
        )

    def _mutated(self, after: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Return the arguments whose bits changed although nothing declares it."""
        allowed = set(self.executor.policy.inplace)
        if self.inputs.case.mode == "train":
            allowed |= set(_BUFFERS)
        changed = [
            name
            for name, before in self.inputs.tensors.items()
            if name in after
            and name not in allowed
            and not _unchanged(after[name].detach().cpu(), before)
        ]
        changed += [
            f"d{n}" for n, p in self._dy.items() if not same_bits(p.tensor.cpu(), self.inputs.dy[n])
        ]
        return tuple(changed)


def _kept(name: str, tensor: Tensor) -> Tensor:
    """Copy what came back to the CPU.

    Raises:
        UnexpectedReturn: It has no values, or not one for each element.
    """
    if tensor.layout is not torch.strided or tensor.device.type == "meta":
        what = "a meta tensor" if tensor.device.type == "meta" else f"a {tensor.layout} tensor"
        raise UnexpectedReturn(f"{name} is {what}, but must be dense")
    return tensor.detach().cpu().clone()


def _unchanged(after: Tensor, before: Tensor) -> bool:
    """Compare bits; a module may keep a parameter in another shape of as many elements."""
    return after.numel() == before.numel() and same_bits(after.reshape(before.shape), before)


def _trouble(error: BaseException, limit_s: float) -> Raised:
    """Say in one line what a target raised."""
    first = first_line(error)
    text = f"{type(error).__name__}: {first}" if first else type(error).__name__
    kinds: tuple[tuple[type[BaseException], Trouble, str], ...] = (
        (TargetHungError, Trouble.HUNG, f"did not return within {limit_s:g} s"),
        (NoGradientError, Trouble.NO_GRADIENT, first),
        (UnexpectedReturn, Trouble.UNEXPECTED, first),
        (SystemExit, Trouble.EXITED, f"ended the process with {text}"),
    )
    for kind, trouble, message in kinds:
        if isinstance(error, kind):
            return Raised(trouble, message)
    if _WRONG_GRADIENTS.search(first):
        return Raised(Trouble.UNEXPECTED, first)
    return Raised(Trouble.REFUSED, text)
