# SPDX-License-Identifier: Apache-2.0
"""Are old records found and removed, in every backend, and nothing else?"""

from __future__ import annotations

import datetime as dt
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from taskflow import exceptions as exc
from taskflow import states
from taskflow.persistence import backends, housekeeping, models
from taskflow.types import failure as ft


def store(backend, name, *flow_states):
    """A book with a flow in each of some states, each with an atom that succeeded and one that failed."""
    book = models.LogBook(name, name)
    for n, state in enumerate(flow_states):
        flow = models.FlowDetail(f"{name}-{n}", f"{name}-{n}")
        flow.state = state
        good, bad = models.TaskDetail("good", f"{name}-{n}-g"), models.TaskDetail("bad", f"{name}-{n}-b")
        good.put(states.SUCCESS, 1)
        try:
            raise ValueError(f"no {name}")
        except ValueError:
            bad.put(states.FAILURE, ft.Failure())
        flow.add(good)
        flow.add(bad)
        book.add(flow)
    backend.get_connection().save_logbook(book)
    return book


def names(backend, **terms):
    return sorted(book.name for book in housekeeping.list_books(backend, **terms))


def flows(backend, **terms):
    return sorted(flow.name for flow in housekeeping.list_flows(backend, **terms))


def test_listing(backend):
    for n in range(7):
        store(backend, f"b{n}", states.SUCCESS, states.RUNNING if n == 3 else states.FAILURE)
    store(backend, "empty")
    assert names(backend, batch_size=2) == [*(f"b{n}" for n in range(7)), "empty"]
    assert names(backend, states=states.RUNNING) == ["b3"]
    assert names(backend, older_than=3600) == []
    assert len(names(backend, newer_than=dt.timedelta(hours=1))) == 8
    assert flows(backend, book_uuid="b3") == ["b3-0", "b3-1"]
    assert flows(backend, states=[states.FAILURE], batch_size=3) == [f"b{n}-1" for n in range(7) if n != 3]
    assert flows(backend, book_uuid="missing") == []
    (book,) = [book for book in housekeeping.list_books(backend) if book.name == "b3"]
    assert (book.uuid, dict(book.flows), book.atom_count) == ("b3", {states.SUCCESS: 1, states.RUNNING: 1}, 4)
    (flow,) = [flow for flow in housekeeping.list_flows(backend) if flow.name == "b3-1"]
    assert (flow.uuid, flow.state, flow.atom_count) == ("b3-1", states.RUNNING, 2)
    assert dict(flow.atoms) == {states.SUCCESS: 1, states.FAILURE: 1}
    assert list(flow.failures) == ["bad"]
    assert "no b3" in flow.failures["bad"]


def test_describing(backend):
    store(backend, "b", states.SUCCESS)
    assert "TaskDetail: 'good'" in housekeeping.describe(backend, "b").pformat()
    assert housekeeping.describe(backend, "b-0").name == "b-0"
    with pytest.raises(exc.NotFound, match="missing"):
        housekeeping.describe(backend, "missing")


def test_a_purge_takes_whole_books_that_are_finished_and_old(backend):
    store(backend, "done", states.SUCCESS, states.REVERTED)
    store(backend, "half", states.SUCCESS, states.SUSPENDED)
    store(backend, "runs", states.RUNNING)
    store(backend, "new", states.PENDING)
    assert housekeeping.purge(backend, older_than=3600).books == 0
    assert len(names(backend)) == 4
    # MySQL and MariaDB keep whole seconds.
    time.sleep(1.1)
    dry = housekeeping.purge(backend, older_than=0, dry_run=True)
    assert (dry.books, dry.flows, dry.atoms, dry.dry_run) == (1, 2, 4, True)
    assert len(names(backend)) == 4
    done = housekeeping.purge(backend, older_than=0, batch_size=1)
    assert (done.books, done.flows, done.atoms, done.complete) == (1, 2, 4, True)
    assert sum(done.kept.values()) == 3
    assert names(backend) == ["half", "new", "runs"]
    assert flows(backend) == ["half-0", "half-1", "new-0", "runs-0"]
    with pytest.raises(exc.NotFound):
        backend.get_connection().get_atom_details("done-0-g")
    # And again: there is nothing left to do.
    assert housekeeping.purge(backend, older_than=0).books == 0


