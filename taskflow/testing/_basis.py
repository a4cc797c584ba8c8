# SPDX-License-Identifier: Apache-2.0
"""What do all tests of a persistence backend need: the backend, records to put into it, and ways to compare them?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from taskflow.persistence import models
from taskflow.types import failure as failures
from taskflow.utils import uuids

if TYPE_CHECKING:
    import threading
    import unittest
    from collections.abc import Callable, Iterable, Sequence

    from taskflow.persistence import base

    _Case = unittest.TestCase
else:
    # Not a test case by itself: nobody is to run it by importing it.
    _Case = object


def make_failure(*args: Any, kind: type[Exception] = ValueError) -> failures.Failure:
    """Makes the failure of an exception that was raised because of another one."""
    try:
        try:
            raise KeyError("underneath", 1)
        except KeyError as e:
            raise kind(*args) from e
    except kind:
        return failures.Failure()


class Records:
    """A book with one flow detail in it, two tasks and a retry.

    Args:
        name: what the names of all records begin with.
    """

    def __init__(self, name: str = "") -> None:
        self.book = models.LogBook(f"{name}book")
        self.flow = models.FlowDetail(f"{name}flow", uuids.generate_uuid())
        self.task = models.TaskDetail(f"{name}task", uuids.generate_uuid())
        self.other = models.TaskDetail(f"{name}other", uuids.generate_uuid())
        self.retry = models.RetryDetail(f"{name}retry", uuids.generate_uuid())
        self.book.add(self.flow)
        for atom in (self.task, self.other, self.retry):
            self.flow.add(atom)


class Basis(_Case):
    """Holds what a test needs; see BackendConformance for what is to be overridden."""

    shared: ClassVar[bool] = True
    serialises: ClassVar[bool] = True
    microseconds: ClassVar[bool] = True
    names_culprits: ClassVar[bool] = True
    astral_names: ClassVar[bool] = True
    long_text: ClassVar[int] = 1_000_000
    rounds: ClassVar[int] = 20

    _first: base.Backend | None = None

    def backend(self) -> base.Backend:
        """Makes a fresh and empty backend, on which upgrade() has been called."""
        raise NotImplementedError("A test of a backend has to override backend(), so that it returns one")

    def another_backend(self, backend: base.Backend) -> base.Backend:
        """Makes a second backend object that keeps its records where the given one does."""
        raise NotImplementedError(
            "A test of a backend has to override another_backend(), or to say that shared is False"
        )

    # -- the backend

    @property
    def tested(self) -> base.Backend:
        """The backend under test; made when it is first asked for, and closed in the end."""
        if self._first is None:
            self._first = self.backend()
            self.addCleanup(self._first.close)
        return self._first

    def connect(self, backend: base.Backend | None = None) -> base.Connection:
        """Makes a connection that is closed in the end."""
        connection = (backend or self.tested).get_connection()
        self.addCleanup(connection.close)
        return connection

    def other_connection(self) -> base.Connection:
        """Makes a connection of a second backend object, where records can be shared in that way."""
        if not self.shared:
            return self.connect()
        another = self.another_backend(self.tested)
        self.addCleanup(another.close)
        return self.connect(another)

    def saved(self, connection: base.Connection, name: str = "") -> Records:
        """Makes records and saves them."""
        records = Records(name)
        self.without_parts_of_seconds(records.book)
        connection.save_logbook(records.book)
        return records

    def without_parts_of_seconds(self, book: models.LogBook) -> None:
        """Takes from a book's times what the backend does not keep."""
        if not self.microseconds:
            for field in ("created_at", "updated_at"):
                moment = getattr(book, field)
                if moment is not None:
                    setattr(book, field, moment.replace(microsecond=0))

    # -- comparing

    def everything(self, connection: base.Connection) -> dict[str, Any]:
        """Returns all that is stored, as plain values that can be compared."""
        found: dict[str, Any] = {}
        for book in connection.get_logbooks():
            found[book.uuid] = book.to_dict()
            for flow in book:
                found[flow.uuid] = {**flow.to_dict(), "in": book.uuid}
                for atom in flow:
                    found[atom.uuid] = {**atom.to_dict(), "in": flow.uuid, "kind": type(atom)}
        return found

    def assert_same_atom(self, read: models.AtomDetail | None, given: models.AtomDetail) -> None:
        """Checks that an atom detail came back as it was given."""
        self.assertIsNotNone(read, f"atom detail {given.name!r} is not there")
        assert read is not None
        self.assertIsNot(read, given)
        self.assertIs(type(read), type(given))
        for field in ("name", "uuid", "state", "intention", "version", "meta", "revert_results"):
            self.assertEqual(getattr(read, field), getattr(given, field), f"{field} of {given.name!r}")
        for field in ("failure", "revert_failure"):
            self.assert_same_failure(getattr(read, field), getattr(given, field))
        if isinstance(given, models.RetryDetail):
            self.assertEqual([result for result, _ in read.results], [result for result, _ in given.results])
            for (_, found), (_, expected) in zip(read.results, given.results, strict=True):
                self.assertEqual(set(found), set(expected))
                for name in expected:
                    self.assert_same_failure(found[name], expected[name])
        else:
            self.assertEqual(read.results, given.results, f"results of {given.name!r}")

    def assert_same_failure(self, read: failures.Failure | None, given: failures.Failure | None) -> None:
        """Checks that a failure came back with all but the exception itself."""
        if given is None or read is None:
            self.assertIsNone(given)
            self.assertIsNone(read)
            return
        self.assertTrue(read.matches(given), f"{read!r} was read, {given!r} stored")
        self.assertIsNone(read.exc_info)
        self.assertEqual(list(read), list(given))
        self.assertEqual(read.traceback_str, given.traceback_str)
        self.assertEqual([cause.exception_str for cause in read.causes], [c.exception_str for c in given.causes])

    def assert_all_raise(self, kind: type[Exception], calls: Iterable[tuple[str, Callable[[], Any]]]) -> None:
        """Checks that each of some calls raises an exception of a kind."""
        for title, call in calls:
            with self.subTest(title), self.assertRaises(kind):
                call()

    def run_together(self, works: Sequence[Callable[[], None]]) -> None:
        """Runs functions in threads, all at once, and raises the first error of any of them."""
        import threading

        errors: list[BaseException] = []
        start = threading.Barrier(len(works))

        def run(work: Callable[[], None]) -> None:
            try:
                start.wait(timeout=60)
                work()
            except BaseException as e:
                errors.append(e)

        threads: list[threading.Thread] = [threading.Thread(target=run, args=(work,)) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
