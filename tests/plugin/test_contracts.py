"""normcheck.contract: a line in a test file becomes ordinary tests."""

from __future__ import annotations

import re
import sys

import pytest

import normcheck
from normcheck.errors import UsageError

ASSIGNED = """
import normcheck
from mykernels import rms_norm, rms_norm_in_half

test_right = normcheck.contract(rms_norm)
test_wrong = normcheck.contract(rms_norm_in_half, op="rms_norm", dtypes=["bfloat16"])
"""
IDS = {
    f"rms_norm-{d}-cpu-{p}"
    for d in ("bfloat16", "float32")
    for p in ("forward_accuracy", "gradients")
}


def test_each_check_is_a_test_with_a_plain_id(project: pytest.Pytester) -> None:
    project.makepyfile(test_norms=ASSIGNED)
    result = project.runpytest_inprocess("--collect-only", "-q")
    ids = [line.partition("[")[2].rstrip("]") for line in result.outlines if "test_right[" in line]
    assert set(ids) == IDS
    assert all(re.fullmatch(r"[a-z0-9_-]+", name) for name in ids)


def test_verdicts_are_those_of_a_run(project: pytest.Pytester) -> None:
    project.makepyfile(test_norms=ASSIGNED)
    result = project.runpytest_inprocess("-v")
    result.assert_outcomes(passed=4, failed=2)
    import mykernels  # type: ignore[import-not-found]  # of the project

    for name, function in (("right", mykernels.rms_norm), ("wrong", mykernels.rms_norm_in_half)):
        record = normcheck.run(
            function, op="rms_norm", profile="quick", verdict_only=True,
            dtypes=["bfloat16", "float32"] if name == "right" else ["bfloat16"],
            properties=["forward_accuracy", "gradients"],
        )  # fmt: skip
        for check in record.checks:
            said = {"pass": "PASSED", "fail": "FAILED"}[check.verdict]
            result.stdout.fnmatch_lines([f"*test_{name}?{check.id}? {said}*"])


def test_a_failure_reads_as_on_the_command_line(project: pytest.Pytester) -> None:
    project.makepyfile(test_norms=ASSIGNED)
    result = project.runpytest_inprocess("-k", "wrong and forward")
    result.stdout.fnmatch_lines(
        [
            "rms_norm · bfloat16 · cpu · forward_accuracy  *× over budget",
            "*expected  y[[]*[]] = *(float64 reference)",
            "*budget    accepted * (rule F of docs/budgets.md)",
            "*matters   dtype*does not matter: *",
            "*reproduce normcheck repro mykernels:rms_norm_in_half nc1:rms_norm/bf16/*",
            "*print(y.flatten()*but should be*",
            "fails in * cases",
        ]
    )
    assert "Traceback" not in str(result.stdout)


def test_the_function_that_calls_the_kernel_may_take_fixtures(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck, pytest
        from mykernels import rms_norm

        @pytest.fixture(params=[1.0, 2.0])
        def factor(request):
            return request.param

        @normcheck.contract(op="rms_norm", dtypes=["float32"])
        def test_scaled(x, weight, eps, factor, tmp_path):
            "A launcher."
            assert tmp_path.exists()
            return rms_norm(x, weight, eps) * factor
        """
    )
    result = project.runpytest_inprocess("-v")
    # Right with a factor of one, wrong with two: each is judged by itself.
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*test_scaled*1.0*PASSED*"])
    result.stdout.fnmatch_lines(["*test_scaled*2.0*FAILED*"])


def test_marks_selection_and_order_are_pytests_own(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck, pytest
        from mykernels import rms_norm_in_half

        test_wrong = pytest.mark.xfail(strict=True)(
            normcheck.contract(rms_norm_in_half, op="rms_norm", dtypes=["bfloat16"])
        )
        def test_other(): pass
        """
    )
    result = project.runpytest_inprocess(
        "-m", "normcheck", "-p", "no:cacheprovider", "--durations=1"
    )
    result.assert_outcomes(xfailed=2, deselected=1)
    result.stdout.fnmatch_lines(["*= normcheck: PASS =*"])
    result.stdout.fnmatch_lines(["* 2 checks   0 pass   0 fail   2 known   0 not judged"])
    assert "first look" not in str(result.stdout)


