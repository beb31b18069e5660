"""The generator and the regimes once more, as lines of plain torch for a reproducer.

A test executes these lines for every regime and compares the bits with the library's own.
"""

from __future__ import annotations

from normcheck.cases import regimes
from normcheck.cases.generator import key_of
from normcheck.cases.materialise import Inputs
from normcheck.numerics.formats import BY_NAME, FloatFormat

__all__ = ["scripted"]

_PRELUDE = """\
def hashes(n, key):
    z = (torch.arange(n) + key) & 0xFFFFFFFF
    for salt in (0, key):
        z = ((z ^ z >> 16 ^ salt) * 0x45D9F3B) & 0xFFFFFFFF
        z = ((z ^ z >> 15) * 0x45D9F3B) & 0xFFFFFFFF
    return z ^ z >> 16
def bell(n, key):
    a, b = hashes(n, key), hashes(n, key ^ 0x5BD1E995)
    return ((a & 65535) + (a >> 16) + (b & 65535) + (b >> 16) - 131070).double() / 37837.2
def affine(n, key):
    d = hashes(n, key); v = (0.25 + (d >> 16).double() * 2.0**-15) * (1 - 2 * (d & 1))
    return torch.where(d >> 1 & 15 == 0, 0.0, torch.where(d >> 1 & 15 == 1, 32.0 * v, v))
def put(z, key, value):
    x = 1.5 * z + 0.75; r = torch.arange(len(z))
    x[r, hashes(len(z), key ^ 0x2C1B3C6D) % z.shape[1]] = value; return x"""

# What each regime does to bell-shaped z of shape (slices, n); S is its strength, K its key.
_REGIMES = {
    "plain": "1.5 * z + 0.75",
    "offset": "z + S",
    "narrow": "1 + S * z",
    "vareps": "torch.tensor(S * E, dtype=torch.float64).sqrt() * z",
    "scale": "S * z",
    "const": "S + 0 * z",
    "zeros": "0 * z",
    "outlier": "put(z, K, S)",
    "edge": "put(z, K, EDGE)",
    "alternating": "(1 - 2.0 * (torch.arange(N) % 2)) * (3.0 + 0.25 * z)",
    "positive": "1 + z.abs()",
    "ramp": "1.0 + (torch.arange(N).double() * 4.0) / N + 0.0 * z",
    "padrow": "S * z",
    "subnormal": "TINY * z",
    "nan": "put(z, K, float('nan'))",
    "inf": "put(z, K, float('inf'))",
    "neginf": "put(z, K, float('-inf'))",
}


def _expression(inputs: Inputs) -> str:
    """Write the values of the case's one regime in terms of z, "" where that takes more."""
    case, n = inputs.case, inputs.reduction.count
    if case.regime in regimes.MIXES:
        return ""
    regime, strength = regimes.parse(case.regime)
    if regime.name not in _REGIMES:
        return ""
    fmt = FloatFormat.of(BY_NAME[case.dtype])
    known = {
        "S": repr(strength),
        "E": repr(inputs.eps or 1e-5),
        "K": str(case.seed),
        "N": str(n),
        "EDGE": repr(regimes.edge_value(fmt, n)),
        "TINY": repr(fmt.smallest_normal),
    }
    words = []
    for word in _tokens(_REGIMES[regime.name]):
        words.append(known.get(word, word))
    return "".join(words)


def _tokens(text: str) -> list[str]:
    """Split into names and everything between them."""
    found, word = [], ""
    for character in text:
        if character.isalnum() or character == "_":
            word += character
            continue
        found += [word, character]
        word = ""
    return [*found, word]


def _data(name: str, inputs: Inputs) -> str:
    case, reduction = inputs.case, inputs.reduction
    expression = _expression(inputs)
    if not expression:
        return ""
    kept = [axis for axis in range(len(reduction.view)) if axis not in reduction.over]
    order = [*kept, *reduction.over]
    sizes = [reduction.view[axis] for axis in order]
    inverse = [order.index(axis) for axis in range(len(order))]
    z = f"bell({case.elements}, {key_of(name, case.seed)}).reshape(-1, {reduction.count})"
    fmt = FloatFormat.of(BY_NAME[case.dtype])
    values = f"(lambda z: {expression})({z}).clamp({-fmt.largest!r}, {fmt.largest!r})"
    if inverse != list(range(len(order))):
        values += f".reshape({sizes}).permute({inverse})"
    return f"{values}.reshape({tuple(case.shape)}){_stored(inputs)}"


