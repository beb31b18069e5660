"""A case: a recipe for inputs with an id that says all of it.

``nc1:layer_norm/bf16/4x4097/offset1e3/eps=1e-12/seed=7`` needs no database: whoever has the id has
the case, on any machine. What an id leaves out has the default of `Case`.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, fields, replace

from normcheck.errors import UsageError, nearest
from normcheck.ops import catalogue

__all__ = ["DEFAULT_MOMENTUM", "DTYPES", "VERSION", "Case"]

VERSION = "nc1"
# Neither a half, which hides a swapped momentum, nor the customary 0.1, which hides an ignored one.
DEFAULT_MOMENTUM = 0.2
DTYPES = {"f16": "float16", "bf16": "bfloat16", "f32": "float32", "f64": "float64"}
_SHORT = {name: short for short, name in DTYPES.items()}
_CHOICES = {
    "weight": ("mixed", "none"),
    "bias": ("mixed", "none"),
    "mode": ("train", "eval"),
    "stats": ("tracked", "none"),
    "layout": ("contiguous", "channels_last", "strided", "pitched"),
}


@dataclass(frozen=True, slots=True)
class Case:
    """One recipe.

    Attributes:
        op: Name of the op.
        dtype: Name of the format of ``x`` and the parameters.
        shape: Shape of ``x``.
        regime: A family of values for every slice, or a mix of families (see `regimes`).
        dims: Trailing dimensions that are normalised (rows ops).
        groups: Number of groups (group_norm, rms_norm_gated).
        mode: Statistics of the batch, or the running ones.
        stats: Whether running statistics are passed.
        momentum: Weight of the new value in them.
        weight: Values of both signs with zeros and large ones among them, or absent.
        bias: Likewise.
        eps: Epsilon; None for the op's default.
        layout: Memory layout of ``x``.
        seed: Chooses the random values and which slice gets which regime of a mix.
    """

    op: str
    dtype: str
    shape: tuple[int, ...]
    regime: str = "plain"
    dims: int = 1
    groups: int = 1
    mode: str = "train"
    stats: str = "tracked"
    momentum: float = DEFAULT_MOMENTUM
    weight: str = "mixed"
    bias: str = "mixed"
    eps: float | None = None
    layout: str = "contiguous"
    seed: int = 0

    @property
    def elements(self) -> int:
        """Number of elements of ``x``."""
        return math.prod(self.shape)

    @property
    def id(self) -> str:
        """The recipe as text."""
        size = "x".join(map(str, self.shape))
        head = f"{VERSION}:{self.op}/{_SHORT[self.dtype]}/{size}/{self.regime}"
        extras = []
        for field in fields(self)[4:]:
            value = getattr(self, field.name)
            if value != field.default:
                # The shortest text that reads back as the same float64.
                text = repr(value).replace("e-0", "e-") if isinstance(value, float) else value
                extras.append(f"/{field.name}={text}")
        return head + "".join(extras)

    def changed(self, **settings: object) -> Case:
        """Return a copy with other settings, named as the attributes are."""
        return replace(self, **settings)  # type: ignore[arg-type]  # names come from tables

    @classmethod
    def parse(cls, text: str) -> Case:
        """Read an id.

        Raises:
            UsageError: A part of it is not understood; the message names the nearest valid one.
        """
        version, sep, rest = text.partition(":")
        if not sep or version != VERSION:
            raise UsageError(
                f"case is {text!r}, but must begin with {VERSION}:, as in "
                f"{VERSION}:layer_norm/bf16/4x4097/offset1e3"
            )
        head, extras = rest.split("/")[:4], rest.split("/")[4:]
        if len(head) < 4:
            raise UsageError(f"case is {text!r}, but must be {VERSION}:OP/DTYPE/SHAPE/REGIME")
        op, dtype, size, regime = head
        catalogue.find(op)
        if dtype not in DTYPES:
            raise UsageError(
                f"dtype of case is {dtype!r}, but must be a short name{nearest(dtype, DTYPES)}"
            )
        if not re.fullmatch(r"\d+(x\d+)*", size):
            raise UsageError(f"shape of case is {size!r}, but must be sizes joined by x, as 4x4097")
        case = cls(op, DTYPES[dtype], tuple(map(int, size.split("x"))), regime)
        for extra in extras:
            case = case.changed(**_setting(extra))
        return case


def _setting(text: str) -> dict[str, int | float | str]:
    """Read ``name=value`` of an id."""
    name, _, value = text.partition("=")
    known = [field.name for field in fields(Case)[4:]]
    if name not in known:
        raise UsageError(f"setting of case is {name!r}, but must be known{nearest(name, known)}")
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            hint = nearest(value, _CHOICES[name])
            raise UsageError(f"{name} of case is {value!r}, but must be known{hint}")
        return {name: value}
    number = float if name in ("momentum", "eps") else int
    kind = "a number" if number is float else "an integer"
    try:
        found = number(value)
    except ValueError:
        raise UsageError(f"{name} of case is {value!r}, but must be {kind}") from None
    # `not <=` refuses NaN too. Seeds are 32 bits wide, as the generator's keys are.
    if not 0 <= found < (2**32 if name == "seed" else math.inf):
        raise UsageError(f"{name} of case is {value!r}, but must be {kind} of at least 0")
    return {name: found}
