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
    "z": ("z", "gate", "gates", "g", "gating"),
    "group_size": ("group_size",),
    "mask": ("mask", "valid_mask", "padding_mask", "valid", "attention_mask"),
    "q": ("q", "query", "queries", "query_states", "xq"),
    "k": ("k", "key", "keys", "key_states", "xk"),
    "q_weight": (
        "q_weight", "query_weight", "weight_q", "q_norm_weight", "q_gamma", "q_scale", "wq",
    ),
    "k_weight": (
        "k_weight", "key_weight", "weight_k", "k_norm_weight", "k_gamma", "k_scale", "wk",
    ),
    "q_bias": ("q_bias", "query_bias", "bias_q", "q_norm_bias", "q_beta", "q_shift", "bq"),
    "k_bias": ("k_bias", "key_bias", "bias_k", "k_norm_bias", "k_beta", "k_shift", "bk"),
}  # fmt: skip

# What a name means in one op alone: the weight that is normalised is no scale, and a scale that
# comes with every call goes before a weight.
_OF_OP: dict[str, dict[str, tuple[str, ...]]] = {
    "weight_norm": {
        "x": ("x", "v", "weight_v", "direction", "input"),
        "weight": ("weight", "g", "weight_g", "magnitude", "gain", "scale", "gamma"),
    },
}

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
    """Return the aliases of an op's parameters, of the parts where a target takes parts."""
    own = _OF_OP.get(op.name, {})
    names = op.names_in_parts(tuple(parameter.name for parameter in op.parameters))
    return {name: own.get(name, _ALIASES[name]) for name in names}
