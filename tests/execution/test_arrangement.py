import math

import pytest
import torch

from normcheck.errors import UsageError
from normcheck.execution.arrangement import ARRANGEMENTS, arrange, as_given

CPU = torch.device("cpu")
VALUES = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("how", [how for how in ARRANGEMENTS if how != "expanded"])
@pytest.mark.parametrize("shape", [(24,), (6, 4), (2, 3, 4), (2, 3, 2, 2)])
def test_values_survive_every_layout(how: str, shape: tuple[int, ...]) -> None:
    values = VALUES.reshape(shape)
    placed = arrange(values, how, CPU)
    assert torch.equal(placed.tensor, values)
    assert not placed.trespassed()


def test_layouts_are_what_they_are_called() -> None:
    assert arrange(VALUES, "transposed", CPU).tensor.stride() == (12, 1, 3)
    assert arrange(VALUES, "strided", CPU).tensor.stride() == (24, 8, 2)
    assert arrange(VALUES, "reversed", CPU).tensor.stride() == (1, 2, 6)
    assert arrange(VALUES, "packed", CPU).tensor.stride() == (20, 4, 1)
    assert arrange(VALUES, "pitched", CPU).tensor.stride() == (21, 7, 1)
    assert arrange(VALUES, "channels_last", CPU).tensor.stride() == (12, 1, 3)
    assert arrange(VALUES, "offset", CPU).tensor.storage_offset() == 1


def test_an_expanded_tensor_repeats_its_first_entry_with_stride_zero() -> None:
    placed = arrange(VALUES, "expanded", CPU).tensor
    assert placed.stride()[0] == 0
    assert torch.equal(placed[1], VALUES[0])


def test_strides_of_zero_are_kept() -> None:
    ones = torch.ones(()).expand(3, 4)
    assert as_given(ones, CPU).tensor.stride() == (0, 0)


@pytest.mark.parametrize("place", ["before", "between", "after"])
def test_a_write_beside_the_tensor_is_seen(place: str) -> None:
    placed = arrange(VALUES, "embedded", CPU)
    start = placed.tensor.storage_offset()
    index = {"before": start - 1, "between": start + 4, "after": placed.base.numel() - 1}[place]
    placed.base[index] = 1.0
    assert placed.trespassed()


def test_a_write_to_the_tensor_is_no_trespass() -> None:
    placed = arrange(VALUES, "embedded", CPU)
    placed.tensor.fill_(math.nan)
    assert not placed.trespassed()


def test_masks_are_copied() -> None:
    mask = torch.tensor([[True, False]])
    placed = arrange(mask, "strided", CPU)
    assert torch.equal(placed.tensor, mask)
    assert not placed.trespassed()


def test_an_unknown_layout_names_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"layout is .transpose., but must be known.*transposed"):
        arrange(VALUES, "transpose", CPU)
