# SPDX-License-Identifier: Apache-2.0
"""Does a backend keep books, flow details and atom details, and find, change and remove them?"""

from __future__ import annotations

import datetime as dt
from typing import Any

from taskflow import exceptions as exc
from taskflow.persistence import models
from taskflow.testing import _basis
from taskflow.utils import uuids


class Keeping(_basis.Basis):
    """The methods that every connection has, one by one."""

    def test_connection_knows_its_backend(self) -> None:
        self.assertIs(self.connect().backend, self.tested)

    def test_new_backend_is_empty_and_valid(self) -> None:
        connection = self.connect()
        connection.validate()
        self.assertEqual(list(connection.get_logbooks()), [])

    def test_upgrading_again_keeps_what_is_stored(self) -> None:
        connection = self.connect()
        self.saved(connection)
        before = self.everything(connection)
        for each in (connection, self.other_connection()):
            each.upgrade()
            each.validate()
            self.assertEqual(self.everything(each), before)

    def test_closed_connection_can_be_used_again(self) -> None:
        connection = self.connect()
        connection.close()
        records = self.saved(connection)
        connection.close()
        connection.write(records.flow, [(records.task, {"state": "RUNNING"})])
        connection.close()
        connection.close()
        self.assertEqual(connection.get_atom_details(records.task.uuid).state, "RUNNING")

    def test_book_comes_back_with_everything_in_it(self) -> None:
        connection = self.connect()
        records = _basis.Records()
        book, flow, task, retry = records.book, records.flow, records.task, records.retry
        book.meta = {"list": [1, None], "né": {"deep": 1.5}}
        flow.state, flow.meta = "RUNNING", {"factory": {"name": "a.b", "args": [1], "kwargs": {}}}
        task.put("SUCCESS", {"result": [1, None, True, "x"]})
        task.version, task.meta, task.intention = "1.2", {"progress": 0.5, "injected": {"a": 1}}, "REVERT"
        task.revert_results, task.revert_failure = ["r"], _basis.make_failure("undoing", 2)
        records.other.put("FAILURE", _basis.make_failure("boom"))
        retry.put("SUCCESS", 42)
        retry.last_failures[task.name] = _basis.make_failure("first")
        retry.put("SUCCESS", None)
        retry.failure, retry.revert_results, retry.intention = _basis.make_failure("own"), "undone", "RETRY"
        self.without_parts_of_seconds(book)
        self.assertIs(connection.save_logbook(book), book)
        for reader in (connection, self.other_connection()):
            read = reader.get_logbook(book.uuid)
            self.assertIs(type(read), models.LogBook)
            self.assertEqual(read.to_dict(), book.to_dict())
            self.assertEqual([each.to_dict() for each in read], [flow.to_dict()])
            (read_flow,) = read
            self.assertEqual({atom.uuid for atom in read_flow}, {atom.uuid for atom in flow})
            for atom in flow:
                self.assert_same_atom(read_flow.find(atom.uuid), atom)
                self.assert_same_atom(reader.get_atom_details(atom.uuid), atom)

    def test_books_without_flows_and_flows_without_atoms(self) -> None:
        connection = self.connect()
        empty, book = models.LogBook("empty"), models.LogBook("book")
        flow = models.FlowDetail("flow", uuids.generate_uuid())
        book.add(flow)
        for each in (empty, book):
            self.without_parts_of_seconds(each)
            connection.save_logbook(each)
        self.assertEqual(connection.get_logbook(empty.uuid).to_dict(), empty.to_dict())
        self.assertEqual(len(connection.get_logbook(empty.uuid)), 0)
        self.assertEqual(list(connection.get_flows_for_book(empty.uuid)), [])
        self.assertEqual([each.to_dict() for each in connection.get_logbook(book.uuid)], [flow.to_dict()])
        self.assertEqual(len(connection.get_flow_details(flow.uuid)), 0)
        self.assertEqual(list(connection.get_atoms_for_flow(flow.uuid)), [])

    def test_reading_a_book_does_not_change_its_times(self) -> None:
        connection = self.connect()
        for books_flows in (0, 1):
            book = models.LogBook("book")
            for _ in range(books_flows):
                book.add(models.FlowDetail("flow", uuids.generate_uuid()))
            self.without_parts_of_seconds(book)
            connection.save_logbook(book)
            for lazy in (True, False):
                with self.subTest(flows=books_flows, lazy=lazy):
                    listed = {each.uuid: each for each in connection.get_logbooks(lazy=lazy)}[book.uuid]
                    for read in (connection.get_logbook(book.uuid, lazy=lazy), listed):
                        self.assertEqual(read.created_at, book.created_at)
                        self.assertEqual(read.updated_at, book.updated_at)

    def test_lazy_reading_leaves_out_what_is_inside(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        book, flow = records.book.uuid, records.flow.uuid
        self.assertEqual(len(connection.get_logbook(book, lazy=True)), 0)
        self.assertEqual(len(connection.get_logbook(book)), 1)
        self.assertEqual([len(each) for each in connection.get_logbooks(lazy=True)], [0])
        self.assertEqual([len(each) for each in connection.get_logbooks()], [1])
        self.assertEqual(len(connection.get_flow_details(flow, lazy=True)), 0)
        self.assertEqual(len(connection.get_flow_details(flow)), 3)
        self.assertEqual([len(each) for each in connection.get_flows_for_book(book)], [3])
        atoms = list(connection.get_atoms_for_flow(flow))
        self.assertEqual({atom.uuid for atom in atoms}, {atom.uuid for atom in records.flow})

    def test_all_books_are_listed(self) -> None:
        connection = self.connect()
        made = [self.saved(connection, f"{number} ") for number in range(5)]
        listed = connection.get_logbooks()
        self.assertIs(iter(listed), listed)
        names = {book.uuid: (book.name, [flow.name for flow in book]) for book in listed}
        self.assertEqual(names, {each.book.uuid: (each.book.name, [each.flow.name]) for each in made})

    def test_what_is_not_there_is_not_found(self) -> None:
        connection = self.connect()
        self.saved(connection)
        before = self.everything(connection)
        for uuid in (uuids.generate_uuid(), "no uuid", ""):
            self.assert_all_raise(
                exc.NotFound,
                [
                    ("book", lambda uuid=uuid: connection.get_logbook(uuid)),  # type: ignore[misc]
                    ("lazy book", lambda uuid=uuid: connection.get_logbook(uuid, lazy=True)),  # type: ignore[misc]
                    ("flow", lambda uuid=uuid: connection.get_flow_details(uuid)),  # type: ignore[misc]
                    ("lazy flow", lambda uuid=uuid: connection.get_flow_details(uuid, lazy=True)),  # type: ignore[misc]
                    ("atom", lambda uuid=uuid: connection.get_atom_details(uuid)),  # type: ignore[misc]
                    ("destroying", lambda uuid=uuid: connection.destroy_logbook(uuid)),  # type: ignore[misc]
                ],
            )
        strangers = _basis.Records()
        self.assert_all_raise(
            exc.NotFound,
            [
                ("flow", lambda: connection.update_flow_details(strangers.flow)),
                ("task", lambda: connection.update_atom_details(strangers.task)),
                ("retry", lambda: connection.update_atom_details(strangers.retry)),
            ],
        )
        self.assertEqual(self.everything(connection), before)

    def test_uuids_of_one_kind_are_none_of_another(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        book, flow, task = records.book.uuid, records.flow.uuid, records.task.uuid
        self.assert_all_raise(
            exc.NotFound,
            [
                ("flow as a book", lambda: connection.get_logbook(flow)),
                ("book as a flow", lambda: connection.get_flow_details(book)),
                ("atom as a flow", lambda: connection.get_flow_details(task)),
                ("flow as an atom", lambda: connection.get_atom_details(flow)),
                ("flow to destroy", lambda: connection.destroy_logbook(flow)),
            ],
        )

    def test_unknown_parents_have_no_children(self) -> None:
        connection = self.connect()
        for read in (connection.get_flows_for_book, connection.get_atoms_for_flow):
            found: list[Any] = []
            try:
                found.extend(read(uuids.generate_uuid()))
            except exc.NotFound:
                continue
            self.assertEqual(found, [])

    def test_what_a_saved_book_lacks_is_kept(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        again = models.LogBook("book", records.book.uuid)
        another = models.FlowDetail("another", uuids.generate_uuid())
        atom = models.TaskDetail("atom", uuids.generate_uuid())
        another.add(atom)
        again.add(models.FlowDetail("flow", records.flow.uuid))
        again.add(another)
        again.meta = {"new": 1}
        self.without_parts_of_seconds(again)
        returned = connection.save_logbook(again)
        self.assertEqual((returned.uuid, returned.meta), (again.uuid, {"new": 1}))
        self.assertIsNotNone(returned.find(another.uuid))
        read = connection.get_logbook(again.uuid)
        self.assertEqual(
            {flow.uuid: {each.uuid for each in flow} for flow in read},
            {records.flow.uuid: {each.uuid for each in records.flow}, another.uuid: {atom.uuid}},
        )
        self.assertEqual(read.to_dict(), again.to_dict())

    def test_parts_of_a_book_change_one_by_one(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        moment = dt.datetime(2020, 2, 29, 23, 59, 58)  # noqa: DTZ001 - as records hold it
        for field, value in (("meta", {"a": 1}), ("created_at", moment), ("updated_at", None), ("meta", {})):
            with self.subTest(field):
                book = connection.get_logbook(records.book.uuid)
                setattr(book, field, value)
                connection.save_logbook(book)
                self.assertEqual(connection.get_logbook(records.book.uuid).to_dict(), book.to_dict())

    def test_names_stay_as_they_were_first_saved(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        book = models.LogBook("renamed", records.book.uuid)
        flow = models.FlowDetail("renamed", records.flow.uuid)
        flow.add(models.TaskDetail("renamed", records.task.uuid))
        book.add(flow)
        connection.save_logbook(book)
        connection.update_flow_details(flow)
        self.assertEqual(connection.update_atom_details(next(iter(flow))).name, records.task.name)
        self.assertEqual(connection.get_flow_details(flow.uuid).name, records.flow.name)
        self.assertEqual(connection.get_atom_details(records.task.uuid).name, records.task.name)

    def test_flow_detail_is_merged_into_the_stored_one(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        update = models.FlowDetail("flow", records.flow.uuid)
        update.state, update.meta = "SUCCESS", {"k": 1}
        task, added = records.task.copy(), models.RetryDetail("added", uuids.generate_uuid())
        task.put("SUCCESS", 5)
        added.put("SUCCESS", "value")
        update.add(task)
        update.add(added)
        returned = connection.update_flow_details(update)
        self.assertIsInstance(returned, models.FlowDetail)
        self.assertEqual((returned.uuid, returned.state, returned.meta), (update.uuid, "SUCCESS", {"k": 1}))
        for atom in (task, added):
            found = returned.find(atom.uuid)
            assert found is not None
            self.assertEqual(found.results, atom.results)
        read = connection.get_flow_details(update.uuid)
        self.assertEqual((read.state, read.meta), ("SUCCESS", {"k": 1}))
        self.assertEqual({atom.uuid for atom in read}, {*(atom.uuid for atom in records.flow), added.uuid})
        for atom in (task, added, records.other, records.retry):
            self.assert_same_atom(read.find(atom.uuid), atom)

    def test_atom_detail_is_merged_into_the_stored_one(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        for given, value in ((records.task.copy(), {"a": [1]}), (records.retry.copy(), ["value"])):
            with self.subTest(given.name):
                given.put("SUCCESS", value)
                given.revert_results = undone = ["undone"]
                given.failure = failure = _basis.make_failure("boom")
                given.meta["m"] = 1
                returned = connection.update_atom_details(given)
                self.assertIsNot(returned, given)
                self.assertIs(type(returned), type(given))
                self.assertIs(returned.last_results, value)
                self.assertIs(returned.revert_results, undone)
                self.assertIs(returned.failure, failure)
                self.assert_same_atom(connection.get_atom_details(given.uuid), given)

    def test_values_can_be_cleared(self) -> None:
        connection = self.connect()
        records = _basis.Records()
        records.task.put("FAILURE", _basis.make_failure("x"))
        records.task.meta, records.task.version = {"a": 1}, "1.0"
        records.other.put("SUCCESS", 1)
        records.retry.put("SUCCESS", 1)
        records.flow.meta, records.flow.state = {"a": 1}, "FAILURE"
        connection.save_logbook(records.book)
        for atom in records.flow:
            atom.reset("PENDING")
            atom.meta, atom.version = {}, None
            connection.update_atom_details(atom)
            self.assert_same_atom(connection.get_atom_details(atom.uuid), atom)
        records.flow.meta, records.flow.state = {}, None
        connection.update_flow_details(records.flow)
        read = connection.get_flow_details(records.flow.uuid)
        self.assertEqual((read.meta, read.state), ({}, None))

    def test_tasks_and_retries_do_not_become_each_other(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        with self.assertRaises((exc.NotImplementedError, exc.StorageFailure)):
            connection.update_atom_details(models.RetryDetail("task", records.task.uuid))
        with self.assertRaises((exc.NotImplementedError, exc.StorageFailure)):
            connection.update_atom_details(models.TaskDetail("retry", records.retry.uuid))
        for atom in records.flow:
            self.assert_same_atom(connection.get_atom_details(atom.uuid), atom)

    def test_what_is_read_is_shared_with_nobody(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        before = self.everything(connection)
        for read in (connection.get_flow_details(records.flow.uuid), records.flow):
            read.meta["x"] = 1
            for atom in read:
                atom.meta["x"] = 1
                atom.put("SUCCESS", [1])
            self.assertEqual(self.everything(connection), before)
        for atom in connection.get_flow_details(records.flow.uuid):
            self.assertIsNone(atom.state)

    def test_destroyed_book_is_gone_with_everything_in_it(self) -> None:
        connection = self.connect()
        kept = self.saved(connection, "kept ")
        before = self.everything(connection)
        records = self.saved(connection)
        another = models.FlowDetail("another", uuids.generate_uuid())
        another.add(models.TaskDetail("atom", uuids.generate_uuid()))
        records.book.add(another)
        connection.save_logbook(records.book)
        connection.destroy_logbook(records.book.uuid)
        for reader in (connection, self.other_connection()):
            self.assert_all_raise(
                exc.NotFound,
                [
                    ("book", lambda reader=reader: reader.get_logbook(records.book.uuid)),  # type: ignore[misc]
                    ("again", lambda reader=reader: reader.destroy_logbook(records.book.uuid)),  # type: ignore[misc]
                    ("flow", lambda reader=reader: reader.get_flow_details(records.flow.uuid)),  # type: ignore[misc]
                    ("flow", lambda reader=reader: reader.get_flow_details(another.uuid)),  # type: ignore[misc]
                    ("task", lambda reader=reader: reader.get_atom_details(records.task.uuid)),  # type: ignore[misc]
                    ("retry", lambda reader=reader: reader.get_atom_details(records.retry.uuid)),  # type: ignore[misc]
                    ("update", lambda reader=reader: reader.update_flow_details(records.flow)),  # type: ignore[misc]
                ],
            )
            self.assertEqual(self.everything(reader), before)
        self.assertEqual(len(connection.get_flow_details(kept.flow.uuid)), 3)

    def test_destroyed_book_can_be_saved_again(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        before = self.everything(connection)
        connection.destroy_logbook(records.book.uuid)
        connection.save_logbook(records.book)
        self.assertEqual(self.everything(connection), before)

    def test_clearing_removes_everything(self) -> None:
        connection = self.connect()
        records = self.saved(connection)
        self.saved(connection, "another ")
        connection.clear_all()
        connection = self.connect()
        connection.upgrade()
        self.assertEqual(list(connection.get_logbooks()), [])
        self.assert_all_raise(
            exc.NotFound,
            [
                ("book", lambda: connection.get_logbook(records.book.uuid)),
                ("flow", lambda: connection.get_flow_details(records.flow.uuid)),
                ("task", lambda: connection.get_atom_details(records.task.uuid)),
            ],
        )
        connection.save_logbook(records.book)
        self.assertEqual(len(connection.get_flow_details(records.flow.uuid)), 3)
