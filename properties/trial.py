"""One case in front of one target: what was observed and how it compares, each worked out once.

Properties ask for what they need; whatever two of them need is computed for the first and kept for
the second.
"""

from __future__ import annotations

import time
from functools import cached_property

from normcheck.cases.materialise import Inputs
from normcheck.cases.pose import observed_of, output_format, pose
from normcheck.execution.in_process import InProcess, same_bits
from normcheck.execution.observation import Observation, Trouble
from normcheck.execution.session import Session
from normcheck.execution.stopwatch import threads
from normcheck.execution.way import Way
from normcheck.numerics.comparison import Comparison
from normcheck.numerics.judge import Comparisons, judge
from normcheck.numerics.rounding_choice import RoundingChoice
from normcheck.policy import Policy
from normcheck.targets.adapter import Adapter

__all__ = ["Trial"]


class Trial:
    """One case, one target.

    Attributes:
        inputs: The case and its tensors.
        policy: The declared conventions.
        choice: Which rounding policies still explain all cases.
    """

    def __init__(
        self, inputs: Inputs, executor: InProcess, policy: Policy, choice: RoundingChoice
    ) -> None:
        self.inputs, self.policy, self.choice = inputs, policy, choice
        self._executor = executor
        self._chosen: dict[str, tuple[str, Comparison]] = {}

    def call(self, way: Way, inputs: Inputs | None = None) -> Observation:
        """Call in another way, or with other inputs of the same op; nothing is kept."""
        return self._executor.call(inputs or self.inputs, way)

    def session(self, way: Way, inputs: Inputs | None = None) -> Session:
        """Make ready to call several times on the same tensors."""
        return self._executor.session(inputs or self.inputs, way)

    @property
    def adapter(self) -> Adapter:
        """The target."""
        return self._executor.adapter

    @property
    def device_type(self) -> str:
        """Type of the device that the target runs on."""
        return self._executor.device.type

    @cached_property
    def forward(self) -> Observation:
        """The call without gradients."""
        return self._executor.forward(self.inputs)

    @cached_property
    def rerun(self) -> Observation:
        """The same call once more."""
        return self._executor.forward(self.inputs)

    @cached_property
    def backward(self) -> Observation:
        """The call with gradients, and its gradients."""
        dead = self.forward.raised
        if dead is not None and dead.trouble in (Trouble.HUNG, Trouble.EXITED):
            return self.forward  # once is enough
        return self._executor.backward(self.inputs)

    @cached_property
    def backward_rerun(self) -> Observation:
        """The same once more."""
        return self._executor.backward(self.inputs)

    def severed(self) -> str:
        """Say so if the outputs carry a gradient in some cases of this dtype and not in others.

        A target without gradients anywhere is not judged for them; one that loses them here and
        there trains a model on zeros.
        """
        raised, case = self.backward.raised, self.inputs.case
        if raised is not None and raised.trouble is not Trouble.NO_GRADIENT:
            return ""
        known, attached = self._executor.gradients, raised is None
        known.setdefault((case.dtype, attached), case.id)
        other = known.get((case.dtype, not attached))
        if other is None:
            return ""
        without, having = (other, case.id) if attached else (case.id, other)
        return f"no gradient reaches any input in {without}, but it does in {having}"

    def well_formed(self, observation: Observation) -> bool:
        """Return whether the outputs have the shape and the dtype that can be judged."""
        dtype = output_format(self.inputs, self.policy)
        shape = self.inputs.tensors["x"].shape
        return bool(observation.outputs) and all(
            y.shape == shape and y.dtype == dtype for y in observation.outputs.values()
        )

    @cached_property
    def comparisons(self) -> Comparisons:
        """Everything that was returned, compared; empty where no output can be judged.

        Outputs of the calls with and without gradients are one comparison when they are the same
        bits, and two (``y`` and ``y_with_gradients``) when they are not.
        """
        # A call whose graph cannot be built may still have outputs, and the other way round.
        with_gradients = self.backward
        usable = self.well_formed(with_gradients)
        first = with_gradients if usable else self.forward
        if not self.well_formed(first):
            return {}
        found = self.judge(first)
        if usable and self.well_formed(self.forward) and not self._same(first, self.forward):
            alone = self.judge(self.forward)
            for tensor, comparison in alone.items():
                found[f"{tensor}_with_gradients"] = found.get(tensor, comparison)
                found[tensor] = comparison
        self._remember(found)
        return found

    def _remember(self, found: Comparisons) -> None:
        """Note how wrong plain calls are: no special call is blamed for as much."""
        worst = self._executor.worst
        for tensor, offered in found.items():
            key = (self.inputs.case.dtype, tensor.removesuffix("_with_gradients"))
            worst[key] = max(worst.get(key, 0.0), min(c.ratio for c in offered.values()))

    def plain_ratio(self, tensor: str) -> float:
        """Return the largest error over budget that plain calls of this dtype have shown so far."""
        base = tensor.removesuffix("_with_gradients")
        return self._executor.worst.get((self.inputs.case.dtype, base), 0.0)

    def _same(self, first: Observation, second: Observation) -> bool:
        return all(same_bits(y, second.outputs[name]) for name, y in first.outputs.items()) and all(
            same_bits(buffer, second.state[name]) for name, buffer in first.state.items()
        )

    def judge(
        self,
        observation: Observation,
        inputs: Inputs | None = None,
        choice: RoundingChoice | None = None,
    ) -> Comparisons:
        """Compare everything that one call returned with the exact result for its inputs.

        Args:
            observation: What came back.
            inputs: What went in; the case's own if left out.
            choice: Rounding policies that are still open; the trial's if left out.
        """
        inputs = inputs or self.inputs
        started = time.perf_counter()
        shapes = {name: t.shape for name, t in inputs.tensors.items()}
        gradients = observation.gradients
        fitting = {name: g for name, g in gradients.items() if g.shape == shapes[name]}
        state = observation.state if inputs.case.mode == "train" else {}
        observed = observed_of(inputs, observation.outputs, fitting, state)
        with threads(1):
            found = judge(pose(inputs, self.policy), observed, choice or self.choice)
        self._executor.stopwatch.judge_s += time.perf_counter() - started
        return found

    def compared(self, tensor: str) -> tuple[str, Comparison] | None:
        """Return the rounding policy that explains a tensor, and its comparison; None without."""
        if tensor not in self._chosen:
            offered = self.comparisons.get(tensor)
            if offered is None:
                return None
            # The same tensor of another call follows the same policy.
            base = tensor.removesuffix("_with_gradients")
            self._chosen[tensor] = self.choice.choose(base, offered)
        return self._chosen[tensor]
