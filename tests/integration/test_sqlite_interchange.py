# SPDX-License-Identifier: Apache-2.0
"""Files of OpenStack TaskFlow 6.5 and of this library are the same files."""

import json
import sqlite3

import pytest

from taskflow import exceptions as exc
from taskflow.persistence import backends, models
from taskflow.types import failure as ft

# The tables as OpenStack TaskFlow 6.5 makes them, and rows as it stores them.
SCHEMA = {
    "logbooks": """CREATE TABLE logbooks (
        created_at DATETIME,
        updated_at DATETIME,
        meta TEXT,
        name VARCHAR(255),
        uuid VARCHAR(64) NOT NULL,
        PRIMARY KEY (uuid),
        UNIQUE (uuid)
    )""",
    "flowdetails": """CREATE TABLE flowdetails (
        created_at DATETIME,
        updated_at DATETIME,
        parent_uuid VARCHAR(64),
        meta TEXT,
        name VARCHAR(255),
        state VARCHAR(255),
        uuid VARCHAR(64) NOT NULL,
        PRIMARY KEY (uuid),
        FOREIGN KEY(parent_uuid) REFERENCES logbooks (uuid) ON DELETE CASCADE,
        UNIQUE (uuid)
    )""",
    "atomdetails": """CREATE TABLE atomdetails (
        created_at DATETIME,
        updated_at DATETIME,
        meta TEXT,
        parent_uuid VARCHAR(64),
        name VARCHAR(255),
        version VARCHAR(64),
        state VARCHAR(255),
        uuid VARCHAR(64) NOT NULL,
        failure TEXT,
        results TEXT,
        revert_results TEXT,
        revert_failure TEXT,
        atom_type VARCHAR(12),
        intention VARCHAR(7),
        PRIMARY KEY (uuid),
        FOREIGN KEY(parent_uuid) REFERENCES flowdetails (uuid) ON DELETE CASCADE,
        UNIQUE (uuid)
    )""",
}
FAILURE = (
    '{"exception_str": "boom \\u00e9", "traceback_str": "  File \\"work.py\\", line 11, in execute\\n", '
    '"exc_type_names": ["ValueError", "Exception"], "version": 1, "exc_args": ["boom \\u00e9", [1, 2]], "causes": []}'
)
ROWS = {
    "logbooks": [
        ("2026-11-23 10:00:00.000001", "2026-11-23 10:00:01.000000", '{"owner": "me", "\\u00e9": [1, 2]}', "book", "B"),
        ("2026-11-23 10:00:00.000001", None, "{}", "empty", "E"),
    ],
    "flowdetails": [
        (
            "2026-11-23 10:00:00.100000",
            "2026-11-23 10:05:00.000000",
            "B",
            '{"factory": {"name": "app.make", "args": [1], "kwargs": {}}}',
            "flow",
            "RUNNING",
            "F",
        ),
    ],
    "atomdetails": [
        (
            "2026-11-23 10:00:00.200000",
            "2026-11-23 10:00:00.300000",
            '{"progress": 1.0, "progress_details": null}',
            "F",
            "done",
            "1.0",
            "SUCCESS",
            "A1",
            None,
            '{"1": "one", "when": "2026-11-23T10:00:00.000000"}',
            None,
            None,
            "TASK_DETAIL",
            "EXECUTE",
        ),
        (
            "2026-11-23 10:00:00.200000",
            None,
            "{}",
            "F",
            "failed",
            None,
            "REVERT_FAILURE",
            "A2",
            FAILURE,
            None,
            None,
            FAILURE,
            "TASK_DETAIL",
            "REVERT",
        ),
        (
            "2026-11-23 10:00:00.200000",
            None,
            "{}",
            "F",
            "again",
            None,
            "SUCCESS",
            "A3",
            None,
            f'[[42, {{"failed": {FAILURE}}}], [43, {{}}]]',
            '"undone"',
            None,
            "RETRY_DETAIL",
            "RETRY",
        ),
        (
            "2026-11-23 10:00:00.200000",
            None,
            "{}",
            "F",
            "fresh",
            None,
            "PENDING",
            "A4",
            None,
            "[]",
            None,
            None,
            "RETRY_DETAIL",
            "EXECUTE",
        ),
    ],
}


def normal(sql):
    return " ".join(sql.split())


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "old.db"
    connection = sqlite3.connect(path)
    for table, rows in ROWS.items():
        connection.execute(SCHEMA[table])
        marks = ", ".join("?" * len(rows[0]))
        connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def connection(path):
    with backends.backend(f"sqlite:///{path}") as backend:
        connection = backend.get_connection()
        yield connection
        connection.close()


def dump(path):
    connection = sqlite3.connect(path)
    try:
        return {table: connection.execute(f"SELECT * FROM {table} ORDER BY uuid").fetchall() for table in ROWS}
    finally:
        connection.close()


