"""The search for a cause: which hypotheses hold in every case that is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from normcheck.diagnosis.affine import affine, clipping
from normcheck.diagnosis.answer import Diagnosis, Held, chosen
from normcheck.diagnosis.arithmetic import arithmetic
from normcheck.diagnosis.claims import claimed
from normcheck.diagnosis.elements import layouts, offsets, unwritten
from normcheck.diagnosis.epsilon import epsilon
from normcheck.diagnosis.estimators import estimators
from normcheck.diagnosis.experiments import changes_between_runs, is_stale, is_unscaled, probes
from normcheck.diagnosis.gradient import explains_gradient, gradient_is_right
from normcheck.diagnosis.guess import Hypothesis
from normcheck.diagnosis.input_gradients import input_gradients
from normcheck.diagnosis.lanes import lanes
from normcheck.diagnosis.parameter_gradients import explains_sum, parameter_sums, sum_is_right
from normcheck.diagnosis.parts import parts
from normcheck.diagnosis.returned import returned_sum
from normcheck.diagnosis.roundings import (
    common_factor,
    constants,
    overflows,
    rounded_steps,
    scaled,
)
from normcheck.diagnosis.running import explains_buffer, running_hypotheses
from normcheck.diagnosis.scene import LARGEST, Scene
from normcheck.diagnosis.slices import axes, neighbours, shards
from normcheck.errors import UsageError
from normcheck.properties.property import Finding
from normcheck.properties.trial import Trial

__all__ = ["Diagnosis", "diagnose"]

# Properties whose finding is a number about a plain call.
_MEASURED = ("forward_accuracy", "gradients", "running_statistics", "implied_statistics")
_RELATIONS = (
    "scale_covariance", "shift_invariance", "permutation_covariance", "affine_split",
    "eps_sensitivity", "batch_split", "gradient_identities", "structure_equivalence",
)  # fmt: skip
_BOOKKEEPING = ("K12", "K13", "K14", "K15", "K16", "K17", "K20", "K21", "K23", "K35")
_FAMILIES = (epsilon, estimators, affine, clipping, lanes, parts, axes, shards, neighbours,
             layouts, offsets, unwritten, constants, overflows, rounded_steps, scaled)  # fmt: skip


H = TypeVar("H")


def diagnose(small: Trial, whole: Trial, finding: Finding, name: str) -> Diagnosis:
    """Return the cause of a failure, an empty one where none is found.

    Args:
        small: The case, as small as it gets.
        whole: The case in which the failure was found. Small cases are degenerate, and much
            explains them: a cause has to hold here as well.
        finding: What is wrong with the small case.
        name: The property that fails.
    """
    try:
        return _diagnosed(small, whole, finding, name)
    except UsageError:
        return Diagnosis()  # the op has no meaning for a case that was to be looked at


def _diagnosed(small: Trial, whole: Trial, finding: Finding, name: str) -> Diagnosis:
    if name not in (*_MEASURED, *_RELATIONS, "forward_determinism", "nonfinite_containment"):
        found = claimed(name, finding, small.inputs)
        return Diagnosis(found[1], found[0]) if found else Diagnosis()
    if finding.dead or not small.inputs.case.elements or "no gradient" in finding.detail:
        found = claimed("gradients", finding, small.inputs)
        return Diagnosis(found[1], found[0]) if found else Diagnosis()
    if whole.inputs.case.elements > LARGEST or {"z", "mask"} & set(whole.inputs.tensors):
        return Diagnosis()
    changing = changes_between_runs(whole)
    if changing is not None:
        return Diagnosis(changing[1], changing[0])
    if name == "forward_determinism":
        return Diagnosis()
    if name == "nonfinite_containment":
        found = claimed(name, finding, small.inputs)
        return Diagnosis(found[1], found[0]) if found else Diagnosis()
    if name == "implied_statistics":
        found_scale = _coherent(small, whole)
        if found_scale is not None:
            return found_scale
    if name in _RELATIONS and not any(_wrong(small, t) for t in small.comparisons):
        # The plain call is right: what is wrong is another one, which is not looked at here.
        return Diagnosis()
    return _of_tensor(small, whole, finding.tensor)


def _wrong(trial: Trial, tensor: str) -> bool:
    """Whether no rounding policy makes a tensor right."""
    return all(c.ratio > 1.0 for c in trial.comparisons.get(tensor, {}).values())


def _coherent(small: Trial, whole: Trial) -> Diagnosis | None:
    """One factor over all slices, too small for a single element to show it."""
    pairs = [(s, n) for t, n in ((small, 1), (whole, 2)) if (s := _scene(t)) is not None]
    factors = [common_factor(scene, least) for scene, least in pairs]
    if not factors or None in factors:
        return None
    text = "every row's scale is off by the same factor: lane count, or a divisor"
    return Diagnosis(text, "K14")


def _of_tensor(small: Trial, whole: Trial, tensor: str) -> Diagnosis:
    plain = tensor.removesuffix("_with_gradients")
    if plain.startswith("grad_") and not _right(whole, "y"):
        plain = "y"  # a wrong output explains its gradients
    if plain == "y":
        path = _one_path(whole)
        found = _output(small, whole, gradients=tensor.endswith("_with_gradients"))
        if path:
            cause = f": {found.text}" if found.text else ""
            return Diagnosis(f"wrong {path} only{cause}", "K36")
        return found
    if plain == "residual_out":
        return returned_sum(small, whole)
    pairs = [(t, _scene(t, gradients=plain.startswith("grad_"))) for t in (small, whole)]
    scenes = [scene for _, scene in pairs if scene is not None]
    if len(scenes) < 2:
        return Diagnosis()
    if plain.startswith("running"):
        return _buffers(scenes, whole, plain)
    return _gradient(scenes, whole, plain) or arithmetic(small, whole, plain, Diagnosis)


def _gradient(scenes: list[Scene], whole: Trial, tensor: str) -> Diagnosis | None:
    extra = [s for t in probes(whole) if (s := _scene(t, gradients=True)) is not None]
    if tensor in ("grad_weight", "grad_bias"):
        sums = parameter_sums(scenes[1], tensor)
        held = _holding(sums, scenes, extra, lambda h, s: explains_sum(h, s, tensor),
                        lambda s: sum_is_right(s, tensor))  # fmt: skip
        return chosen(held) or _swapped(scenes, tensor)
    held = _holding(input_gradients(scenes[1]), scenes, extra,
                    lambda h, s: explains_gradient(h, s, tensor),
                    lambda s: gradient_is_right(s, tensor))  # fmt: skip
    return chosen(held)


def _right(trial: Trial, tensor: str) -> bool:
    found = trial.compared(tensor)
    return found is None or found[1].ratio <= 1.0


def _one_path(trial: Trial) -> str:
    """Say on which of two paths the output is wrong, if on one of them only."""
    without, with_gradients = (trial.compared(t) for t in ("y", "y_with_gradients"))
    if without is None or with_gradients is None:
        return ""
    wrong = without[1].ratio > 1.0, with_gradients[1].ratio > 1.0
    return {(True, False): "without gradients", (False, True): "with gradients"}.get(wrong, "")


def _scene(trial: Trial, *, gradients: bool = False) -> Scene | None:
    """Return what a trial's call shows, None where it shows nothing."""
    observation = trial.backward if gradients else trial.forward
    if not trial.well_formed(observation):
        return None
    return Scene(trial.inputs, trial.policy, observation)


