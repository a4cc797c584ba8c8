# SPDX-License-Identifier: Apache-2.0
"""Is one storage safe in the hands of many threads?"""

from __future__ import annotations

import threading
import time

import pytest

from taskflow import states

THREADS = 50


def _at_once(count, work):
    """Runs ``work(i)`` in threads that start together; their errors are raised here."""
    barrier = threading.Barrier(count)
    errors = []

    def run(i):
        try:
            barrier.wait(30)
            work(i)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []


def test_many_threads_ensuring_one_atom_leave_one_detail(kit):
    made = kit.storage()
    uuids = [None] * THREADS

    def work(i):
        uuids[i] = made.ensure_atom(kit.make_task("t", provides="x"))

    _at_once(THREADS, work)
    assert len(set(uuids)) == 1
    assert len(made._flowdetail) == 1
    connection = made.backend.get_connection()
    assert len(connection.get_flow_details(made.flow_uuid)) == 1


def test_many_threads_injecting_leave_all_values(kit):
    made = kit.storage()
    _at_once(THREADS, lambda i: made.inject({f"n{i}": i}))
    assert made.fetch_all() == {f"n{i}": i for i in range(THREADS)}
    assert kit.reloaded(made).fetch_all() == {f"n{i}": i for i in range(THREADS)}
    assert len(made._flowdetail) == 1


def test_many_threads_saving_leave_all_results(kit):
    made = kit.storage(*[kit.make_task(f"t{i}", provides=f"x{i}") for i in range(THREADS)])

    def work(i):
        made.set_atom_state(f"t{i}", states.RUNNING)
        made.set_task_progress(f"t{i}", 0.5)
        made.save(f"t{i}", i)
        assert made.fetch(f"x{i}") == i

    _at_once(THREADS, work)
    again = kit.reloaded(made)
    for i in range(THREADS):
        assert made.get(f"t{i}") == i
        assert again.get(f"t{i}") == i
        assert again.get_task_progress(f"t{i}") == 0.5


def test_many_threads_adding_metadata_leave_all_of_it(kit):
    made = kit.storage(kit.make_task("t"))

    def work(i):
        made.update_atom_metadata("t", {f"a{i}": i})
        made.update_flow_metadata({f"f{i}": i})

    _at_once(THREADS, work)
    again = kit.reloaded(made)
    assert kit.detail(again, "t").meta == {f"a{i}": i for i in range(THREADS)}
    assert again.flow_meta == {f"f{i}": i for i in range(THREADS)}


def test_attempts_and_their_failures_from_many_threads(kit):
    made = kit.storage(kit.make_retry("r"))
    made.save("r", 1)
    _at_once(THREADS, lambda i: made.save_retry_failure("r", f"t{i}", kit.make_failure(str(i))))
    assert len(list(made.get_retry_history("r").outcomes_iter())) == THREADS


def test_readers_share_the_lock(kit):
    made = kit.storage(kit.make_task("t"))
    inside = threading.Barrier(2)

    def work(_):
        with made.lock.read_lock():
            inside.wait(10)
            assert made.get_atom_state("t") == states.PENDING

    _at_once(2, work)


def test_a_writer_waits_for_whoever_holds_the_lock(kit):
    made = kit.storage(kit.make_task("t"))
    done = threading.Event()

    def write():
        made.save("t", 5)
        done.set()

    with made.lock.write_lock():
        writer = threading.Thread(target=write)
        writer.start()
        assert not done.wait(0.1)
        assert made.get_atom_state("t") == states.PENDING
    assert done.wait(10)
    writer.join(10)
    assert made.get("t") == 5


def test_the_holder_of_the_write_lock_may_read_and_write(kit):
    made = kit.storage(kit.make_task("t", provides="x"))
    with made.lock.write_lock():
        made.save("t", 5)
        assert made.get("t") == 5
        with made.lock.write_lock():
            made.set_atom_state("t", states.REVERTING)
        with made.lock.read_lock():
            assert made.fetch("x") == 5
        made.inject({"a": 1})
        made.ensure_atom(kit.make_task("u"))
    assert made.get_atom_state("t") == states.REVERTING


@pytest.mark.parametrize(
    "write",
    [
        lambda made: made.save("t", 5),
        lambda made: made.set_atom_state("t", states.RUNNING),
        lambda made: made.set_flow_state(states.RUNNING),
        lambda made: made.inject({"a": 1}),
        lambda made: made.update_flow_metadata({"a": 1}),
    ],
    ids=["save", "atom-state", "flow-state", "inject", "flow-metadata"],
)
def test_the_holder_of_the_read_lock_may_not_write(kit, write):
    made = kit.storage(kit.make_task("t"))
    with made.lock.read_lock():
        assert made.get_atom_state("t") == states.PENDING
        with pytest.raises(RuntimeError):
            write(made)
    assert made.get_atom_state("t") == states.PENDING
    write(made)


def test_readers_never_see_half_of_a_save(kit):
    """A state and the result that belongs to it change together."""
    made = kit.storage(kit.make_task("t"))
    made.save("t", 0)
    stop = threading.Event()
    torn = []

    def read():
        while not stop.is_set():
            with made.lock.read_lock():
                state, result = made.get_atom_state("t"), made._flowdetail.find(made.get_atom_uuid("t")).results
            if (state == states.SUCCESS) != (result is not None):
                torn.append((state, result))

    reader = threading.Thread(target=read)
    reader.start()
    ends = time.monotonic() + 0.3
    while time.monotonic() < ends:
        made.reset("t")
        made.save("t", 1)
    stop.set()
    reader.join(10)
    assert torn == []
