# SPDX-License-Identifier: Apache-2.0
"""Are files that were replaced used again, and only when nobody can miss them?"""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
import stat
import time

import hypothesis
import pytest
from hypothesis import strategies as st

from taskflow import engines, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow
from taskflow.persistence import backends, models
from taskflow.persistence.backends import dir_journal, dir_spares

UUIDS = "STUVWXYZ"


@pytest.fixture
def root(tmp_path):
    return tmp_path / "records"


def fetch(root):
    return backends.fetch({"connection": "dir", "path": str(root)})


def fill(root):
    connection = fetch(root).get_connection()
    connection.upgrade()
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    for uuid in UUIDS:
        flow_detail.add(models.TaskDetail(uuid.lower(), uuid))
    connection.save_logbook(book)


@pytest.fixture
def backend(root):
    fill(root)
    return fetch(root)


def change(backend, number, count=1):
    """Gives some atoms a new result, and returns it."""
    connection = backend.get_connection()
    flow_detail = connection.get_flow_details("F")
    value = f"{number} " * (1 + number % 7)
    atoms = [flow_detail.find(UUIDS[(number + more) % len(UUIDS)]) for more in range(count)]
    connection.write(flow_detail, [(atom, {"results": value}) for atom in atoms])
    return {atom.uuid: value for atom in atoms}


def results(root):
    return {atom.uuid: atom.results for atom in fetch(root).get_connection().get_flow_details("F")}


def spares(root):
    return sorted((root / ".spares").glob("*"))


def file_of(root, uuid):
    return root / "atom_details" / uuid / "metadata"


def test_files_are_used_again(root, backend):
    seen, expected = set(), {}
    for number in range(300):
        expected.update(change(backend, number))
        seen.add(file_of(root, UUIDS[number % len(UUIDS)]).stat().st_ino)
    assert results(root) == expected
    assert len(seen) == dir_spares.TOGETHER + len(UUIDS)
    assert 0 < len(spares(root)) <= dir_spares.TOGETHER


@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture], max_examples=25)
@hypothesis.given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 7), st.integers(1, 8)), max_size=60))
def test_no_record_on_the_disk_is_written_over(tmp_path_factory, monkeypatch, turns):
    """What a name leads to on the disk is what it led to when its folder was synced last."""
    root = tmp_path_factory.mktemp("records")
    on_disk, used = {}, []

    def synced(descriptor):
        folder = pathlib.Path(f"/proc/self/fd/{descriptor}").readlink()
        if (folder / "metadata").exists():
            on_disk[folder] = (folder / "metadata").stat().st_ino
        fsync(descriptor)

    def opened(path, flags, *args, **kwargs):
        descriptor = real_open(path, flags, *args, **kwargs)
        if flags & os.O_WRONLY and not flags & (os.O_CREAT | os.O_TRUNC):
            used.append(os.fstat(descriptor).st_ino)
            assert used[-1] not in on_disk.values()
        return descriptor

    fsync, real_open = os.fsync, os.open
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", synced)
        patched.setattr(os, "open", opened)
        patched.setattr(dir_spares, "TOGETHER", 4)
        patched.setattr(dir_journal, "FULL", 4_000)
        fill(root)
        both, expected = (fetch(root), fetch(root)), dict.fromkeys(UUIDS)
        for which, number, count in turns:
            expected.update(change(both[which], number, count))
    assert results(root) == expected
    assert used or len(turns) < 10 or sum(count for _, _, count in turns) < 30


def test_no_record_on_the_disk_is_written_over_whose_folder_somebody_removed(root, backend):
    """Whoever knows of no spares, and does not sync, may remove a record; a crash of the machine can bring it back."""
    removed = file_of(root, "S")
    with removed.open("rb") as there:
        change(backend, 0)
        before = there.read()
        shutil.rmtree(removed.parent)
        (root / "flow_details" / "F" / "S").unlink()
        for number in range(1, 200):
            if number % 8:
                change(backend, number)
        there.seek(0)
        assert there.read() == before


def test_a_backup_of_hard_links_stays_as_it_is(root, backend, tmp_path):
    for number in range(20):
        change(backend, number)
    for folder in (root / "atom_details", root / ".spares"):
        shutil.copytree(folder, tmp_path / "backup" / folder.name, copy_function=os.link)
    copies = {path: path.read_bytes() for path in (tmp_path / "backup").rglob("*") if path.is_file()}
    assert len(copies) > 20
    for number in range(20, 100):
        change(backend, number)
    assert {path: path.read_bytes() for path in copies} == copies


