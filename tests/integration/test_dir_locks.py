# SPDX-License-Identifier: Apache-2.0
"""Do processes that work in one folder wait for each other when they have to, and only then?"""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
import warnings

import fasteners
import pytest

from taskflow.persistence import backends, models
from taskflow.persistence.backends import dir_locks

# Takes what it is told to take, says so, and keeps it until its input ends.
HOLDER = """
import sys
from taskflow.persistence.backends import dir_locks
root, *folders = sys.argv[1:]
with dir_locks.place_of(root).changing(root, None if folders == ["everything"] else folders):
    print("held", flush=True)
    sys.stdin.read()
"""

# As the other library does it, with the very class.
FASTENER = """
import sys, fasteners
with fasteners.InterProcessLock(sys.argv[1] + "/lock"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def child(program, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process):
    assert process.stdout.readline() == "held\n"


def holds(process, seconds=0.3):
    """Tells whether a process gets what it wants within a moment."""
    done = []
    thread = threading.Thread(target=lambda: done.append(process.stdout.readline()))
    thread.start()
    thread.join(seconds)
    process.reader, process.answers = thread, done
    return done == ["held\n"]


def gets_it(process):
    process.reader.join(30)
    return process.answers == ["held\n"]


@pytest.fixture
def root(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
    return tmp_path


def test_different_records_are_changed_at_once(root):
    with child(HOLDER, root, root / "a") as one, child(HOLDER, root, root / "b") as other:
        wait_for(one)
        wait_for(other)


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a", "everything"), ("everything", "a"), ("everything", "everything")]
)
def test_who_is_in_the_way_of_the_other_is_waited_for(root, first, second):
    def wanted(name):
        return name if name == "everything" else root / name

    with child(HOLDER, root, wanted(first)) as one:
        wait_for(one)
        with child(HOLDER, root, wanted(second)) as other:
            assert not holds(other)
            # Even if it is killed: nobody is left waiting for a process that is gone.
            one.kill()
            assert gets_it(other)


def test_many_who_share_do_not_keep_out_one_who_wants_all(root):
    with child(HOLDER, root, root / "a") as one:
        wait_for(one)
        with child(HOLDER, root, "everything") as patient:
            assert not holds(patient)
            with child(HOLDER, root, root / "b") as newcomer:
                # It could share, but came later.
                assert not holds(newcomer)
                one.kill()
                assert gets_it(patient)
                assert newcomer.answers == []
                patient.kill()
                assert gets_it(newcomer)


def test_the_locks_are_those_of_the_other_library(root):
    place = dir_locks.place_of(str(root))
    with child(FASTENER, root / "a") as theirs:
        wait_for(theirs)
        got = []

        def read():
            with place.reading(str(root / "a")):
                got.append(True)

        thread = threading.Thread(target=read)
        thread.start()
        thread.join(0.3)
        assert not got
        theirs.kill()
        thread.join(30)
        assert got
    lock = fasteners.InterProcessLock(root / "a" / "lock")
    with child(HOLDER, root, root / "a") as ours:
        wait_for(ours)
        assert not lock.acquire(blocking=False)
    assert lock.acquire(blocking=True, timeout=30)
    lock.release()


def test_reading_a_record_that_this_process_changes_does_not_let_go_of_it(root):
    place = dir_locks.place_of(str(root))
    folder = str(root / "a")
    with place.changing(str(root), [folder]):
        with place.reading(folder), place.writing(folder):
            pass
        with child(HOLDER, root, folder) as other:
            assert not holds(other)
            other.kill()
            other.reader.join(30)


def test_backends_of_one_folder_share_its_place(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    places = {dir_locks.place_of(str(tmp_path / name)) for name in ("link", "real", "real/../link")}
    assert len(places) == 1
    assert dir_locks.place_of(str(tmp_path)) not in places


def test_what_looks_like_a_deadlock_is_waited_for(root, monkeypatch):
    real = fcntl.lockf
    asked = []

    def lockf(descriptor, kind, *rest):
        asked.append(kind)
        if len(asked) == 1:
            raise OSError(errno.EDEADLK, "looks like it")
        if len(asked) < 4:
            raise BlockingIOError
        return real(descriptor, kind, *rest)

    monkeypatch.setattr(fcntl, "lockf", lockf)
    with dir_locks.place_of(str(root)).writing(str(root / "a")):
        assert asked == [fcntl.LOCK_EX] + [fcntl.LOCK_EX | fcntl.LOCK_NB] * 3


def test_a_forked_process_does_not_wait_for_threads_that_it_has_not(root):
    place = dir_locks.place_of(str(root))
    with place.turn, place.guard, warnings.catch_warnings():
        # Of a process with threads: nothing else is the point here.
        warnings.simplefilter("ignore", DeprecationWarning)
        child_id = os.fork()
        if not child_id:
            # In a thread of its own: in this one, its parent has both.
            def use():
                with place.turn, place.changing(str(root), []), place.reading(str(root / "a")):
                    os._exit(0)

            threading.Thread(target=use).start()
            time.sleep(20)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child_id, 0)[1]) == 0


RUNNER = """
import sys
from taskflow import engines, task
from taskflow.patterns import unordered_flow
from taskflow.persistence import backends, models

root, who = sys.argv[1:]
backend = backends.fetch({"connection": "dir", "path": root, "fsync": False})
for n in range(3):
    flow = unordered_flow.Flow(f"{who} {n}").add(*(task.FunctorTask(lambda: who, name=f"t{i}") for i in range(10)))
    book = models.LogBook(f"{who} {n}")
    engines.run(flow, backend=backend, book=book, engine="parallel", max_workers=4)
    if n == 1:
        backend.get_connection().destroy_logbook(book.uuid)
    list(backend.get_connection().get_logbooks())
"""


def test_many_processes_run_flows_in_one_folder(tmp_path):
    with backends.backend({"connection": "dir", "path": str(tmp_path)}) as backend:
        runners = [
            subprocess.Popen([sys.executable, "-c", RUNNER, str(tmp_path), str(n)], stderr=subprocess.PIPE, text=True)
            for n in range(4)
        ]
        assert [(runner.communicate(timeout=100)[1], runner.returncode) for runner in runners] == [("", 0)] * 4
        books = list(backend.get_connection().get_logbooks())
    assert sorted(book.name for book in books) == sorted(f"{who} {n}" for who in range(4) for n in (0, 2))
    for book in books:
        (flow_detail,) = book
        assert flow_detail.state == "SUCCESS"
        assert [(type(atom), atom.results) for atom in flow_detail] == [(models.TaskDetail, book.name[0])] * 10
    assert len(list((tmp_path / "atom_details").iterdir())) == 80
