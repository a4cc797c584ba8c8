# SPDX-License-Identifier: Apache-2.0
"""Do several threads, connections and backend objects on one store get along?"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from taskflow import exceptions as exc
from taskflow.persistence import models
from taskflow.testing import _basis
from taskflow.utils import uuids

if TYPE_CHECKING:
    from taskflow.persistence import base

THREADS = 6


class Sharing(_basis.Basis):
    """Nobody loses what somebody else writes, and nobody sees what is half written."""

    def _with_tasks(self, count: int) -> tuple[models.LogBook, models.FlowDetail, list[models.TaskDetail]]:
        book, flow = models.LogBook("book"), models.FlowDetail("flow", uuids.generate_uuid())
        book.add(flow)
        tasks = [models.TaskDetail(f"task {number}", uuids.generate_uuid()) for number in range(count)]
        for task in tasks:
            flow.add(task)
        self.connect().save_logbook(book)
        return book, flow, tasks

    def test_each_sees_what_the_other_wrote(self) -> None:
        connections = [self.connect(), self.other_connection(), self.connect()]
        records = self.saved(connections[0])
        for number in range(self.rounds):
            writer, reader, third = (connections[(number + turn) % 3] for turn in range(3))
            writer.write(records.flow, [(records.task, {"results": number}), (records.flow, {"state": str(number)})])
            for each in (reader, third):
                self.assertEqual(each.get_atom_details(records.task.uuid).results, number)
                self.assertEqual(each.get_flow_details(records.flow.uuid).state, str(number))
            # Of the same length, so that nothing but the value tells that it changed.
            detail = reader.get_atom_details(records.other.uuid)
            detail.state = f"{number:05}"
            third.update_atom_details(detail)
            self.assertEqual(writer.get_atom_details(records.other.uuid).state, f"{number:05}")

    def test_changes_of_different_fields_do_not_undo_each_other(self) -> None:
        connection, other = self.connect(), self.other_connection()
        records = self.saved(connection)
        connection.write(records.flow, [(records.task, {"results": 1})])
        other.write(records.flow, [(records.task, {"meta": {"progress": 0.5}})])
        connection.write(records.flow, [(records.task, {"state": "SUCCESS"})])
        other.write(records.flow, [(records.flow, {"meta": {"k": 1}})])
        connection.write(records.flow, [(records.flow, {"state": "RUNNING"})])
        read = other.get_flow_details(records.flow.uuid)
        self.assertEqual((read.state, read.meta), ("RUNNING", {"k": 1}))
        task = connection.get_atom_details(records.task.uuid)
        self.assertEqual((task.results, task.meta, task.state), (1, {"progress": 0.5}, "SUCCESS"))

    def test_what_one_destroys_is_gone_for_the_other(self) -> None:
        connection, other = self.connect(), self.other_connection()
        records = self.saved(connection)
        self.assertEqual(len(other.get_logbook(records.book.uuid)), 1)
        connection.destroy_logbook(records.book.uuid)
        self.assert_all_raise(
            exc.NotFound,
            [
                ("book", lambda: other.get_logbook(records.book.uuid)),
                ("flow", lambda: other.get_flow_details(records.flow.uuid)),
                ("task", lambda: other.get_atom_details(records.task.uuid)),
                ("update", lambda: other.update_atom_details(records.task)),
                ("write", lambda: other.write(records.flow, [(records.task, {"state": "SUCCESS"})])),
                ("flow written", lambda: other.write(records.flow, [(records.flow, {"state": "SUCCESS"})])),
            ],
        )
        self.assertEqual(list(other.get_logbooks()), [])

    def test_threads_share_a_connection(self) -> None:
        connection = self.connect()
        _, flow, tasks = self._with_tasks(THREADS)

        def work(task: models.TaskDetail) -> None:
            for number in range(self.rounds):
                connection.write(flow, [(task, {"state": f"S{number}", "results": [number]})])
                read = connection.get_atom_details(task.uuid)
                self.assertEqual((read.state, read.results), (f"S{number}", [number]))

        self.run_together([functools.partial(work, task) for task in tasks])
        for task in tasks:
            self.assertEqual(connection.get_atom_details(task.uuid).results, [self.rounds - 1])

    def test_threads_with_connections_of_their_own(self) -> None:
        _, flow, tasks = self._with_tasks(THREADS)
        connections = [self.other_connection() if number % 2 else self.connect() for number in range(THREADS)]

        def work(connection: base.Connection, task: models.TaskDetail) -> None:
            mine = task.copy()
            for number in range(self.rounds):
                connection.write(flow, [(task, {"state": f"S{number}", "results": number})])
                read = connection.get_flow_details(flow.uuid).find(task.uuid)
                assert read is not None
                self.assertEqual((read.state, read.results), (f"S{number}", number))
                mine.put("SUCCESS", [number])
                connection.update_atom_details(mine)
                self.assertEqual(connection.get_atom_details(task.uuid).results, [number])

        self.run_together(
            [functools.partial(work, connection, task) for connection, task in zip(connections, tasks, strict=True)]
        )
        read = self.connect().get_flow_details(flow.uuid)
        self.assertEqual({atom.uuid for atom in read}, {task.uuid for task in tasks})
        self.assertEqual([atom.results for atom in read], [[self.rounds - 1]] * THREADS)

    def test_threads_change_fields_of_one_record(self) -> None:
        _, flow, (task,) = self._with_tasks(1)
        fields = ("results", "revert_results", "state", "version")
        connections = [self.other_connection() if number % 2 else self.connect() for number in range(len(fields))]

        def work(connection: base.Connection, field: str) -> None:
            for number in range(self.rounds):
                connection.write(flow, [(task, {field: str(number)})])

        self.run_together([functools.partial(work, *each) for each in zip(connections, fields, strict=True)])
        read = self.connect().get_atom_details(task.uuid)
        self.assertEqual([getattr(read, field) for field in fields], [str(self.rounds - 1)] * len(fields))

    def test_reader_never_meets_a_record_half_written(self) -> None:
        _, flow, (task,) = self._with_tasks(1)
        writer, reader = self.connect(), self.other_connection()
        writer.write(flow, [(task, {"results": [0] * 500, "state": "0", "meta": {"n": 0}})])
        done: list[bool] = []

        def write() -> None:
            try:
                for number in range(1, self.rounds * 2):
                    fields = {"results": [number] * (500 - number % 7), "state": str(number), "meta": {"n": number}}
                    writer.write(flow, [(task, fields)])
            finally:
                done.append(True)

        def read() -> None:
            latest = 0
            while not done:
                found = reader.get_atom_details(task.uuid)
                number = found.results[0]
                self.assertEqual(set(found.results), {number})
                self.assertEqual((found.state, found.meta), (str(number), {"n": number}))
                self.assertGreaterEqual(number, latest, "an older record came back")
                latest = number

        self.run_together([write, read])

    def test_atoms_added_by_many_are_all_kept(self) -> None:
        _, flow, _ = self._with_tasks(1)
        connections = [self.other_connection() if number % 2 else self.connect() for number in range(THREADS)]

        def work(connection: base.Connection, number: int) -> None:
            for turn in range(5):
                added = [models.TaskDetail(f"{number} {turn} {each}", uuids.generate_uuid()) for each in range(2)]
                connection.write(flow, [], added)

        self.run_together([functools.partial(work, each, number) for number, each in enumerate(connections)])
        names = {atom.name for atom in self.connect().get_flow_details(flow.uuid)}
        expected = {f"{n} {turn} {each}" for n in range(THREADS) for turn in range(5) for each in range(2)}
        self.assertEqual(names, {"task 0", *expected})

    def test_books_come_and_go_while_others_are_listed(self) -> None:
        kept = self.saved(self.connect(), "kept ")
        done: list[bool] = []

        def make(connection: base.Connection) -> None:
            try:
                for number in range(self.rounds // 2):
                    records = self.saved(connection, f"{number} ")
                    connection.destroy_logbook(records.book.uuid)
            finally:
                done.append(True)

        def list_all(connection: base.Connection) -> None:
            while len(done) < 2:
                found = {book.uuid: book for book in connection.get_logbooks(lazy=True)}
                self.assertEqual(found[kept.book.uuid].name, kept.book.name)

        makers = [self.connect(), self.other_connection()]
        self.run_together(
            [*(functools.partial(make, each) for each in makers), functools.partial(list_all, self.connect())]
        )
        self.assertEqual([book.uuid for book in self.connect().get_logbooks()], [kept.book.uuid])