@pytest.mark.parametrize("error", [PermissionError(1, "Operation not permitted"), OSError(95, "Not supported")])
def test_where_there_are_no_hard_links_new_files_are_made(root, backend, monkeypatch, error):
    def forbidden(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(os, "link", forbidden)
    expected = {}
    for number in range(50):
        expected.update(change(backend, number))
    assert results(root) == expected
    assert spares(root) == []


@pytest.mark.parametrize("number", [0, 3, 40])
def test_a_part_of_the_records_may_be_in_another_file_system(root, backend, monkeypatch, number):
    def replaced(source, target):
        if pathlib.Path(source).parent != pathlib.Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link", str(source))
        real(source, target)

    def linked(*_args, **_kwargs):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    real, expected = os.replace, {}
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replaced)
        if number:
            # Otherwise the files could be linked, but not moved.
            patched.setattr(os, "link", linked)
        for each in range(number, number + 40):
            expected.update(change(backend, each))
    assert results(root) == expected
    assert spares(root) == []
    # The time is the one that the journal has.
    noted = {name: time for name, (time, _) in replayed(root).items()}
    for uuid in UUIDS:
        assert file_of(root, uuid).stat().st_mtime_ns == noted[f"atom_details/{uuid}"]


def replayed(root):
    """What the journal says of each item."""
    journal = fetch(root)._journal
    with journal._opened() as descriptor:
        journal._catch_up(descriptor, contents=True)
    return journal._files


def test_others_may_remove_them(root, backend):
    expected = {}
    for number in range(100):
        expected.update(change(backend, number))
        if number % 23 == 0:
            shutil.rmtree(root / ".spares")
        elif number % 7 == 0:
            for file in spares(root)[::2]:
                file.unlink()
    assert results(root) == expected


def test_a_file_that_may_not_be_written_to_is_not_used(root, backend, monkeypatch):
    def opened(path, flags, *args, **kwargs):
        if pathlib.Path(path).parent.name == ".spares" and not flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", path)
        return real(path, flags, *args, **kwargs)

    real = os.open
    monkeypatch.setattr(os, "open", opened)
    expected = {}
    for number in range(100):
        expected.update(change(backend, number))
    assert results(root) == expected
    assert len(spares(root)) <= dir_spares.TOGETHER


def test_no_more_are_kept_than_are_of_use(root, backend, monkeypatch):
    monkeypatch.setattr(dir_spares, "MOST", 5)
    expected = {}
    for number in range(50):
        expected.update(change(backend, number, count=8))
    assert results(root) == expected
    assert len(spares(root)) <= 5


def test_a_result_that_is_shorter_leaves_nothing_of_the_longer_one(root, backend):
    expected = {}
    for number, size in enumerate([20_000] * 20 + [1] * 60):
        connection = backend.get_connection()
        flow_detail = connection.get_flow_details("F")
        atom = flow_detail.find(UUIDS[number % 8])
        connection.write(flow_detail, [(atom, {"results": "x" * size})])
        expected[atom.uuid] = "x" * size
    assert results(root) == expected
    assert file_of(root, "S").stat().st_size < 500


def test_a_process_that_was_forked_has_its_own(root, backend):
    expected = {}
    for number in range(20):
        expected.update(change(backend, number))
    child = os.fork()
    if child == 0:
        # Whatever goes wrong, no test is to go on in here.
        try:
            for number in range(21, 60, 2):
                change(backend, number)
        except BaseException:
            os._exit(1)
        os._exit(0)
    for number in range(20, 60, 2):
        expected.update(change(backend, number))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for number in range(52, 60):
        expected.update({UUIDS[number % 8]: f"{number} " * (1 + number % 7)})
    assert results(root) == expected
    # Each has about what it needs.
    assert len(spares(root)) <= 3 * dir_spares.TOGETHER


def test_what_is_removed_is_not_kept(root, backend):
    secret = "tell nobody"
    connection = backend.get_connection()
    flow_detail = connection.get_flow_details("F")
    for value in (secret, "something else"):
        connection.write(flow_detail, [(flow_detail.find("S"), {"results": value})])
    assert any(secret in file.read_text() for file in spares(root))
    connection.destroy_logbook("B")
    assert spares(root) == []
    fill(root)
    change(backend, 1)
    assert results(root)["T"] == "1 1 "


