"""Every adaptor file can be read without its library, and what it lists can be called."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from normcheck.config import DTYPES
from normcheck.errors import UsageError
from normcheck.ops import catalogue as ops
from normcheck.policy import Policy
from normcheck.survey import catalogue
from normcheck.survey.confirmed import Question, finding_of
from normcheck.survey.confirmed_causes import CAUSES
from normcheck.targets import target

HEAVY = {
    "equinox", "fla", "flag_gems", "flax", "jax", "keras", "liger_kernel", "onnx", "onnxruntime",
    "timm", "tinygrad", "torch", "torchvision", "transformers", "triton", "xformers",
}  # fmt: skip
DOCS = Path(__file__).parents[2] / "docs"

adaptors = pytest.mark.parametrize("name", catalogue.names())


def test_the_libraries_that_people_use_are_known() -> None:
    assert {"torch_eager", "transformers", "flax", "keras", "onnxruntime"} <= set(catalogue.names())
    assert catalogue.names()[0].startswith("torch_")


def test_the_catalogue_imports_no_library() -> None:
    code = (
        "import sys\nfrom normcheck.survey import catalogue\n"
        "for name in catalogue.names(): catalogue.find(name)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & {name.partition(".")[0] for name in done.stdout.split()}


@adaptors
def test_a_library_says_what_it_is(name: str) -> None:
    library = catalogue.find(name)
    assert library.name
    assert library.distributions
    subjects = library.subjects
    assert subjects
    assert len({subject.name for subject in subjects}) == len(subjects)
    module = importlib.import_module(catalogue.module_of(name))
    assert not library.prepare or callable(getattr(module, library.prepare))


@adaptors
def test_a_subject_declares_what_exists(name: str) -> None:
    for subject in catalogue.find(name).subjects:
        assert subject.op in ops.names()
        assert set(subject.dtypes) <= set(DTYPES)
        Policy.parse(subject.policies)


@adaptors
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_subject_binds_to_its_op(name: str) -> None:
    library = catalogue.find(name)
    _, missing = catalogue.versions(library)
    subjects = library.subjects
    if name == "transformers":
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)}")
        subjects = subjects[:1]  # seconds for each model that is imported
    for subject in subjects:
        text = subject.target_in(catalogue.module_of(name))
        fixed = dict(pair.split("=", 1) for pair in subject.fixed)
        policy = Policy.parse(subject.policies)
        adapter = target.load(
            text, ops.find(subject.op), policy, fixed=fixed, framework=subject.framework
        )
        assert "x" not in adapter.binding.missing


def test_an_unknown_library_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"library is 'flaxx', but must be .*did you mean flax\?"):
        catalogue.find("flaxx")


def test_a_library_that_is_not_installed_is_told_by_what_is_missing() -> None:
    from normcheck.survey.subject import Library

    installed, missing = catalogue.versions(Library("none", ("torch", "no-such-library"), ()))
    assert list(installed) == ["torch"]
    assert missing == ["no-such-library"]


def test_a_triton_subject_is_interpreted_on_a_cpu_alone() -> None:
    subject = catalogue.find("liger_kernel").subjects[0]
    assert subject.environment("cpu") == {"TRITON_INTERPRET": "1"}
    assert subject.environment("cuda") == {}


@pytest.mark.parametrize("cause", CAUSES, ids=[cause.heading for cause in CAUSES])
def test_a_confirmed_cause_stands_in_the_docs(cause: object) -> None:
    from normcheck.survey.confirmed_causes import Cause

    assert isinstance(cause, Cause)
    page = (DOCS / "findings.md").read_text(encoding="utf-8")
    assert f"\n## {cause.heading}\n" in page
    assert f"{cause.distribution} {cause.version}" in page
    known = {
        f"{name}.{subject.name}".replace("/", "-").replace(" ", "-")
        for name in catalogue.names()
        for subject in catalogue.find(name).subjects
    }
    assert set(cause.subjects) <= known


def test_a_cause_holds_for_its_release_format_and_tensor_alone() -> None:
    asked = Question(
        "torch_eager.functional.layer_norm", "bfloat16", "gradients", "grad_x",
        {"torch": "2.13.0+cpu"},
    )  # fmt: skip
    assert finding_of(asked) == "LayerNorm: statistics saved for backward"
    assert not finding_of(replace(asked, dtype="float32"))
    assert not finding_of(replace(asked, tensor="y"))
    assert not finding_of(replace(asked, versions={"torch": "2.14.0"}))
    assert not finding_of(replace(asked, subject="mine"))


def test_a_cause_of_one_property_comes_before_those_of_any() -> None:
    asked = Question(
        "torch_eager.nn.InstanceNorm2d", "float16", "degenerate_arguments", "running_mean",
        {"torch": "2.13.0"},
    )  # fmt: skip
    assert finding_of(asked) == "Empty batches"
    other = replace(asked, property="running_statistics")
    assert finding_of(other) == "InstanceNorm: statistics in half precision"
    assert not finding_of(replace(other, dtype="float32"))
