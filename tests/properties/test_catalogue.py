"""The catalogue of failure modes is complete and cheap to import, and its right ops are right."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import normcheck
from normcheck.config import DTYPES, PROFILES
from normcheck.errors import UsageError
from normcheck.ops import catalogue as ops
from normcheck.policy import Policy
from normcheck.properties import registry
from normcheck.properties.failure_modes import catalogue, right_ops
from normcheck.record import Verdict
from normcheck.targets.resolve import resolve
from normcheck.targets.target import adapt

MODES = catalogue.modes()
CLASSES = catalogue.classes()
RIGHT = {name.removeprefix("right_"): name for name in dir(right_ops) if name.startswith("right_")}


def test_classes_are_k01_to_k40_in_order() -> None:
    assert [kind.id for kind in CLASSES] == [f"K{number:02}" for number in range(1, 41)]


@pytest.mark.parametrize("kind", CLASSES, ids=[kind.id for kind in CLASSES])
def test_a_class_is_complete(kind: catalogue.FailureClass) -> None:
    assert catalogue.of_class(kind.id) or kind.cannot
    assert min(map(len, (kind.name, kind.text, kind.hides, kind.trigger))) > 3
    assert 2 <= len(kind.bugs) <= 6
    for bug in kind.bugs:
        assert re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+ \(.+\)", bug)


def test_names_are_unique_and_every_op_has_a_mutant() -> None:
    assert len({mode.name for mode in MODES}) == len(MODES) >= 110
    assert {mode.op for mode in MODES} <= set(ops.names())
    for op in ops.names():
        assert all(mode.op == op for mode in catalogue.of_op(op))


def test_no_mutant_stands_for_two() -> None:
    assert len({mode.place for mode in MODES}) == len(MODES)


@pytest.mark.parametrize("mode", MODES, ids=[mode.name for mode in MODES])
def test_a_mutant_is_an_ordinary_target_of_a_known_class(mode: catalogue.FailureMode) -> None:
    assert re.fullmatch(r"[a-z0-9_]+", mode.name)
    assert catalogue.find_class(mode.kind).id == mode.kind
    assert mode.dtype in DTYPES
    assert mode.profile in PROFILES
    assert catalogue.find(mode.name) is mode
    op = ops.find(mode.op)
    binding = adapt(resolve(mode.target), mode.target, op, Policy.parse(mode.policies)).binding
    required = tuple(parameter.name for parameter in op.tensors if not parameter.optional)
    assert set(op.names_in_parts(required)) <= set(binding.names)


def test_every_first_property_has_a_mutant_to_kill() -> None:
    caught_by = {mode.caught_by for mode in MODES}
    first = {
        "forward_accuracy", "gradients", "running_statistics", "nonfinite_containment",
        "forward_determinism", "inputs_unchanged", "output_contract",
    }  # fmt: skip
    assert first <= caught_by
    assert first <= set(registry.names())


@pytest.mark.parametrize("name", RIGHT)
def test_the_norm_that_faults_are_planted_in_is_right(name: str) -> None:
    # The property that each kind of fault breaks, on the norm without a fault.
    target = f"{right_ops.__name__}:{RIGHT[name]}"
    wanted = ["forward_accuracy", "gradients", "inputs_unchanged", "output_contract"]
    record = normcheck.run(
        target,
        op=name,
        profile="quick",
        properties=wanted,
        dtypes=["bfloat16", "float32"],
        verdict_only=True,
    )
    assert record.verdict is Verdict.PASS


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "group_norm", "batch_norm"])
def test_the_gradients_that_are_written_out_are_right(name: str) -> None:
    # A replacement that calls the right step leaves all right, on the path of backward faults.
    planted = getattr(right_ops, name)("dx")(lambda right, *given: right(*given))
    record = normcheck.run(
        planted.__call__,
        op=name,
        profile="quick",
        properties=["gradients"],
        dtypes=["float32"],
        verdict_only=True,
    )
    assert record.verdict is Verdict.PASS


def test_an_unknown_name_is_told_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean layer_norm_eps_outside"):
        catalogue.find("layer_norm_eps_outsid")
    with pytest.raises(UsageError, match=r"class is 'K41', but must be known; did you mean K\d\d"):
        catalogue.find_class("K41")
    assert catalogue.find_class("k13").id == "K13"


def test_the_catalogue_is_read_without_torch() -> None:
    probe = (
        "import sys\n"
        "from normcheck.properties.failure_modes import catalogue\n"
        "assert 'torch' not in sys.modules\n"
        "assert len(catalogue.modes()) and len(catalogue.classes()) == 40\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", probe]).returncode == 0


def test_a_class_has_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    from normcheck.cli.explain import command

    command.callback("k16")  # type: ignore[misc]  # click types the callback as optional
    page = capsys.readouterr().out
    for part in (
        "K16: offsets overflow",
        "Where it hides",
        "Real bugs",
        "layer_norm_short_offsets",
    ):
        assert part in page
    assert "no GPU" in page
    for url in re.findall(r"https://\S+", page):
        assert any(bug.startswith(url) for bug in catalogue.find_class("K16").bugs)


def test_the_list_counts_the_mutants_of_each_class(capsys: pytest.CaptureFixture[str]) -> None:
    from normcheck.cli.explain import command

    command.callback(None)  # type: ignore[misc]  # as above
    listed = capsys.readouterr().out
    counts = re.findall(r"^  (K\d\d) .*: (\d+) mutants?$", listed, re.MULTILINE)
    assert {kind: int(count) for kind, count in counts} == {
        kind.id: len(catalogue.of_class(kind.id)) for kind in CLASSES
    }
