"""A process that crashes or hangs ends, with its child, and is told."""

import os
import signal
import time
from pathlib import Path

from normcheck.survey.running import Order, run, usable

# As `normcheck run` does: a child in a group of its own. This one ignores what it is told.
CHILD = """
import os, pathlib, signal, sys, time
pid = os.fork()
if pid == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(600)
os.waitpid(pid, 0)
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_what_a_process_says_last_is_kept(tmp_path: Path) -> None:
    words = ("-c", "import os, sys; print('a'); sys.exit(os.environ['WHY'])")
    ended = run(Order(words, {"WHY": "because"}, 60.0), tmp_path / "log")
    assert (ended.status, ended.timed_out, ended.said) == (1, False, "because")


def test_a_crash_is_told_by_its_signal(tmp_path: Path) -> None:
    words = ("-c", "import os; os.kill(os.getpid(), 9)")
    assert run(Order(words, {}, 60.0), tmp_path / "log").status == -signal.SIGKILL


def test_a_process_that_hangs_is_ended_with_its_child(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    started = time.monotonic()
    ended = run(Order(("-c", CHILD, str(noted)), {}, 2.0), tmp_path / "log")
    assert ended.timed_out
    assert time.monotonic() - started < 30
    child = int(noted.read_text(encoding="ascii"))
    assert child != os.getpid()
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        os.sched_yield()
    assert not is_running(child)


def test_a_library_that_cannot_be_used_says_why() -> None:
    assert usable("math", "floor", {}, 60.0).startswith("TypeError: ")
    assert usable("time", "monotonic", {}, 60.0) == ""
    assert "did not end within 0.3 s" in usable("signal", "pause", {}, 0.3)
