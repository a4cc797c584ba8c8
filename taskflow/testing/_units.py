# SPDX-License-Identifier: Apache-2.0
"""Does a backend write a unit of work completely or not at all?"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow.persistence import models
from taskflow.testing import _basis
from taskflow.utils import uuids

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskflow.persistence import base


class Units(_basis.Basis):
    """Connection.write(), and what becomes of everything that can not be stored."""

    def test_unit_of_work_changes_what_it_names(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        failure = _basis.make_failure("boom")
        added = [models.TaskDetail(f"added {number}", uuids.generate_uuid()) for number in range(3)]
        changes: list[base.Change] = [
            (records.task, {"state": "SUCCESS", "results": {"a": [1]}, "meta": {"progress": 1.0}, "version": "2.0"}),
            (records.retry, {"results": [(1, {"task": failure}), (2, {})], "failure": failure, "intention": "RETRY"}),
            (records.flow, {"state": "RUNNING", "meta": {"k": 1}}),
            (records.task, {"state": "REVERTED", "revert_failure": failure, "revert_results": 5}),
        ]
        self.assertEqual(list(connection.write(records.flow, changes, added)), [])
        # The caller changes its objects itself, and only then.
        self.assertEqual((records.task.state, records.retry.results, records.flow.state), (None, [], None))
        self.assertEqual(len(records.flow), 3)
        for detail, fields in changes:
            for field, value in fields.items():
                setattr(detail, field, value)
        for reader in (connection, self.other_connection()):
            read = reader.get_flow_details(records.flow.uuid)
            self.assertEqual((read.state, read.meta), ("RUNNING", {"k": 1}))
            for atom in (*records.flow, *added):
                self.assert_same_atom(read.find(atom.uuid), atom)
            self.assertEqual(len(read), 6)

    def test_every_field_is_written_alone(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        failure = _basis.make_failure("boom")
        fields: dict[str, Any] = {
            "state": "REVERTING",
            "intention": "REVERT",
            "results": [1, {"a": None}],
            "failure": failure,
            "revert_results": "undone",
            "revert_failure": failure,
            "meta": {"progress": 0.25},
            "version": "3.1",
        }
        for atom in (records.task, records.retry):
            for field, value in fields.items():
                with self.subTest(atom.name, field=field):
                    if field == "results" and atom is records.retry:
                        value = [(None, {}), ([1], {"task": failure})]
                    connection.write(records.flow, [(atom, {field: value})])
                    setattr(atom, field, value)
                    self.assert_same_atom(connection.get_atom_details(atom.uuid), atom)
        for field, value in (("state", "SUCCESS"), ("meta", {"a": [1]}), ("state", None), ("meta", {})):
            connection.write(records.flow, [(records.flow, {field: value})])
            setattr(records.flow, field, value)
            self.assertEqual(connection.get_flow_details(records.flow.uuid).to_dict(), records.flow.to_dict())

    def test_later_changes_win(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        one, other = records.task, records.other
        short, full = {"state": "SHORT"}, {"state": "FULL", "meta": {"a": 1}}
        connection.write(records.flow, [(one, short), (other, full), (other, short), (one, full)])
        for atom, state in ((one, "FULL"), (other, "SHORT")):
            read = connection.get_atom_details(atom.uuid)
            self.assertEqual((read.state, read.meta), (state, {"a": 1}))
        connection.write(records.flow, [(records.flow, {"state": "A"}), (one, short), (records.flow, {"state": "B"})])
        self.assertEqual(connection.get_flow_details(records.flow.uuid).state, "B")

    def test_fields_can_be_cleared(self) -> None:
        connection = self.connect()
        records = _basis.Records()
        records.task.put("FAILURE", _basis.make_failure("x"))
        records.other.put("SUCCESS", [1])
        records.retry.put("SUCCESS", 1)
        connection.save_logbook(records.book)
        changes: list[base.Change] = [
            (records.task, {"failure": None}),
            (records.other, {"results": None, "version": None}),
            (records.retry, {"results": []}),
        ]
        connection.write(records.flow, changes)
        for detail, fields in changes:
            for field, value in fields.items():
                setattr(detail, field, value)
        for atom in records.flow:
            self.assert_same_atom(connection.get_atom_details(atom.uuid), atom)

    def test_unit_of_work_may_be_empty(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        before = self.everything(connection)
        units: list[list[base.Change]] = [
            [],
            [(records.task, {})],
            [(records.flow, {})],
            [(records.task, {"state": None})],
        ]
        for changes in units:
            self.assertEqual(list(connection.write(records.flow, changes)), [])
        self.assertEqual(self.everything(connection), before)

    def test_units_of_every_size(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        for count in (1, 2, 49, 120):
            with self.subTest(count):
                added = [models.TaskDetail(f"{count} {each}", uuids.generate_uuid()) for each in range(count)]
                connection.write(records.flow, [], added)
                for atom in added:
                    records.flow.add(atom)
                changes: list[base.Change] = [
                    (atom, {"state": "SUCCESS", "results": number} if number % 2 else {"meta": {"n": number}})
                    for number, atom in enumerate(added)
                ]
                connection.write(records.flow, changes)
                for detail, fields in changes:
                    for field, value in fields.items():
                        setattr(detail, field, value)
                read = connection.get_flow_details(records.flow.uuid)
                for atom in added:
                    self.assert_same_atom(read.find(atom.uuid), atom)

    def test_added_atom_that_is_stored_already_is_merged(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        again, new = records.task.copy(), models.RetryDetail("new", uuids.generate_uuid())
        again.state = "PENDING"
        connection.write(records.flow, [(records.flow, {"state": "RUNNING"})], [again, new])
        read = connection.get_flow_details(records.flow.uuid)
        self.assertEqual((len(read), read.state), (4, "RUNNING"))
        self.assert_same_atom(read.find(again.uuid), again)
        self.assert_same_atom(read.find(new.uuid), new)

    def test_atoms_of_others_are_kept_and_told_of_only_if_unknown(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        foreign = models.TaskDetail("foreign", uuids.generate_uuid())
        update = models.FlowDetail("flow", records.flow.uuid)
        update.add(foreign)
        self.other_connection().update_flow_details(update)
        added = models.TaskDetail("added", uuids.generate_uuid())
        told = connection.write(records.flow, [(records.flow, {"state": "RUNNING"})], [added])
        self.assertLessEqual({atom.uuid for atom in told}, {foreign.uuid})
        self.assertEqual(
            {atom.uuid for atom in connection.get_flow_details(records.flow.uuid)},
            {*(atom.uuid for atom in records.flow), foreign.uuid, added.uuid},
        )

    # -- what goes wrong

    def assert_refused(
        self, kind: type[Exception], calls: list[tuple[str, Callable[[base.Connection], Any]]]
    ) -> list[Exception]:
        """Checks that each call raises, changes nothing, and leaves a connection that works."""
        raised: list[Exception] = []
        connection = self.connect()
        records = self.saved(connection, "probe ")
        for title, call in calls:
            before = self.everything(connection)
            with self.subTest(title):
                with self.assertRaises(kind) as caught:
                    call(connection)
                raised.append(caught.exception)
                self.assertEqual(self.everything(connection), before)
                self.assertEqual(self.everything(self.connect()), before)
            state = f"after {title}"
            connection.write(records.flow, [(records.task, {"state": state})])
            self.assertEqual(connection.get_atom_details(records.task.uuid).state, state)
        return raised

    def test_unit_of_work_with_something_missing_changes_nothing(self) -> None:
        records = self.saved(self.connect())
        strangers = _basis.Records("strange ")
        ours = (records.task, {"state": "SUCCESS", "results": 1})
        gone = (strangers.task, {"state": "SUCCESS", "results": 1})
        flow = (records.flow, {"state": "SUCCESS"})
        new = models.TaskDetail("new", uuids.generate_uuid())
        raised = self.assert_refused(
            exc.NotFound,
            [
                ("one", lambda connection: connection.write(records.flow, [gone])),
                ("one cleared", lambda c: c.write(records.flow, [(strangers.retry, {"results": []})])),
                ("last", lambda connection: connection.write(records.flow, [ours, gone])),
                ("first", lambda connection: connection.write(records.flow, [gone, ours])),
                ("with the flow", lambda connection: connection.write(records.flow, [ours, flow, gone])),
                ("flow", lambda c: c.write(strangers.flow, [(strangers.flow, {"state": "SUCCESS"})])),
                ("flow of something added", lambda connection: connection.write(strangers.flow, [], [new])),
            ],
        )
        for error in raised:
            self.assertIn("strange", str(error))

    def test_value_that_can_not_be_stored_changes_nothing(self) -> None:
        records = self.saved(self.connect())
        value = self.unstorable()
        bad = (records.other, {"results": value, "state": "SUCCESS"})
        good = (records.task, {"state": "SUCCESS", "results": 1})
        flow = (records.flow, {"state": "SUCCESS", "meta": {"k": 1}})
        added, bad_added = (models.TaskDetail(name, uuids.generate_uuid()) for name in ("good", "bad"))
        bad_added.results = value
        update = records.flow.copy()
        update.state = "RUNNING"
        for atom in records.flow:
            update.add(atom.copy())
        updates = list(update)
        updates[0].state, updates[1].results = "SUCCESS", value
        atom_update = records.other.copy()
        atom_update.meta = {"x": value}
        retry_update = records.retry.copy()
        retry_update.put("SUCCESS", 1)
        retry_update.put("SUCCESS", value)
        book, new_book = models.LogBook("book", records.book.uuid), _basis.Records("new ")
        book.meta = {"k": 1}
        book.add(update)
        new_book.other.revert_results = value
        bad_book = models.LogBook("bad")
        bad_book.meta = {"k": value}
        raised = self.assert_refused(
            exc.StorageFailure,
            [
                ("one", lambda connection: connection.write(records.flow, [bad])),
                ("last", lambda connection: connection.write(records.flow, [good, bad])),
                ("first", lambda connection: connection.write(records.flow, [bad, good])),
                ("everything", lambda connection: connection.write(records.flow, [flow, good, bad], [added])),
                ("of the flow", lambda c: c.write(records.flow, [good, (records.flow, {"meta": {"k": value}})])),
                ("added", lambda connection: connection.write(records.flow, [good, flow], [added, bad_added])),
                ("in metadata", lambda c: c.write(records.flow, [(records.task, {"meta": {"k": value}})])),
                ("in a history", lambda c: c.write(records.flow, [(records.retry, {"results": [(value, {})]})])),
                ("updated flow", lambda connection: connection.update_flow_details(update)),
                ("updated task", lambda connection: connection.update_atom_details(atom_update)),
                ("updated retry", lambda connection: connection.update_atom_details(retry_update)),
                ("saved book", lambda connection: connection.save_logbook(book)),
                ("new book", lambda connection: connection.save_logbook(new_book.book)),
                ("metadata of a new book", lambda connection: connection.save_logbook(bad_book)),
            ],
        )
        for error in raised:
            self.assertIsNotNone(error.__cause__, "the error behind it has to be told")
        if self.names_culprits:
            culprits = [records.other.uuid] * 4
            culprits += [None, bad_added.uuid, records.task.uuid, records.retry.uuid]  # type: ignore[list-item]
            for error, culprit in zip(raised, culprits, strict=False):
                self.assertTrue(getattr(error, "permanent", False), "trying again does not help")
                self.assertEqual(getattr(error, "atom_uuid", "missing"), culprit)

    def unstorable(self) -> Any:
        """Returns a value that no backend can store: it can neither be written as JSON nor be copied."""
        return threading.Lock()