def test_the_last_failures_run_again(project: pytest.Pytester) -> None:
    project.makepyfile(test_norms=ASSIGNED)
    project.runpytest_inprocess().assert_outcomes(passed=4, failed=2)
    project.runpytest_inprocess("--lf").assert_outcomes(failed=2)
    project.runpytest_inprocess("-x").assert_outcomes(passed=4, failed=1)


def test_a_refusal_of_everything_is_not_green(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck
        from mykernels import rms_norm_refuses
        test_refuses = normcheck.contract(rms_norm_refuses, op="rms_norm")
        """
    )
    result = project.runpytest_inprocess("-rs")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*not judged: *no such kernel*"])
    result.stdout.fnmatch_lines(["*no check of its contract was judged*"])


def test_what_cannot_be_judged_fails_each_of_its_tests(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck
        from mykernels import rms_norm_returns_list
        test_list = normcheck.contract(rms_norm_returns_list, op="rms_norm", dtypes=["float32"])
        """
    )
    result = project.runpytest_inprocess()
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*wrap it so that it does: def rms_norm(*"])


def test_a_contract_that_cannot_be_bound_is_an_error_of_collection(
    project: pytest.Pytester,
) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck
        test_strange = normcheck.contract(lambda x, temperature: x, op="rms_norm")
        """
    )
    result = project.runpytest_inprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*has parameter 'temperature', but rms_norm has x, *"])


def test_an_absent_device_is_skipped_unless_it_is_required(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck
        from mykernels import rms_norm
        test_gpu = normcheck.contract(rms_norm, device="cuda:77")
        """
    )
    project.runpytest_inprocess("-rs").assert_outcomes(skipped=1)
    result = project.runpytest_inprocess("--normcheck-require-device")
    assert result.ret not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    assert "cuda:77" in str(result.stdout) + str(result.stderr)


def test_a_test_still_is_its_function(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck
        @normcheck.contract(op="rms_norm", properties=["forward_accuracy"])
        def test_mine(x, weight, eps):
            "Mine."
            return x
        """
    )
    result = project.run(
        sys.executable,
        "-m",
        "normcheck",
        "repro",
        "test_norms.py:test_mine",
        "nc1:rms_norm/f32/4x8/plain",
    )
    assert result.ret == 1
    result.stdout.fnmatch_lines(["test_norms.py:test_mine  nc1:rms_norm/f32/4x8/plain"])


def test_what_is_no_target_is_refused() -> None:
    with pytest.raises(UsageError, match="target is 3, but must be callable"):
        normcheck.contract(3)  # type: ignore[arg-type]


def test_an_interruption_ends_the_run(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck

        @normcheck.contract(op="rms_norm", dtypes=["float32"])
        def test_interrupted(x, weight, eps):
            if x.shape[-1] > 40:
                raise KeyboardInterrupt
            return x
        """
    )
    result = project.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "passed" not in str(result.stdout)


def test_our_own_faults_are_told_as_such_and_once_judged(
    project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def faulty(*_: object) -> None:
        calls.append(1)
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("normcheck.engine.execute", faulty)
    result = project.runpytest_inprocess("--normcheck", "mykernels:rms_norm")
    result.assert_outcomes(failed=4)
    assert len(calls) == 2  # once for each dtype
    result.stdout.fnmatch_lines(["This is a fault of normcheck: ZeroDivisionError: of ours"])


def test_a_contract_may_stand_in_a_class(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck
        from mykernels import rms_norm

        class TestNorms:
            factor = 1.0
            test_assigned = normcheck.contract(rms_norm, dtypes=["float32"])

            @normcheck.contract(op="rms_norm", dtypes=["float32"])
            def test_method(self, x, weight, eps):
                return rms_norm(x, weight, eps) * self.factor
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=4)


def test_a_dtype_is_judged_once_whatever_its_fixtures_are(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_norms="""
        import normcheck, pytest
        from mykernels import rms_norm
        seen = set()

        @pytest.fixture
        def fresh():
            return object()

        @normcheck.contract(op="rms_norm", dtypes=["float32"])
        def test_norm(x, weight, eps, fresh, request):
            assert request.node.name.startswith("test_norm")
            seen.add(fresh)
            return rms_norm(x, weight, eps)

        def test_once():
            assert len(seen) == 1
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=3)
