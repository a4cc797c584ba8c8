# SPDX-License-Identifier: Apache-2.0
"""What is in a folder after the power went off, when only what was synced had reached the disk?

No machine is switched off here. While a flow runs, its folder is copied whenever a unit of work was recorded. Of such a
moment, the disk is known to hold the journal as it was synced, and everything as it was before the run; of what was
written since, each file may be there, may be as it was, or may have its name and nothing in it, or, since files are
used again, what another record had before.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pathlib
import shutil
import tempfile

import hypothesis
import pytest
from hypothesis import strategies as st

from taskflow import engines, retry, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow
from taskflow.persistence import backends, models
from taskflow.persistence.backends import dir_journal, impl_dir

ROOT = pathlib.Path("records")
FATES = ["there", "before", "empty", "reused", "looks new"]
BOOTS = [f"0f0f0f0f-0000-4000-8000-{number:012}" for number in range(2)]


@pytest.fixture(autouse=True)
def machine(monkeypatch, tmp_path_factory):
    """A machine that can be started anew: call it."""
    boot = tmp_path_factory.mktemp("proc") / "boot_id"
    numbers = itertools.count(1)

    def start():
        boot.write_text(f"0f0f0f0f-0000-4000-8000-{next(numbers):012}\n")

    monkeypatch.setattr(dir_journal, "BOOT_ID", str(boot))
    start()
    return start


@contextlib.contextmanager
def opened(root, **conf):
    with backends.backend({"connection": "dir", "path": str(root), **conf}) as backend:
        yield backend


def records(root):
    """All records and links below a folder."""
    root = pathlib.Path(root)
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.name == "metadata":
            found[name] = path.read_bytes()
    return {name: value.replace(str(root), "") if isinstance(value, str) else value for name, value in found.items()}


class Moment:
    """What a folder looked like, with the times of its files."""

    def __init__(self, root, place):
        self.root = root
        self.place = place
        shutil.copytree(root, place, symlinks=True)
        self.records = records(root)
        self.journal = (root / ".journal").read_bytes() if (root / ".journal").exists() else b""

    def time_of(self, name):
        return (self.place / name).stat().st_mtime_ns


class Step(task.Task):
    def __init__(self, name, log, fails=0, **kwargs):
        super().__init__(name, **kwargs)
        self.log, self.fails = log, fails

    def execute(self, **_values):
        self.log.append(self.name)
        if self.log.count(self.name) <= self.fails:
            raise ValueError(self.name)
        return f"result of {self.name}"

    def revert(self, **_values):
        self.log.append(f"un{self.name}")


def tries(log):
    """A flow in which something is retried."""
    inner = linear_flow.Flow("inner", retry=retry.Times(3, name="again")).add(Step("b", log), Step("c", log, fails=1))
    return linear_flow.Flow("f").add(Step("a", log), inner, Step("d", log))


def undoes(log):
    """A flow that is undone."""
    return linear_flow.Flow("f").add(Step("a", log), Step("b", log), Step("c", log, fails=9))


class Run:
    """One run of a flow: the folder before it, and after each unit of work that the journal holds."""

    def __init__(self, top, make):
        self.root, self.log, self.moments, self.logs = top / ROOT, [], [], []
        with opened(self.root) as backend:
            connection = backend.get_connection()
            self.book, self.flow = models.LogBook("book"), models.FlowDetail("f", "F")
            self.book.add(self.flow)
            connection.save_logbook(self.book)
            numbers = itertools.count()
            self.before = Moment(self.root, top / "before")
            write = impl_dir.Connection.write

            def watched(connection, *args, **kwargs):
                answer = write(connection, *args, **kwargs)
                self.moments.append(Moment(self.root, top / f"moment{next(numbers)}"))
                self.logs.append(list(self.log))
                return answer

            impl_dir.Connection.write = watched
            try:
                with contextlib.suppress(ValueError):
                    engines.load(make(self.log), flow_detail=self.flow, book=self.book, backend=backend).run()
            finally:
                impl_dir.Connection.write = write


@pytest.fixture(scope="module")
def runs():
    with tempfile.TemporaryDirectory() as top, pytest.MonkeyPatch.context() as patched:
        top = pathlib.Path(top)
        boot = top / "boot_id"
        boot.write_text(BOOTS[0])
        patched.setattr(dir_journal, "BOOT_ID", str(boot))
        made = {}
        for make in (tries, undoes):
            (top / make.__name__).mkdir()
            made[make] = Run(top / make.__name__, make)
        yield made


def lose(run, moment, root, fates, journal=None):
    """Makes a folder as the disk may have it after a moment.

    Args:
        run: The run that the moment belongs to.
        moment: What the folder looked like.
        root: The folder to make.
        fates: For each record that differs from what was there before, in turn: "there", "before", "empty", or
            "reused" and "looks new": the content of another record, with the time of that or of its own.
        journal: What the journal holds, if not that of the moment.
    """
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(run.before.place, root, symlinks=True)
    fate = iter(fates)
    for name in moment.records:
        if run.before.records.get(name) == moment.records[name]:
            continue
        path, kept = root / name, moment.place / name
        what = next(fate)
        if what == "before" and not kept.is_symlink() and name not in run.before.records and next(fate) == "there":
            # Of a record that is new, the folder may be there alone.
            path.parent.mkdir(parents=True, exist_ok=True)
        if what == "before":
            continue
        if kept.is_symlink():
            path.symlink_to(kept.readlink())
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if what == "there":
            shutil.copy2(kept, path)
        else:
            other = run.before.place / "flow_details/F/metadata"
            path.write_bytes(b"" if what == "empty" else other.read_bytes())
            time = other.stat().st_mtime_ns if what == "reused" else moment.time_of(name)
            os.utime(path, ns=(time, time))
    # Links lead to the folder that this is a copy of.
    for link in root.rglob("*"):
        if link.is_symlink():
            target = str(link.readlink()).replace(str(run.root), str(root))
            link.unlink()
            link.symlink_to(target)
    (root / ".journal").write_bytes(moment.journal if journal is None else journal)


@hypothesis.settings(
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
    max_examples=60,
)
@hypothesis.given(st.sampled_from([tries, undoes]), st.integers(0, 60), st.data())
def test_everything_that_was_recorded_is_there(runs, machine, tmp_path, make, place, data):
    run = runs[make]
    moment = run.moments[place % len(run.moments)]
    fates = data.draw(st.lists(st.sampled_from(FATES), min_size=80, max_size=80))
    root = tmp_path / ROOT
    lose(run, moment, root, fates)
    machine()
    with opened(root) as backend:
        backend.get_connection().validate()
    assert records(root) == moment.records


@pytest.mark.parametrize("make", [tries, undoes])
@pytest.mark.parametrize("fate", ["before", "empty", "reused"])
def test_a_flow_goes_on_from_there(runs, machine, tmp_path, make, fate):
    run = runs[make]
    for moment, done in zip(run.moments, run.logs, strict=True):
        root, log = tmp_path / ROOT, list(done)
        lose(run, moment, root, itertools.repeat(fate))
        machine()
        with opened(root) as backend:
            flow_detail = backend.get_connection().get_flow_details("F")
            if flow_detail.state == "REVERTED":
                continue
            recorded = {atom.name for atom in flow_detail if atom.state == "SUCCESS"}
            engine = engines.load(make(log), flow_detail=flow_detail, backend=backend)
            with contextlib.suppress(ValueError, exc.WrappedFailure):
                engine.run()
            assert engine.storage.get_flow_state() == ("SUCCESS" if make is tries else "REVERTED")
        again = log[len(done) :]
        for name in recorded - {"again"}:
            # Nothing that is recorded is done again, unless it was undone.
            assert name not in again or f"un{name}" in again[: again.index(name)], (done, again)


def last(run):
    return run.moments[-1]


def test_without_a_crash_nothing_is_looked_into(runs, tmp_path, monkeypatch):
    run, root = runs[tries], tmp_path / ROOT
    monkeypatch.setattr(dir_journal, "BOOT_ID", str(run.root.parent.parent / "boot_id"))
    lose(run, last(run), root, itertools.repeat("before"))
    with opened(root) as backend:
        backend.get_connection().validate()
    assert records(root) == {
        name: value.replace(str(run.root), "") if isinstance(value, str) else value
        for name, value in run.before.records.items()
    }


def test_who_knows_of_no_journal_may_have_gone_on(runs, machine, tmp_path):
    run, root = runs[tries], tmp_path / ROOT
    lose(run, last(run), root, itertools.repeat("there"))
    path = root / "flow_details" / "F" / "metadata"
    path.write_bytes(path.read_bytes().replace(b"SUCCESS", b"SUSPENDED"))
    machine()
    with opened(root) as backend:
        assert backend.get_connection().get_flow_details("F").state == "SUSPENDED"


def test_what_was_removed_stays_gone(runs, machine, tmp_path):
    run, root = runs[tries], tmp_path / ROOT
    lose(run, last(run), root, itertools.repeat("there"))
    for folder in ("atom_details", "flow_details", "books"):
        shutil.rmtree(root / folder)
        (root / folder).mkdir()
    machine()
    with opened(root) as backend:
        assert list(backend.get_connection().get_logbooks()) == []
    assert records(root) == {}


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9])
def test_the_last_record_may_be_torn(runs, machine, tmp_path, share):
    run, root = runs[tries], tmp_path / ROOT
    earlier, later = run.moments[-2], run.moments[-1]
    begun = next(at for at, (one, two) in enumerate(zip(earlier.journal, later.journal, strict=False)) if one != two)
    end = len(later.journal.rstrip(b"\0"))
    cut = begun + int((end - begun) * share)
    lose(run, earlier, root, itertools.repeat("before"), later.journal[:cut] + bytes(len(later.journal) - cut))
    machine()
    with opened(root) as backend:
        backend.get_connection().validate()
    assert records(root) == earlier.records


def test_a_journal_that_is_damaged_is_named(runs, machine, tmp_path):
    run, root = runs[tries], tmp_path / ROOT
    journal = last(run).journal
    lose(run, last(run), root, itertools.repeat("before"), b"something else".ljust(len(journal), b"."))
    machine()
    before = records(root)
    with pytest.raises(exc.StorageFailure, match=r"journal.*remove it to go on"), opened(root):
        pass
    lose(run, last(run), root, itertools.repeat("before"), journal[:200] + b"?" + journal[201:])
    with pytest.raises(exc.StorageFailure, match="more records after the one at byte"), opened(root):
        pass
    assert records(root) == before
    (root / ".journal").unlink()
    with opened(root) as backend:
        backend.get_connection().get_flow_details("F")


def test_a_folder_that_may_only_be_read_is_read_as_it_is(runs, machine, tmp_path, monkeypatch):
    run, root = runs[tries], tmp_path / ROOT
    lose(run, last(run), root, itertools.repeat("there"))
    machine()
    real = os.open

    def forbidden(path, flags, *args, **kwargs):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT) and str(path).startswith(str(root)):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", forbidden)
    connection = backends.fetch({"connection": "dir", "path": str(root)}).get_connection()
    connection.validate()
    assert connection.get_flow_details("F").state == "SUCCESS"
    with pytest.raises(exc.StorageFailure, match="Permission denied"):
        connection.upgrade()


def changes(backend, number):
    """Changes one of two atoms."""
    connection = backend.get_connection()
    flow_detail = connection.get_flow_details("F")
    connection.write(flow_detail, [(flow_detail.find("TU"[number % 2]), {"results": f"{number} " * 40})])


@pytest.fixture
def two(tmp_path):
    """Two backends on one folder, as two processes have them."""
    root = tmp_path / ROOT
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    for uuid in "TU":
        flow_detail.add(models.TaskDetail(uuid.lower(), uuid))
    with opened(root) as one, opened(root) as other:
        one.get_connection().upgrade()
        one.get_connection().save_logbook(book)
        yield root, (one, other)


@pytest.mark.parametrize("full", [600, 2_000, 1 << 20])
def test_several_who_write_in_turn_and_start_anew(two, machine, tmp_path, monkeypatch, full):
    root, both = two
    monkeypatch.setattr(dir_journal, "FULL", full)
    synced, moments = set(), [Moment(root, tmp_path / "moment0")]
    sync, start_anew = dir_journal.dir_files.sync_all, dir_journal.Journal._start_anew

    def noted(paths):
        paths = list(paths)
        synced.update(pathlib.Path(path) for path in paths)
        sync(paths)

    def started(journal, descriptor):
        spoken_of = {root / name for name in journal._files}
        synced.clear()
        start_anew(journal, descriptor)
        assert {path / "metadata" for path in spoken_of} | spoken_of <= synced
        moments.append(Moment(root, tmp_path / f"moment{len(moments)}"))

    monkeypatch.setattr(dir_journal.dir_files, "sync_all", noted)
    monkeypatch.setattr(dir_journal.Journal, "_start_anew", started)
    for number, turn in enumerate([0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 0]):
        changes(both[turn], number)
    assert (len(moments) > 1) == (full < 1 << 20)
    now, synced_last = records(root), moments[-1]
    files = [name for name in now if name.name == "metadata"]
    times = {name: (root / name).stat().st_mtime_ns for name in files}
    # What was synced is there; all that was written since is as it was then.
    for name in now:
        if "atom_details" in name.parts and not (root / name).is_symlink():
            shutil.copy2(synced_last.place / name, root / name)
    assert records(root) != now
    machine()
    with opened(root) as backend:
        backend.get_connection().validate()
    assert records(root) == now
    # Repaired, but not changed: housekeeping asks when records were.
    assert {name: (root / name).stat().st_mtime_ns for name in files} == times


@pytest.mark.parametrize("value", ["newest", "x" * (dir_journal.LARGEST + 1)])
def test_a_record_that_is_written_in_another_way_is_not_replayed(two, machine, value):
    root, (one, other) = two
    changes(one, 0)
    connection = other.get_connection()
    book = connection.get_logbook("B")
    book.find("F").find("T").results = value
    connection.save_logbook(book)
    now = records(root)
    path = root / "atom_details" / "T" / "metadata"
    # Even if it looks older than what was recorded before.
    os.utime(path, ns=(0, 0))
    machine()
    with opened(root) as backend:
        assert backend.get_connection().get_atom_details("T").results == value
    assert records(root) == now


def test_what_a_killed_process_had_not_made_seen_is_not_replayed_once_others_went_on(two, machine, monkeypatch):
    root, (one, other) = two
    changes(one, 0)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(impl_dir.Connection, "_move_files", killed)
        changes(one, 2)
    changes(other, 1)
    now = records(root)
    assert b"0 0 " in now[pathlib.Path("atom_details/T/metadata")]
    machine()
    with opened(root) as backend:
        backend.get_connection().validate()
    assert records(root) == now


@pytest.mark.parametrize(
    ("uuid", "count"), [("F", 1_500), ("F" * 200, 1_000), ("F" * 200, 3_500), ("\u00e9" * 100, 900)]
)
def test_a_unit_with_many_names_is_not_lost(machine, tmp_path, uuid, count):
    root, earlier = tmp_path / ROOT, tmp_path / "earlier"
    with opened(root) as backend:
        connection = backend.get_connection()
        book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", uuid)
        book.add(flow_detail)
        connection.save_logbook(book)
        shutil.copytree(root, earlier, symlinks=True)
        synced, sync = set(), os.fsync

        def noted(descriptor):
            synced.add(pathlib.Path(f"/proc/self/fd/{descriptor}").readlink())
            sync(descriptor)

        os.fsync = noted
        try:
            added = [models.TaskDetail(f"t{number}", f"{number:036}") for number in range(count)]
            connection.write(flow_detail, [], added)
        finally:
            os.fsync = sync
        now = records(root)
    if root / "atom_details" / added[-1].uuid / ".metadata.new" in synced:
        # Each file was brought to the disk by itself.
        assert {root / "atom_details" / atom.uuid / ".metadata.new" for atom in added} <= synced
        assert {root / "atom_details", root / "flow_details" / uuid} <= synced
        return
    shutil.copy2(root / ".journal", earlier / ".journal")
    shutil.rmtree(root)
    earlier.rename(root)
    machine()
    with opened(root) as backend:
        backend.get_connection().validate()
    assert records(root) == now


def test_a_file_that_is_ahead_of_the_clock_does_not_win(two, machine):
    root, (one, _) = two
    path = root / "atom_details" / "T" / "metadata"
    changes(one, 0)
    ahead = path.stat().st_mtime_ns + 3_600 * 10**9
    os.utime(path, ns=(ahead, ahead))
    before = path.read_bytes()
    changes(one, 2)
    now = records(root)
    path.unlink()
    path.write_bytes(before)
    os.utime(path, ns=(ahead, ahead))
    assert records(root) != now
    machine()
    with opened(root) as backend:
        backend.get_connection().validate()
    assert records(root) == now


@pytest.mark.parametrize("fsync", [False, True])
def test_a_write_after_the_clock_was_set_back_is_not_undone(two, machine, fsync):
    root, (one, _) = two
    path = root / "atom_details" / "T" / "metadata"
    changes(one, 0)
    ahead = path.stat().st_mtime_ns + 3_600 * 10**9
    os.utime(path, ns=(ahead, ahead))
    changes(one, 2)
    with opened(root, fsync=fsync) as other:
        changes(other, 4)
    now = records(root)
    assert b"4 4 " in now[pathlib.Path("atom_details/T/metadata")]
    machine()
    with opened(root) as backend:
        backend.get_connection().validate()
    assert records(root) == now


@pytest.mark.parametrize("which", ["atom_details/T/metadata", "atom_details/T", "flow_details/F/metadata"])
def test_what_could_not_be_synced_is_written_anew(two, machine, tmp_path, monkeypatch, which):
    """A file whose pages could not be written counts as written from then on."""
    root, (one, other) = two
    changes(one, 0)
    flow_detail = one.get_connection().get_flow_details("F")
    one.get_connection().write(flow_detail, [(flow_detail, {"state": "RUNNING"})])
    spoiled = {
        file: file.stat().st_ino for file in (root / "atom_details/T/metadata", root / "flow_details/F/metadata")
    }
    real, failed = os.fsync, []

    def failing(descriptor):
        if not failed and pathlib.Path(f"/proc/self/fd/{descriptor}").readlink() == root / which:
            failed.append(which)
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    monkeypatch.setattr(dir_journal, "FULL", 900)
    with pytest.raises(exc.StorageFailure, match="Input/output error"):
        for number in range(1, 20, 2):
            changes(one, number)
    assert failed
    monkeypatch.setattr(dir_journal, "FULL", 1 << 20)
    # Whoever else is at work is told to try again.
    with pytest.raises(exc.StorageFailure, match="try again"):
        changes(other, 3)
    changes(other, 5)
    now = records(root)
    assert b"5 5 " in now[pathlib.Path("atom_details/U/metadata")]
    assert b"0 0 " in now[pathlib.Path("atom_details/T/metadata")]
    assert all(file.stat().st_ino != number for file, number in spoiled.items())
    changes(one, 7)
    machine()
    with opened(root) as backend:
        assert b"7 7 " in records(root)[pathlib.Path("atom_details/U/metadata")]
        assert backend.get_connection().get_flow_details("F").state == "RUNNING"


def test_the_journal_of_an_earlier_start_is_never_emptied_unread(two, machine, tmp_path):
    """As if the disk had been there only after the folder was looked for."""
    root, (one, _) = two
    earlier = tmp_path / "earlier"
    shutil.copytree(root, earlier, symlinks=True)
    changes(one, 0)
    now = records(root)
    journal = (root / ".journal").read_bytes()
    away = root.rename(tmp_path / "away")
    machine()
    with opened(root) as backend:
        backend.get_connection().upgrade()
        shutil.rmtree(root)
        earlier.rename(root)
        (root / ".journal").write_bytes(journal)
        with pytest.raises(exc.StorageFailure, match="try again"):
            changes(backend, 1)
        changes(backend, 1)
        found = records(root)
    name = pathlib.Path("atom_details/T/metadata")
    assert found[name] == now[name]
    assert b"1 1 " in found[pathlib.Path("atom_details/U/metadata")]
    assert away.exists()
