# SPDX-License-Identifier: Apache-2.0
"""Do the parts of the backup example do what no run from outside can make them show?"""

from __future__ import annotations

import gzip
import io
import sys
import tarfile
import threading
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    for name in [name for name in sys.modules if name.startswith("_backup_")]:
        monkeypatch.delitem(sys.modules, name)


class Steps:
    """The tasks of a small backup, to be called one by one."""

    def __init__(self, folder):
        import _backup_plan
        import _backup_tasks

        source, self.to = folder / "source", folder / "to"
        (source / "folder").mkdir(parents=True)
        (source / "file").write_text("content " * 1000)
        (source / "folder" / "other").write_text("other")
        (source / "link").symlink_to("file")
        self.plans, self.tasks = _backup_plan, _backup_tasks
        self.plan = _backup_plan.Plan(str(source), str(self.to), "name", created_folders=(str(self.to),))
        context = _backup_tasks.Context(self.plan, None, threading.Event())
        self.by_name = {one.name: one for one in _backup_tasks.build(context)}

    def until_packed(self):
        """Do everything up to the manifest; return what the verification is given."""
        staging = self.by_name["prepare-destination"].execute()
        listing, special = self.by_name["list-files"].execute()
        hashes = {f"hashes_{n}": self.by_name[f"hash-{n}"].execute(listing) for n in range(4)}
        archive = self.by_name["pack-archive"].execute(staging, listing)
        manifest = self.by_name["write-manifest"].execute(staging, listing, special, archive, **hashes)
        return Path(archive), manifest

    def verify(self, archive, manifest):
        return self.by_name["verify-archive"].execute(str(archive), manifest)

    def names(self):
        return {str(path.relative_to(self.to)) for path in self.to.rglob("*")}


@pytest.fixture
def steps(tmp_path):
    return Steps(tmp_path)


def repack(archive, change):
    """Write the archive again, with `change` deciding on each member what becomes of it."""
    with tarfile.open(archive) as packed:
        members = [(info, packed.extractfile(info).read() if info.isreg() else b"") for info in packed]
    with tarfile.open(archive, "w:gz") as packed:
        for info, content in members:
            for name, kind, link, data in change(info.name, info.type, info.linkname, content):
                written = tarfile.TarInfo(name)
                written.type, written.linkname, written.size = kind, link, len(data)
                packed.addfile(written, io.BytesIO(data))


def leave_one_out(name, *rest):
    return [] if name.endswith("/other") else [(name, *rest)]


def add_one(name, *rest):
    return [(name, *rest), (name + "2", *rest)] if name.endswith("/other") else [(name, *rest)]


def pack_one_twice(name, *rest):
    return [(name, *rest)] * (2 if name.endswith("/other") else 1)


def alter_one(name, kind, link, content):
    return [(name, kind, link, content.replace(b"content", b"CONTENT"))]


def lead_a_link_elsewhere(name, kind, link, content):
    return [(name, kind, link and "/etc/passwd", content)]


def make_a_file_a_folder(name, kind, link, content):
    return [(name, tarfile.DIRTYPE, "", b"")] if name.endswith("/other") else [(name, kind, link, content)]


def make_a_file_a_link(name, kind, link, content):
    return [(name, tarfile.SYMTYPE, "file", b"")] if name.endswith("/other") else [(name, kind, link, content)]


def rename_the_top(name, *rest):
    return [("../" + name, *rest)]


def empty(*_):
    return []


def test_what_was_packed_is_verified(steps):
    archive, manifest = steps.until_packed()
    verified = steps.verify(archive, manifest)
    assert (verified["files"], verified["bytes"]) == (2, 8005)
    assert verified["packed_bytes"] == archive.stat().st_size


def test_an_archive_written_anew_with_the_same_content_is_verified(steps):
    archive, manifest = steps.until_packed()
    repack(archive, lambda *member: [member])
    assert steps.verify(archive, manifest)["files"] == 2


@pytest.mark.parametrize(
    "change",
    [
        leave_one_out,
        add_one,
        pack_one_twice,
        alter_one,
        lead_a_link_elsewhere,
        make_a_file_a_folder,
        make_a_file_a_link,
        rename_the_top,
        empty,
    ],
)
def test_an_archive_with_other_content_is_not_verified(steps, change):
    archive, manifest = steps.until_packed()
    repack(archive, change)
    with pytest.raises(steps.plans.BackupError, match="^verification failed: "):
        steps.verify(archive, manifest)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.99])
