"""Hypotheses about the update of running statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from normcheck.diagnosis.scene import Scene
from normcheck.numerics.formats import FloatFormat
from normcheck.numerics.rounding import round_to
from normcheck.ops.op import Family

__all__ = ["RunningHypothesis", "explains_buffer", "running_hypotheses"]


@dataclass(frozen=True, slots=True)
class Update:
    """What goes into one new buffer: ``keep * old + take * new``, then a function of it."""

    old: Tensor
    new: Tensor
    momentum: float


@dataclass(frozen=True, slots=True)
class RunningHypothesis:
    """What a target may have written instead.

    Attributes:
        kind: Its class.
        text: The cause in words.
        value: Scene and name of the buffer to the new buffer; None where it says nothing.
        cost: As of `Hypothesis`.
    """

    kind: str
    text: str
    value: Callable[[Scene, str], Tensor | None]
    cost: int = 0


def _parts(scene: Scene, name: str, *, correction: float | None = None) -> Update | None:
    running = scene.problem.running
    if running is None:
        return None
    n = scene.count
    factor = 1.0 if running.biased or n < 2 else n / (n - 1.0)
    new = scene.exact.mean
    if name == "running_var":
        new = scene.exact.variance * (factor if correction is None else correction)
    old = (running.mean if name == "running_mean" else running.variance).double()
    shared = [a for a, size in enumerate(old.shape) if size != new.shape[a]]
    if shared:
        new = new.mean(shared, keepdim=True)
    return Update(old, new, running.momentum)


def _mixed(p: Update, momentum: float) -> Tensor:
    return (1.0 - momentum) * p.old + momentum * p.new


def _with_momentum(
    change: Callable[[Scene, float, str], float],
) -> Callable[[Scene, str], Tensor | None]:
    def value(scene: Scene, name: str) -> Tensor | None:
        p = _parts(scene, name)
        return None if p is None else _mixed(p, change(scene, p.momentum, name))

    return value


def _with_correction(change: Callable[[Scene], float]) -> Callable[[Scene, str], Tensor | None]:
    def value(scene: Scene, name: str) -> Tensor | None:
        p = _parts(scene, name, correction=change(scene))
        return None if p is None else _mixed(p, p.momentum)

    return value


def _over(scene: Scene, less: float, share: float = 1.0) -> float:
    n = scene.count * share
    return n / max(n - less, 1)


def _channels(scene: Scene) -> int:
    return scene.inputs.case.shape[1]


def _rooted(scene: Scene, name: str) -> Tensor | None:
    p = _parts(scene, name)
    if p is None or name != "running_var":
        return None if p is None else _mixed(p, p.momentum)
    raw = _parts(scene, name, correction=1.0)
    assert raw is not None, "there is an update"
    share = p.new.sum() / raw.new.sum()
    return (1.0 - p.momentum) * p.old + p.momentum * raw.new.sqrt() * share


def _twice(scene: Scene, name: str) -> Tensor | None:
    p = _parts(scene, name)
    return None if p is None else (1 - p.momentum) * _mixed(p, p.momentum) + p.momentum * p.new


def _rounded(dtype: torch.dtype) -> Callable[[Scene, str], Tensor | None]:
    def value(scene: Scene, name: str) -> Tensor | None:
        p = _parts(scene, name)
        if p is None:
            return None
        # Beside a midpoint either neighbour may come out: the nearer to what was observed.
        fmt, room = FloatFormat.of(dtype), 8 * scene.input_format.accumulation.unit_roundoff
        seen = (scene.observed.state[name].double() - (1.0 - p.momentum) * p.old) / p.momentum
        ends = [round_to(p.new * (1 + d), fmt) for d in (-room, room)]
        near = [(end - seen).abs().nan_to_num(nan=torch.inf) for end in ends]
        new = torch.where(near[0] <= near[1], ends[0], ends[1])
        found: Tensor = (1.0 - p.momentum) * p.old + p.momentum * new
        return found

    return value


def _nan_for_one(scene: Scene, name: str) -> Tensor | None:
    p = _parts(scene, name)
    if p is None:
        return None
    one = scene.count == 1 and name == "running_var"
    return torch.full_like(p.old, torch.nan) if one else _mixed(p, p.momentum)


def running_hypotheses(whole: Scene) -> Iterator[RunningHypothesis]:
    """Yield what may have been written, the conventions first."""
    H = RunningHypothesis
    if whole.inputs.op.family is not Family.CHANNELS or whole.problem.running is None:
        return
    biased = whole.problem.running.biased
    text = "the running variance is biased; declare --policy running_var=biased if it is meant"
    if biased:
        text = "the running variance divides by n - 1; declare --policy running_var=unbiased if "
        text += "it is meant"
    other = (lambda s: _over(s, 1)) if biased else (lambda s: 1.0)
    yield H("K32", text, _with_correction(other))
    # A target that is declared to weigh the old value was given one less the momentum.
    meant = "new" if whole.policy.momentum == "old" else "old"
    yield H("K33", f"momentum weighs the {meant} value; declare --policy momentum={meant} if it is "
            "meant",
            _with_momentum(lambda s, m, n: 1.0 - m))  # fmt: skip
    for buffer, word in (("running_var", "variance"), ("running_mean", "mean")):
        yield H("K33", f"momentum weighs the old running {word}, and the new one elsewhere",
                _with_momentum(lambda s, m, n, b=buffer: 1.0 - m if n == b else m), 1)  # type: ignore[misc]  # fmt: skip
        yield H("K34", f"{buffer} is never updated",
                _with_momentum(lambda s, m, n, b=buffer: 0.0 if n == b else m), 1)  # type: ignore[misc]  # fmt: skip
    yield H("K34", "running statistics are never updated", _with_momentum(lambda s, m, n: 0.0))
    yield H("K34", "running statistics are updated twice", _twice)
    yield H(
        "K34", "running statistics are replaced, not averaged", _with_momentum(lambda s, m, n: 1.0)
    )
    yield H("K33", "a momentum of 0 becomes 0.1", _with_momentum(lambda s, m, n: m or 0.1))
    for fixed in (0.1, 0.01, 0.05, 0.9, 0.99, 0.5):
        always = _with_momentum(lambda s, m, n, f=fixed: f)  # type: ignore[misc]
        yield H("K33", f"momentum is always {fixed:g}", always, 1)
    yield from _estimators()
    yield from _read_off(whole)


def _estimators() -> Iterator[RunningHypothesis]:
    """Another estimator in the buffer, or another format."""
    H = RunningHypothesis
    yield H("K32", "the running variance divides by n - channels",
            _with_correction(lambda s: _over(s, _channels(s))))  # fmt: skip
    yield H(
        "K32", "the running variance divides by n + 1", _with_correction(lambda s: _over(s, -1))
    )
    yield H(
        "K32",
        "the running variance is corrected twice",
        _with_correction(lambda s: _over(s, 1) ** 2),
    )
    for shards in (2, 3, 4, 8):
        text = f"the correction n/(n - 1) takes the n of one of {shards} shards"
        yield H("K35", text, _with_correction(lambda s, k=shards: _local(s, k)), 1)  # type: ignore[misc]
    yield H("K32", "the standard deviation is averaged, not the variance", _rooted)
    yield H("K12", "n/(n - 1) of one value is infinite", _nan_for_one)
    for dtype in (torch.float16, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        yield H("K32", f"the new statistics are rounded to {name}", _rounded(dtype), 1)


def _local(scene: Scene, shards: int) -> float:
    """The count of the first shard, whole samples."""
    n = max(scene.count // shards, 2)
    return n / (n - 1.0)


def _read_off(scene: Scene) -> Iterator[RunningHypothesis]:
    for name, observed in scene.observed.state.items():
        p = _parts(scene, name)
        if p is None:
            continue
        heard = (p.new - p.old).abs() > 1e-2 * p.old.abs()
        found = ((observed.double() - p.old) / (p.new - p.old))[heard & observed.isfinite()]
        if found.numel():
            value = float(f"{float(found.median()):.3g}")
            text = f"momentum is {value:g} in effect"
            yield RunningHypothesis("K33", text, _with_momentum(lambda s, m, n, v=value: v), 2)  # type: ignore[misc]


def explains_buffer(h: RunningHypothesis, scene: Scene, name: str) -> tuple[bool, bool]:
    """Return whether a hypothesis holds for one case, and whether it differs from the contract."""
    observed = scene.observed.state.get(name)
    p = _parts(scene, name)
    value = h.value(scene, name)
    if observed is None or p is None or value is None:
        return False, False
    right = _mixed(p, p.momentum)
    fmt, u = FloatFormat.of(observed.dtype), scene.input_format.accumulation.unit_roundoff
    budget = scene.budget(scene.guess())
    own = budget.mean if name == "running_mean" else budget.variance
    size = p.old.abs() + p.new.abs()
    shared = [a for a, length in enumerate(p.old.shape) if length != own.shape[a]]
    own = own.mean(shared, keepdim=True) if shared else own
    room = own * 2 + 16 * u * size + fmt.unit_roundoff * value.abs().nan_to_num()
    heard = p.new.isfinite() & room.isfinite()
    lost = ~value.isfinite()
    error = torch.where(lost, torch.where(observed.isfinite(), torch.inf, 0.0),
                        (observed.double() - value).abs().nan_to_num(nan=torch.inf))  # fmt: skip
    fits = bool((error <= room)[heard].all())
    differs = lost | ((value - right).abs() > 2 * room)
    return fits, bool(differs[heard].any())
