"""Our kernels, each wrong in one way: a line of their source that says something else."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MUTANTS", "Mutant"]

KERNELS = Path(__file__).parents[2] / "kernels"


@dataclass(frozen=True)
class Mutant:
    """One wrong line.

    Attributes:
        name: What is wrong.
        file: Where.
        right: What the line says; it is there once.
        wrong: What it says instead.
        op: Which is judged.
        found_by: The tracer, or a property of the suite.
        dtype: In which format.
        profile: What the property needs to see it.
    """

    name: str
    file: str
    right: str
    wrong: str
    op: str
    found_by: str = "tracer"
    dtype: str = "float32"
    profile: str = "quick"

    def write(self, folder: Path) -> None:
        """Write the package of kernels with this line in it.

        Raises:
            ValueError: The line is not there, or more than once.
        """
        shutil.copytree(KERNELS, folder, ignore=shutil.ignore_patterns("__pycache__"))
        path = folder / self.file
        source = path.read_text(encoding="utf-8")
        if source.count(self.right) != 1:
            raise ValueError(f"{self.right!r} is {source.count(self.right)} times in {self.file}")
        path.write_text(source.replace(self.right, self.wrong), encoding="utf-8")


_LOAD = "tl.load(pointer + at, mask=inside, other=0.0)"
MUTANTS = [
    Mutant("rows beyond the last are read", "_rows.py",
           "held_row, held = row < rows, column < columns",
           "held_row, held = row < rows + ROWS, column < columns", "rms_norm"),
    Mutant("a mask is dropped", "_columns.py",
           "inside = (part < count)[:, None] & held[None, :]",
           "inside = (part < PARTS)[:, None] & held[None, :]", "layer_norm"),
    Mutant("padding is left open", "_tiles.py", _LOAD, _LOAD.replace(", other=0.0", ""), "l2_norm"),
    Mutant("the stride of rows is taken for their length", "_row_launches.py",
           "        row, column = self.values.stride()\n",
           "        row, column = self.values.shape[1], self.values.stride(1)\n", "rms_norm"),
    Mutant("results are written as x is strided", "_rows.py",
           "    at = row[:, None] * columns + column[None, :]\n    if residual",
           "    at = row[:, None] * x_row + column[None, :] * x_column\n    if residual",
           "rms_norm"),
    Mutant("strides are rounded to whole vectors", "_plan.py",
           "while vector > 1 and any(number % vector for number in numbers):",
           "while vector > 1 and numbers[0] % vector:", "layer_norm", "layout_independence"),
    Mutant("a part of dweight is left out", "_row_launches.py",
           "arguments = (parts, result, count, columns)",
           "arguments = (parts, result, count - 1, columns)", "rms_norm"),
    Mutant("the last tile of a program is left out", "_rows.py",
           "for tile in range(tiles):", "for tile in range(tiles - (tiles > 1)):", "layer_norm"),
    Mutant("programs overlap by a row", "_rows.py",
           "row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)",
           "row = tl.program_id(0).to(tl.int64) * max(ROWS - 1, 1) + tl.arange(0, ROWS)",
           "rms_norm"),
    Mutant("offsets of rows have 32 bits", "_rows.py",
           "row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)",
           "row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)", "layer_norm"),
    Mutant("offsets of columns have 32 bits", "_tiles.py",
           "column[None, :].to(tl.int64) * column_stride", "column[None, :] * column_stride",
           "layer_norm"),
    Mutant("offsets of slices have 32 bits", "_slices.py",
           "base = (row // per).to(tl.int64) * outer", "base = (row // per) * outer", "group_norm"),
    Mutant("padding counts in the variance", "_tiles.py",
           "return tl.where(inside, values - mean[:, None], 0.0)",
           "return values - mean[:, None]", "layer_norm", "forward_accuracy"),
    Mutant("eps is left out", "_tiles.py",
           "root_of(over(square, count) + floor)", "root_of(over(square, count))",
           "rms_norm", "forward_accuracy"),
    Mutant("the variance is of n - 1", "_tiles.py",
           "root_of(over(square, count) + floor)", "root_of(over(square, count - 1.0) + floor)",
           "layer_norm", "forward_accuracy"),
    Mutant("statistics are kept in x's format", "_row_launches.py",
           "    kept = accumulation(x.dtype)\n    y = torch", "    kept = x.dtype\n    y = torch",
           "add_rms_norm", "gradients", "bfloat16"),
    Mutant("the gradient of the sum is left out", "_rows.py",
           "        if dtotal is not None:\n", "        if dtotal is None:\n",
           "add_rms_norm", "gradients"),
    Mutant("dx goes where dy is", "_row_launches.py",
           "    if x.numel() == 0:\n        return dx,",
           "    dx = dy if dy.is_contiguous() else dx\n    if x.numel() == 0:\n        return dx,",
           "rms_norm"),
    Mutant("the mean of g x_hat is its sum", "_tiles.py",
           "    return over(products, count)\n", "    return products\n", "rms_norm", "gradients"),
    Mutant("the floor of the norm has a gradient", "_tiles.py",
           "return tl.where(root < at_most, products, 0.0)", "return products",
           "l2_norm", "gradients"),
    Mutant("the first chunk's sum is lost", "_long_rows.py",
           "        sums = tl.where(slot == chunk, part[:, None], sums)\n    return",
           "        sums = tl.where(slot == chunk, part[:, None], 0.0)\n    return",
           "rms_norm", "forward_accuracy", profile="standard"),
    Mutant("every sample has the first one's groups", "_slices.py",
           "base = (row // per).to(tl.int64) * outer + (row % per).to(tl.int64) * inner",
           "base = (row % per).to(tl.int64) * inner", "group_norm"),
    Mutant("weight goes on beyond the last channel", "_slices.py",
           "    channel = (row % per) * deep\n    if CHANNELS == 2:",
           "    channel = row * deep\n    if CHANNELS == 2:", "group_norm"),
    Mutant("tiles' means are not told apart", "_slices.py",
           "tl.where(held, part + count * away * away, 0.0)", "tl.where(held, part, 0.0)",
           "batch_norm", "forward_accuracy", profile="standard"),
    Mutant("the last tile is taken for a whole one", "_slices.py",
           "    return tall * tl.minimum(along - (tile % across) * JN, JN)\n",
           "    return tall * JN\n", "group_norm", "forward_accuracy", profile="standard"),
    Mutant("the running variance is of n", "_slices.py",
           "tl.store(variances + row, over(square, count - 1.0), mask=held)",
           "tl.store(variances + row, over(square, count), mask=held)",
           "batch_norm", "running_statistics"),
    Mutant("gradients take running statistics for the batch's", "_channel_norm.py",
           "ctx.settings = groups, one_plus, mean is not None, strict",
           "ctx.settings = groups, one_plus, False, strict", "batch_norm", "gradients"),
    Mutant("dbias is dweight", "_channel_launches.py",
           "zip(reversed(terms), sums, strict=True)", "zip(terms, sums, strict=True)",
           "group_norm", "gradients"),
    Mutant("dweight is of one sample", "_slice_gradients.py",
           "sample = (slot // tiles).to(tl.int64) * channels * tiles", "sample = slot * 0",
           "group_norm", "gradients"),
]  # fmt: skip
