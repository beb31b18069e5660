"""One gradient of the input as a diagnosis sees it, and what it may be instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from normcheck.diagnosis.scene import Match, Scene, matched
from normcheck.numerics.acceptance import Interval, around
from normcheck.numerics.budget import backward_budget
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.reference import Gradients, differentiate

__all__ = [
    "GradientHypothesis", "Sized", "beside", "built", "dy_of", "explains_gradient",
    "gradient_is_right", "right_gradients", "shown", "simple",
]  # fmt: skip

Guessed = Callable[[Scene, str], "Sized | None"]


@dataclass(frozen=True, slots=True)
class GradientHypothesis:
    """What the gradient of x (or of residual) may be instead.

    Attributes:
        kind: Its class.
        text: The cause in words.
        value: Scene and tensor (``grad_x``) to the gradient, float64; None where it says nothing.
        cost: As of `Hypothesis`.
        slack: Unit roundoff of a narrower format that something was rounded to on the way.
    """

    kind: str
    text: str
    value: Guessed
    cost: int = 0
    slack: float = 0.0


@dataclass(frozen=True, slots=True)
class Sized:
    """A gradient and the sizes of what it is the sum of, both the view's shape, float64.

    ``free``: elements about which nothing is said.
    """

    value: Tensor
    size: Tensor
    free: Tensor | None = None

    @classmethod
    def of(cls, value: Tensor) -> Sized:
        """A single term."""
        return cls(value, value.abs())

    def __add__(self, other: Sized | Tensor | float) -> Sized:
        known = other if isinstance(other, Sized) else Sized.of(torch.as_tensor(other).double())
        free = self.free if known.free is None else known.free
        return Sized(self.value + known.value, self.size + known.size, free)

    def __neg__(self) -> Sized:
        return Sized(-self.value, self.size, self.free)

    def __sub__(self, other: Sized | Tensor | float) -> Sized:
        known = other if isinstance(other, Sized) else Sized.of(torch.as_tensor(other).double())
        return self + -known

    def times(self, factor: Tensor | float) -> Sized:
        """Multiply by a number or a tensor."""
        known = torch.as_tensor(factor).double()
        return Sized(self.value * known, self.size * known.abs(), self.free)


def dy_of(scene: Scene) -> Tensor:
    """What was fed back into ``y``: the view's shape, float64."""
    return scene.observed.dy["y"].double()


def beside(scene: Scene) -> Tensor | float:
    """What was fed back into the returned sum, 0 without one."""
    extra = scene.observed.dy.get("residual_out")
    return 0.0 if extra is None else extra.double()


def right_gradients(scene: Scene) -> Gradients[Tensor]:
    """Return the exact gradients."""
    found = scene.kept.get("gradients")
    if not isinstance(found, Gradients):
        formula = replace(scene.formula, weight_offset=0.0)
        found = differentiate(scene.exact, dy_of(scene), scene.reduction, formula, scene.weight)
        scene.kept["gradients"] = found
    return found


def shown(scene: Scene, tensor: str) -> Tensor:
    """Return the gradient that was observed, float64."""
    return scene.observed.gradients[tensor.removeprefix("grad_")].double()


