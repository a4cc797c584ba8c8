# SPDX-License-Identifier: Apache-2.0
"""Folders of OpenStack TaskFlow 6.5 and of this library are the same folders."""

import json
import pathlib

import pytest

from taskflow import engines, retry, states, task
from taskflow import exceptions as exc
from taskflow.patterns import linear_flow
from taskflow.persistence import backends, models

# What TaskFlow 6.5 left in a folder: flows that ended, and flows whose process died in the middle of a task, of a
# second attempt and of an undoing. Only paths of programs in tracebacks were shortened.
RECORDS = json.loads((pathlib.Path(__file__).parent / "dir_records_of_6_5.json").read_text(encoding="utf-8"))
VALUE = {"é😀": [1, 2.5, None, True], "x": 21, "3": "b"}


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "records"
    for name, content in RECORDS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, dict):
            path.symlink_to(root / content["link"])
        else:
            path.write_text(content, encoding="utf-8")
    return root


@pytest.fixture
def backend(root):
    with backends.backend({"connection": "dir", "path": str(root)}) as backend:
        yield backend


@pytest.fixture
def found(backend):
    """The flow details, by the names of their flows."""
    return {flow_detail.name: flow_detail for book in backend.get_connection().get_logbooks() for flow_detail in book}


def files(root):
    return {
        str(path.relative_to(root)): {"link": str(path.readlink().relative_to(root))}
        if path.is_symlink()
        else path.read_text(encoding="utf-8")
        for path in root.rglob("*")
        # The folder's own lock, journal and spares are nobody else's business.
        if (path.is_symlink() or path.is_file())
        and path.name != ".journal"
        and path != root / "lock"
        and path.parent.name != ".spares"
    }


class Noting(task.Task):
    """Notes what is done to it."""

    def __init__(self, name, log, action, **kwargs):
        super().__init__(name, **kwargs)
        self.log, self.action = log, action

    def execute(self, *args, **kwargs):
        self.log.append(self.name)
        return self.action(**kwargs)

    def revert(self, *args, **kwargs):
        self.log.append(f"-{self.name}")
        return "undone"


def test_everything_is_found(found):
    assert {name: flow_detail.state for name, flow_detail in found.items()} == {
        "done": states.SUCCESS,
        "fails": states.REVERTED,
        "tries": states.REVERTED,
        "dies": states.RUNNING,
        "dies trying": states.RUNNING,
        "dies undoing": states.RUNNING,
    }
    atoms = {name: {atom.name: atom for atom in flow_detail} for name, flow_detail in found.items()}
    assert atoms["done"]["add"].results == VALUE
    assert atoms["done"]["add"].meta["progress"] == 1.0
    assert (atoms["done"]["twice"].state, atoms["done"]["twice"].results) == (states.SUCCESS, 42)
    assert atoms["fails"]["add"].revert_results == "undone"
    failure = atoms["fails"]["fail"].failure
    assert failure.check(ValueError)
    assert failure.exception_args == ("boom é", {"a": [1]})
    assert "work.py" in failure.traceback_str
    assert type(atoms["dies trying"]["each"]) is models.RetryDetail


def test_results_of_attempts_are_not_their_failures(found):
    (each,) = (atom for atom in found["dies trying"] if atom.name == "each")
    assert [result for result, _ in each.results] == [10, 20]
    assert each.results[0][1]["fail"].exception_args == ("boom é", {"a": [1]})


def test_reading_changes_no_file(root, found):
    assert files(root) == RECORDS


def test_the_same_records_are_the_same_files(root, backend, tmp_path):
    """What is written here is, byte by byte, what was written there."""
    connection = backend.get_connection()
    with backends.backend({"connection": "dir", "path": str(tmp_path / "written")}) as other:
        for book in connection.get_logbooks():
            other.get_connection().save_logbook(book)
    assert files(tmp_path / "written") == RECORDS


def test_a_flow_whose_process_died_is_gone_on_with(root, backend, found):
    log = []
    flow = linear_flow.Flow("dies").add(
        Noting("add", log, lambda x: VALUE, requires=["x"], provides="total"),
        Noting("twice", log, lambda total: total["x"] * 2, requires=["total"], provides="twice"),
    )
    engine = engines.load(flow, flow_detail=found["dies"], backend=backend)
    engine.run()
    assert log == ["twice"]
    assert engine.storage.fetch_all() == {"x": 21, "total": VALUE, "twice": 42}
    # Nothing but the values of that flow's records changed.
    after = files(root)
    assert set(after) == set(RECORDS)
    changed = {name for name in after if after[name] != RECORDS[name]}
    uuids = {found["dies"].uuid, *(atom.uuid for atom in found["dies"] if atom.name == "twice")}
    assert {pathlib.PurePath(name).parent.name for name in changed} == uuids
    for name in changed:
        before, now = json.loads(RECORDS[name]), json.loads(after[name])
        assert list(now) == list(before)
        assert list(now.get("atom", now)) == list(before.get("atom", before))


def test_the_next_attempt_is_made(backend, found):
    log = []

    def build(action):
        return linear_flow.Flow("dies trying", retry=retry.ForEach([10, 20, 30], name="each", provides="value")).add(
            Noting("add", log, lambda x: VALUE, requires=["x"], provides="total"),
            Noting("fail", log, action, requires=["value"]),
        )

    engine = engines.load(build(lambda value: value), flow_detail=found["dies trying"], backend=backend)
    engine.run()
    assert log == ["fail"]
    assert (engine.storage.fetch("value"), engine.storage.get("fail")) == (20, 20)


def test_undoing_is_gone_on_with(backend, found):
    log = []
    flow = linear_flow.Flow("dies undoing").add(
        Noting("add", log, lambda x: x, requires=["x"], provides="total"), Noting("fail", log, lambda: 1)
    )
    engine = engines.load(flow, flow_detail=found["dies undoing"], backend=backend)
    with pytest.raises(exc.WrappedFailure, match="boom é"):
        engine.run()
    assert log == ["-add"]
    assert backend.get_connection().get_flow_details(found["dies undoing"].uuid).state == states.REVERTED


def test_what_a_look_up_left_there_does_not_disturb(root, backend):
    """Looking up what was missing used to make a folder with a lock file."""
    for folder in ("books", "flow_details", "atom_details"):
        (root / folder / "missing").mkdir()
        (root / folder / "missing" / "lock").touch()
    connection = backend.get_connection()
    assert len(list(connection.get_logbooks())) == 6
    for look in (connection.get_logbook, connection.get_flow_details, connection.get_atom_details):
        with pytest.raises(exc.NotFound):
            look("missing")
    book = models.LogBook("there now", "missing")
    connection.save_logbook(book)
    assert connection.get_logbook("missing").name == "there now"