def test_a_cut_archive_is_not_verified(steps, share):
    archive, manifest = steps.until_packed()
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(steps.plans.BackupError, match="^verification failed: "):
        steps.verify(archive, manifest)


def test_the_checksum_at_the_very_end_of_an_archive_is_looked_at(steps):
    archive, manifest = steps.until_packed()
    content = bytearray(archive.read_bytes())
    content[-5] ^= 1
    archive.write_bytes(content)
    with pytest.raises(gzip.BadGzipFile), gzip.open(archive) as packed:
        packed.read()
    with pytest.raises(steps.plans.BackupError, match="^verification failed: .*cannot be read back"):
        steps.verify(archive, manifest)


def test_reverts_remove_what_the_tasks_made_step_by_step(steps):
    steps.until_packed()
    steps.by_name["publish"].execute(str(steps.plan.staging), {})
    steps.by_name["write-receipt"].execute(str(steps.plan.final), {}, [])
    assert steps.names() == {"name", "name/files.tar.gz", "name/manifest.json", "name/receipt.json"}
    left = []
    for name in reversed(steps.tasks.NAMES):
        steps.by_name[name].revert()
        left.append(steps.names() if steps.to.exists() else None)
    staged = ".name.partial"
    assert left[0] == {"name", "name/files.tar.gz", "name/manifest.json"}
    assert left[1] == left[2] == {staged, f"{staged}/files.tar.gz", f"{staged}/manifest.json"}
    assert left[3] == {staged, f"{staged}/files.tar.gz"}
    assert left[4] == {staged}
    assert left[-1] is None


def test_reverts_of_tasks_that_made_nothing_do_nothing(steps):
    steps.to.mkdir()
    (steps.to / "theirs").write_text("not ours")
    for name in reversed(steps.tasks.NAMES):
        steps.by_name[name].revert()
    assert steps.names() == {"theirs"}


def test_publishing_can_be_repeated_and_taken_back(steps):
    publish = steps.by_name["publish"]
    steps.plan.staging.mkdir(parents=True)
    (steps.plan.staging / "files.tar.gz").write_text("packed")
    for _ in range(2):
        assert publish.execute(str(steps.plan.staging), {}) == str(steps.plan.final)
        assert steps.names() == {"name", "name/files.tar.gz"}
    for _ in range(2):
        publish.revert()
        assert steps.names() == {".name.partial", ".name.partial/files.tar.gz"}


def test_publishing_never_replaces_what_is_there(steps):
    steps.plan.staging.mkdir(parents=True)
    steps.plan.final.mkdir()
    with pytest.raises(steps.plans.CannotWriteError, match="name already"):
        steps.by_name["publish"].execute(str(steps.plan.staging), {})
    assert steps.names() == {"name", ".name.partial"}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/home/my files", "my_files"),
        ("/", "backup"),
        ("/a/..", "backup"),
        ("/x/Grüße", "Gr_e"),
        ("/" + "n" * 99, "n" * 60),
    ],
)
def test_a_backup_is_named_after_its_source_in_plain_characters(steps, path, name):
    assert steps.plans.safe_name(path) == name


def test_the_demo_says_so_when_a_claim_does_not_hold(steps, tmp_path, monkeypatch, capsys):
    import _backup_demo

    for number in range(10):
        (tmp_path / "source" / str(number)).touch()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(_backup_demo.tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(_backup_demo, "act_one", lambda stage: stage.check("it flew", kept=False))
    monkeypatch.setattr(_backup_demo, "act_two", lambda stage, _: stage.check("it landed", kept=True))
    monkeypatch.setattr(_backup_demo, "act_three", lambda _: None)
    assert _backup_demo.run(EXAMPLES / "backup_folder.py", tmp_path / "source", None) == 1
    out = capsys.readouterr().out
    assert "[FAILED] it flew" in out
    assert "[ok] it landed" in out
    assert out.splitlines()[-1] == "1 of the claims did not hold."
    assert list((tmp_path / "temporary").iterdir()) == []