def gradient_match(scene: Scene, tensor: str, guess: Sized, slack: float = 0.0) -> Match:
    """Compare an observed gradient with a guess.

    The budget of the right gradient, relative to the sizes of its terms, is granted to the guess
    relative to the sizes of its own.
    """
    fmt = FloatFormat.of(scene.observed.gradients[tensor.removeprefix("grad_")].dtype)
    formula, narrow = replace(scene.formula, weight_offset=0.0), scene.input_format
    own, grads = scene.own_budget, right_gradients(scene)
    budget = backward_budget(
        scene.exact, grads, own, dy_of(scene), scene.reduction, formula, narrow.accumulation
    )
    size = scene.exact.root * budget.terms
    part = (budget.x / size).amax(scene.reduction.over, keepdim=True).nan_to_num(nan=0.0)
    # Fixed statistics have no sums; a formula that takes some has their error.
    part = part + slack + (scene.formula.depth(scene.count) + 8) * narrow.accumulation.unit_roundoff
    if narrow.precision < narrow.accumulation.precision:
        # g may be rounded to the input's format, as where the normalised value was.
        part = part + narrow.unit_roundoff
    delta = 2 * part * guess.size.nan_to_num(nan=0.0, posinf=0.0) + 2 * budget.x
    accepted: Interval = around(guess.value, delta, fmt)
    said = torch.tensor(True) if guess.free is None else ~guess.free
    judged = said & (scene.clean & own.power & budget.in_range) | (
        said & ~guess.value.isfinite() & scene.clean
    )
    return matched(shown(scene, tensor), guess.value, accepted, judged, fmt)


def gradient_is_right(scene: Scene, tensor: str) -> bool:
    """Whether a gradient needs no explanation."""
    if tensor.removeprefix("grad_") not in scene.observed.gradients:
        return False
    return gradient_match(scene, tensor, built(scene)).explained


def explains_gradient(h: GradientHypothesis, scene: Scene, tensor: str) -> tuple[bool, bool]:
    """Whether a hypothesis explains a gradient, and whether it is nearer to it, not just wider."""
    if "y" not in scene.observed.dy or tensor.removeprefix("grad_") not in scene.observed.gradients:
        return False, False
    guess = h.value(scene, tensor)
    if guess is None:
        return False, False
    shape = scene.x.shape
    whole = replace(guess, value=guess.value.expand(shape), size=guess.size.expand(shape))
    found = gradient_match(scene, tensor, whole, h.slack)
    if not found.explained:
        return False, False
    right = built(scene)
    wrong = gradient_match(scene, tensor, right).outside
    error = (shown(scene, tensor) - right.value).abs().nan_to_num(nan=torch.inf)
    near = bool((wrong & found.judged & (found.room <= 0.5 * error)).any())
    free = torch.tensor(False) if guess.free is None else guess.free
    counted = wrong & ~free
    return 2 * int((counted & found.judged).sum()) >= int(counted.sum()), near


def built(
    scene: Scene, *, g: Tensor | None = None, mean: float = 1.0, projection: float = 1.0,
    values: Tensor | None = None, root: Tensor | None = None, outer: Tensor | None = None,
    axes: tuple[int, ...] | None = None,
) -> Sized:  # fmt: skip
    """Dx with some quantities replaced: r (g - a mean g - b x^ mean(g x^))."""
    exact, reduction = scene.exact, scene.reduction
    scaled = right_gradients(scene).scaled if g is None else g
    r = exact.root if root is None else root
    x_hat = exact.normalised if values is None else values
    over = reduction.over if axes is None else axes
    unit = scaled if scene.fixed is None else scaled * 0.0
    projected = (
        (unit * x_hat).sum(over, keepdim=True)
        if reduction.summed
        else ((unit * x_hat).mean(over, keepdim=True))
    )
    centre = unit.mean(over, keepdim=True) if reduction.centred else 0.0
    size = (unit * x_hat).abs().sum(over, keepdim=True)
    size = size if reduction.summed else size * (projected.numel() / x_hat.numel())
    through = Sized(exact.stretch * x_hat * projected, (exact.stretch * x_hat * size).abs())
    inner = Sized.of(scaled)
    if isinstance(centre, Tensor):
        inner = inner - Sized(centre, unit.abs().mean(over, keepdim=True)).times(mean)
    inner = inner - through.times(projection)
    return inner.times(r if outer is None else outer) + beside(scene)


def simple(change: Callable[[Scene], Sized]) -> Guessed:
    """Make a guess that is the same for the gradients of x and of residual."""
    return lambda scene, tensor: change(scene)
