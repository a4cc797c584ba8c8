# SPDX-License-Identifier: Apache-2.0
"""How do the engine's own threads take, do and give back work?"""

from __future__ import annotations

import concurrent.futures
import threading
import time

import pytest

from taskflow.engines.action_engine import threads


@pytest.fixture
def pool():
    made = threads.ThreadPool(2)
    yield made
    made.shutdown()


@pytest.fixture
def busy(pool):
    """Both threads are held until the event is set."""
    release, begun = threading.Event(), threading.Semaphore(0)

    def hold():
        begun.release()
        release.wait(30)

    for _ in range(2):
        pool.submit(hold)
    for _ in range(2):
        assert begun.acquire(timeout=30)
    yield release
    release.set()


def test_a_result_comes_back(pool):
    future = pool.submit(pow, 2, 5)
    assert future.result(30) == 32
    assert future.exception() is None
    assert (future.done(), future.running(), future.cancelled(), future.cancel()) == (True, False, False, False)


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_an_error_comes_back_and_the_thread_goes_on(pool, error):
    def fail():
        raise error

    future = pool.submit(fail)
    assert future.exception(30) is error
    with pytest.raises(type(error)):
        future.result()
    assert pool.submit(pow, 2, 2).result(30) == 4


def test_all_work_is_done_in_turn_by_so_many_threads(pool):
    seen = []
    futures = [pool.submit(lambda i=i: (seen.append(i), threading.get_ident())[1]) for i in range(200)]
    assert len({future.result(30) for future in futures}) <= 2
    assert sorted(seen) == list(range(200))


def test_threads_are_made_as_they_are_needed():
    pool = threads.ThreadPool(8)
    before = threading.active_count()
    for _ in range(5):
        assert pool.submit(pow, 2, 2).result(30) == 4
        time.sleep(0.02)
    assert threading.active_count() == before + 1
    pool.shutdown()
    assert threading.active_count() == before


def test_what_has_not_begun_can_be_taken_back(pool, busy):
    done = []
    future = pool.submit(done.append, 1)
    assert (future.done(), future.running()) == (False, False)
    heard = []
    future.add_done_callback(heard.append)
    assert future.cancel()
    assert future.cancel()
    assert heard == [future]
    assert future.cancelled()
    assert future.done()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    after = pool.submit(pow, 2, 3)
    busy.set()
    assert after.result(30) == 8
    assert done == []


def test_what_runs_cannot_be_taken_back(pool):
    begun, release = threading.Event(), threading.Event()

    def work():
        begun.set()
        return release.wait(30)

    future = pool.submit(work)
    assert begun.wait(30)
    assert future.running()
    assert not future.cancel()
    release.set()
    assert future.result(30) is True


def test_waiting_has_its_limit(pool, busy):
    future = pool.submit(pow, 2, 2)
    with pytest.raises(TimeoutError, match=r"0\.01"):
        future.result(0.01)
    busy.set()
    assert future.result(30) == 4


def test_callbacks_are_called_once_before_or_after_the_end(pool, busy):
    future = pool.submit(pow, 2, 2)
    heard = []
    future.add_done_callback(lambda f: heard.append(("early", f)))
    busy.set()
    assert future.result(30) == 4
    deadline = time.monotonic() + 30
    while not heard and time.monotonic() < deadline:
        time.sleep(0.001)
    future.add_done_callback(lambda f: heard.append(("late", f)))
    assert heard == [("early", future), ("late", future)]


def test_shutting_down_waits_for_what_was_submitted():
    pool = threads.ThreadPool(1)
    futures = [pool.submit(time.sleep, 0.01) for _ in range(5)]
    pool.shutdown()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(pow, 2, 2)


@pytest.mark.parametrize("workers", [0, -1])
def test_no_threads_at_all_is_refused(workers):
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        threads.ThreadPool(workers)
