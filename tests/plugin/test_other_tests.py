"""What is not ours stays as it is: Hypothesis's settings and database, the user's own tests."""

from __future__ import annotations

import pytest


def test_hypothesis_is_left_as_the_user_set_it(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_own="""
        import normcheck
        from hypothesis import given, settings, strategies as st
        from mykernels import rms_norm

        settings.register_profile("mine", max_examples=7, deadline=1234)
        settings.load_profile("mine")
        test_norm = normcheck.contract(rms_norm, dtypes=["float32"])
        seen = []

        @given(st.integers())
        def test_own(number):
            seen.append(number)

        def test_afterwards():
            assert settings().max_examples == 7
            assert settings().deadline.total_seconds() == 1.234
            assert settings.get_current_profile_name() == "mine"
            assert len(seen) == 7
        """
    )
    # In a process of its own: the profile would stay loaded for the tests after this one.
    result = project.runpytest_subprocess()
    result.assert_outcomes(passed=4)
    examples = project.path / ".hypothesis" / "examples"
    ours = [p for p in examples.rglob("*") if p.is_file()] if examples.exists() else []
    assert ours == []


def test_a_test_beside_ours_keeps_its_randomness(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_own="""
        import random, torch
        import normcheck
        from mykernels import rms_norm

        def draw():
            return random.random(), float(torch.rand(()))

        def test_before():
            random.seed(3); torch.manual_seed(3)
            global expected
            expected = [draw() for _ in range(2)]
            random.seed(3); torch.manual_seed(3)
            assert draw() == expected[0]

        test_norm = normcheck.contract(rms_norm, dtypes=["float32"])

        def test_afterwards():
            assert draw() == expected[1]
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=4)


def test_threads_and_grad_mode_are_given_back(project: pytest.Pytester) -> None:
    project.makepyfile(
        test_own="""
        import torch
        import normcheck
        from mykernels import rms_norm

        threads = torch.get_num_threads()
        test_norm = normcheck.contract(rms_norm, dtypes=["float32"])

        def test_afterwards():
            assert torch.get_num_threads() == threads
            assert torch.is_grad_enabled()
            assert torch.get_default_dtype() is torch.float32
            assert not torch.are_deterministic_algorithms_enabled()
        """
    )
    project.runpytest_inprocess().assert_outcomes(passed=3)
