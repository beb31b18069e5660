"""Policies: legitimate conventions that a user declares, because they change the right answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace

from normcheck.errors import UsageError, nearest

__all__ = ["CHOICES", "Policy"]

CHOICES: dict[str, tuple[str, ...]] = {
    "eps": ("inside", "outside", "floor"),
    "weight": ("plain", "one_plus"),
    "gate": ("after", "before"),
    "running_var": ("unbiased", "biased"),
    "momentum": ("new", "old"),
    "summation": ("blocked", "serial"),
    "subnormals": ("kept", "flushed"),
    "output": ("input", "float32", "float16", "bfloat16", "float64"),
    "accumulation": ("default", "float32"),
    "rounding": ("any", "fused", "cast_then_scale", "cast_each_step", "cast_factor"),
    "layout": ("any", "preserved"),
    "reruns": ("forward", "deterministic", "batch_invariant"),
}


@dataclass(frozen=True, slots=True)
class Policy:
    """What was declared; the first choice of each is the default.

    Attributes:
        eps: Where epsilon goes; None for the op's own place.
        weight: Whether the op multiplies by weight or by 1 + weight; None for the op's own way.
        gate: Whether a gate multiplies the normalised value, or what is normalised.
        running_var: n/(n - 1) or 1/n in the running variance.
        momentum: Whether momentum weighs the new value or the old one.
        summation: Depth of sums that is granted: blocked or serial.
        subnormals: Whether numbers below the smallest normal one may be read and written as zero,
            as XLA does on a CPU and many GPU kernels do.
        output: Dtype of the output: the input's, or a named one.
        accumulation: float32 for float32 and narrower inputs and float64 for float64, or float32
            for float64 inputs too.
        rounding: Where the result is rounded on the way; "any" tries all.
        layout: Whether outputs may have any strides, or have to keep those of a dense x, as torch's
            own operators do.
        reruns: What must be bit-equal when run again: the forward, gradients too, or a row whatever
            the batch.
        inplace: Arguments that the target may overwrite, and in which it leaves its outputs.
    """

    eps: str | None = None
    weight: str | None = None
    gate: str = "after"
    running_var: str = "unbiased"
    momentum: str = "new"
    summation: str = "blocked"
    subnormals: str = "kept"
    output: str = "input"
    accumulation: str = "default"
    rounding: str = "any"
    layout: str = "any"
    reruns: str = "forward"
    inplace: tuple[str, ...] = ()

    @classmethod
    def parse(cls, declarations: Iterable[str]) -> Policy:
        """Read declarations such as ``eps=outside`` or ``inplace=x,residual``.

        Raises:
            UsageError: A declaration has no "=", an unknown name or an unknown value.
        """
        policy = cls()
        for text in declarations:
            name, sep, value = text.partition("=")
            if not sep:
                raise UsageError(f"policy is {text!r}, but must be NAME=VALUE, as in eps=outside")
            if name == "inplace":
                policy = replace(policy, inplace=tuple(v for v in value.split(",") if v))
                continue
            if name not in CHOICES:
                raise UsageError(
                    f"policy {name!r} is unknown{nearest(name, [*CHOICES, 'inplace'])}"
                )
            if value not in CHOICES[name]:
                hint = nearest(value, CHOICES[name])
                raise UsageError(f"policy {name} is {value!r}, but must be known{hint}")
            policy = replace(policy, **{name: value})  # type: ignore[arg-type]  # checked above
        return policy

    def declared(self) -> dict[str, str]:
        """Return only what differs from the defaults, as declared."""
        default = asdict(Policy())
        return {
            name: ",".join(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if value != default[name]
        }

    def options(self) -> list[str]:
        """Return the declarations as command-line options."""
        return [f"--policy {name}={value}" for name, value in self.declared().items()]
