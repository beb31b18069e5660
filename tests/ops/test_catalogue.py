"""normcheck.ops.catalogue: what is there, found by name, without paying for torch."""

import re
import subprocess
import sys

import pytest

from normcheck.errors import UsageError
from normcheck.ops import catalogue
from normcheck.ops.op import Kind

NAMES = catalogue.names()
SINGLE = {
    "ada_layer_norm",
    "add_layer_norm",
    "add_rms_norm",
    "batch_norm",
    "group_norm",
    "instance_norm",
    "l2_norm",
    "layer_norm",
    "masked_batch_norm",
    "rms_norm",
    "rms_norm_gated",
    "weight_norm",
}
PAIRS = {"qk_l2_norm", "qk_layer_norm", "qk_norm"}


def test_every_op_is_there_in_order() -> None:
    assert set(NAMES) >= SINGLE | PAIRS
    assert list(NAMES) == sorted(NAMES)


def test_listing_the_names_imports_nothing_heavy() -> None:
    script = """if True:
        import sys
        from normcheck.ops import catalogue
        print(len(catalogue.names()))
        print(*{"torch", "numpy", "hypothesis", "triton"} & set(sys.modules))
    """
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(len(NAMES))]


@pytest.mark.parametrize("name", NAMES)
def test_an_op_is_found_under_its_own_name(name: str) -> None:
    op = catalogue.find(name)
    assert op.name == name
    assert op.signature().startswith(f"{name}({'q, k, ' if name in PAIRS else 'x, '}")
    assert op.tensors[0].name == "x"
    assert all(p.kind is Kind.TENSOR for p in op.parameters if p.differentiable or p.affine)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("layernorm", "; did you mean layer_norm?"),
        ("rmsnorm", "; did you mean rms_norm?"),
        ("groupnorm", "; did you mean group_norm?"),
        ("softmax", f"; valid: {', '.join(NAMES)}"),
        ("op", f"; valid: {', '.join(NAMES)}"),
    ],
)
def test_an_unknown_op_names_the_nearest(name: str, hint: str) -> None:
    message = f"op is {name!r}, but must be an op of the catalogue{hint}"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        catalogue.find(name)


@pytest.mark.parametrize(
    ("target", "op"),
    [
        ("torch.nn.functional:layer_norm", "layer_norm"),
        ("torch.nn:LayerNorm", "layer_norm"),
        ("my_layer_norm/kernels.py:rms_norm", "rms_norm"),
        ("transformers.models.llama.modeling_llama:LlamaRMSNorm", "rms_norm"),
        ("kernels.py:fused_add_rms_norm", "add_rms_norm"),
        ("kernels.py:FusedAddLayerNorm", "add_layer_norm"),
        ("torch.nn:BatchNorm2d", "batch_norm"),
        ("pkg:ops.group_norm_forward", "group_norm"),
        ("mamba.py:RMSNormGated", "rms_norm_gated"),
        ("attention.py:fused_qk_norm", "qk_norm"),
        ("attention.py:QKLayerNorm", "qk_layer_norm"),
        ("dit.py:AdaLayerNorm", "ada_layer_norm"),
        ("speech.py:MaskedBatchNorm1d", "masked_batch_norm"),
        ("kernels.py:weight_norm_forward", "weight_norm"),
    ],
)
def test_the_op_is_told_from_the_target_s_own_name(target: str, op: str) -> None:
    assert catalogue.guess(target) == op


def test_a_name_that_says_nothing_asks_for_the_op() -> None:
    message = "the op of layer_norm.py:forward cannot be told from its name: add --op "
    message += "{" + ",".join(NAMES) + "}"
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        catalogue.guess("layer_norm.py:forward")


def test_signatures_show_the_parts_that_a_target_takes() -> None:
    assert catalogue.find("qk_norm").signature() == (
        "qk_norm(q, k, q_weight, k_weight, eps) -> (q_out, k_out)"
    )
    assert catalogue.find("rms_norm_gated").signature() == (
        "rms_norm_gated(x, z, weight, group_size, eps)"
    )
