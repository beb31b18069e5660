"""Calls a target in this process and writes down everything that it did."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor

from normcheck.cases.materialise import Inputs
from normcheck.execution.observation import Observation, Raised, Trouble
from normcheck.execution.stopwatch import Stopwatch, threads
from normcheck.execution.watchdog import TargetHungError, Watchdog
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter, UnexpectedReturn
from normcheck.targets.frameworks import Call, NoGradientError
from normcheck.targets.resolve import first_line

__all__ = ["InProcess", "same_bits"]

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def same_bits(first: Tensor, second: Tensor) -> bool:
    """Return whether two tensors are bit-equal: NaN equals itself, 0.0 differs from -0.0."""
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    integer = _INTEGERS[first.dtype.itemsize]
    return torch.equal(first.contiguous().view(integer), second.contiguous().view(integer))


def _copy(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy with the same strides; memory between the elements is NaN."""
    extent = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
    if tensor.numel() == 0:
        return tensor.clone().to(device)
    base = torch.full((extent,), float("nan"), dtype=tensor.dtype, device=device)
    return base.as_strided(tensor.shape, tensor.stride()).copy_(tensor)


class InProcess:
    """The executor for targets that the user trusts.

    Attributes:
        adapter: The target.
        device: Where its tensors live.
        stopwatch: Where the time goes.
        gradients: Per dtype, the case that first had a gradient, and the one that first had none.
        threads: How many threads of torch the target may use: as many as when it was made.
    """

    def __init__(
        self, adapter: Adapter, device: torch.device, policy: Policy, watchdog: Watchdog
    ) -> None:
        self.adapter, self.device, self.policy = adapter, device, policy
        self.watchdog = watchdog
        self.stopwatch = Stopwatch()
        self.gradients: dict[tuple[str, bool], str] = {}
        self.threads = torch.get_num_threads()

    def forward(self, inputs: Inputs) -> Observation:
        """Call once without gradients."""
        with torch.no_grad():
            return self._observe(inputs, gradients=False)

    def backward(self, inputs: Inputs) -> Observation:
        """Call once with gradients and differentiate."""
        with torch.enable_grad():
            return self._observe(inputs, gradients=True)

    def _observe(self, inputs: Inputs, *, gradients: bool) -> Observation:
        tensors = {name: _copy(t, self.device) for name, t in inputs.tensors.items()}
        if gradients:
            for parameter in inputs.op.tensors:
                if parameter.differentiable and parameter.name in tensors:
                    tensors[parameter.name].requires_grad_()
        dy = {name: _copy(t, self.device) for name, t in inputs.dy.items()} if gradients else {}
        started = time.perf_counter()
        outputs: dict[str, Tensor] = {}
        found: dict[str, Tensor] = {}
        call: Call | None = None
        devices: dict[str, str] = {}
        raised = None
        try:
            with threads(self.threads), self.watchdog.watch(inputs.case.id):
                call = self.adapter.prepare(inputs, tensors)
                returned = call.run()
                devices = {n: y.device.type for n, y in returned.items()}
                outputs = {n: _kept(n, y) for n, y in returned.items()}
                if gradients and all(_fits(y, dy[n]) for n, y in outputs.items()):
                    found = {n: _kept(n, g) for n, g in call.backward(returned, dy).items()}
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raised = _trouble(error, self.watchdog.limit_s)
        elapsed = time.perf_counter() - started
        self.stopwatch.target_s += elapsed
        after = call.tensors if call is not None else tensors
        state = {
            name: after[name].detach().cpu().clone()
            for name in ("running_mean", "running_var")
            if name in after
        }
        if raised is not None and raised.trouble is not Trouble.NO_GRADIENT:
            outputs = {}
        mutated = self._mutated(inputs, after, dy)
        return Observation(outputs, found, state, mutated, raised, elapsed, devices)

    def _mutated(
        self, inputs: Inputs, after: Mapping[str, Tensor], dy: Mapping[str, Tensor]
    ) -> tuple[str, ...]:
        """Return the arguments whose bits changed although nothing declares it."""
        allowed = set(self.policy.inplace)
        if inputs.case.mode == "train":
            allowed |= {"running_mean", "running_var"}
        changed = [
            name
            for name, before in inputs.tensors.items()
            if name in after
            and name not in allowed
            and not _unchanged(after[name].detach().cpu(), before)
        ]
        changed += [f"d{n}" for n, t in dy.items() if not same_bits(t.cpu(), inputs.dy[n])]
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


def _fits(output: Tensor, dy: Tensor) -> bool:
    """A wrong shape is the output contract's finding, not an exception of autograd."""
    return output.shape == dy.shape


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
    return Raised(Trouble.REFUSED, text)
