# SPDX-License-Identifier: Apache-2.0
"""What the interface of backends does for those who write their own."""

import contextlib
import json

import pytest

from taskflow import exceptions as exc
from taskflow.persistence import base, models, path_based
from taskflow.persistence.backends import impl_memory
from taskflow.types import failure as ft


class Backend(base.Backend):
    def get_connection(self):
        return Recording(self)

    def close(self):
        pass


@pytest.mark.parametrize("conf", [None, {}, ()])
def test_no_options_are_an_empty_dictionary(conf):
    assert Backend(conf)._conf == {}


@pytest.mark.parametrize("conf", ["memory", [1], 5])
def test_options_must_be_a_dictionary(conf):
    with pytest.raises(TypeError):
        Backend(conf)


def test_backends_are_durable_unless_they_say_otherwise():
    assert Backend.durable is True


def test_options_are_kept():
    conf = {"a": 1}
    assert Backend(conf)._conf is conf


@pytest.mark.parametrize(
    "cls", [base.Backend, base.Connection, path_based.PathBasedBackend, path_based.PathBasedConnection]
)
def test_abstract_classes_can_not_be_instantiated(cls):
    with pytest.raises(TypeError):
        cls({})


MEMBERS = [
    "backend",
    "close",
    "upgrade",
    "clear_all",
    "validate",
    "update_atom_details",
    "update_flow_details",
    "save_logbook",
    "destroy_logbook",
    "get_logbook",
    "get_logbooks",
    "get_flows_for_book",
    "get_flow_details",
    "get_atom_details",
    "get_atoms_for_flow",
]


@pytest.mark.parametrize("missing", MEMBERS)
def test_connection_must_have_every_member(missing):
    members = {name: lambda self, *args: None for name in MEMBERS if name != missing}
    with pytest.raises(TypeError, match=missing):
        type("Partial", (base.Connection,), members)()


class Recording(base.Connection):
    """Knows only the abstract methods, and keeps everything in a memory backend."""

    def __init__(self, backend=None):
        self._inner = impl_memory.MemoryBackend().get_connection()
        self.calls = []

    backend = property(lambda self: self._inner.backend)

    def update_atom_details(self, atom_detail):
        self.calls.append("atom")
        return self._inner.update_atom_details(atom_detail)

    def update_flow_details(self, flow_detail):
        self.calls.append("flow")
        self._inner.update_flow_details(flow_detail)
        return self._inner.get_flow_details(flow_detail.uuid)


for _name in MEMBERS:
    if _name not in vars(Recording):
        setattr(Recording, _name, lambda self, *args, _name=_name, **kw: getattr(self._inner, _name)(*args, **kw))
Recording.__abstractmethods__ = frozenset()


@pytest.fixture
def connection():
    connection = Recording()
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    flow_detail.add(models.TaskDetail("t", "T"))
    flow_detail.add(models.TaskDetail("u", "U"))
    flow_detail.add(models.RetryDetail("r", "R"))
    connection.save_logbook(book)
    connection.flow_detail = flow_detail
    return connection


def test_nothing_to_write(connection):
    assert list(connection.write(connection.flow_detail, [])) == []
    assert connection.calls == []


def test_one_atom_is_updated_alone(connection):
    task = connection.flow_detail.find("T")
    assert (
        list(connection.write(connection.flow_detail, [(task, {"state": "A", "results": 1}), (task, {"state": "B"})]))
        == []
    )
    assert connection.calls == ["atom"]
    read = connection.get_atom_details("T")
    assert (read.state, read.results) == ("B", 1)
    assert task.state is None


def test_several_atoms_are_one_update_of_the_flow(connection):
    flow_detail = connection.flow_detail
    failure = ft.Failure.from_exception(ValueError("x"))
    changes = [(flow_detail.find("T"), {"state": "A"}), (flow_detail.find("R"), {"results": [(1, {"t": failure})]})]
    assert list(connection.write(flow_detail, changes)) == []
    assert connection.calls == ["flow"]
    assert connection.get_atom_details("T").state == "A"
    ((result, failures),) = connection.get_atom_details("R").results
    assert result == 1
    assert failures["t"].matches(failure)
    assert connection.get_atom_details("U").state is None
    assert flow_detail.find("R").results == []


