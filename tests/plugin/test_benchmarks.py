"""--normcheck-benchmark: timings on the same inputs, and no rank for what is wrong."""

from __future__ import annotations

import json

import pytest

# The suite skips benchmarks; what is tested here is that ours are made.
WORDS = ("--benchmark-disable-gc", "--benchmark-max-time=0.01", "--benchmark-min-rounds=1")


def test_a_target_is_timed_beside_torchs_own(project: pytest.Pytester) -> None:
    result = project.runpytest_inprocess(
        "--normcheck", "mykernels:rms_norm", "--normcheck-benchmark", "--benchmark-json=b.json",
        "--normcheck-dtype", "float32", "-k", "benchmark and not compiled", *WORDS,
    )  # fmt: skip
    result.assert_outcomes(passed=4, deselected=4)
    timings = json.loads((project.path / "b.json").read_text())["benchmarks"]
    assert {(t["group"], t["extra_info"]["rival"]) for t in timings} == {
        (f"rms_norm float32 cpu {direction} 1024x4096", rival)
        for direction in ("forward", "backward")
        for rival in ("target", "torch")
    }
    row = 1024 * 4096 * 4
    for timing in timings:
        # Forward x, weight and y; backward x, weight, dy and both gradients.
        many = 2 if "forward" in timing["group"] else 3
        assert timing["extra_info"]["bytes"] - many * row in (4096 * 4, 2 * 4096 * 4)
        speed = timing["extra_info"]["bytes"] / timing["stats"]["min"] / 1e9
        assert timing["extra_info"]["gb_per_s"] == pytest.approx(speed, rel=1e-2, abs=1e-3)


def test_what_fails_its_checks_is_not_ranked(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck
        from mykernels import rms_norm_in_half

        @normcheck.contract(op="rms_norm", dtypes=["bfloat16"])
        def test_norm(x, weight, eps, tmp_path):
            return rms_norm_in_half(x, weight, eps)
        """
    )
    result = project.runpytest_inprocess(
        "--normcheck-benchmark", "-k", "benchmark-forward-target", "-rs", *WORDS
    )
    result.assert_outcomes(skipped=1, deselected=7)
    result.stdout.fnmatch_lines(["*not ranked: rms_norm-bfloat16-cpu-forward_accuracy, *"])


def test_an_op_without_a_rival_is_timed_alone(project: pytest.Pytester) -> None:
    project.makepyfile(
        mine="def weight_norm(v, g, dim): return g * v / v.norm(dim=1, keepdim=True)"
    )
    result = project.runpytest_inprocess(
        "--normcheck", "mine:weight_norm", "--normcheck-benchmark", "--collect-only", "-q",
        "--normcheck-dtype", "float32",
    )  # fmt: skip
    found = [line for line in result.outlines if "benchmark" in line]
    assert [line.rpartition("benchmark-")[2] for line in found] == [
        "forward-target", "backward-target",
    ]  # fmt: skip


def test_without_pytest_benchmark_it_says_what_to_install(project: pytest.Pytester) -> None:
    result = project.runpytest_subprocess(
        "--normcheck", "mykernels:rms_norm", "--normcheck-benchmark", "-p", "no:benchmark"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*pip install pytest-benchmark*"])
