"""normcheck.execution.watchdog: what gives control back is interrupted, the rest is reported."""

import signal
import threading
import time

import pytest

from normcheck.execution.watchdog import TargetHungError, Watchdog


def test_a_body_within_its_limit_leaves_no_trace() -> None:
    before, handler = threading.active_count(), signal.getsignal(signal.SIGALRM)
    abandoned: list[str] = []
    with Watchdog(0.2, abandoned.append).watch("nc1:a"):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is handler
    assert not abandoned
    assert threading.active_count() <= before + 1


def spin() -> None:
    while True:
        time.sleep(0.01)


def test_a_loop_is_interrupted_at_its_limit_and_not_abandoned() -> None:
    abandoned: list[str] = []
    started = time.perf_counter()
    with pytest.raises(TargetHungError), Watchdog(0.1, abandoned.append).watch("nc1:a"):
        spin()
    assert 0.1 <= time.perf_counter() - started < 1.0
    assert not abandoned


def test_no_handler_for_ordinary_exceptions_stops_the_interruption() -> None:
    assert not issubclass(TargetHungError, Exception)


def test_the_signal_s_earlier_handler_is_put_back_after_an_exception() -> None:
    handler = signal.getsignal(signal.SIGALRM)
    with pytest.raises(ValueError, match="own"), Watchdog(5.0).watch("nc1:a"):
        raise ValueError("own")
    assert signal.getsignal(signal.SIGALRM) is handler
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0.0


def in_a_thread(limit: float, seconds: float, abandoned: list[str]) -> None:
    def body() -> None:
        with Watchdog(limit, abandoned.append).watch("nc1:slow"):
            threading.Event().wait(seconds)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()


def test_a_call_that_cannot_be_interrupted_is_abandoned_after_twice_its_limit() -> None:
    # Signals reach the main thread only: elsewhere a call is as deaf as one into foreign code.
    abandoned: list[str] = []
    in_a_thread(0.05, 0.4, abandoned)
    assert abandoned == ["nc1:slow"]


def test_calls_of_two_threads_that_overlap_leave_nothing_due() -> None:
    abandoned: list[str] = []
    dog = Watchdog(0.1, abandoned.append)
    inside, outside = threading.Event(), threading.Event()

    def first() -> None:
        with dog.watch("nc1:first"):
            inside.wait(5.0)

    def second() -> None:
        with dog.watch("nc1:second"):
            inside.set()
            outside.wait(5.0)

    threads = [threading.Thread(target=work) for work in (first, second)]
    threads[0].start()
    time.sleep(0.02)
    threads[1].start()
    threads[0].join()
    outside.set()
    threads[1].join()
    time.sleep(0.4)
    with dog.watch("nc1:later"):
        pass
    time.sleep(0.1)
    assert abandoned == []


def test_a_call_in_another_thread_that_returns_in_time_is_not_abandoned() -> None:
    abandoned: list[str] = []
    in_a_thread(0.2, 0.0, abandoned)
    threading.Event().wait(0.5)
    assert abandoned == []