def test_flow_and_new_atoms_are_one_update_that_tells_of_others(connection):
    flow_detail = connection.flow_detail
    other = flow_detail.copy()
    other.add(models.TaskDetail("foreign", "X"))
    connection.update_flow_details(other)
    connection.calls.clear()
    new = models.TaskDetail("n", "N")
    others = connection.write(flow_detail, [(flow_detail, {"state": "RUNNING"})], [new])
    assert connection.calls == ["flow"]
    assert [atom_detail.uuid for atom_detail in others] == ["X"]
    assert flow_detail.state is None
    assert len(flow_detail) == 3
    read = connection.get_flow_details("F")
    assert read.state == "RUNNING"
    assert [atom_detail.name for atom_detail in read] == ["t", "u", "r", "foreign", "n"]


def test_missing_records_are_reported(connection):
    with pytest.raises(exc.NotFound):
        connection.write(connection.flow_detail, [(models.TaskDetail("x", "X"), {"state": "A"})])
    unknown = models.FlowDetail("g", "G")
    with pytest.raises(exc.NotFound):
        connection.write(unknown, [(unknown, {"state": "A"})])


# -- backends over paths


class TextBackend(path_based.PathBasedBackend):
    """Keeps JSON texts in a dictionary, as a backend of another project would."""

    DEFAULT_PATH = "root"

    def __init__(self, conf=None):
        super().__init__(conf)
        self.texts = {}
        self.writes = []

    def get_connection(self):
        return TextConnection(self)

    def close(self):
        pass


class TextConnection(path_based.PathBasedConnection):
    def _join_path(self, *parts):
        return "/".join(parts)

    def _get_item(self, path):
        try:
            return json.loads(self._backend.texts[path])
        except KeyError as e:
            raise exc.NotFound(path, cause=e) from e

    def _set_item(self, path, value, transaction):
        assert transaction == "transaction"
        self._backend.writes.append(path)
        self._backend.texts[path] = json.dumps(value)

    def _del_tree(self, path, transaction):
        for each in [each for each in self._backend.texts if each == path or each.startswith(path + "/")]:
            del self._backend.texts[each]

    def _get_children(self, path):
        return [
            each[len(path) + 1 :]
            for each in self._backend.texts
            if each.startswith(path + "/") and "/" not in each[len(path) + 1 :]
        ]

    def _ensure_path(self, path):
        self._backend.texts.setdefault(path, "null")

    def _create_link(self, src_path, dest_path, transaction):
        assert src_path in self._backend.texts
        self._backend.texts[dest_path] = "null"

    @contextlib.contextmanager
    def _transaction(self):
        yield "transaction"

    def validate(self):
        pass


@pytest.fixture
def texts():
    backend = TextBackend({"path": ""})
    connection = backend.get_connection()
    connection.upgrade()
    book, flow_detail = models.LogBook("b", "B"), models.FlowDetail("f", "F")
    book.add(flow_detail)
    for number in range(3):
        flow_detail.add(models.TaskDetail(f"t{number}", f"T{number}"))
    connection.save_logbook(book)
    backend.writes.clear()
    return backend, connection, book, flow_detail


def test_paths_of_records(texts):
    backend, connection, _, _ = texts
    assert backend.path == "root"
    assert TextBackend({"path": "/x"}).path == "/x"
    assert (connection.book_path, connection.flow_path, connection.atom_path) == (
        "root/books",
        "root/flow_details",
        "root/atom_details",
    )
    assert set(backend.texts) >= {"root/books/B/F", "root/flow_details/F/T1", "root/atom_details/T1"}


