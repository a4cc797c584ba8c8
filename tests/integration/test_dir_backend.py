# SPDX-License-Identifier: Apache-2.0
"""What do records look like as files, and what of that holds whatever happens to the files or to the process?"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import fasteners
import pytest

from taskflow import engines, states, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow
from taskflow.persistence import backends, models
from taskflow.persistence.backends import dir_files, impl_dir
from taskflow.types import failure as ft


@pytest.fixture
def root(tmp_path):
    return tmp_path / "records"


@pytest.fixture
def backend(root):
    with backends.backend({"connection": "dir", "path": str(root)}) as backend:
        yield backend


@pytest.fixture
def connection(backend):
    return backend.get_connection()


@pytest.fixture
def book(connection):
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(models.TaskDetail("t", "T"))
    flow_detail.add(models.TaskDetail("u", "U"))
    connection.save_logbook(book)
    return book


def everything(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def metadata(root, *parts):
    return json.loads(root.joinpath(*parts, "metadata").read_text())


# -- configuration


@pytest.mark.parametrize("conf", [None, {}, {"path": ""}, {"connection": "dir:"}, {"connection": "file:///"}])
def test_a_folder_has_to_be_named(conf):
    with pytest.raises(ValueError, match="'path'"):
        impl_dir.DirBackend(conf)


@pytest.mark.parametrize(
    ("conf", "path"),
    [
        ({"connection": "dir", "path": "/x/y"}, "/x/y"),
        ({"connection": "dir:", "path": "rel"}, str(pathlib.Path.cwd() / "rel")),
        ("file:///?path=/tmp/x", "/tmp/x"),
        ({"connection": "file:///tmp/x", "path": "/tmp/y"}, "/tmp/y"),
        ("dir:///tmp/x", "/tmp/x"),
    ],
)
def test_forms_of_the_configuration(conf, path):
    backend = backends.fetch(conf)
    assert isinstance(backend, impl_dir.DirBackend)
    assert (backend.path, backend.encoding, backend.fsync, backend.durable) == (path, "utf-8", True, True)
    assert isinstance(backend.lock, fasteners.ReaderWriterLock)
    assert backend.lock is backend.lock


def test_nothing_is_made_before_it_is_asked_for(root):
    backend = impl_dir.DirBackend({"path": str(root)})
    connection = backend.get_connection()
    with pytest.raises(exc.StorageFailure) as caught:
        connection.validate()
    assert isinstance(caught.value.cause, RuntimeError)
    with pytest.raises(exc.NotFound):
        list(connection.get_logbooks())
    assert not root.exists()
    connection.upgrade()
    connection.validate()
    assert everything(root) == ["atom_details", "books", "flow_details"]


# -- layout


def test_layout(root, book):
    assert [name for name in everything(root) if name != "lock"] == [
        "atom_details",
        *(f"atom_details/{uuid}{rest}" for uuid in "TU" for rest in ("", "/lock", "/metadata")),
        "books",
        *(f"books/B{rest}" for rest in ("", "/F", "/lock", "/metadata")),
        "flow_details",
        *(f"flow_details/F{rest}" for rest in ("", "/T", "/U", "/lock", "/metadata")),
    ]
    assert (root / "books" / "B" / "F").readlink() == root / "flow_details" / "F"
    assert (root / "flow_details" / "F" / "T").readlink() == root / "atom_details" / "T"
    assert (root / "books" / "B" / "lock").read_bytes() == b""
    assert metadata(root, "books", "B") == book.to_dict(marshal_time=True)
    assert metadata(root, "flow_details", "F") == {"name": "f", "meta": {}, "state": None, "uuid": "F"}
    assert metadata(root, "atom_details", "T") == {
        "atom": models.TaskDetail("t", "T").to_dict(),
        "type": "TASK_DETAIL",
    }


def test_text_is_as_the_other_library_writes_it(root, connection, book):
    detail = book.find("F").find("T")
    detail.put(states.SUCCESS, {"é": ("😀", b"x", 1.5), 1: None})
    connection.update_atom_details(detail)
    text = (root / "atom_details" / "T" / "metadata").read_text(encoding="ascii")
    assert '"results": {"\\u00e9": ["\\ud83d\\ude00", "x", 1.5], "1": null}' in text


def test_encoding_of_the_files(root):
    backend = impl_dir.DirBackend({"path": str(root), "encoding": "utf-16"})
    connection = backend.get_connection()
    connection.upgrade()
    connection.save_logbook(models.LogBook("b", "B"))
    assert json.loads((root / "books" / "B" / "metadata").read_bytes().decode("utf-16"))["uuid"] == "B"
    assert connection.get_logbook("B").name == "b"


# -- looking


@pytest.mark.parametrize("uuid", ["missing", "", "00000000-0000-0000-0000-000000000000"])
def test_looking_for_what_is_not_there_makes_nothing(root, connection, book, uuid):
    before = everything(root)
    for look in (connection.get_logbook, connection.get_flow_details, connection.get_atom_details):
        with pytest.raises(exc.NotFound):
            look(uuid)
    for look in (connection.get_flows_for_book, connection.get_atoms_for_flow):
        if uuid:
            with pytest.raises(exc.NotFound):
                list(look(uuid))
    with pytest.raises(exc.NotFound):
        connection.destroy_logbook(uuid)
    with pytest.raises(exc.NotFound):
        connection.update_atom_details(models.TaskDetail("x", "missing"))
    assert everything(root) == before


@pytest.mark.parametrize("uuid", ["..", ".", "../books/B", "/etc", "a/b", "lock", "metadata", "a\0b"])
def test_names_that_would_leave_the_folder_are_refused(root, connection, book, uuid):
    before = everything(root)
    for call in (
        connection.get_logbook,
        connection.get_flow_details,
        connection.get_atom_details,
        connection.destroy_logbook,
        lambda uuid: connection.save_logbook(models.LogBook("x", uuid)),
        lambda uuid: connection.update_atom_details(models.TaskDetail("x", uuid)),
    ):
        with pytest.raises(exc.StorageFailure, match="can not be the uuid") as caught:
            call(uuid)
        assert caught.value.permanent
    assert everything(root) == before


def test_listing_passes_over_what_is_no_book(root, connection, book):
    (root / "books" / "empty").mkdir()
    (root / "books" / "only-a-lock").mkdir()
    (root / "books" / "only-a-lock" / "lock").touch()
    (root / "books" / "a-file").touch()
    assert [found.uuid for found in connection.get_logbooks()] == ["B"]


@pytest.mark.parametrize("text", ["", "{", "[]", "1", "\xff"])
def test_broken_files_are_failures_of_the_storage(root, connection, book, text):
    (root / "flow_details" / "F" / "metadata").write_text(text, encoding="latin-1")
    with pytest.raises(exc.StorageFailure):
        connection.get_flow_details("F")


# -- cache


def test_files_are_read_again_only_when_they_changed(root, backend, connection, book):
    connection.get_atom_details("T")
    file = str(root / "atom_details" / "T" / "metadata")
    assert set(backend.file_cache[file]) >= {"data", "mtime"}
    assert backend.file_cache[file]["mtime"] == pathlib.Path(file).stat().st_mtime
    other = backends.fetch({"connection": "dir", "path": str(root)}).get_connection()
    detail = other.get_atom_details("T")
    detail.meta["n"] = 1
    other.update_atom_details(detail)
    assert connection.get_atom_details("T").meta == {"n": 1}
    # A change that keeps time and size is one of the file all the same.
    about = pathlib.Path(file).stat()
    text = pathlib.Path(file).read_text()
    replacement = pathlib.Path(f"{file}.other")
    replacement.write_text(text.replace('"n": 1', '"n": 2'))
    os.utime(replacement, ns=(about.st_atime_ns, about.st_mtime_ns))
    replacement.replace(file)
    assert connection.get_atom_details("T").meta == {"n": 2}
    detail.meta["n"] = 3
    connection.update_atom_details(detail)
    assert connection.get_atom_details("T").meta == {"n": 3}


@pytest.mark.parametrize("size", [1, "2", 3])
def test_size_of_the_cache(root, size):
    backend = impl_dir.DirBackend({"path": str(root), "max_cache_size": size})
    connection = backend.get_connection()
    connection.upgrade()
    for n in range(6):
        connection.save_logbook(models.LogBook(f"b{n}", f"B{n}"))
    for _ in range(2):
        assert sorted(found.name for found in connection.get_logbooks()) == [f"b{n}" for n in range(6)]
        assert 0 < backend.file_cache.currsize <= int(size)


@pytest.mark.parametrize("size", [0, -1, "0"])
def test_sizes_that_are_none(root, size):
    with pytest.raises(ValueError, match="max_cache_size"):
        impl_dir.DirBackend({"path": str(root), "max_cache_size": size})


def test_many_threads_share_a_small_cache(root):
    backend = impl_dir.DirBackend({"path": str(root), "max_cache_size": 2, "fsync": False})
    connection = backend.get_connection()
    connection.upgrade()
    wrong = []

    def work(n):
        try:
            own = backend.get_connection()
            for k in range(10):
                own.save_logbook(models.LogBook(f"{n}-{k}", f"{n}-{k}"))
                assert own.get_logbook(f"{n}-{k}").name == f"{n}-{k}"
        except BaseException as e:
            wrong.append(e)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(list(connection.get_logbooks())) == 80


# -- writing


def test_what_can_not_be_written_changes_nothing(root, connection, book):
    before = {name: (root / name).read_bytes() for name in everything(root) if (root / name).is_file()}
    flow_detail = book.find("F")
    changes = [
        (flow_detail.find("T"), {"state": states.SUCCESS, "results": 1}),
        (flow_detail.find("U"), {"results": object()}),
        (flow_detail, {"state": states.RUNNING}),
    ]
    with pytest.raises(exc.StorageFailure, match="'u'") as caught:
        connection.write(flow_detail, changes)
    assert (caught.value.permanent, caught.value.atom_uuid) == (True, "U")
    assert {name: (root / name).read_bytes() for name in everything(root) if (root / name).is_file()} == before


def test_a_failure_can_always_be_written(connection, book):
    detail = book.find("F").find("T")
    try:
        raise ValueError("odd", object(), {1, 2})
    except ValueError:
        detail.put(states.FAILURE, ft.Failure())
    connection.update_atom_details(detail)
    found = connection.get_atom_details("T").failure
    assert found.exception_str == detail.failure.exception_str
    assert found.exception_args[0] == "odd"
    assert found.exception_args[1].startswith("<object object")


def test_only_what_changes_is_written(root, connection, book):
    def stamps():
        return {file: file.stat().st_ino for file in root.rglob("metadata")}

    before = stamps()
    flow_detail = book.find("F")
    connection.write(flow_detail, [(flow_detail.find("T"), {"state": states.RUNNING})])
    after = stamps()
    assert {file.parent.name for file in after if after[file] != before[file]} == {"T"}
    flow_detail.find("T").state = states.RUNNING
    flow_detail.state = states.RUNNING
    connection.update_flow_details(flow_detail)
    assert {file.parent.name for file in after if stamps()[file] != after[file]} == {"F"}


@pytest.mark.parametrize("failing", range(11))
def test_a_write_that_breaks_off_leaves_whole_files(root, backend, connection, book, failing, monkeypatch):
    class Killed(BaseException):
        pass

    calls = []

    def counted(module, name):
        real = getattr(module, name)

        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == failing + 1:
                raise Killed
            return real(*args, **kwargs)

        return call

    flow_detail = book.find("F")
    changes = [(flow_detail.find(uuid), {"results": f"new {uuid}" * 50}) for uuid in "TU"]
    with monkeypatch.context() as patched:
        for name in ("write", "pwrite", "fsync", "replace"):
            patched.setattr(os, name, counted(os, name))
        patched.setattr(dir_files, "sync_data", counted(dir_files, "sync_data"))
        with pytest.raises(Killed):
            connection.write(flow_detail, changes)
    values = [connection.get_atom_details(uuid).results for uuid in "TU"]
    # In their order: the second is new only if the first is.
    assert values in ([None, None], ["new T" * 50, None], ["new T" * 50, "new U" * 50])
    # And the next one goes through, whatever was left lying about.
    connection.write(flow_detail, changes)
    assert [connection.get_atom_details(uuid).results for uuid in "TU"] == ["new T" * 50, "new U" * 50]
    assert not list(root.rglob(".metadata.new"))
    backend.close()
    assert not (root / ".spares").exists()


@pytest.fixture
def steps(monkeypatch):
    """What is done to files, in its order: names of calls with the paths that they are about."""
    steps = []

    def noted(module, name, what):
        real = getattr(module, name)

        def call(*args, **kwargs):
            steps.append((name, what(*args)))
            return real(*args, **kwargs)

        monkeypatch.setattr(module, name, call)

    def opened(descriptor, *_):
        return pathlib.Path(f"/proc/self/fd/{descriptor}").readlink()

    noted(os, "write", opened)
    noted(os, "pwrite", opened)
    noted(os, "fsync", opened)
    noted(dir_files, "sync_data", opened)
    noted(os, "replace", lambda _, target: pathlib.Path(target))
    noted(os, "symlink", lambda _, target: pathlib.Path(target))
    return steps


def test_everything_that_is_made_is_on_the_disk_in_the_right_order(root, connection, steps):
    """Data before the name that leads to it, names before the call returns, and no file before an earlier one."""
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(models.TaskDetail("t", "T"))
    connection.save_logbook(book)
    folders = [root / name for name in ("atom_details/T", "flow_details/F", "books/B")]
    assert [path for name, path in steps if name == "replace"] == [folder / "metadata" for folder in folders]
    for folder in folders:
        order = [
            steps.index(("fsync", folder / ".metadata.new")),
            steps.index(("replace", folder / "metadata")),
            steps.index(("fsync", folder)),
        ]
        assert order == sorted(order)
    link = steps.index(("symlink", root / "flow_details" / "F" / "T"))
    assert steps.index(("fsync", root / "atom_details")) < link
    assert ("fsync", root / "flow_details" / "F") in steps[link:]
    assert ("fsync", root / "books" / "B") in steps[link:]


@pytest.mark.parametrize("removed", [False, True])
def test_folders_above_the_records_are_on_the_disk_too(tmp_path, steps, removed):
    root = tmp_path / "a" / "b" / "records"
    backend = backends.fetch({"connection": "dir", "path": str(root)})
    connection = backend.get_connection()
    connection.upgrade()
    if removed:
        shutil.rmtree(tmp_path / "a")
        steps.clear()
        book = models.LogBook("b", "B")
        book.add(models.FlowDetail("f", "F"))
        connection.save_logbook(book)
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b", root):
        assert ("fsync", folder) in steps


def test_what_changes_is_in_the_journal_before_it_is_seen(root, connection, book, steps):
    flow_detail, journal = book.find("F"), root / ".journal"
    steps.clear()
    connection.write(flow_detail, [(flow_detail, {"state": "R"})], [models.TaskDetail("n", "N")])
    # The first one makes the journal, and its name is on the disk before anything relies on it.
    assert [each for each in steps if each[0] == "fsync"] == [("fsync", journal), ("fsync", root)]
    assert steps.index(("fsync", root)) < steps.index(("sync_data", journal))
    steps.clear()
    changes = [(flow_detail, {"state": states.SUCCESS}), *((flow_detail.find(u), {"state": "S"}) for u in "UT")]
    connection.write(flow_detail, changes, [models.TaskDetail("m", "M")])
    folders = [root / name for name in ("atom_details/U", "atom_details/T", "atom_details/M", "flow_details/F")]
    assert [(name, path.parent) for name, path in steps[:4]] == [("write", root / ".spares")] * 4
    assert steps[4:] == [
        ("pwrite", journal),
        ("sync_data", journal),
        *(("replace", folder / "metadata") for folder in folders),
        ("symlink", root / "flow_details" / "F" / "M"),
        ("pwrite", journal),
    ]


def test_without_syncing_there_is_no_journal(root, connection, book, steps):
    backend = backends.fetch({"connection": "dir", "path": str(root), "fsync": "no"})
    flow_detail = book.find("F")
    steps.clear()
    backend.get_connection().write(flow_detail, [(flow_detail, {"state": "T"})])
    assert [name for name, _ in steps] == ["write", "replace"]
    backend.get_connection().write(flow_detail, [], [models.TaskDetail("n", "N")])
    assert not (root / ".journal").exists()
    assert not (root / ".spares").exists()


def test_links_come_after_what_they_lead_to(root, connection, monkeypatch):
    seen = []
    real = os.symlink

    def symlink(target, place):
        seen.append((pathlib.Path(target).joinpath("metadata").is_file(), pathlib.Path(place).parent.name))
        real(target, place)

    monkeypatch.setattr(os, "symlink", symlink)
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(models.TaskDetail("t", "T"))
    connection.save_logbook(book)
    assert seen == [(True, "F"), (True, "B")]


def test_destroying(root, connection, book):
    other = models.LogBook("other", "O")
    connection.save_logbook(other)
    connection.destroy_logbook("B")
    assert [name for name in everything(root) if name != "lock"] == [
        "atom_details",
        "books",
        "books/O",
        "books/O/lock",
        "books/O/metadata",
        "flow_details",
    ]


def test_clearing_can_be_repeated_and_leaves_no_folders(root, connection, book):
    for _ in range(2):
        connection.clear_all()
        assert not {path.name for path in root.iterdir()} - {"lock"}
    for look in (connection.get_logbook, connection.get_flow_details, connection.get_atom_details):
        with pytest.raises(exc.NotFound):
            look("B")
    with pytest.raises(exc.NotFound):
        list(connection.get_logbooks())
    with pytest.raises(exc.StorageFailure):
        connection.validate()
    connection.upgrade()
    assert list(connection.get_logbooks()) == []
    connection.save_logbook(book)
    assert len(connection.get_flow_details("F")) == 2


# -- processes

ADDING = """
import sys
from taskflow.persistence import backends, models

