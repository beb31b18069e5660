"""From a case to tensors: the same bits on every machine, which a digest proves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from normcheck.cases import regimes
from normcheck.cases.case import Case
from normcheck.cases.generator import hashes, key_of, normals
from normcheck.cases.padding import garbage, valid_positions
from normcheck.errors import UsageError
from normcheck.numerics.formats import BY_NAME, FloatFormat
from normcheck.numerics.reduction import Reduction
from normcheck.ops import catalogue
from normcheck.ops.op import Family, Op, Settings

__all__ = ["ELEMENT_CEILING", "Inputs", "materialise"]

# A case above this would need more memory than the ceiling that the documentation states.
ELEMENT_CEILING = 1 << 26
SLICE_CEILING = 1 << 22


@dataclass(frozen=True, slots=True)
class Inputs:
    """The tensors and numbers of one case, on the CPU.

    Attributes:
        case: The recipe.
        op: Its op.
        reduction: How the op reduces this shape.
        tensors: Per tensor parameter of the op, its value; absent ones are left out. What a target
            takes in parts is stacked along its first dimension.
        dy: Per output, the gradient that is fed back.
        eps: Epsilon.
    """

    case: Case
    op: Op
    reduction: Reduction
    tensors: Mapping[str, Tensor]
    dy: Mapping[str, Tensor]
    eps: float

    @property
    def normalized_shape(self) -> tuple[int, ...]:
        """The trailing dimensions that are normalised."""
        return self.case.shape[len(self.case.shape) - self.case.dims :]

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Inputs:
        """Return the same case with other tensors."""
        return replace(self, tensors=tensors)

    def digest(self) -> str:
        """Return the first 16 hexadecimal digits of a SHA-256 over every bit of every tensor."""
        total = hashlib.sha256()
        for name, tensor in sorted(
            {**self.tensors, **{f"d{k}": v for k, v in self.dy.items()}}.items()
        ):
            total.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            total.update(tensor.reshape(-1).contiguous().view(torch.uint8).numpy().tobytes())
        return total.hexdigest()[:16]


def _check(case: Case, op: Op) -> None:
    """Refuse what the op has no meaning for."""
    rank = len(case.shape)
    if op.family is Family.CHANNELS and rank < 2:
        raise UsageError(f"shape of case is {case.shape}, but {op.name} needs (N, C, ...)")
    if op.family is Family.ROWS and not 1 <= case.dims <= rank:
        raise UsageError(f"dims of case is {case.dims}, but must be 1 to {rank} for {case.shape}")
    grouped = case.shape[-1] if op.parameter("group_size") else case.shape[1 % rank]
    if has_groups(op) and (case.groups < 1 or grouped % case.groups):
        raise UsageError(f"groups of case is {case.groups}, but must divide {grouped}")
    if op.shaped(case.shape) != case.shape:
        near = op.shaped(case.shape)
        hint = f", as {'x'.join(map(str, near))}" if near else ""
        raise UsageError(
            f"shape of case is {case.shape}, but must be one that {op.name} has a meaning for{hint}"
        )
    if case.elements > ELEMENT_CEILING:
        raise UsageError(f"case has {case.elements} elements, but the ceiling is {ELEMENT_CEILING}")
    if case.layout == "channels_last" and rank not in (4, 5):
        raise UsageError(f"layout of case is channels_last, but {case.shape} is not 4- or 5-d")


def has_groups(op: Op) -> bool:
    """Whether the number of groups means anything to an op."""
    return op.parameter("num_groups") is not None or op.parameter("group_size") is not None


_KEPT_ELEMENTS = 1 << 19


@lru_cache(maxsize=16)
def _kept_bell(count: int, key: int) -> Tensor:
    return normals(count, key)


def _bell(count: int, key: int) -> Tensor:
    """Bell-shaped values; small ones are kept, because a case is built once per dtype."""
    return _kept_bell(count, key) if count <= _KEPT_ELEMENTS else normals(count, key)


def materialise(case: Case) -> Inputs:
    """Build the tensors of a case.

    Raises:
        UsageError: The op has no meaning for the shape, or the case exceeds the ceiling.
    """
    op = catalogue.find(case.op)
    _check(case, op)
    reduction = op.reduce(case.shape, Settings(case.dims, case.groups))
    if reduction.count > SLICE_CEILING:
        raise UsageError(
            f"a slice has {reduction.count} elements, but the ceiling is {SLICE_CEILING}"
        )
    fmt = FloatFormat.of(BY_NAME[case.dtype])
    eps = op.eps if case.eps is None else case.eps
    tensors: dict[str, Tensor] = {"x": _layout(_data(case, reduction, fmt, eps, "x"), case.layout)}
    if op.parameter("residual") is not None:
        residual = _data(case, reduction, fmt, eps, "residual")
        tensors["residual"] = _layout(residual, case.layout)
    if op.parameter("z") is not None:
        tensors["z"] = _affine("z", case.shape, case.seed, fmt)
    shape = op.affine_shape(case.shape, Settings(case.dims, case.groups))
    for name in ("weight", "bias"):
        if op.parameter(name) is not None and getattr(case, name) != "none":
            tensors[name] = _affine(name, shape, case.seed, fmt)
    if op.tracks_statistics and (case.stats == "tracked" or case.mode == "eval"):
        tensors["running_mean"] = _affine("running_mean", shape, case.seed, fmt)
        tensors["running_var"] = _variances(shape, case.seed, fmt)
    dy = {name: _gradient(name, case, reduction, fmt) for name in op.outputs}
    if op.parameter("mask") is not None:
        tensors["mask"] = valid_positions(case.shape[0], case.shape[2], case.seed)
        padding = ~tensors["mask"][:, None, :].expand(case.shape)
        tensors["x"][padding] = _store(garbage(case.elements, case.seed, fmt), fmt).reshape(
            case.shape
        )[padding]
        dy = {name: torch.where(padding, 0.0, value) for name, value in dy.items()}
    ordered = {p.name: tensors[p.name] for p in op.tensors if p.name in tensors}
    return Inputs(case, op, reduction, ordered, dy, eps)


def _data(case: Case, reduction: Reduction, fmt: FloatFormat, eps: float, name: str) -> Tensor:
    """Values of the case's regimes, slice by slice, in the case's shape."""
    kept = [axis for axis in range(len(reduction.view)) if axis not in reduction.over]
    order = [*kept, *reduction.over]
    sizes = [reduction.view[axis] for axis in order]
    z = _bell(case.elements, key_of(name, case.seed)).reshape(-1, max(reduction.count, 1))
    tokens = regimes.mix(case.regime, fmt)
    if name == "residual":
        # Non-finite values and garbage come in through x alone.
        tokens = tuple(t if regimes.parse(t)[0].finite else "plain" for t in tokens)
    values = regimes.fill(z, tokens, case.seed, fmt, eps)
    inverse = [order.index(axis) for axis in range(len(order))]
    values = values.reshape(sizes).permute(inverse).reshape(case.shape).contiguous()
    limit = fmt.largest
    finite = torch.where(values.isfinite(), values.clamp(-limit, limit), values)
    return _store(finite, fmt)


def _store(value: Tensor, fmt: FloatFormat) -> Tensor:
    """Convert through float32, in two conversions that every machine rounds alike.

    Rounding twice is harmless here: whatever comes out is the input, exactly as given.
    """
    if fmt.dtype == torch.float64:
        return value
    stored = value.float().to(fmt.dtype)
    # Which NaN a conversion gives depends on the processor.
    return torch.where(value.isnan(), torch.tensor(float("nan"), dtype=fmt.dtype), stored)


def _layout(x: Tensor, layout: str) -> Tensor:
    match layout:
        case "channels_last":
            last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
            return x.contiguous(memory_format=last)
        case "strided":
            wide = torch.full((*x.shape[:-1], 2 * x.shape[-1]), float("nan"), dtype=x.dtype)
            wide[..., ::2] = x
            return wide[..., ::2]
        case "pitched":
            wide = torch.full((*x.shape[:-1], x.shape[-1] + 3), float("nan"), dtype=x.dtype)
            wide[..., : x.shape[-1]] = x
            return wide[..., : x.shape[-1]]
    return x


def _affine(name: str, shape: tuple[int, ...], seed: int, fmt: FloatFormat) -> Tensor:
    """Both signs, away from one, a sixteenth of them zero and another sixteenth large."""
    count = torch.Size(shape).numel()
    key = key_of(name, seed)
    draws = hashes(count, key)
    size = 0.25 + (draws >> 16).double() * 2.0**-15  # 0.25 to 2.25
    value = torch.where(draws & 1 == 0, size, -size)
    kind = (draws >> 1) & 15
    value = torch.where(kind == 0, 0.0, torch.where(kind == 1, 32.0 * value, value))
    return _store(value, fmt).reshape(shape)


def _variances(shape: tuple[int, ...], seed: int, fmt: FloatFormat) -> Tensor:
    """Positive, from 2**-10 to 2**3, far from the batch's own."""
    draws = hashes(torch.Size(shape).numel(), key_of("running_var", seed))
    value = torch.ldexp(1.0 + (draws >> 16).double() * 2.0**-16, draws % 13 - 10)
    return _store(value, fmt).reshape(shape)


def _gradient(name: str, case: Case, reduction: Reduction, fmt: FloatFormat) -> Tensor:
    """Gradients whose kind varies with the parameter they are summed into.

    By parameter, cyclically: bell-shaped around a half; of one sign; exactly one (a sum of ones
    sticks at 256 in bfloat16); bell-shaped around zero. Never all ones, which make the exact
    gradient of x zero, and with it that of most wrong formulas: a single parameter gets the first.
    """
    z = _bell(case.elements, key_of(f"d{name}", case.seed)).reshape(reduction.view)
    shape = reduction.affine or tuple(
        size if axis in reduction.over else 1 for axis, size in enumerate(reduction.view)
    )
    kind = (torch.arange(torch.Size(shape).numel()) + case.seed).reshape(shape) % 4
    kind = kind if kind.numel() > 1 else torch.zeros_like(kind)
    value = torch.where(kind == 0, z + 0.5, torch.where(kind == 1, 0.25 + z.abs(), z))
    value = torch.where(kind == 2, 1.0, value)
    return _store(value.reshape(case.shape), fmt)
