"""Work in a forked child: it ends without taking anything with it, and leaves its last words."""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import torch

from normcheck.execution.forked import forked, unavailable
from normcheck.execution.watchdog import Watchdog

Tell = Callable[[str], None]


def test_what_a_child_tells_arrives_in_order() -> None:
    def work(tell: Tell) -> None:
        for index in range(1000):
            tell(f"line {index} " + "x" * 100)

    ending = forked(work, 30.0)
    assert ending.finished
    assert [line.split()[1] for line in ending.told] == [str(i) for i in range(1000)]


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGFPE, "SIGFPE"), (signal.SIGSEGV, "SIGSEGV"), (6, "SIGABRT")]
)
def test_a_signal_is_named(number: int, name: str) -> None:
    def work(tell: Tell) -> None:
        tell("before")
        os.kill(os.getpid(), number)

    ending = forked(work, 30.0)
    assert (ending.told, ending.finished) == (("before",), False)
    assert ending.how == f"ended the process with signal {int(number)} ({name})"


def test_a_read_through_a_null_pointer_is_survived() -> None:
    ending = forked(lambda tell: print(ctypes.string_at(0)), 30.0)  # noqa: T201  # never reached
    assert ending.how == "ended the process with signal 11 (SIGSEGV)"


@pytest.mark.parametrize("status", [0, 3])
def test_a_process_that_leaves_early_is_not_done(status: int) -> None:
    ending = forked(lambda tell: os._exit(status), 30.0)
    assert not ending.finished
    assert ending.how == f"ended the process with status {status}"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt("no"), SystemExit("no")])
def test_an_exception_stays_in_the_child(error: BaseException) -> None:
    def work(tell: Tell) -> None:
        raise error

    ending = forked(work, 30.0)
    assert ending.told == (f"{type(error).__name__}: no",)
    assert ending.how == "ended the process with status 1"


def test_silence_is_ended() -> None:
    def work(tell: Tell) -> None:
        tell("before")
        # Deaf to every signal that can be blocked.
        signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals))
        time.sleep(600)

    started = time.monotonic()
    ending = forked(work, 0.5)
    assert time.monotonic() - started < 20.0
    assert ending.told == ("before",)
    assert ending.how == "did not return within 0.5 s"


def test_progress_extends_the_limit() -> None:
    def work(tell: Tell) -> None:
        for _ in range(8):
            time.sleep(0.2)
            tell("still here")

    assert forked(work, 1.4).finished, "each line starts the limit anew"


def test_no_child_is_left_over() -> None:
    (child,) = forked(lambda tell: tell(str(os.getpid())), 30.0).told
    with pytest.raises(ChildProcessError):
        os.waitpid(int(child), os.WNOHANG)


def test_no_descriptor_is_left_over() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # iterdir holds one open itself

    if not os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        pytest.skip("this system has no /proc")
    before = count()
    forked(lambda tell: os._exit(1), 30.0)
    assert count() == before


def test_the_parent_is_not_touched() -> None:
    state = {"value": 1}

    def work(tell: Tell) -> None:
        state["value"] = 2

    forked(work, 30.0)
    assert state["value"] == 1


def test_a_child_computes_on_one_thread_after_the_parent_used_two() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.randn(512, 512) @ torch.randn(512, 512)

        def work(tell: Tell) -> None:
            x = torch.randn(300, 300, requires_grad=True)
            torch.autograd.grad((x @ x).sum(), x)
            tell(f"{torch.get_num_threads()} {threading.active_count()}")

        assert forked(work, 60.0).told == ("1 1",)
    finally:
        torch.set_num_threads(before)


def test_nothing_is_printed_twice_and_nothing_of_a_death() -> None:
    code = (
        "import os, sys; from normcheck.execution.forked import forked; print('once', end='');"
        "forked(lambda tell: (print('child'), os.abort()), 30.0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.stderr) == ("once", "")


def test_a_limit_must_be_positive() -> None:
    with pytest.raises(ValueError, match=r"limit_s is 0\.0, but must be greater than 0"):
        forked(lambda tell: None, 0.0)


def test_a_thread_of_the_targets_own_forbids_a_fork() -> None:
    before, done = threading.enumerate(), threading.Event()
    thread = threading.Thread(target=done.wait, name="pool")
    thread.start()
    try:
        assert unavailable("cpu", before) == (
            "the target's thread 'pool' runs, and no child can take its work over"
        )
        assert unavailable("cpu", threading.enumerate()) == ""
    finally:
        done.set()
        thread.join()
    with Watchdog(5.0, lambda case: None).watch("nc1:a"):
        assert unavailable("cpu", before) == ""  # normcheck's own


def test_worker_processes_forbid_a_fork() -> None:
    worker = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(60,))
    worker.start()
    try:
        assert unavailable("cpu", threading.enumerate()).startswith("worker processes run")
    finally:
        worker.kill()
        worker.join()


def test_an_accelerator_does_not_survive_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    assert unavailable("cpu", threading.enumerate()) == ""
    assert unavailable("cuda") == "a forked child cannot use the device cuda"
    monkeypatch.delattr(os, "fork")
    assert unavailable("cpu") == "this system cannot fork"
