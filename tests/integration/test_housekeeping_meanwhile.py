# SPDX-License-Identifier: Apache-2.0
"""Does a purge take no more than it may, whatever others do to the records meanwhile?"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

import pytest

from taskflow import states
from taskflow.persistence import backends, housekeeping, models, surveys

GOING = 20
STAYING = 5

# Announces that it is ready, begins when it is told to, and says what it has removed.
PURGE = """
import json, sys
from taskflow.persistence import backends, housekeeping
with backends.backend(json.loads(sys.argv[1])) as backend:
    print("ready", flush=True)
    sys.stdin.readline()
    done = housekeeping.purge(backend, older_than=0, batch_size=2)
    print(json.dumps([done.books, done.flows, done.atoms, done.skipped]))
"""


def fill(backend):
    with_connection = backend.get_connection()
    for n in range(GOING + STAYING):
        book = models.LogBook(f"b{n:02}", f"b{n:02}")
        for k, state in enumerate((states.SUCCESS, states.FAILURE if n < GOING else states.SUSPENDED)):
            flow = models.FlowDetail(f"b{n:02}-{k}", f"b{n:02}-{k}")
            flow.state = state
            flow.add(models.TaskDetail("t", f"b{n:02}-{k}-t"))
            book.add(flow)
        with_connection.save_logbook(book)
    with_connection.close()
    # MySQL and MariaDB keep whole seconds.
    time.sleep(1.1)


def check(backend, outcomes):
    """All that was to go is gone and was counted once; all else is there, whole."""
    assert [sum(counts) for counts in zip(*(outcome[:3] for outcome in outcomes), strict=True)] == [
        GOING,
        2 * GOING,
        2 * GOING,
    ]
    assert {reason for outcome in outcomes for reason in outcome[3].values()} <= {surveys.GONE}
    left = list(housekeeping.list_books(backend))
    assert sorted(book.uuid for book in left) == [f"b{n:02}" for n in range(GOING, GOING + STAYING)]
    assert all((sum(book.flows.values()), book.atom_count) == (2, 2) for book in left)
    assert sum(1 for _ in housekeeping.list_flows(backend)) == 2 * STAYING


def test_two_purges_at_once_take_each_book_once(backend):
    fill(backend)
    together = threading.Barrier(2)
    outcomes, errors = [], []

    def purge():
        try:
            together.wait(30)
            done = housekeeping.purge(backend, older_than=0, batch_size=2)
            outcomes.append((done.books, done.flows, done.atoms, done.skipped))
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=purge) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    check(backend, outcomes)


@pytest.mark.parametrize("kind", ["sqlite", "dir"])
def test_purges_of_two_processes_at_once_take_each_book_once(tmp_path, kind):
    conf = {
        "sqlite": {"connection": f"sqlite:///{tmp_path}/book.db"},
        "dir": {"connection": "dir", "path": str(tmp_path / "records"), "fsync": False},
    }[kind]
    with backends.backend(conf) as backend:
        fill(backend)
    command = [sys.executable, "-c", PURGE, json.dumps(conf)]
    programs = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    try:
        for program in programs:
            assert program.stdout.readline() == "ready\n", program.communicate()[1]
        for program in programs:
            program.stdin.write("go\n")
            program.stdin.flush()
        outcomes = []
        for program in programs:
            out, errors = program.communicate(timeout=50)
            assert (program.returncode, errors) == (0, "")
            outcomes.append(json.loads(out))
    finally:
        for program in programs:
            program.kill()
            program.wait()
    with backends.backend(conf) as backend:
        check(backend, outcomes)


@pytest.fixture
def meanwhile(backend, monkeypatch):
    """Has something done right before records are removed, when they were chosen already."""
    kind = type(backend.get_connection())
    discard = kind.discard
    todo = []

    def discarding(self, books, flows, terms):
        while todo:
            todo.pop()()
        return discard(self, books, flows, terms)

    monkeypatch.setattr(kind, "discard", discarding)
    return todo.append


def set_state(backend, flow_uuid, state):
    connection = backend.get_connection()
    flow = connection.get_flow_details(flow_uuid)
    flow.state = state
    connection.update_flow_details(flow)
    connection.close()


@pytest.mark.parametrize("whole_books", [True, False], ids=["books", "flows"])
def test_a_flow_that_starts_during_a_purge_stays(backend, meanwhile, whole_books):
    fill(backend)
    meanwhile(lambda: set_state(backend, "b07-1", states.RUNNING))
    done = housekeeping.purge(backend, older_than=0, whole_books=whole_books)
    if whole_books:
        assert done.skipped == {"b07": "has a flow in state RUNNING"}
        assert (done.books, done.flows, done.atoms) == (GOING - 1, 2 * GOING - 2, 2 * GOING - 2)
        left = {"b07-0", "b07-1"}
    else:
        assert done.skipped == {"b07-1": "in state RUNNING"}
        # Of each book that stays, one flow had ended.
        assert (done.books, done.flows) == (0, 2 * GOING + STAYING - 1)
        left = {"b07-1"}
    assert left <= {flow.uuid for flow in housekeeping.list_flows(backend)}
    kept = backend.get_connection().get_flow_details("b07-1")
    assert (kept.state, [atom.name for atom in kept]) == (states.RUNNING, ["t"])


def test_a_flow_that_is_added_to_a_book_during_a_purge_stays(backend, meanwhile):
    fill(backend)

    def add():
        connection = backend.get_connection()
        book = connection.get_logbook("b07")
        book.add(models.FlowDetail("new", "new"))
        connection.save_logbook(book)
        connection.close()

    meanwhile(add)
    done = housekeeping.purge(backend, older_than=0)
    assert done.skipped == {"b07": "has a flow in state PENDING"}
    assert len(backend.get_connection().get_logbook("b07")) == 3


def test_a_book_that_is_removed_during_a_purge_is_not_counted(backend, meanwhile):
    fill(backend)
    meanwhile(lambda: backend.get_connection().destroy_logbook("b07"))
    done = housekeeping.purge(backend, older_than=0)
    assert done.skipped == {"b07": surveys.GONE}
    assert (done.books, done.flows, done.atoms) == (GOING - 1, 2 * GOING - 2, 2 * GOING - 2)


def test_a_limit_is_filled_up_when_something_chosen_stays(backend, meanwhile):
    fill(backend)
    meanwhile(lambda: [set_state(backend, f"b{n:02}-0", states.SUSPENDED) for n in range(3)])
    done = housekeeping.purge(backend, older_than=0, limit=5, batch_size=4)
    assert (done.books, done.complete) == (5, False)


# The other backends let nobody write between the two.
@pytest.mark.parametrize("backend", ["zookeeper"], indirect=True)
@pytest.mark.parametrize(("books", "flows"), [(["b00"], {}), ([], {"b00-0": ("b00",)})], ids=["book", "flow"])
def test_what_others_remove_between_the_look_and_the_removal_is_not_counted(backend, monkeypatch, books, flows):
    fill(backend)
    objection = surveys.Terms.objection
    looked_at = []

    def looking(terms, summary):
        found = objection(terms, summary)
        if not looked_at:
            looked_at.append(summary.uuid)
            with pytest.MonkeyPatch.context() as others:
                others.setattr(surveys.Terms, "objection", objection)
                housekeeping.delete_books(backend, "b00")
        return found

    monkeypatch.setattr(surveys.Terms, "objection", looking)
    removed = backend.get_connection().discard(books, flows, surveys.Terms())
    uuids = [*books, *flows]
    assert looked_at == uuids
    assert (removed.books, removed.flows, removed.atoms, removed.kept) == (0, 0, 0, {uuids[0]: surveys.GONE})