def test_a_purge_of_single_flows_leaves_their_books(backend):
    store(backend, "b", states.SUCCESS, states.SUSPENDED, states.FAILURE)
    time.sleep(1.1)
    done = housekeeping.purge(backend, older_than=0, whole_books=False, states=[states.SUCCESS])
    assert (done.books, done.flows, done.atoms) == (0, 1, 2)
    assert flows(backend) == ["b-1", "b-2"]
    assert names(backend) == ["b"]
    assert len(backend.get_connection().get_logbook("b")) == 2


def test_the_limit_of_a_purge(backend):
    for n in range(5):
        store(backend, f"b{n}", states.SUCCESS)
    time.sleep(1.1)
    done = housekeeping.purge(backend, older_than=0, limit=3, batch_size=2)
    assert (done.books, done.complete) == (3, False)
    assert len(names(backend)) == 2
    assert housekeeping.purge(backend, older_than=0, limit=3).complete


def test_what_is_named_goes_whatever_it_is_unless_it_runs(backend):
    for name, state in (("waits", states.SUSPENDED), ("runs", states.RUNNING)):
        store(backend, name, state)
    gone = housekeeping.delete_books(backend, ["waits", "runs", "missing"])
    assert gone.books == 1
    assert set(gone.skipped) == {"runs", "missing"}
    assert names(backend) == ["runs"]
    assert set(housekeeping.delete_flows(backend, "runs-0").skipped) == {"runs-0"}
    assert housekeeping.delete_flows(backend, "runs-0", even_active=True).flows == 1
    assert (names(backend), flows(backend)) == (["runs"], [])


@pytest.mark.parametrize(
    ("terms", "error"),
    [
        ({"older_than": -1}, ValueError),
        ({"older_than": None}, TypeError),
        ({"older_than": "1d"}, TypeError),
        ({"older_than": 1, "batch_size": 0}, ValueError),
        ({"older_than": 1, "limit": 0}, ValueError),
        ({"older_than": 1, "states": states.RUNNING}, ValueError),
    ],
)
def test_terms_that_make_no_sense_are_refused(terms, error):
    with backends.backend("memory") as backend:
        store(backend, "b", states.SUCCESS)
        with pytest.raises(error):
            housekeeping.purge(backend, **terms)
        assert names(backend) == ["b"]


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    st.lists(
        st.lists(st.sampled_from(["SUCCESS", "REVERTED", "FAILURE", "SUSPENDED", "RUNNING", None]), max_size=3),
        max_size=6,
    ),
    st.sets(st.sampled_from(["SUCCESS", "REVERTED", "FAILURE", "SUSPENDED"]), min_size=1),
    st.booleans(),
    st.integers(1, 3),
    st.sampled_from(["memory", "sqlite://"]),
)
def test_a_purge_never_takes_what_does_not_match(books, wanted, whole_books, batch_size, conf):
    with backends.backend(conf) as backend:
        for n, flow_states in enumerate(books):
            store(backend, f"b{n}", *flow_states)
        time.sleep(0.001)
        done = housekeeping.purge(backend, older_than=0, states=wanted, whole_books=whole_books, batch_size=batch_size)
        left = set(names(backend))
        for n, flow_states in enumerate(books):
            matches = [state in wanted for state in flow_states]
            if whole_books:
                assert (f"b{n}" in left) == (not all(matches))
            else:
                assert f"b{n}" in left
                assert flows(backend, book_uuid=f"b{n}") == [f"b{n}-{k}" for k, gone in enumerate(matches) if not gone]
        assert done.books == len(books) - len(left)