def _holding(
    hypotheses: Iterable[H],
    failing: list[Scene],
    others: list[Scene],
    explains: Callable[[H, Scene], tuple[bool, bool]],
    right: Callable[[Scene], bool],
) -> list[Held]:
    """Return the hypotheses that hold in all scenes.

    A fault of bookkeeping may come and go with the size: there a scene that is right says nothing.
    """
    found = []
    known: dict[int, bool] = {}
    for h in hypotheses:
        kind, text, cost = h.kind, h.text, h.cost  # type: ignore[attr-defined]
        near = False
        for scene in failing:
            fits, nearer = explains(h, scene)
            near = near or nearer
            if not fits:
                break
        else:
            fits = near
        if not fits:
            continue
        missed = [s for s in others if not explains(h, s)[0]]
        if missed and kind in _BOOKKEEPING:
            missed = [s for s in missed if not known.setdefault(id(s), right(s))]
            cost += 1
        if not missed:
            found.append(Held(kind, text, cost))
    return found


def _forward_hypotheses(small: Scene, whole: Scene) -> Iterator[Hypothesis]:
    # A smallest case that is as large as this has its size for a cause.
    large = small.x.numel() > 1 << 15 or whole.x.numel() > 1 << 18
    for family in (layouts, offsets, unwritten) if large else _FAMILIES:
        yield from family(small, whole)


def _output(small: Trial, whole: Trial, *, gradients: bool) -> Diagnosis:
    scenes = [_scene(t, gradients=gradients) for t in (small, whole)]
    first, second = scenes
    if first is None or second is None:
        return Diagnosis()
    if not bool(second.honest.outside.any()) and not bool(first.honest.outside.any()):
        return _by_policy(small, whole)
    if is_stale(whole, second):
        if is_unscaled(second):
            return Diagnosis("x is not divided by its statistics", "K36")
        return Diagnosis("the statistics are those of an earlier call", "K25")
    extra = [s for t in probes(whole) if (s := _scene(t, gradients=gradients)) is not None]

    def explains(h: Hypothesis, scene: Scene) -> tuple[bool, bool]:
        guess = h.guess(scene)
        if guess is None or not scene.explained_by(guess):
            return False, False
        return True, scene.told_by(guess)

    held = _holding(_forward_hypotheses(first, second), [first, second], extra, explains,
                    lambda s: not bool(s.honest.outside.any()))  # fmt: skip
    return chosen(held) or arithmetic(small, whole, "y", Diagnosis)


def _by_policy(small: Trial, whole: Trial) -> Diagnosis:
    """Each case is right under some rounding policy, but not all under the same one."""
    for trial in (small, whole):
        offered = trial.comparisons.get("y", {})
        if len(offered) < 2 or not any(c.ratio <= 1.0 for c in offered.values()):
            return Diagnosis()
    if whole.policy.rounding != "any":
        return Diagnosis("rounds in another place than is declared")
    return Diagnosis("rounds in one place here and in another there", "K09")


def _swapped(scenes: list[Scene], tensor: str) -> Diagnosis | None:
    """Whether weight and bias get the same gradient."""
    for scene in scenes:
        given = scene.observed.gradients
        if "weight" not in given or "bias" not in given:
            return None
        if not bool((given["weight"] == given["bias"]).all()):
            return None
    _ = tensor
    return Diagnosis("weight and bias get the same gradient", "K17")


def _buffers(scenes: list[Scene], whole: Trial, tensor: str) -> Diagnosis:
    extra = [s for t in probes(whole) if (s := _scene(t)) is not None]

    def explains(h: object, scene: Scene) -> bool:
        names = scene.observed.state
        return all(explains_buffer(h, scene, n)[0] for n in names)  # type: ignore[arg-type]

    held = []
    for h in running_hypotheses(scenes[1]):
        told = [explains_buffer(h, scene, tensor) for scene in scenes]
        if all(t == (True, True) for t in told) and all(explains(h, s) for s in [*scenes, *extra]):
            held.append(Held(h.kind, h.text, h.cost))
    return chosen(held) or Diagnosis()
