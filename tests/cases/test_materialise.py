"""normcheck.cases.materialise: tensors that are the same bits on every machine."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from normcheck.cases.case import Case
from normcheck.cases.materialise import ELEMENT_CEILING, SLICE_CEILING, materialise
from normcheck.errors import UsageError
from normcheck.numerics.formats import BY_NAME
from normcheck.ops import catalogue

# Recorded once: any machine, any number of threads and any later version gives these bits.
DIGESTS = {
    "layer_norm/f32/33x257/mix/seed=1": "6b75386700852317",
    "layer_norm/bf16/33x64/mix/eps=0.01": "1a8dec3989baae70",
    "layer_norm/f16/35x65/mix/seed=3": "2dc459a03ea19b0f",
    "layer_norm/f64/33x17/mix": "5ed8cc57dda1c0b6",
    "layer_norm/f32/7x513/bad": "a2795336abe174ca",
    "layer_norm/bf16/3x4x5/calm/dims=2/weight=none": "0632f97f9e98591b",
    "layer_norm/f32/6x64/calm/layout=strided/seed=10": "c580be4d752f5eab",
    "rms_norm/f16/14x96/calm/eps=0.0/seed=26": "dc6603bdb1237667",
    "rms_norm/f64/2x3x7/mix/seed=99": "ad2734933d70bb74",
    "rms_norm/bf16/7/plain/seed=18": "329fa41d3b3f3b2c",
    "add_layer_norm/f32/33x127/mix/bias=none": "b91682d176e4f162",
    "add_layer_norm/f16/5x32/bad/seed=25": "975365be39e8392c",
    "add_rms_norm/bf16/9x256/calm/seed=9": "d03d7a809e842423",
    "add_rms_norm/f64/33x31/mix": "4cb5960e1da672c7",
    "l2_norm/f32/33x65/mix/seed=7": "80b2c573ad929fb1",
    "l2_norm/f16/2x3/offset1e3": "559a2a7127012fc0",
    "l2_norm/f64/0x7/plain": "cf37fbc7b24d5d47",
    "l2_norm/bf16/4x99/edge": "459b77f18cb84b3e",
    "group_norm/f32/5x36x7/mix/groups=6": "1e639e83bab79868",
    "group_norm/bf16/8x34x5x5/mix/groups=17/layout=channels_last": "3a9cdd820ae8a4ae",
    "group_norm/f64/3x4x6/heavy/groups=2": "3444d1b7165e5684",
    "batch_norm/f32/8x36x5x5/mix/seed=1": "e78a207a6cb1f066",
    "batch_norm/f16/3x64x4x4/offset1e3/layout=channels_last/seed=21": "eb8b1be39a53bbf0",
    "batch_norm/bf16/7x36x5/mix/mode=eval": "5abc51e848c74066",
    "batch_norm/f64/40x36/mix/stats=none": "46b4efc863c13ce5",
    "instance_norm/f32/2x34x257/mix/seed=13": "65134c2e98f85323",
    "instance_norm/f64/4x6x9/calm/weight=none/bias=none/eps=1.0": "1302525dafe05df8",
    "instance_norm/f16/5x10x9/bad/seed=3": "ae8861e7604f80f5",
}

dtypes = pytest.mark.parametrize("dtype", BY_NAME)
# Ops whose weight has the size of one dimension; the others are tests/ops/test_new_ops.py's.
PLAIN = [
    name
    for name in catalogue.names()
    if catalogue.find(name).parameter_shape is None
    and not catalogue.find(name).parts
    and catalogue.find(name).parameter("mask") is None
]
ops = pytest.mark.parametrize("name", PLAIN)


@pytest.fixture
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("tail", DIGESTS)
def test_a_case_has_the_bits_that_were_recorded(tail: str) -> None:
    assert materialise(Case.parse(f"nc1:{tail}")).digest() == DIGESTS[tail]


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize(
    "tail", ["layer_norm/f32/33x4097/mix/seed=37", "batch_norm/bf16/16x36x16x16/mix/seed=31"]
)
def test_the_bits_do_not_depend_on_the_number_of_threads(tail: str) -> None:
    case = Case.parse(f"nc1:{tail}")
    digests = set()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        digests.add(materialise(case).digest())
    assert len(digests) == 1


def test_a_nan_has_one_pattern_of_bits_whatever_the_instructions_of_the_machine() -> None:
    x = materialise(Case("layer_norm", "bfloat16", (7, 513), "nan")).tensors["x"]
    assert x[x.isnan()].view(torch.int16).eq(0x7FC0).all()


def test_a_digest_sees_every_tensor_and_its_sign_of_zero() -> None:
    inputs = materialise(Case("batch_norm", "float32", (4, 6, 5), "zeros"))
    seen = {inputs.digest()}
    for name, tensor in inputs.tensors.items():
        changed = {**inputs.tensors, name: -tensor}
        seen.add(replace(inputs, tensors=changed).digest())
    seen.add(replace(inputs, dy={"y": -inputs.dy["y"]}).digest())
    assert len(seen) == 2 + len(inputs.tensors) == 7


@dtypes
@ops
def test_tensors_are_those_of_the_op_in_the_dtype_of_the_case(name: str, dtype: str) -> None:
    op = catalogue.find(name)
    inputs = materialise(Case(name, dtype, (4, 6, 5)))
    assert list(inputs.tensors) == [parameter.name for parameter in op.tensors] or name in (
        "batch_norm",
        "instance_norm",
    )
    assert set(inputs.tensors) == {parameter.name for parameter in op.tensors}
    size = 5 if op.family == "rows" else 6
    for parameter in op.tensors:
        tensor = inputs.tensors[parameter.name]
        assert tensor.dtype == BY_NAME[dtype]
        assert tensor.shape == ((size,) if parameter.affine else (4, 6, 5))
    assert tuple(inputs.dy) == op.outputs


def test_what_a_case_leaves_out_is_left_out() -> None:
    case = Case("batch_norm", "float32", (4, 6), weight="none", bias="none", stats="none")
    assert set(materialise(case).tensors) == {"x"}
    # Evaluation needs statistics whatever is tracked.
    assert set(materialise(replace(case, mode="eval")).tensors) == {
        "x", "running_mean", "running_var",
    }  # fmt: skip
    assert materialise(case).eps == 1e-5
    assert materialise(replace(case, eps=0.25)).eps == 0.25
    assert materialise(Case("rms_norm", "float32", (2, 3, 4), dims=2)).normalized_shape == (3, 4)


@dtypes
@pytest.mark.parametrize("seed", range(5))
def test_weights_have_both_signs_zeros_and_large_ones(dtype: str, seed: int) -> None:
    inputs = materialise(Case("layer_norm", dtype, (2, 512), seed=seed))
    for name in ("weight", "bias"):
        value = inputs.tensors[name]
        size = value[value != 0].abs()
        assert min(int((value > 0).sum()), int((value < 0).sum())) > 512 // 3
        assert 0.5 / 16 <= value.eq(0).double().mean() <= 2.0 / 16
        assert 0.5 / 16 <= size.ge(8).double().mean() <= 2.0 / 16
        assert size.min() >= 0.25
        assert size.max() <= 72
    assert not torch.equal(inputs.tensors["weight"], inputs.tensors["bias"])


@dtypes
@ops
@pytest.mark.parametrize("seed", range(4))
def test_parameters_are_never_all_ones_and_variances_are_positive(
    name: str, dtype: str, seed: int
) -> None:
    tensors = materialise(Case(name, dtype, (4, 8, 8), seed=seed)).tensors
    for parameter in ("weight", "bias", "running_mean"):
        if parameter in tensors:
            assert not tensors[parameter].eq(1).all()
    if "running_var" in tensors:
        assert tensors["running_var"].min() >= 2.0**-10
        assert tensors["running_var"].max() <= 8


@dtypes
@ops
@pytest.mark.parametrize("seed", range(4))
def test_gradients_fed_back_are_of_four_kinds_by_parameter(
    name: str, dtype: str, seed: int
) -> None:
    op = catalogue.find(name)
    inputs = materialise(Case(name, dtype, (64, 8, 8), seed=seed))
    for dy in inputs.dy.values():
        per = dy.double().transpose(0, 1 if op.family == "channels" else 2).reshape(8, -1)
        kind = (torch.arange(8) + seed) % 4
        assert per.eq(1).all(1).equal(kind == 2)
        assert per[kind == 1].min() >= 0.25
        assert (per[kind == 0].mean(1) - 0.5).abs().max() <= 6 / 512**0.5
        assert per[kind == 3].mean(1).abs().max() <= 6 / 512**0.5


@pytest.mark.parametrize("tail", ["batch_norm/f32/4x1x5/plain", "rms_norm/f32/33x1/plain"])
def test_gradients_fed_back_are_never_all_ones(tail: str) -> None:
    for seed in range(4):
        dy = materialise(Case.parse(f"nc1:{tail}/seed={seed}")).dy["y"]
        assert not dy.eq(1).all()


@dtypes
@pytest.mark.parametrize("shape", [(2, 8, 3, 5), (2, 8, 3, 5, 4)], ids=str)
def test_channels_last_has_the_strides_of_torch_and_the_same_values(
    shape: tuple[int, ...], dtype: str
) -> None:
    case = Case("batch_norm", dtype, shape, "mix")
    plain, last = materialise(case), materialise(replace(case, layout="channels_last"))
    x = last.tensors["x"]
    assert x.stride(1) == 1
    assert x.stride(0) == x[0].numel()
    assert x.stride(-1) == shape[1]
    assert not x.is_contiguous()
    assert last.digest() == plain.digest()


@dtypes
def test_strided_rows_have_garbage_between_their_elements(dtype: str) -> None:
    case = Case("layer_norm", dtype, (4, 7), "mix")
    x = materialise(replace(case, layout="strided")).tensors["x"]
    assert x.stride() == (14, 2)
    assert torch.equal(x, materialise(case).tensors["x"])
    between = x.as_strided((4, 7), (14, 2), storage_offset=1)
    assert between.isnan().all()


def test_a_residual_is_finite_where_x_is_not() -> None:
    tensors = materialise(Case("add_rms_norm", "float32", (7, 16), "bad")).tensors
    assert (~tensors["x"].isfinite()).sum() == 3
    assert tensors["residual"].isfinite().all()
    assert not torch.equal(tensors["x"][0], tensors["residual"][0])


REFUSED = [
    ("group_norm/f32/4/plain", "shape of case is (4,), but group_norm needs (N, C, ...)"),
    ("layer_norm/f32/4x4/plain/dims=3", "dims of case is 3, but must be 1 to 2 for (4, 4)"),
    ("layer_norm/f32/4x4/plain/dims=0", "dims of case is 0, but must be 1 to 2 for (4, 4)"),
    ("group_norm/f32/4x6/plain/groups=4", "groups of case is 4, but must divide 6"),
    ("group_norm/f32/4x6/plain/groups=0", "groups of case is 0, but must divide 6"),
    (
        f"layer_norm/f32/{ELEMENT_CEILING // 8 + 1}x8/plain",
        f"case has {ELEMENT_CEILING + 8} elements, but the ceiling is {ELEMENT_CEILING}",
    ),
    (
        f"layer_norm/f32/1x{SLICE_CEILING + 1}/plain",
        f"a slice has {SLICE_CEILING + 1} elements, but the ceiling is {SLICE_CEILING}",
    ),
    (
        f"batch_norm/f32/{SLICE_CEILING}x1x2/plain",
        f"a slice has {2 * SLICE_CEILING} elements, but the ceiling is {SLICE_CEILING}",
    ),
    (
        "batch_norm/f32/2x3x4/plain/layout=channels_last",
        "layout of case is channels_last, but (2, 3, 4) is not 4- or 5-d",
    ),
    ("layer_norm/f32/4x4/ofset3", "regime is 'ofset3', but must be known; did you mean offset?"),
]


@pytest.mark.parametrize(("tail", "message"), REFUSED, ids=[tail for tail, _ in REFUSED])
def test_a_case_without_a_meaning_is_refused_with_the_rule(tail: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}$"):
        materialise(Case.parse(f"nc1:{tail}"))
