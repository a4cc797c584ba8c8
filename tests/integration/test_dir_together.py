# SPDX-License-Identifier: Apache-2.0
"""Do threads and processes that use one folder get on, whatever path they know it by, and when one is forked?"""

from __future__ import annotations

import collections
import os
import signal
import threading
import time
import traceback

import pytest

from taskflow import engines, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow
from taskflow.persistence import backends, models

UUIDS = "STUV"
# In seconds: for what takes a moment.
LONG = 60


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "records"
    connection = fetch(root).get_connection()
    connection.upgrade()
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    for uuid in UUIDS:
        flow_detail.add(models.TaskDetail(uuid.lower(), uuid))
    connection.save_logbook(book)
    return root


def fetch(root, **conf):
    return backends.fetch({"connection": "dir", "path": str(root), **conf})


def put(backend, uuids, value):
    atoms = [models.TaskDetail(uuid.lower(), uuid) for uuid in uuids]
    changes = [(atom, {"results": value}) for atom in atoms]
    backend.get_connection().write(models.FlowDetail("f", "F"), changes)


def get(backend, uuid):
    return backend.get_connection().get_atom_details(uuid).results


class Child:
    """A process that was forked to call something, and is killed if that takes too long."""

    def __init__(self, call):
        self.pid = os.fork()
        if self.pid == 0:
            # Whatever goes wrong, no test is to go on in here.
            try:
                signal.alarm(LONG)
                call()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)

    def end(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_processes_that_read_and_write_do_not_wait_for_each_other_for_ever(root):
    """Writers wait for the journal with their records locked; readers wait for records, and writers for them."""

    def use(mine):
        backend, counts, failed = fetch(root), [0, 0], []

        def repeat(number, call):
            try:
                connection = backend.get_connection()
                while min(counts) < 300:
                    call(connection)
                    counts[number] += 1
            except BaseException as e:
                failed.append(e)
                raise

        def write(connection):
            atom = models.TaskDetail(mine.lower(), mine)
            atom.meta = {"n": counts[0]}
            connection.update_atom_details(atom)

        def read(connection):
            assert len(list(connection.get_atoms_for_flow("F"))) == len(UUIDS)

        threads = [threading.Thread(target=repeat, args=each) for each in ((0, write), (1, read))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed

    children = [Child(lambda uuid=uuid: use(uuid)) for uuid in "ST"]
    assert [child.end() for child in children] == [0, 0]


@pytest.mark.parametrize("spelled", ["alike", "otherwise"])
def test_a_folder_that_is_known_by_several_paths(root, spelled):
    """Locks belong to a process, which loses one when it closes the file anywhere."""
    link = root.with_name("link")
    link.symlink_to(root)
    times = 150

    def use():
        writer, reader = fetch(root), fetch(link if spelled == "otherwise" else root)
        done = threading.Event()

        def read():
            while not done.is_set():
                reader.file_cache.clear()
                get(reader, "S")

        thread = threading.Thread(target=read)
        thread.start()
        try:
            connection = writer.get_connection()
            path = connection._join_path(connection.atom_path, "S")
            for _ in range(times):
                with connection._transaction_on([path]) as transaction:
                    item = connection._get_item(path)
                    item["atom"]["meta"]["n"] = item["atom"]["meta"].get("n", 0) + 1
                    connection._set_item(path, item, transaction)
        finally:
            done.set()
            thread.join()

    children = [Child(use) for _ in range(2)]
    assert [child.end() for child in children] == [0, 0]
    assert fetch(root).get_connection().get_atom_details("S").meta == {"n": 2 * times}


class Elsewhere:
    """Something that another thread does, up to a point at which it is held."""

    def __init__(self, call):
        self.there, self._go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=call, args=(self.wait,))
        self._thread.start()
        assert self.there.wait(LONG)

    def wait(self):
        self.there.set()
        assert self._go.wait(LONG)

    def go_on(self):
        self._go.set()
        self._thread.join()


@pytest.mark.parametrize("conf", [{}, {"max_cache_size": 2}])
def test_a_child_does_not_wait_for_threads_that_it_does_not_have(root, conf):
    backend = fetch(root, **conf)
    put(backend, "S", "stored")

    def hold(wait):
        with backend._cache_guard, backend.lock.write_lock():
            wait()

    held = Elsewhere(hold)

    def use():
        assert get(backend, "S") == "stored"
        put(backend, "S", "by the child")
        with backend.lock.read_lock():
            assert get(backend, "S") == "by the child"

    child = Child(use)
    status = child.end()
    held.go_on()
    assert status == 0
    assert get(backend, "S") == "by the child"


def test_a_child_does_not_see_what_a_thread_was_about_to_write(root):
    backend = fetch(root)
    put(backend, "S", "stored")

    def change(wait):
        connection = backend.get_connection()
        path = connection._join_path(connection.atom_path, "S")
        with pytest.raises(exc.StorageFailure), connection._transaction_on([path]) as transaction:
            item = connection._get_item(path)
            item["atom"]["results"] = "never written"
            connection._set_item(path, item, transaction)
            wait()
            raise OSError("given up")

    changing = Elsewhere(change)
    seen = []

    def look():
        # As the first thread of a child that is started, it may have the number that the parent's thread has.
        thread = threading.Thread(target=lambda: seen.append(get(backend, "S")))
        thread.start()
        thread.join()
        assert seen == ["stored"]

    child = Child(look)
    time.sleep(0.1)
    changing.go_on()
    assert child.end() == 0
    assert get(backend, "S") == "stored"


def test_a_child_that_was_forked_while_a_unit_was_noted_syncs_all_of_it(root):
    backend = fetch(root)
    put(backend, "V", "first")
    journal = backend._journal

    class Noting(dict):
        def __setitem__(self, name, value):
            super().__setitem__(name, value)
            if name == "atom_details/S" and self.wait is not None:
                wait, self.wait = self.wait, None
                wait()

    def write(wait):
        journal._files = Noting(journal._files)
        journal._files.wait = wait
        put(backend, "ST", "returned")

    writing = Elsewhere(write)
    begin, synced = os.pipe(), os.pipe()

    def use():
        from taskflow.persistence.backends import dir_files

        os.read(begin[0], 1)
        sync_all, paths = dir_files.sync_all, []

        def noted(given):
            given = list(given)
            paths.extend(given)
            sync_all(given)

        dir_files.sync_all = noted
        put(backend, "V", "by the child")
        os.write(synced[1], "\n".join(map(str, paths)).encode())

    child = Child(use)
    writing.go_on()
    assert [get(backend, uuid) for uuid in "ST"] == ["returned"] * 2
    os.write(begin[1], b"x")
    assert child.end() == 0
    os.close(synced[1])
    with os.fdopen(synced[0]) as file:
        paths = file.read().splitlines()
    for end in (*begin,):
        os.close(end)
    # Either it does not start the journal anew, or it syncs everything that is in it.
    wanted = {str(root / "atom_details" / uuid / "metadata") for uuid in "ST"}
    assert not paths or wanted <= set(paths)
    noted = journal_of(root)
    assert paths or {f"atom_details/{uuid}" for uuid in "STV"} <= set(noted)


def journal_of(root):
    journal = fetch(root)._journal
    with journal._opened() as descriptor:
        journal._catch_up(descriptor)
    return journal._files


class Step(task.Task):
    def execute(self):
        return self.name


@pytest.mark.parametrize("call", ["link", "replace"])
def test_a_handler_of_a_signal_that_suspends_does_not_break_what_is_being_written(tmp_path, monkeypatch, call):
    real, states = getattr(os, call), collections.Counter()
    for number in range(1, 30):
        backend = fetch(tmp_path / f"{call}{number}")
        backend.get_connection().upgrade()
        engine = engines.load(linear_flow.Flow("f").add(*(Step(f"s{n}") for n in range(4))), backend=backend)
        engine.compile()
        engine.prepare()
        count = 0

        def interrupted(*args, **kwargs):
            nonlocal count
            count += 1
            if count == number:  # noqa: B023 - called within the loop
                signal.raise_signal(signal.SIGTERM)
            return real(*args, **kwargs)

        before = signal.signal(signal.SIGTERM, lambda *_: engine.suspend())  # noqa: B023 - called within the loop
        try:
            with monkeypatch.context() as patched:
                patched.setattr(os, call, interrupted)
                engine.run()
        finally:
            signal.signal(signal.SIGTERM, before)
        if count < number:
            break
        states[engine.storage.get_flow_state()] += 1
        engine.run()
        assert engine.storage.get_flow_state() == "SUCCESS"
        assert engine.storage.fetch_all() == {}
    assert states["SUSPENDED"]
    assert set(states) <= {"SUSPENDED", "SUCCESS"}
