"""Every implementation is listed, whatever becomes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from normcheck.record import Verdict
from normcheck.survey.document import Entry, Status, Survey
from normcheck.survey.subject import Library, Subject
from normcheck.survey.surveying import Settings, survey

DTYPES = ("bfloat16", "float32")
SAMPLES = Path(__file__).with_name("samples.py")


def sample(name: str, *dtypes: str) -> Subject:
    return Subject(name, "l2_norm", f"{SAMPLES}:{name}", dtypes or ("float32",))


def library(*subjects: Subject, **more: str) -> dict[str, Library]:
    return {"samples": Library("Samples", ("torch",), subjects, **more)}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("survey")
    return Settings("quick", ("float32",), "cpu", 300.0, 2, folder, False, "normcheck survey")


@pytest.fixture(scope="module")
def found(settings: Settings) -> Survey:
    told: list[Entry] = []
    names = ("dies", "wrong", "refuses", "right")
    subjects = [sample(name) for name in names]
    result = survey(library(*subjects), settings, told.append)
    assert told == result.entries
    assert [entry.name for entry in told] == list(names)
    return result


def entry(found: Survey, name: str) -> Entry:
    return next(entry for entry in found.entries if entry.name == name)


def test_a_subject_that_dies_is_a_failure_and_stops_nothing(found: Survey) -> None:
    dead = entry(found, "dies")
    assert (dead.status, dead.verdict) == (Status.DIED, Verdict.FAIL)
    assert "SIGKILL" in dead.reason


def test_a_wrong_subject_fails_with_a_command_that_shows_it(found: Survey) -> None:
    wrong = entry(found, "wrong")
    assert (wrong.status, wrong.verdict) == (Status.JUDGED, Verdict.FAIL)
    fault = next(f for f in wrong.cells[0].faults if f.property == "forward_accuracy")
    assert fault.ratio > 1
    assert fault.tensor == "y"
    assert fault.reproduce.startswith(f"normcheck repro {SAMPLES}:wrong nc1:l2_norm/f32/")
    assert not fault.finding


def test_a_right_subject_passes(found: Survey) -> None:
    right = entry(found, "right")
    assert [c.faults for c in right.cells] == [[]]
    assert right.verdict is Verdict.PASS
    assert right.elapsed_s > 0


def test_a_subject_that_refuses_is_not_judged(found: Survey) -> None:
    refusing = entry(found, "refuses")
    assert (refusing.status, refusing.verdict) == (Status.REFUSED, Verdict.NOT_JUDGED)
    assert "not on this machine" in refusing.reason


def test_what_is_not_installed_is_listed(settings: Settings) -> None:
    absent = {"absent": Library("Absent", ("torch", "no-such-library"), (sample("right"),))}
    (only,) = survey(absent, settings, lambda entry: None).entries
    assert (only.status, only.reason) == (Status.NOT_INSTALLED, "not installed: no-such-library")
    assert only.verdict is Verdict.NOT_JUDGED


def test_subjects_that_run_out_of_time_are_listed(settings: Settings) -> None:
    hurried = replace(settings, limit_s=0.3, folder=settings.folder / "hurried")
    result = survey(library(sample("hangs"), sample("right")), hurried, lambda entry: None)
    assert [entry.status for entry in result.entries] == [Status.TIMED_OUT] * 2
    assert result.entries[0].reason == "did not end within 0.3 s"


def test_a_format_that_is_not_offered_is_not_asked_for(settings: Settings) -> None:
    result = survey(library(sample("right", "bfloat16")), settings, lambda entry: None)
    assert result.entries[0].reason == "is offered in bfloat16 only"


def test_a_survey_goes_on_where_an_earlier_one_stopped(found: Survey, settings: Settings) -> None:
    again = replace(settings, resume=True)
    record = settings.folder / "records" / "samples.right.json"
    before = record.stat().st_mtime_ns
    result = survey(library(sample("right"), sample("dies")), again, lambda entry: None)
    assert result.entries == [entry(found, "right"), entry(found, "dies")]
    assert record.stat().st_mtime_ns == before


def test_what_triton_interprets_is_judged_in_full(settings: Settings) -> None:
    pytest.importorskip("triton")
    subject = replace(sample("right", *DTYPES), interpreted=True)
    more = replace(settings, dtypes=DTYPES, folder=settings.folder / "interpreted")
    (right,) = survey(library(subject), more, lambda entry: None).entries
    assert right.command.startswith("TRITON_INTERPRET=1 normcheck run ")
    assert [cell.dtype for cell in right.cells] == list(DTYPES)
    assert all(cell.checks > 0 for cell in right.cells)
    assert not any("Triton" in why for cell in right.cells for why in cell.not_judged.values())


def test_a_gpu_needs_no_interpreter(settings: Settings) -> None:
    subject = replace(sample("right"), interpreted=True)
    absent = {"absent": Library("Absent", ("no-such-library",), (subject,))}
    (only,) = survey(absent, replace(settings, device="cuda"), lambda entry: None).entries
    assert only.command.startswith("normcheck run ")
