"""The interpreter's bfloat16, mended: equal to torch's conversions."""

import numpy as np
import torch

from tests.kernels.exact_bfloat16 import Bits, narrowed, widened

BITS = np.arange(1 << 16, dtype=np.uint16)


def torchs(bits: Bits) -> torch.Tensor:
    return torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16)


def test_every_bfloat16_is_widened() -> None:
    assert torch.equal(
        torch.from_numpy(widened(BITS)).view(torch.int32), torchs(BITS).float().view(torch.int32)
    )


def test_every_kind_of_float32_is_rounded_as_torch_rounds_it() -> None:
    random = np.random.default_rng(1).integers(0, 1 << 32, 1 << 18, dtype=np.uint32)
    # Around every bfloat16, and half way between two of them.
    near = (BITS.astype(np.uint32) << 16)[:, None] + np.array(
        [0, 1, 0x7FFF, 0x8000, 0x8001], np.uint32
    )
    values = np.concatenate([random, near.ravel()]).view(np.float32)
    expected = torch.from_numpy(values).to(torch.bfloat16)
    computed = torchs(narrowed(values))
    same = (computed == expected) & (computed.signbit() == expected.signbit())
    assert bool((same | (computed.isnan() & expected.isnan())).all())


def test_a_float64_is_rounded_once() -> None:
    above = 1.0 + 2.0**-8 + 2.0**-40
    # By way of float32 it would be the tie 1 + 2^-8, and that goes to the even 1.
    assert widened(narrowed(np.array([above, -above]))).tolist() == [1.0078125, -1.0078125]
    assert widened(narrowed(np.array([1.0 + 2.0**-8 - 2.0**-40]))).tolist() == [1.0]
