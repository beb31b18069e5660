"""normcheck.targets.resolve: what the text names, or one line on what to type next."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from normcheck.errors import TargetError
from normcheck.targets.resolve import resolve

SAMPLES = Path(__file__).with_name("sample_targets.py")


@pytest.fixture(autouse=True)
def _imports_are_undone() -> Iterator[None]:
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def refused(text: str) -> str:
    with pytest.raises(TargetError) as caught:
        resolve(text)
    assert caught.value.exit_status == 4
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_modules_files_classes_and_attribute_paths_are_found() -> None:
    assert resolve("torch.nn.functional:layer_norm") is torch.nn.functional.layer_norm
    assert resolve("torch:nn.LayerNorm") is torch.nn.LayerNorm
    plain = resolve(f"{SAMPLES}:rms_norm")
    assert callable(plain)
    assert resolve(f"{SAMPLES}:Namespace.Inner.norm") is plain
    assert resolve(f"{SAMPLES}:constant") == 3.0


def test_a_file_is_imported_once_and_under_a_name_that_shadows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "json.py"
    path.write_text("import helper_of_target\ndef f(x): return helper_of_target.size\nseen = []")
    (tmp_path / "helper_of_target.py").write_text("size = 7")
    found = resolve(f"{path}:f")
    assert callable(found)
    assert found(None) == 7
    assert resolve(f"{path}:seen") is resolve(f"{path}:seen")
    assert sys.modules["json"].__file__ != str(path)


def test_two_files_of_the_same_name_are_two_targets(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "kernel.py").write_text(f"who = {name!r}")
    assert [resolve(f"{tmp_path / n}/kernel.py:who") for n in ("first", "second")] == [
        "first", "second",
    ]  # fmt: skip


def test_a_module_of_the_current_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernel_of_this_folder.py").write_text("size = 7")
    monkeypatch.chdir(tmp_path)
    assert resolve("kernel_of_this_folder:size") == 7


@pytest.mark.parametrize("text", ["torch.nn.functional.layer_norm", ":f", "torch:", ""])
def test_text_without_two_parts_is_refused_with_an_example(text: str) -> None:
    assert refused(text) == (
        f"target is {text!r}, but must be MODULE:NAME or FILE.py:NAME, "
        "as in torch.nn.functional:layer_norm"
    )


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "kernels.py").write_text("")
    path = tmp_path / "kernel.py"
    expected = f"{path} is not a file, asked for by {path}:f; did you mean kernels.py?"
    assert refused(f"{path}:f") == expected
    nowhere = tmp_path / "nowhere" / "kernel.py"
    assert refused(f"{nowhere}:f") == f"{nowhere} is not a file, asked for by {nowhere}:f"


@pytest.mark.parametrize("name", ["not_there_at_all", "not_there_at_all.sub", "json.not_there"])
def test_a_missing_module_says_how_to_name_a_file(name: str) -> None:
    lead = f"module {name} does not exist, asked for by {name}:f; run where it can be imported, or"
    message = refused(f"{name}:f")
    assert message.startswith(f"{lead} name ")
    assert message.endswith(".py:NAME")


def test_a_missing_dependency_is_told_from_a_missing_target(tmp_path: Path) -> None:
    path = tmp_path / "needs_more.py"
    path.write_text("import not_installed_here.inner")
    expected = f"{path} needs not_installed_here, which is not installed, asked for by {path}:f"
    assert refused(f"{path}:f") == expected


def test_a_missing_attribute_names_the_nearest() -> None:
    text = f"{SAMPLES}:rmsnorm"
    expected = f"{SAMPLES} has no 'rmsnorm', asked for by {text}; did you mean rms_norm?"
    assert refused(text) == expected
    assert refused("torch.nn:LayerNorm.nothing").startswith("torch.nn has no 'nothing'")


@pytest.mark.parametrize(
    ("source", "what", "line"),
    [
        ("x = 1\ndef f(:\n    pass", "SyntaxError: invalid syntax", 2),
        ("x = 1\n\nx / 0", "ZeroDivisionError: division by zero", 3),
        ("import sys\nsys.exit(3)", "SystemExit: 3", 2),
        ("raise RuntimeError", "RuntimeError at", 1),
    ],
    ids=["syntax", "exception", "exit", "silent"],
)
def test_an_import_that_raises_is_told_in_one_line(
    tmp_path: Path, source: str, what: str, line: int
) -> None:
    path = tmp_path / "broken.py"
    path.write_text(source)
    message = refused(f"{path}:f")
    assert message.startswith(f"{path} raised {what}")
    assert message.endswith(f" at {path}:{line} when imported, asked for by {path}:f")


def test_a_file_that_failed_is_tried_again_after_it_was_repaired(tmp_path: Path) -> None:
    path = tmp_path / "repaired.py"
    path.write_text("x = 1 / 0")
    assert "ZeroDivisionError" in refused(f"{path}:x")
    path.write_text("x = 1 / 2  # and a comment, so that its size differs")
    assert resolve(f"{path}:x") == 0.5


def test_an_interruption_by_the_user_is_not_swallowed(tmp_path: Path) -> None:
    path = tmp_path / "interrupted.py"
    path.write_text("raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        resolve(f"{path}:f")


def test_a_message_of_several_lines_becomes_one(tmp_path: Path) -> None:
    path = tmp_path / "wordy.py"
    path.write_text("raise ValueError('first\\nsecond')")
    assert re.search("ValueError: first", refused(f"{path}:f"))
