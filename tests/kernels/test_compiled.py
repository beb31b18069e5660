"""What the planner launches, compiled for GPUs that are not here: no spills, whole vectors."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

SCRIPT = Path(__file__).with_name("compiled_launches.py")
# Registers per thread of 16 warps, two such programs on a multiprocessor of 65,536 registers.
MOST_REGISTERS = 128
# Kernels over what others have summed.
OVER_SUMS = {"combine_statistics", "combine_terms", "channel_sums"}
MOST_ALONE = 4


Launch = dict[str, Any]


# A third of the calls each, by turns, as all of them for all targets take minutes.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("target", "start"), [("sm_80", 0), ("sm_90", 1), ("sm_100", 2), ("gfx942", 0)]
)
def test_launches_compile_as_they_should(target: str, start: int, tmp_path: Path) -> None:
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    words = [sys.executable, str(SCRIPT), target, f"{start}", "3"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    launches = json.loads(done.stdout)
    assert len(launches) >= 18
    assert [launch for launch in launches if launch["spilled"]] == []
    assert [launch for launch in launches if launch["registers"] > MOST_REGISTERS] == []
    loads_whole_vectors(launches)
    rounds_every_operation(target, launches)


def loads_whole_vectors(launches: list[Launch]) -> None:
    """A row of 1000 too: it is a multiple of 8, though not of the 16 that Triton looks for.

    Numbers of a channel, and sums of tiles, are loaded one by one.
    """
    over_elements = [launch for launch in launches if launch["name"] not in OVER_SUMS]
    assert len(over_elements) >= 12
    assert [launch for launch in over_elements if not launch["wide"]] == []
    assert [launch for launch in over_elements if launch["narrow"] > MOST_ALONE] == []
    rows = [launch for launch in over_elements if not launch["name"].endswith("_slices")]
    assert [launch for launch in rows if launch["narrow"]] == []


def rounds_every_operation(target: str, launches: list[Launch]) -> None:
    """Strict ones do, in the intermediate language and in the machine's."""
    strict = [launch for launch in launches if launch["strict"]]
    assert len(strict) >= 6
    assert [launch for launch in strict if launch["inexact"] or launch["contracted"]] == []
    # Neighbouring lanes first, then farther ones; after the last of a warp's, the warps' sums.
    assert [launch for launch in strict if not goes_up(launch["shuffled"])] == []
    if target != "gfx942":
        assert any(len(launch["shuffled"]) > 4 for launch in strict)
        assert not all(goes_up(launch["shuffled"]) for launch in launches)
    # The probe can fail: fast ones contract products and sums, Triton's or AMD's compiler.
    sign = "contracted" if target == "gfx942" else "inexact"
    assert any(launch[sign] for launch in launches if not launch["strict"])


def goes_up(lanes: list[int]) -> bool:
    """Whether distances grow until a sum is done, and begin again with the least."""
    return all(after >= before or after == min(lanes) for before, after in pairwise(lanes))


PROGRAM = """.version 8.0
.target sm_90
.address_size 64
.visible .entry program(.param .u64 p) {{
.reg .f32 %f<5>; .reg .b64 %a;
ld.param.u64 %a, [p];
ld.global.f32 %f1, [%a]; ld.global.f32 %f2, [%a+4];
mul{way}.f32 %f3, %f1, %f2; add{way}.f32 %f4, %f3, %f2;
st.global.f32 [%a], %f4;
ret; }}
"""


def test_the_assembler_is_caught_contracting(tmp_path: Path) -> None:
    """It may contract what does not say how to round."""
    words = [sys.executable, "-c", f"""
import sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
from compiled_launches import lost_by_assembler
print([lost_by_assembler({PROGRAM!r}.format(way=way)) for way in (".rn", "")])
"""]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "[0, 2]\n", done.stderr