def test_nothing_is_left_when_a_backend_is_closed(root):
    fill(root)
    with backends.backend({"connection": "dir", "path": str(root)}) as backend:
        log = []

        class Step(task.Task):
            def execute(self):
                log.append(self.name)

        flow = linear_flow.Flow("f").add(*(Step(f"s{number}") for number in range(40)))
        engines.run(flow, backend=backend)
        assert len(log) == 40
        assert spares(root)
        mine = fetch(root)
        change(mine, 0)
    # Those of others are theirs.
    assert len(spares(root)) == 1
    mine.close()
    assert not (root / ".spares").exists()
    mine.close()
    change(mine, 1)
    assert results(root)["T"] == "1 1 "


def test_what_died_processes_left_is_removed_in_the_end(root, backend, monkeypatch):
    change(backend, 0)
    (died,) = spares(root)
    other = fetch(root)
    other.get_connection().upgrade()
    assert spares(root) == [died]
    now = time.time() + dir_spares.OLD + 10
    monkeypatch.setattr(time, "time", lambda: now)
    other.get_connection().upgrade()
    assert not (root / ".spares").exists()
    # It was not dead at all.
    for number in range(40):
        change(backend, number)
    assert results(root)["T"] == "33 " * (1 + 33 % 7)


def test_a_kill_leaves_files_that_the_next_writer_removes(root, backend, monkeypatch):
    change(backend, 0)

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "replace", killed)
        patched.setattr(dir_spares.Spares, "discard", lambda *_: None)
        change(backend, 8)
    left = set(spares(root))
    assert len(left) == 3
    assert results(root)["S"] == "0 "
    other = fetch(root)
    change(other, 1)
    assert left.isdisjoint(spares(root))
    assert results(root)["T"] == "1 1 "


def test_files_have_the_permissions_of_new_ones(root, backend):
    mask = os.umask(0o027)
    try:
        for number in range(60):
            change(backend, number)
        assert stat.S_IMODE(file_of(root, "S").stat().st_mode) == 0o640
    finally:
        os.umask(mask)


def test_whoever_may_only_read_is_not_given_the_record_of_another(root, backend, tmp_path, monkeypatch):
    change(backend, 0)
    boot = tmp_path / "boot_id"
    boot.write_text("0f0f0f0f-0000-4000-8000-000000000001\n")
    monkeypatch.setattr(dir_journal, "BOOT_ID", str(boot))
    # As it can be on the disk: the name leads to the new file, which has its old content.
    now = file_of(root, "S").stat().st_mtime_ns
    file_of(root, "S").write_bytes(file_of(root, "T").read_bytes())
    os.utime(file_of(root, "S"), ns=(now - 1, now - 1))
    real = os.open

    def forbidden(path, flags, *args, **kwargs):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT) and str(path).startswith(str(root)):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", forbidden)
        connection = fetch(root).get_connection()
        assert connection.get_atom_details("T").uuid == "T"
        with pytest.raises(exc.StorageFailure, match=r"holds the record of 'T'.*permission to write"):
            connection.get_atom_details("S")
    assert results(root)["S"] == "0 "


def test_nobody_is_given_the_record_of_another_where_there_is_no_journal_any_more(root, backend):
    change(backend, 0)
    file_of(root, "S").write_bytes(file_of(root, "T").read_bytes())
    (root / ".journal").unlink()
    connection = fetch(root).get_connection()
    with pytest.raises(exc.StorageFailure, match=r"atom_details/S/metadata holds the record of 'T'"):
        connection.get_atom_details("S")
    before = file_of(root, "S").read_bytes()
    with pytest.raises(exc.StorageFailure, match="holds the record of 'T'"):
        change(fetch(root), 8)
    assert file_of(root, "S").read_bytes() == before


def test_files_are_not_used_again_if_it_is_not_known_what_is_on_the_disk(root, backend, monkeypatch):
    expected = {}
    for number in range(dir_spares.TOGETHER):
        expected.update(change(backend, number))
    unsure = spares(root)
    before = [file.read_bytes() for file in unsure]

    def failing(_descriptor):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(exc.StorageFailure, match="Input/output error"):
            change(backend, 0)
    assert results(root) == expected
    for number in range(100):
        expected.update(change(backend, number))
    assert results(root) == expected
    assert [file.read_bytes() for file in unsure] == before