def _stored(inputs: Inputs) -> str:
    dtype = BY_NAME[inputs.case.dtype]
    return "" if inputs.case.dtype == "float64" else f".float().to({dtype})"


def _gradient(name: str, inputs: Inputs) -> str:
    case, reduction = inputs.case, inputs.reduction
    shape = reduction.affine or tuple(
        size if axis in reduction.over else 1 for axis, size in enumerate(reduction.view)
    )
    count = 1
    for size in shape:
        count *= size
    seed = case.seed if count > 1 else 0
    kind = f"((torch.arange({count}) + {seed}) % 4).reshape({shape})"
    z = f"bell({case.elements}, {key_of(name, case.seed)}).reshape({reduction.view})"
    body = (
        "torch.where(k == 2, 1.0, torch.where(k == 0, z + 0.5, "
        "torch.where(k == 1, 0.25 + z.abs(), z)))"
    )
    return f"(lambda k, z: {body})({kind}, {z}).reshape({tuple(case.shape)}){_stored(inputs)}"


def _mask(inputs: Inputs) -> str:
    """Write which positions count; those of the first sample include the first one."""
    case = inputs.case
    samples, length = inputs.tensors["mask"].shape
    key = key_of("mask", case.seed)
    if case.seed % 2:
        count = samples * length
        scattered = f"(hashes({count}, {key}) % 4 != 0) | (torch.arange({count}) == 0)"
        return f"({scattered}).reshape({samples}, {length})"
    first = f"torch.arange({samples}) == 0"
    lengths = f"torch.where({first}, {length}, hashes({samples}, {key}) % {length + 1})"
    return f"torch.arange({length}) < {lengths}[:, None]"


def _garbage(inputs: Inputs) -> str:
    """Write what stands in x where the mask is false."""
    case = inputs.case
    most = min(FloatFormat.of(BY_NAME[case.dtype]).largest / 4.0, 2.0**40)
    body = (
        "torch.where(d % 7 == 3, "
        f"{most!r}, (3000.0 - 4000.0 * (d & 1)) * (1.0 + (d >> 16).double() / 65536))"
    )
    values = f"(lambda d: {body})(hashes({case.elements}, {key_of('garbage', case.seed)}))"
    return f"{values}.reshape({tuple(case.shape)}){_stored(inputs)}"


def _where_valid(text: str, inputs: Inputs, otherwise: str) -> str:
    """Put something else where the mask, a variable of the script, is false."""
    if not text or "mask" not in inputs.tensors:
        return text
    return f"torch.where(mask[:, None, :], {text}, {otherwise})"


def scripted(name: str, inputs: Inputs) -> str:
    """Write one tensor of a case as an expression of plain torch.

    Args:
        name: ``x``, ``residual``, ``z``, ``mask``, ``weight``, ``bias``, ``running_mean``,
            ``running_var``, ``dy`` (of an output: ``d`` and its name); "" for the functions that
            expressions use. Beside a mask, x and dy read the variable ``mask``.
        inputs: The case.

    Returns:
        Python source; "" where the values need a mix or a family that no line writes.
    """
    case = inputs.case
    if not name:
        return _PRELUDE
    if name in ("x", "residual"):
        return _where_valid(_data(name, inputs), inputs, _garbage(inputs))
    if name == "mask":
        return _mask(inputs)
    if name.startswith("d"):
        return _where_valid(_gradient(name, inputs), inputs, "0.0")
    shape = tuple(inputs.tensors[name].shape)
    count, key = inputs.tensors[name].numel(), key_of(name, case.seed)
    if name == "running_var":
        return (
            f"(lambda d: torch.ldexp(1.0 + (d >> 16).double() * 2.0**-16, d % 13 - 10))"
            f"(hashes({count}, {key})).reshape({shape}){_stored(inputs)}"
        )
    return f"affine({count}, {key}).reshape({shape}){_stored(inputs)}"
