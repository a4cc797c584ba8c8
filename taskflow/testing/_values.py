# SPDX-License-Identifier: Apache-2.0
"""Does every value, text and failure come back from a backend as it was stored?"""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import math
import threading
import uuid
from typing import Any

from taskflow import exceptions as exc
from taskflow.persistence import models
from taskflow.testing import _basis
from taskflow.types import failure as failures
from taskflow.utils import uuids

#: What is stored, and what JSON makes of it.
VALUES: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (False, False),
    (0, 0),
    (-1, -1),
    (2**63, 2**63),
    (10**40, 10**40),
    (1.5, 1.5),
    (-0.0, -0.0),
    (1e300, 1e300),
    (0.1 + 0.2, 0.1 + 0.2),
    ("", ""),
    ("text", "text"),
    ("é ß 漢字 𝄞 😀 \u202e", "é ß 漢字 𝄞 😀 \u202e"),
    ("'\"\\/ %s %(x)s {} \r\n\t\b\x1f\x7f", "'\"\\/ %s %(x)s {} \r\n\t\b\x1f\x7f"),
    ("null", "null"),
    ("NaN", "NaN"),
    ('{"a": 1}', '{"a": 1}'),
    ([], []),
    ({}, {}),
    ([[], {}, [None]], [[], {}, [None]]),
    ({"": "", "a b": {"$ref": "#"}, "é": 1}, {"": "", "a b": {"$ref": "#"}, "é": 1}),
    ((1, (2, 3)), [1, [2, 3]]),
    ({1: "a", None: "b", 1.5: "c"}, {"1": "a", "null": "b", "1.5": "c"}),
    ({True: [1], False: [2]}, {"true": [1], "false": [2]}),
    ({7}, [7]),
    (frozenset(), []),
    (range(3), [0, 1, 2]),
    (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (b"bytes", "bytes"),
    ("é".encode(), "é"),
    (dt.datetime(2020, 1, 2, 3, 4, 5, 6), "2020-01-02T03:04:05.000006"),  # noqa: DTZ001 - both kinds exist
    (dt.datetime(2020, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2020-01-02T03:04:05.000000"),
    (dt.date(2020, 1, 2), "2020-01-02"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (decimal.Decimal("1.50"), "1.50"),
    ([dt.date(2020, 1, 2), {"k": (b"x",)}], ["2020-01-02", {"k": ["x"]}]),
    (["shared"] * 3, ["shared"] * 3),
]

# Arguments of exceptions that no encoder has a form for.
ODD_ARGUMENTS: list[Any] = [
    object(),
    threading.Lock(),
    {(1, 2): 3},
    b"\xff",
    math.nan,
    {"deep": [math.inf, {1, 2}]},
    dt.timedelta(1),
    complex(1),
    "\udcff",
]


class Unprintable:
    """Fails when it is to be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("not to be shown")


class Values(_basis.Basis):
    """Round trips of everything that a task may return, and of every exception that it may raise."""

    def as_read(self, value: Any, encoded: Any) -> Any:
        """What is read where a value was stored that JSON turns into another one."""
        return encoded if self.serialises else value

    def test_values_of_every_kind_come_back(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        reader = self.other_connection()
        for value, encoded in VALUES:
            expected = self.as_read(value, encoded)
            with self.subTest(repr(value)):
                detail = records.task.copy()
                detail.results = detail.revert_results = value
                detail.meta = {"progress_details": {"details": value}, "injected": {"name": value}}
                connection.update_atom_details(detail)
                connection.write(
                    records.flow,
                    [
                        (records.other, {"results": [value], "revert_results": {"k": value}, "meta": {"k": value}}),
                        (records.retry, {"results": [(value, {}), (None, {})], "revert_results": value}),
                        (records.flow, {"meta": {"k": value}}),
                    ],
                )
                for each in (connection, reader):
                    read = each.get_flow_details(records.flow.uuid)
                    self.assertEqual(read.meta, {"k": expected})
                    task, other, retry = (read.find(atom.uuid) for atom in (records.task, records.other, records.retry))
                    assert task is not None
                    assert other is not None
                    assert retry is not None
                    self.assert_identical(task.results, expected)
                    self.assert_identical(task.revert_results, expected)
                    self.assertEqual(task.meta["progress_details"], {"details": expected})
                    self.assertEqual(task.meta["injected"], {"name": expected})
                    self.assert_identical(other.results, [expected])
                    self.assert_identical(other.revert_results, {"k": expected})
                    self.assertEqual(other.meta, {"k": expected})
                    self.assertEqual(retry.results, [(expected, {}), (None, {})])
                    self.assert_identical(retry.revert_results, expected)

    def assert_identical(self, read: Any, expected: Any) -> None:
        """Checks that a value has the right type too: 1, 1.0 and True are equal."""
        self.assertEqual(read, expected)
        self.assertIs(type(read), type(expected))
        if type(read) is list:
            for one, other in zip(read, expected, strict=True):
                self.assert_identical(one, other)

    def test_values_of_books_come_back(self) -> None:
        connection = self.connect()
        book = models.LogBook("book")
        self.without_parts_of_seconds(book)
        for value, encoded in VALUES:
            book.meta = {"k": value}
            connection.save_logbook(book)
            self.assertEqual(connection.get_logbook(book.uuid).meta, {"k": self.as_read(value, encoded)})

    def test_changing_the_type_of_a_value_is_a_change(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        for before, after in ((1, True), (0, False), (1, 1.0), ([1], [True]), ({"a": 0}, {"a": False}), (None, [])):
            for value in (before, after):
                detail = records.task.copy()
                detail.results = value
                connection.update_atom_details(detail)
                connection.write(records.flow, [(records.other, {"results": value})])
                for atom in (records.task, records.other):
                    self.assert_identical(connection.get_atom_details(atom.uuid).results, value)

    def test_numbers_that_are_none_are_kept_or_refused(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        for value in (math.nan, math.inf, -math.inf):
            before = self.everything(connection)
            try:
                connection.write(records.flow, [(records.task, {"results": [value]}), (records.other, {"state": "X"})])
            except exc.StorageFailure:
                self.assertEqual(self.everything(connection), before)
            else:
                (read,) = connection.get_atom_details(records.task.uuid).results
                self.assertEqual(repr(read), repr(value))
                connection.write(records.flow, [(records.task, {"results": None}), (records.other, {"state": None})])

    def test_control_characters_are_kept_or_refused(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        for value in ("\0", "a\0b", "\ud800", "\udfff\ud800", "\ufeff", "\uffff"):
            before = self.everything(connection)
            with self.subTest(repr(value)):
                try:
                    connection.write(records.flow, [(records.task, {"results": {value: value}})])
                except exc.StorageFailure:
                    self.assertEqual(self.everything(connection), before)
                else:
                    self.assertEqual(connection.get_atom_details(records.task.uuid).results, {value: value})

    def test_long_values_come_back(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        text = "0123456789é" * (self.long_text // 16)
        detail = records.task.copy()
        detail.results = text
        connection.update_atom_details(detail)
        self.assertEqual(connection.get_atom_details(detail.uuid).results, text)
        connection.write(records.flow, [(records.other, {"results": [text]}), (records.flow, {"state": "RUNNING"})])
        read = self.other_connection().get_flow_details(records.flow.uuid).find(records.other.uuid)
        assert read is not None
        self.assertEqual(read.results, [text])
        connection.write(records.flow, [(records.task, {"results": None})])
        self.assertIsNone(connection.get_atom_details(detail.uuid).results)

    def test_deep_values_come_back(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        value: Any = "bottom"
        for number in range(100):
            value = [value, number] if number % 2 else {"k": value}
        connection.write(records.flow, [(records.task, {"results": value})])
        self.assertEqual(connection.get_atom_details(records.task.uuid).results, value)

    def test_names_of_every_kind_come_back(self) -> None:
        connection = self.connect()
        names = ["", " ", "a/b", "..", "é漢", "x" * 255, 'it\'s "quoted" % \\', "line\nfeed", "Name", "name", "nàme"]
        if self.astral_names:
            names.append("😀")
        book = models.LogBook("books/é '\"")
        flows = [models.FlowDetail(name, uuids.generate_uuid()) for name in names]
        for flow in flows:
            book.add(flow)
            for name in names:
                flow.add(models.TaskDetail(name, uuids.generate_uuid()))
        self.without_parts_of_seconds(book)
        connection.save_logbook(book)
        read = connection.get_logbook(book.uuid)
        self.assertEqual(read.name, book.name)
        self.assertEqual({flow.uuid: flow.name for flow in read}, {flow.uuid: flow.name for flow in flows})
        for flow in flows:
            found = connection.get_flow_details(flow.uuid)
            self.assertEqual({atom.uuid: atom.name for atom in found}, {atom.uuid: atom.name for atom in flow})

    def test_astral_names_come_back_or_are_refused(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        name = "one \U0001f600 name"
        for kind in ("book", "flow", "atom", "added"):
            fresh = _basis.Records()
            added = models.TaskDetail("added", uuids.generate_uuid())
            named: dict[str, models.LogBook | models.FlowDetail | models.AtomDetail] = {
                "book": fresh.book,
                "flow": fresh.flow,
                "atom": fresh.other,
                "added": added,
            }
            target = named[kind]
            target._name = name
            self.without_parts_of_seconds(fresh.book)
            before = self.everything(connection)
            with self.subTest(kind):
                try:
                    if kind == "added":
                        connection.write(
                            records.flow, [(records.task, {"state": "SUCCESS"})], [models.TaskDetail("n", "N"), added]
                        )
                    else:
                        connection.save_logbook(fresh.book)
                except exc.StorageFailure as e:
                    self.assertFalse(self.astral_names, "it was refused")
                    self.assertIn(name, str(e), "the error has to tell what was refused")
                    self.assertEqual(self.everything(connection), before)
                    if self.names_culprits:
                        self.assertTrue(getattr(e, "permanent", False), "trying again does not help")
                        culprit = target.uuid if kind in {"atom", "added"} else None
                        self.assertEqual(getattr(e, "atom_uuid", "missing"), culprit)
                else:
                    self.assertTrue(self.astral_names, "it was not refused")
                    self.assertEqual(self.everything(self.other_connection())[target.uuid]["name"], name)

    def test_times_come_back(self) -> None:
        connection = self.connect()
        for moment in (
            dt.datetime(1970, 1, 1),  # noqa: DTZ001 - as records hold them
            dt.datetime(2024, 2, 29, 23, 59, 59, 1000 if self.microseconds else 0),  # noqa: DTZ001
            dt.datetime(9999, 12, 31, 23, 59, 59),  # noqa: DTZ001
        ):
            book = models.LogBook("book")
            book.created_at = book.updated_at = moment
            connection.save_logbook(book)
            read = connection.get_logbook(book.uuid)
            self.assertEqual((read.created_at, read.updated_at), (moment, moment))

    # -- failures

    def test_failures_come_back(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        reader = self.other_connection()
        for failure in (
            _basis.make_failure(),
            _basis.make_failure("text"),
            _basis.make_failure("é漢😀\n", 1, None, [2, {"a": True}]),
            _basis.make_failure({"k": "v"}, kind=RuntimeError),
            _basis.make_failure("no such thing", kind=exc.NotFound),
        ):
            with self.subTest(repr(failure)):
                records.task.put("FAILURE", failure)
                records.task.revert_failure = failure
                connection.update_atom_details(records.task)
                change = (records.other, {"failure": failure, "revert_failure": failure, "state": "REVERT_FAILURE"})
                connection.write(records.flow, [change, (records.retry, {"results": [(1, {"task": failure})]})])
                for each in (connection, reader):
                    for atom in (records.task, records.other):
                        read = each.get_atom_details(atom.uuid)
                        self.assert_same_failure(read.failure, failure)
                        self.assert_same_failure(read.revert_failure, failure)
                    ((_, collected),) = each.get_atom_details(records.retry.uuid).results
                    self.assert_same_failure(collected["task"], failure)

    def test_no_argument_of_an_exception_loses_the_failure(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        for argument in (*ODD_ARGUMENTS, Unprintable()):
            try:
                raise ValueError("boom", argument) from KeyError(argument)
            except ValueError:
                failure = failures.Failure()
            title = f"argument of {type(argument).__name__}"
            with self.subTest(title):
                detail = records.task.copy()
                detail.put("FAILURE", failure)
                connection.update_atom_details(detail)
                change = (records.other, {"revert_failure": failure, "state": "REVERT_FAILURE"})
                connection.write(records.flow, [change, (records.retry, {"results": [("r", {"task": failure})]})])
                ((result, collected),) = connection.get_atom_details(records.retry.uuid).results
                self.assertEqual(result, "r")
                for read in (
                    connection.get_atom_details(detail.uuid).failure,
                    connection.get_atom_details(records.other.uuid).revert_failure,
                    collected["task"],
                ):
                    assert read is not None
                    self.assertTrue(read.check(ValueError))
                    self.assertEqual(list(read), list(failure))
                    self.assertEqual((len(read.exception_args), read.exception_args[0]), (2, "boom"))
                    self.assertEqual([cause.check(KeyError) for cause in read.causes], [KeyError])
                added = models.TaskDetail(title, uuids.generate_uuid())
                added.put("FAILURE", failure)
                connection.write(records.flow, [], [added])
                found = connection.get_atom_details(added.uuid).failure
                assert found is not None
                self.assertEqual(list(found), list(failure))

    def test_history_of_a_retry_keeps_results_beside_failures(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        one, other = _basis.make_failure("one"), _basis.make_failure("other", kind=RuntimeError)
        histories: list[list[Any]] = [
            [(42, {"t": one})],
            [(None, {"t": one, "u": other})],
            [(1, {}), (2, {"t": one}), ([3], {"t": other}), ({"k": 4}, {})],
            [({"exc_args": []}, {"t": one})],
            [],
        ]
        for history in histories:
            with self.subTest(repr(history)):
                detail = records.retry.copy()
                detail.results = history
                connection.update_atom_details(detail)
                self.assert_same_atom(connection.get_atom_details(detail.uuid), detail)
                connection.write(records.flow, [(records.retry, {"results": []})])
                self.assertEqual(connection.get_atom_details(detail.uuid).results, [])
                connection.write(records.flow, [(records.retry, {"results": history})])
                self.assert_same_atom(self.other_connection().get_atom_details(detail.uuid), detail)
                # What was read can be stored as it is, any number of times.
                read = connection.get_atom_details(detail.uuid)
                connection.update_atom_details(read)
                self.assert_same_atom(connection.get_atom_details(detail.uuid), detail)