def schema(path):
    connection = sqlite3.connect(path)
    try:
        return dict(connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall())
    finally:
        connection.close()


def test_new_file_has_the_same_tables(tmp_path):
    with backends.backend(f"sqlite:///{tmp_path}/new.db"):
        pass
    made = schema(tmp_path / "new.db")
    assert {name: normal(made[name]) for name in SCHEMA} == {name: normal(sql) for name, sql in SCHEMA.items()}
    assert set(made) - set(SCHEMA) == {"flowdetails_parent_uuid_idx", "atomdetails_parent_uuid_idx"}


def test_old_file_only_gets_indexes(path, connection):
    before = {name: normal(sql) for name, sql in SCHEMA.items()}
    after = schema(path)
    assert {name: normal(after[name]) for name in before} == before
    assert set(after) - set(before) == {"flowdetails_parent_uuid_idx", "atomdetails_parent_uuid_idx"}


def test_old_records_are_read(connection):
    books = {book.uuid: book for book in connection.get_logbooks()}
    assert set(books) == {"B", "E"}
    assert books["E"].updated_at is None
    book = books["B"]
    assert book.meta == {"owner": "me", "é": [1, 2]}
    assert book.created_at.isoformat() == "2026-11-23T10:00:00.000001"
    assert book.updated_at.isoformat() == "2026-11-23T10:00:01"
    (flow,) = book
    assert (flow.name, flow.state, flow.uuid) == ("flow", "RUNNING", "F")
    assert flow.meta["factory"] == {"name": "app.make", "args": [1], "kwargs": {}}
    done, failed, again, fresh = (flow.find(uuid) for uuid in ("A1", "A2", "A3", "A4"))
    assert (done.state, done.intention, done.version) == ("SUCCESS", "EXECUTE", "1.0")
    assert done.results == {"1": "one", "when": "2026-11-23T10:00:00.000000"}
    assert done.meta == {"progress": 1.0, "progress_details": None}
    assert failed.failure.exception_str == "boom é"
    assert failed.failure.exception_args == ("boom é", [1, 2])
    assert failed.failure.check(ValueError) is ValueError
    assert failed.revert_failure == failed.failure
    assert [result for result, _ in again.results] == [42, 43]
    assert again.results[0][1]["failed"].matches(failed.failure)
    assert again.revert_results == "undone"
    assert (fresh.results, fresh.last_results if fresh.results else None) == ([], None)


def test_saving_what_was_read_changes_nothing(path, connection):
    before = dump(path)
    for book in list(connection.get_logbooks()):
        connection.save_logbook(book)
        for flow in book:
            connection.update_flow_details(flow)
            for atom in flow:
                connection.update_atom_details(atom)
    assert dump(path) == before


def test_new_rows_look_like_old_ones(path, connection):
    old_book = connection.get_logbook("B")
    connection.clear_all()
    assert dump(path) == {table: [] for table in ROWS}
    connection.save_logbook(old_book)
    new = dump(path)
    assert new["logbooks"] == ROWS["logbooks"][:1]
    # The times of flows and atoms are those of the rows.
    assert [row[2:] for row in new["flowdetails"]] == [row[2:] for row in ROWS["flowdetails"]]
    assert [row[2:] for row in new["atomdetails"]] == [row[2:] for row in ROWS["atomdetails"]]
    for row in (*new["flowdetails"], *new["atomdetails"]):
        assert len(row[0]) == 26
        assert row[0][10] == " "
        assert row[1] is None


def test_units_of_work_look_like_old_rows(path, connection):
    flow = connection.get_flow_details("F")
    failed, again = flow.find("A2"), flow.find("A3")
    failure = ft.Failure.from_dict(json.loads(FAILURE))
    changes = [
        (failed, {"failure": None, "results": {"é": (1, None)}, "meta": {}, "state": "SUCCESS"}),
        (again, {"results": [(1, {"failed": failure})], "failure": failure}),
    ]
    connection.write(flow, changes)
    rows = {row[7]: row for row in dump(path)["atomdetails"]}
    assert rows["A2"][8:10] == (None, '{"\\u00e9": [1, null]}')
    assert rows["A2"][2] == "{}"
    assert rows["A3"][8:10] == (FAILURE, f'[[1, {{"failed": {FAILURE}}}]]')
    assert len(rows["A3"][1]) == 26
    assert rows["A1"] == ROWS["atomdetails"][0]


def test_children_that_old_versions_left_behind_can_be_cleared(path, connection):
    raw = sqlite3.connect(path)
    raw.execute("DELETE FROM logbooks")
    raw.commit()
    raw.close()
    assert connection.get_flow_details("F").name == "flow"
    connection.clear_all()
    with pytest.raises(exc.NotFound):
        connection.get_flow_details("F")
    book = models.LogBook("b", "B")
    book.add(models.FlowDetail("f", "F"))
    connection.save_logbook(book)
    assert len(connection.get_logbook("B")) == 1