root, who = sys.argv[1:]
connection = backends.fetch({"connection": "dir", "path": root, "fsync": False}).get_connection()
for n in range(40):
    detail = connection.get_flow_details("F", lazy=True)
    detail.add(models.TaskDetail(f"{who}{n}", f"{who}{n}"))
    connection.update_flow_details(detail)
    shared = connection.get_atom_details("T")
    connection.write(detail, [(shared, {"meta": {who: n}})])
    assert connection.get_atom_details("T").meta
"""


def test_two_processes_work_on_one_folder(root, connection, book):
    script = [sys.executable, "-c", ADDING, str(root)]
    children = [subprocess.Popen([*script, who], stderr=subprocess.PIPE, text=True) for who in ("p", "q")]
    assert [(child.communicate(timeout=60)[1], child.returncode) for child in children] == [("", 0)] * 2
    found = {detail.name for detail in connection.get_flow_details("F")}
    assert found == {"t", "u", *(f"{who}{n}" for who in "pq" for n in range(40))}


def test_a_flow_is_resumed_by_another_process(root, backend, connection):
    class Add(task.Task):
        default_provides = "total"

        def execute(self, x):
            return x + 1

    class Stop(task.Task):
        def execute(self):
            engine.suspend()

    flow = linear_flow.Flow("f").add(Add("add"), Stop("stop"), task.FunctorTask(lambda total: total * 2, "twice"))
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    connection.save_logbook(book)
    engine = engines.load(flow, flow_detail=flow_detail, book=book, backend=backend, store={"x": 20})
    engine.run()
    assert engine.storage.get_flow_state() == states.SUSPENDED
    again = backends.fetch({"connection": "dir", "path": str(root)})
    found = again.get_connection().get_logbook("B").find("F")
    resumed = engines.load(flow, flow_detail=found, backend=again)
    resumed.run()
    assert resumed.storage.get("twice") == 42
    assert again.get_connection().get_flow_details("F").state == states.SUCCESS
