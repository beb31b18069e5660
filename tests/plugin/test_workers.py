"""Runs that xdist shares: what is judged, by whom, and with which seed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from normcheck.api import DEFAULT_SEED


def test_workers_draw_with_one_fresh_seed(project: pytest.Pytester) -> None:
    # Nightly's own cases take a minute.
    with (project.path / "conftest.py").open("a") as conftest:
        conftest.write(
            """
from dataclasses import replace

from normcheck import config

config.PROFILES["nightly"] = replace(config.PROFILES["quick"], name="nightly", fresh_seed=True)
"""
        )
    words = ("--normcheck-profile", "nightly", "-n", "2")
    result = project.runpytest_subprocess(
        "--normcheck", "mykernels:rms_norm", *words, "-k", "forward", "--junitxml=j.xml"
    )
    result.assert_outcomes(passed=2)
    found = ElementTree.parse(project.path / "j.xml").iter("property")
    seeds = {each.get("value") for each in found if each.get("name") == "normcheck.seed"}
    assert len(seeds) == 1
    assert seeds != {str(DEFAULT_SEED)}


def test_what_is_not_run_is_not_judged_while_waiting(project: pytest.Pytester) -> None:
    project.makepyfile(
        mine="""
        from pathlib import Path
        import mykernels

        def rms_norm(x, weight, eps):
            Path("called").touch()
            return mykernels.rms_norm(x, weight, eps)
        """,
        test_norms="""
        import pytest
        import normcheck
        from mine import rms_norm
        from mykernels import rms_norm as other

        test_judged = normcheck.contract(other, dtypes=["float32"])
        test_skipped = pytest.mark.skip(reason="kills the driver")(normcheck.contract(rms_norm))
        """,
    )
    result = project.runpytest_subprocess("-n", "2")
    result.assert_outcomes(passed=2, skipped=4)
    assert not (project.path / "called").exists()


def test_nothing_is_left_behind(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project.mkdir("temporary")
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    project.runpytest_subprocess("-n", "2", "--normcheck", "mykernels:rms_norm").assert_outcomes(
        passed=4
    )
    assert [path for path in Path(folder).iterdir() if path.name.startswith("normcheck-")] == []
