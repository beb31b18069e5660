"""What authors of norms call the parameters of an op."""

from __future__ import annotations

from normcheck.ops.op import Op

__all__ = ["AFFINE_FLAGS", "AXIS", "BIAS_FLAGS", "CONSTRUCTOR", "DESTINATION", "of"]

_ALIASES: dict[str, tuple[str, ...]] = {
    "x": ("x", "input", "hidden_states", "hidden_state", "inputs", "inp", "x_in", "tensor", "data"),
    "residual": ("residual", "res", "skip", "residual_in", "resid"),
    "normalized_shape": (
        "normalized_shape", "hidden_size", "normalized_dim", "d_model", "n_embd", "embed_dim",
        "features", "num_features", "size",
    ),
    "weight": ("weight", "gamma", "w", "scale", "weights", "g"),
    "bias": ("bias", "beta", "b", "shift", "offset"),
    "eps": ("eps", "epsilon", "variance_epsilon", "layer_norm_eps", "norm_eps", "rms_norm_eps"),
    "num_groups": ("num_groups", "groups", "n_groups", "ngroups"),
    "running_mean": ("running_mean", "moving_mean"),
    "running_var": ("running_var", "running_variance", "moving_var", "moving_variance"),
    "training": ("training", "train", "is_training", "use_batch_stats"),
    "use_input_stats": ("use_input_stats", "training", "train"),
    "momentum": ("momentum",),
}  # fmt: skip

DESTINATION = ("out", "output", "y", "dst", "destination", "result")
AXIS = ("dim", "axis")

# Constructor parameters of a module that carry an op's parameter as a size or a switch.
CONSTRUCTOR: dict[str, tuple[str, ...]] = {
    **_ALIASES,
    "normalized_shape": (*_ALIASES["normalized_shape"], "dim", "ndim", "n", "channels"),
    "num_channels": ("num_channels", "num_features", "channels", "c", "n_channels"),
    "track_running_stats": ("track_running_stats",),
}
AFFINE_FLAGS = ("elementwise_affine", "affine", "use_affine", "with_scale", "use_scale")
BIAS_FLAGS = ("bias", "use_bias", "with_bias")


def of(op: Op) -> dict[str, tuple[str, ...]]:
    """Return the aliases of an op's parameters."""
    return {parameter.name: _ALIASES[parameter.name] for parameter in op.parameters}
