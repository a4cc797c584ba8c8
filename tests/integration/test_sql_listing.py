# SPDX-License-Identifier: Apache-2.0
"""How much is read, and by how many statements, when a book has thousands of flows?"""

import itertools
import tracemalloc

import pytest
import sqlalchemy as sa

from taskflow.persistence import housekeeping, models
from taskflow.persistence.backends import impl_sqlalchemy

FLOWS = 10_000


def make_book(flows, atoms):
    book = models.LogBook("b", "B")
    for i in range(flows):
        flow_detail = models.FlowDetail(f"f{i}", f"F{i:05}")
        flow_detail.meta = {"number": i}
        for k in range(atoms):
            flow_detail.add(models.TaskDetail(f"t{k}", f"F{i:05}-{k}"))
        book.add(flow_detail)
    return book


class Watched:
    """A connection, and the statements that it runs."""

    def __init__(self, url, flows, atoms):
        self.backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": url})
        connection = self.backend.get_connection()
        connection.upgrade()
        connection.save_logbook(make_book(flows, atoms))
        connection.close()
        self.statements = []
        # Whoever wants to see the statements is shown all of them.
        sa.event.listen(
            self.backend.engine, "before_cursor_execute", lambda *args: self.statements.append(args[2]), retval=False
        )
        self.connection = self.backend.get_connection()
        self.count()

    def count(self):
        count = sum(statement.lstrip().upper().startswith("SELECT") for statement in self.statements)
        self.statements.clear()
        return count


@pytest.fixture
def database(shared_database):
    return shared_database


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    watched = Watched(f"sqlite:///{tmp_path_factory.mktemp('large')}/book.db", FLOWS, 1)
    yield watched
    watched.backend.close()


def test_a_book_is_looked_at_without_its_flows(large):
    book = large.connection.get_logbook("B", lazy=True)
    assert (len(book), large.count()) == (0, 1)


def test_flows_are_listed_by_the_page(large):
    listed = large.connection.get_flows_for_book("B", lazy=True)
    names = [flow_detail.name for flow_detail in itertools.islice(listed, 250)]
    assert len(set(names)) == 250
    # Which there are, and three pages of them.
    assert large.count() == 4
    assert 250 + sum(1 for _ in listed) == FLOWS
    assert large.count() == FLOWS // 100 - 3


def test_flows_with_their_atoms_are_read_by_the_page(large):
    listed = large.connection.get_flows_for_book("B")
    for flow_detail in itertools.islice(listed, 200):
        assert [atom_detail.name for atom_detail in flow_detail] == ["t0"]
    assert large.count() == 1 + 2 * 2
    listed.close()


def test_listing_needs_little_memory(large):
    next(large.connection.get_flows_for_book("B"))
    tracemalloc.start()
    try:
        listed = sum(1 for _ in large.connection.get_flows_for_book("B"))
        _, listing = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        book = large.connection.get_logbook("B")
        _, whole = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert listed == FLOWS
    assert len(book) == FLOWS
    assert listing < whole / 4
    large.count()


def test_housekeeping_lists_flows_by_the_page(large):
    listed = housekeeping.list_flows(large.backend)
    assert len({flow.name for flow in itertools.islice(listed, 250)}) == 250
    # Of each page the flows, what states their atoms are in, and their failures.
    assert large.count() == 3 * 3
    assert 250 + sum(1 for _ in listed) == FLOWS
    assert large.count() <= 3 * (FLOWS // housekeeping.BATCH_SIZE + 1) - 9
    assert sum(1 for _ in housekeeping.list_flows(large.backend, book_uuid="B", batch_size=1000)) == FLOWS
    # Larger pages are fewer, and values are given a hundred at once.
    assert large.count() <= FLOWS // 1000 + 2 * FLOWS // 100 + 1


def test_housekeeping_counts_with_few_statements(large):
    (book,) = housekeeping.list_books(large.backend)
    assert (book.flows, book.atom_count, large.count()) == ({"PENDING": FLOWS}, FLOWS, 3)
    done = housekeeping.purge(large.backend, older_than=0, states="PENDING", whole_books=False, dry_run=True)
    assert done.flows == FLOWS
    # Failures are no matter of that.
    assert large.count() <= 2 * (FLOWS // housekeeping.BATCH_SIZE + 1)


def test_housekeeping_needs_little_memory(large):
    next(housekeeping.list_flows(large.backend))
    tracemalloc.start()
    try:
        assert sum(1 for _ in housekeeping.list_flows(large.backend)) == FLOWS
        _, by_hundreds = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        assert sum(1 for _ in housekeeping.list_flows(large.backend, batch_size=FLOWS)) == FLOWS
        _, all_at_once = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert by_hundreds < all_at_once / 10
    large.count()


def test_a_whole_book_is_three_statements(large):
    book = large.connection.get_logbook("B")
    assert large.count() == 3
    assert len(book) == FLOWS
    assert all(len(flow_detail) == 1 for flow_detail in book)


def test_others_may_write_while_flows_are_listed(large):
    listed = large.connection.get_flows_for_book("B", lazy=True)
    next(listed)
    other = large.backend.get_connection()
    # Deleted since, or added since: what is listed is what there is when its page is read.
    other.save_logbook(models.LogBook("c", "C"))
    assert sum(1 for _ in listed) == FLOWS - 1
    other.destroy_logbook("C")
    large.count()


def test_pages_on_servers(database):
    watched = Watched(database.url, 230, 2)
    read = {flow_detail.name: flow_detail for flow_detail in watched.connection.get_flows_for_book("B")}
    assert set(read) == {f"f{i}" for i in range(230)}
    assert watched.count() == 1 + 2 * 3
    assert all({detail.name for detail in flow_detail} == {"t0", "t1"} for flow_detail in read.values())
    assert read["f7"].meta == {"number": 7}
    assert len(watched.connection.get_logbook("B")) == 230
    assert watched.count() == 3
    (book,) = watched.connection.get_logbooks()
    assert watched.count() == 3
    assert {flow_detail.uuid for flow_detail in book} == {f"F{i:05}" for i in range(230)}
    listed = watched.connection.get_flows_for_book("B")
    next(listed)
    watched.backend.get_connection().destroy_logbook("B")
    # The first page was there already.
    assert sum(1 for _ in listed) == 99
    watched.backend.close()