def test_unchanged_records_are_not_written_again(texts):
    backend, connection, book, flow_detail = texts
    connection.save_logbook(book)
    connection.update_flow_details(flow_detail)
    assert backend.writes == []
    flow_detail.find("T1").state = "A"
    flow_detail.state = "RUNNING"
    connection.update_flow_details(flow_detail)
    assert backend.writes == ["root/flow_details/F", "root/atom_details/T1"]


@pytest.mark.parametrize(
    ("before", "after"), [(1, True), (0, False), (1, 1.0), ([1], [True]), ({"a": 0}, {"a": False})]
)
def test_value_of_another_type_is_written(texts, before, after):
    backend, connection, _, flow_detail = texts
    task = flow_detail.find("T1")
    task.results = before
    connection.update_atom_details(task)
    backend.writes.clear()
    task.results = after
    connection.update_atom_details(task)
    assert backend.writes == ["root/atom_details/T1"]


def test_only_changed_records_of_a_unit_of_work_are_written(texts):
    backend, connection, _, flow_detail = texts
    new = models.TaskDetail("n", "N")
    changes = [
        (flow_detail.find("T0"), {"state": "A"}),
        (flow_detail, {"state": "RUNNING"}),
        (flow_detail.find("T1"), {"state": None}),
    ]
    assert list(connection.write(flow_detail, changes, [new])) == []
    assert backend.writes == ["root/atom_details/T0", "root/flow_details/F", "root/atom_details/N"]
    assert [atom_detail.name for atom_detail in connection.get_flow_details("F")] == ["t0", "t1", "t2", "n"]


def test_missing_record_of_a_unit_of_work_leaves_everything(texts):
    backend, connection, _, flow_detail = texts
    with pytest.raises(exc.NotFound):
        connection.write(flow_detail, [(flow_detail, {"state": "A"}), (models.TaskDetail("x", "X"), {"state": "A"})])
    with pytest.raises(exc.NotFound):
        connection.write(models.FlowDetail("g", "G"), [], [models.TaskDetail("x", "X")])
    assert backend.writes == []


def test_missing_records_are_created_only_on_demand(texts):
    _, connection, _, _ = texts
    task, flow_detail = models.TaskDetail("x", "X"), models.FlowDetail("g", "G")
    for update, detail in ((connection.update_atom_details, task), (connection.update_flow_details, flow_detail)):
        with pytest.raises(exc.NotFound):
            update(detail)
        assert update(detail, ignore_missing=True) is detail
    assert connection.get_atom_details("X").name == "x"
    assert connection.get_flow_details("G").name == "g"


def test_only_the_three_kinds_of_details_can_be_stored(texts):
    _, connection, _, _ = texts
    with pytest.raises(exc.StorageFailure):
        connection._serialize(object())
    with pytest.raises(exc.StorageFailure):
        connection._deserialize(dict, {})
    with pytest.raises(exc.StorageFailure):
        connection._path_of(object())


def test_children_of_unknown_parents_are_an_error_when_iterated(texts):
    assert list(texts[1].get_flows_for_book("B"))[0].name == "f"
    memory = impl_memory.MemoryBackend().get_connection()
    flows, atoms = memory.get_flows_for_book("x"), memory.get_atoms_for_flow("x")
    for children in (flows, atoms):
        with pytest.raises(exc.NotFound):
            next(children)


def test_two_books_may_hold_one_flow(texts):
    _, connection, _, flow_detail = texts
    other = models.LogBook("c", "C")
    other.add(flow_detail)
    connection.save_logbook(other)
    assert [fd.uuid for fd in connection.get_flows_for_book("C")] == ["F"]
    assert [fd.uuid for fd in connection.get_flows_for_book("B")] == ["F"]


def test_envelope_of_an_atom_detail():
    task = models.TaskDetail("t", "T")
    assert list(base._format_atom(task).items()) == [("atom", task.to_dict()), ("type", "TASK_DETAIL")]
