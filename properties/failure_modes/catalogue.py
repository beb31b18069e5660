"""Known ways to be wrong, each with a mutant: an implementation that is wrong in just that way.

A mutant is an ordinary target. What it stands for is its docstring; the property that must catch it
is declared beside it. Importing this module imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from normcheck.errors import UsageError, nearest

__all__ = ["FailureMode", "find", "modes"]

_HOME = "normcheck.properties.failure_modes"


@dataclass(frozen=True, slots=True)
class FailureMode:
    """One way to be wrong.

    Attributes:
        name: Unique, of ``[a-z0-9_]``.
        op: The op that the mutant claims to be.
        summary: What is wrong, one line.
        caught_by: The property that must catch it.
        place: Module and function of the mutant.
    """

    name: str
    op: str
    summary: str
    caught_by: str
    place: str

    @property
    def target(self) -> str:
        """The mutant as a target."""
        return f"{_HOME}.{self.place}"


def _mode(op: str, function: str, summary: str, caught_by: str = "forward_accuracy") -> FailureMode:
    return FailureMode(f"{op}_{function}", op, summary, caught_by, f"{op}:{function}")


_GRADIENT = "gradients"
_MODES = (
    _mode("layer_norm", "one_pass_variance", "variance as E[x^2] - E[x]^2, clamped at zero"),
    _mode("layer_norm", "low_precision_statistics", "mean and variance kept in the input's dtype"),
    _mode("layer_norm", "rounded_root", "reciprocal root rounded to the input's dtype"),
    _mode("layer_norm", "unbiased_variance", "variance divided by n - 1"),
    _mode("layer_norm", "eps_outside", "x / (std + eps) instead of x / sqrt(var + eps)"),
    _mode("layer_norm", "eps_ignored", "eps fixed at 1e-12, whatever the caller passes"),
    _mode("layer_norm", "padded_lanes", "columns padded to a power of two count into the variance"),
    _mode("layer_norm", "dropped_tail", "the statistics leave out what exceeds a multiple of 32"),
    _mode("layer_norm", "truncated_row", "the statistics see the first 4096 columns only"),
    _mode("layer_norm", "weight_ignored", "the weight is never applied"),
    _mode("layer_norm", "bias_ignored", "the bias is never applied"),
    _mode("layer_norm", "half_squares", "float16 squares overflow above 256"),
    _mode("layer_norm", "no_mean_term", "dx lacks the mean of g", _GRADIENT),
    _mode("layer_norm", "no_projection_term", "dx lacks x^ mean(g x^)", _GRADIENT),
    _mode("layer_norm", "unweighted_gradient", "dx forgets the weight", _GRADIENT),
    _mode(
        "layer_norm", "low_precision_sums", "dweight, dbias summed in the input's dtype", _GRADIENT
    ),
    _mode("layer_norm", "missing_weight_gradient", "no gradient reaches the weight", _GRADIENT),
    _mode(
        "layer_norm", "overwrites_input", "works in place on a float32 input", "inputs_unchanged"
    ),
    _mode("layer_norm", "overwrites_dy", "writes dx into dy", "inputs_unchanged"),
    _mode("layer_norm", "launders_nan", "NaN in a row comes out as zeros", "nonfinite_containment"),
    _mode("layer_norm", "spreads_nan", "one bad row spoils its neighbour", "nonfinite_containment"),
    _mode("layer_norm", "promoted_output", "half inputs give a float32 output", "output_contract"),
    _mode(
        "layer_norm", "unstable_bits", "an order of summation that changes", "forward_determinism"
    ),
    _mode("rms_norm", "low_precision", "everything in the input's dtype"),
    _mode("rms_norm", "centred", "the mean is subtracted"),
    _mode("rms_norm", "rounded_root", "reciprocal root rounded to the input's dtype"),
    _mode("rms_norm", "offset_weight", "multiplies by 1 + weight"),
    _mode("rms_norm", "detached_statistics", "the gradient takes the root as constant", _GRADIENT),
    _mode("group_norm", "ignores_groups", "statistics over all channels"),
    _mode("group_norm", "per_channel", "statistics per channel instead of per group"),
    _mode("group_norm", "one_pass_variance", "variance as E[x^2] - E[x]^2, clamped at zero"),
    _mode("instance_norm", "over_the_batch", "statistics over the batch as well"),
    _mode("instance_norm", "eps_outside", "x / (std + eps) instead of x / sqrt(var + eps)"),
    _mode(
        "batch_norm", "biased_running_variance", "v instead of v n/(n - 1)", "running_statistics"
    ),
    _mode("batch_norm", "swapped_momentum", "momentum weighs the old value", "running_statistics"),
    _mode("batch_norm", "lost_update", "running statistics stay as they are", "running_statistics"),
    _mode("batch_norm", "eval_uses_batch", "evaluation mode takes the batch's own statistics"),
    _mode("batch_norm", "updates_in_eval", "buffers change in evaluation mode", "inputs_unchanged"),
    _mode("add_rms_norm", "residual_not_returned", "returns x instead of x + residual"),
    _mode("add_rms_norm", "no_residual_gradient", "no gradient reaches residual", _GRADIENT),
    _mode("add_layer_norm", "low_precision_sum_of_squares", "statistics in the input's dtype"),
    _mode("add_layer_norm", "residual_after", "adds the residual after the norm"),
    _mode("l2_norm", "eps_inside", "x / sqrt(sum x^2 + eps)"),
    _mode("l2_norm", "mean_instead_of_sum", "divides by the root mean square"),
)


def modes() -> tuple[FailureMode, ...]:
    """Return all failure modes."""
    return _MODES


def find(name: str) -> FailureMode:
    """Return the failure mode of that name.

    Raises:
        UsageError: There is none; the message names the nearest.
    """
    for mode in _MODES:
        if mode.name == name:
            return mode
    names = [mode.name for mode in _MODES]
    raise UsageError(f"failure mode is {name!r}, but must be known{nearest(name, names)}")
