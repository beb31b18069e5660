"""The tensors of a call as lines of plain torch: their values, and where they lie in memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from normcheck.cases.materialise import Inputs, materialise
from normcheck.execution.arrangement import arrange, as_given
from normcheck.execution.session import same_bits
from normcheck.scripted_values import scripted

__all__ = ["ScriptedTensors", "UnwritableError"]

# Up to so many, numbers say more than the lines that make them; above the other, they fill pages.
LITERAL_ELEMENTS = 24
MOST_LITERAL_ELEMENTS = 256
_CPU = torch.device("cpu")


class UnwritableError(Exception):
    """No line of plain torch rebuilds a tensor of the call."""


def _literal(tensor: Tensor) -> str:
    values = str(tensor.tolist()).replace("nan", "float('nan')").replace("inf", "float('inf')")
    return f"torch.tensor({values}, dtype={tensor.dtype})"


def _all(inputs: Inputs) -> dict[str, Tensor]:
    return {**inputs.tensors, **{f"d{name}": dy for name, dy in inputs.dy.items()}}


def _changes(base: Tensor, tensor: Tensor) -> Iterator[tuple[str, Callable[[Tensor], Tensor]]]:
    """Offer functions that may give a tensor when applied to another one: their text, and they."""
    shape, dtype = tuple(tensor.shape), tensor.dtype
    yield "{}", lambda t: t
    yield f"{{}}.to({dtype})", lambda t: t.to(dtype)
    if base.numel() == tensor.numel():
        yield f"{{}}.reshape({shape})", lambda t: t.reshape(shape)
    if base.shape != tensor.shape or not tensor.is_floating_point():
        return
    values, wanted = base.flatten(), tensor.flatten()
    size = values.double().abs().nan_to_num(0.0, 0.0)
    largest, smallest = int(size.argmax()), int(size.argmin())
    if size[largest]:
        factor = float(wanted[largest]) / float(values[largest])
        yield f"({{}} * {factor!r})", lambda t: t * factor
    shift = float(wanted[smallest]) - float(values[smallest])
    if math.isfinite(shift):
        whole = float(round(shift))  # what the format rounded off
        yield f"({{}} + {whole!r})", lambda t: t + whole


@dataclass(frozen=True)
class ScriptedTensors:
    """Writes the tensors of one call.

    Attributes:
        given: What the call gets.
        plain: What the case says; the call's tensors may be the same with something changed.
        arranged: Layouts in memory, by name; what is not named keeps its strides.
    """

    given: Inputs
    plain: Inputs
    arranged: Mapping[str, str]

    @cached_property
    def _origins(self) -> list[Inputs]:
        own, case = self.given.case, self.plain.case
        return [self.plain] if own == case else [self.plain, materialise(own)]

    def value(self, name: str) -> str:
        """Write a tensor as an expression: its values, or the generator that makes them.

        Raises:
            UnwritableError: It takes more than one line.
        """
        tensor = _all(self.given)[name]
        if 0 < tensor.numel() <= LITERAL_ELEMENTS:
            return _literal(tensor)
        for origin in self._origins:
            base = _all(origin).get(name)
            if base is None:
                continue
            for text, change in _changes(base, tensor):
                if same_bits(change(base), tensor):
                    found = scripted(name, origin)
                    if found:
                        return text.format(found)
        if tensor.numel() > MOST_LITERAL_ELEMENTS:
            raise UnwritableError
        return _literal(tensor)

    def assigned(self, name: str, variable: str = "") -> list[str]:
        """Write the lines that assign one tensor, in its own layout.

        Raises:
            UnwritableError: It takes more than a few lines.
        """
        tensor, variable = _all(self.given)[name], variable or name
        how = self.arranged.get("dy" if name not in self.given.tensors else name)
        if not tensor.is_floating_point() or tensor.numel() == 0:
            return [f"{variable} = {self.value(name)}"]
        placed = (as_given(tensor, _CPU) if how is None else arrange(tensor, how, _CPU)).tensor
        repeated = _once(placed)
        if repeated is not None:
            if repeated.numel() > MOST_LITERAL_ELEMENTS:
                raise UnwritableError
            return [f"{variable} = {_literal(repeated)}.expand({tuple(placed.shape)})"]
        return [f"{variable} = {self.value(name)}", *_moved(variable, placed)]

    def lines(self) -> list[str]:
        """Write all tensors that the target gets, what others depend on first.

        Raises:
            UnwritableError: One of them takes more than a few lines.
        """
        names = sorted(self.given.tensors, key=lambda name: name != "mask")
        return [line for name in names for line in self.assigned(name)]

    def gradients(self) -> list[str]:
        """Write the gradients that are fed back, as ``dy_0``, ``dy_1``.

        Raises:
            UnwritableError: One of them takes more than a few lines.
        """
        names = enumerate(self.given.op.outputs)
        return [line for i, name in names for line in self.assigned(f"d{name}", f"dy_{i}")]


def _once(tensor: Tensor) -> Tensor | None:
    """Return what a tensor repeats along dimensions of stride 0, None where it repeats nothing."""
    pairs = list(zip(tensor.shape, tensor.stride(), strict=True))
    if not any(size > 1 and stride == 0 for size, stride in pairs):
        return None
    return tensor[tuple(slice(0, 1) if s == 0 else slice(None) for _, s in pairs)]


def _moved(name: str, placed: Tensor) -> list[str]:
    """Write the line that puts a tensor where it lies: strides, offset, and NaN beside it."""
    shape, strides, offset = tuple(placed.shape), placed.stride(), placed.storage_offset()
    if offset == 0 and strides == torch.empty(shape).stride():
        return []
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(len(shape))
    dense = placed.untyped_storage().nbytes() == placed.numel() * placed.element_size()
    if last and dense and strides == torch.empty(shape).contiguous(memory_format=last).stride():
        return [f"{name} = {name}.contiguous(memory_format={last})"]
    memory = placed.untyped_storage().nbytes() // placed.element_size()
    full = f"torch.full(({memory},), float('nan'), dtype={placed.dtype})"
    return [f"{name} = {full}.as_strided({shape}, {strides}, {offset}).copy_({name})"]
