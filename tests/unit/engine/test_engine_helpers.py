# SPDX-License-Identifier: Apache-2.0
"""How are engines found, made, filled and made again from what was saved?"""

from __future__ import annotations

import contextlib
import functools
import importlib
import sys

import pytest

from taskflow import engines, exceptions
from taskflow.engines import helpers
from taskflow.engines.action_engine import engine as action_engine
from taskflow.persistence import backends, models
from taskflow.persistence.backends import impl_memory
from taskflow.utils import persistence_utils

FACTORIES = """
from taskflow import task
from taskflow.patterns import linear_flow

not_callable = 42

class Give(task.Task):
    default_provides = "given"

    def __init__(self, name, value):
        super().__init__(name=name)
        self.value = value

    def execute(self):
        return self.value

def make(*args, **kwargs):
    return linear_flow.Flow("made").add(Give("give", [list(args), kwargs]))

class OwnFlow(linear_flow.Flow):
    def __init__(self, name="own"):
        super().__init__(name)
        self.add(Give("give", name))

class Maker:
    def __call__(self):
        return make()

    def method(self):
        return make()

    @staticmethod
    def static(*args):
        return make(*args)

    @classmethod
    def made_by_class(cls):
        return make(cls.__name__)

maker = Maker()
"""


@pytest.fixture
def factories(tmp_path, monkeypatch):
    """A module with flow factories, importable by its name."""
    (tmp_path / "flow_factories_for_tests.py").write_text(FACTORIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("flow_factories_for_tests")
    del sys.modules["flow_factories_for_tests"]


@pytest.fixture
def memory():
    with contextlib.closing(backends.fetch({"connection": "memory"})) as backend:
        yield backend


def test_the_package_re_exports_the_helpers():
    for name in (
        "load",
        "run",
        "load_from_factory",
        "load_from_detail",
        "flow_from_detail",
        "save_factory_details",
    ):
        assert getattr(engines, name) is getattr(helpers, name)
    assert helpers.ENGINES_NAMESPACE == "taskflow.engines"
    assert helpers.ENGINE_DEFAULT == "default"


DRIVERS = {
    None: ("SerialActionEngine", {}),
    "": ("SerialActionEngine", {}),
    "default": ("SerialActionEngine", {}),
    "serial": ("SerialActionEngine", {}),
    "parallel": ("ParallelActionEngine", {}),
    "serial://": ("SerialActionEngine", {}),
    "parallel://?executor=threads&max_workers=3": ("ParallelActionEngine", {"executor": "threads", "max_workers": "3"}),
    "serial://?a=1&b=2&a=3": ("SerialActionEngine", {"a": "3", "b": "2"}),
    "serial://host/a/path?k=v#part": ("SerialActionEngine", {"hostname": "host", "k": "v"}),
    "serial://host:8080": ("SerialActionEngine", {"hostname": "host:8080", "port": 8080}),
    "serial://user:pw@host": ("SerialActionEngine", {"username": "user", "password": "pw", "hostname": "host"}),
    "serial://user@host": ("SerialActionEngine", {"username": "user", "hostname": "host"}),
}


@pytest.mark.parametrize("text", DRIVERS)
def test_the_engine_text_picks_driver_and_options(kit, text):
    driver, options = DRIVERS[text]
    engine = engines.load(kit.linear("f"), engine=text)
    assert type(engine) is getattr(action_engine, driver)
    assert engine.options == options


def test_keyword_arguments_are_options_and_win_over_the_uri(kit):
    assert engines.load(kit.linear("f")).options == {}
    assert engines.load(kit.linear("f"), pass_1=1, pass_2=2).options == {"pass_1": 1, "pass_2": 2}
    assert engines.load(kit.linear("f"), engine="serial://?k=uri&m=uri", k="kw").options == {"k": "kw", "m": "uri"}


@pytest.mark.parametrize(
    "wrong",
    [{"engine": "no_such_engine"}, {"engine": "no_such://engine"}, {"namespace": "no.such.namespace"}],
    ids=["driver", "uri", "namespace"],
)
def test_an_unknown_driver_or_namespace_is_not_found_with_its_cause(kit, wrong):
    with pytest.raises(exceptions.NotFound) as caught:
        engines.load(kit.linear("f"), **wrong)
    assert caught.value.cause is not None


def test_errors_of_the_constructor_come_through(kit):
    with pytest.raises(ValueError, match="bogus"):
        engines.load(kit.linear("f"), engine="parallel", executor="bogus")
    with pytest.raises(TypeError):
        engines.load(kit.linear("f"), engine="parallel", executor=object())


def test_a_runtime_error_of_the_constructor_is_not_found(kit, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise RuntimeError("no such luck")

    monkeypatch.setattr(action_engine.SerialActionEngine, "__init__", refuse)
    with pytest.raises(exceptions.NotFound):
        engines.load(kit.linear("f"))


def test_the_class_gets_flow_detail_backend_and_options(kit, memory, monkeypatch):
    seen = []
    init = action_engine.SerialActionEngine.__init__

    def spy(self, flow, flow_detail, backend, options):
        seen.append((flow, flow_detail, backend, options))
        init(self, flow, flow_detail, backend, options)

    monkeypatch.setattr(action_engine.SerialActionEngine, "__init__", spy)
    flow = kit.linear("f")
    _, detail = persistence_utils.temporary_flow_detail(memory)
    engine = engines.load(flow, flow_detail=detail, backend=memory, own=1)
    assert [seen[0][0] is flow, seen[0][1] is detail, seen[0][2] is memory, dict(seen[0][3])] == [True] * 3 + [
        {"own": 1}
    ]
    assert engine._flow is flow
    assert engine.storage._flowdetail is detail


def test_a_flow_detail_is_made_and_named_after_the_flow(kit):
    engine = engines.load(kit.linear("my flow"))
    assert engine.storage.flow_name == "my flow"
    assert len(engine.storage.flow_uuid) == 36


@pytest.mark.filterwarnings("ignore")
def test_any_object_can_be_loaded_and_is_refused_at_compile():
    class NoFlow:
        pass

    for thing in (NoFlow, NoFlow(), 42):
        engine = engines.load(thing)
        assert engine.storage.flow_name == engine.storage.flow_uuid
        with pytest.raises(TypeError):
            engine.compile()


def test_a_flow_detail_is_made_in_the_given_book(kit, memory):
    book = models.LogBook("my book")
    engine = engines.load(kit.linear("f"), book=book, backend=memory)
    assert [detail.uuid for detail in book] == [engine.storage.flow_uuid]
    with contextlib.closing(memory.get_connection()) as connection:
        assert connection.get_logbook(book.uuid).find(engine.storage.flow_uuid).name == "f"


def test_a_backend_without_a_book_gets_a_temporary_one(kit, memory):
    engine = engines.load(kit.linear("f"), backend=memory)
    with contextlib.closing(memory.get_connection()) as connection:
        (book,) = connection.get_logbooks()
        assert book.name == "tmp"
        assert book.find(engine.storage.flow_uuid) is not None


def test_a_backend_may_be_given_as_a_configuration(kit):
    engine = engines.load(kit.linear("f", "a"), backend={"connection": "memory"})
    assert isinstance(engine.storage.backend, impl_memory.MemoryBackend)
    engine.run()
    with contextlib.closing(engine.storage.backend.get_connection()) as connection:
        assert connection.get_flow_details(engine.storage.flow_uuid).state == "SUCCESS"


def test_a_store_is_injected_and_an_empty_one_is_not(kit):
    assert engines.load(kit.linear("f"), store={"x": 1}).storage.fetch("x") == 1
    engine = engines.load(kit.linear("f"), store={"x": 1})
    assert len(engine.storage._flowdetail) == 1
    for nothing in (None, {}):
        assert len(engines.load(kit.linear("f"), store=nothing).storage._flowdetail) == 0


def test_the_engine_comes_neither_compiled_nor_prepared(kit):
    engine = engines.load(kit.linear("f", "a"), store={"x": 1})
    assert engine.compilation is None
    assert engine.storage.get_flow_state() == "PENDING"
    with pytest.raises(exceptions.InvalidState):
        engine.prepare()


def test_run_gives_all_values_the_injected_ones_included(kit):
    assert engines.run(kit.linear("f", "a>x", "b>y"), store={"z": 1}) == {"x": 5, "y": 5, "z": 1}
    assert engines.run(kit.linear("f")) == {}


def test_run_takes_the_arguments_of_load(kit, memory):
    book = models.LogBook("b")
    result = engines.run(kit.linear("f", "a>x"), book=book, backend=memory, engine="serial://?k=1")
    assert result == {"x": 5}
    assert [detail.state for detail in book] == ["SUCCESS"]


def test_run_raises_what_the_flow_raises(kit):
    with pytest.raises(RuntimeError, match="^F$"):
        engines.run(kit.linear("f", "F!"))


class TestFactories:
    def test_details_of_a_factory_are_saved(self, factories):
        _, detail = persistence_utils.temporary_flow_detail()
        detail.meta = {"other": "kept"}
        engines.save_factory_details(detail, factories.make, None, None)
        name = "flow_factories_for_tests.make"
        assert detail.meta == {"other": "kept", "factory": {"name": name, "args": [], "kwargs": {}}}
        engines.save_factory_details(detail, name, ["a"], {"k": "v"})
        assert detail.meta == {"other": "kept", "factory": {"name": name, "args": ["a"], "kwargs": {"k": "v"}}}

    @pytest.mark.parametrize("conf", [False, True], ids=["backend", "configuration"])
    def test_details_of_a_factory_are_saved_in_a_backend(self, factories, memory, conf):
        _, detail = persistence_utils.temporary_flow_detail(memory)
        backend = {"connection": "memory"} if conf else memory
        if conf:
            with pytest.raises(exceptions.NotFound):
                engines.save_factory_details(detail, factories.make, (), {}, backend=backend)
        else:
            engines.save_factory_details(detail, factories.make, (), {}, backend=backend)
            with contextlib.closing(memory.get_connection()) as connection:
                stored = connection.get_flow_details(detail.uuid)
            assert stored.meta["factory"]["name"] == "flow_factories_for_tests.make"

    @pytest.mark.parametrize("name", ["no.such.module.make", "flow_factories_for_tests.no_such", "make"])
    def test_a_name_that_cannot_be_imported(self, factories, name):
        _, detail = persistence_utils.temporary_flow_detail()
        with pytest.raises(ImportError):
            engines.save_factory_details(detail, name, None, None)
        assert not detail.meta
        with pytest.raises(ImportError):
            engines.load_from_factory(name)

    def test_callables_that_cannot_be_imported_again(self, factories):
        def nested():
            raise AssertionError

        _, detail = persistence_utils.temporary_flow_detail()
        for factory in (
            nested,
            lambda: None,
            functools.partial(factories.make, 1),
            factories.maker,
            factories.maker.method,
        ):
            with pytest.raises(ValueError, match="Flow factory .* is not reimportable"):
                engines.save_factory_details(detail, factory, None, None)
            with pytest.raises(ValueError, match="Flow factory .* is not reimportable"):
                engines.load_from_factory(factory)
        assert not detail.meta

    def test_a_name_of_something_that_cannot_be_called(self, factories):
        with pytest.raises(TypeError):
            engines.load_from_factory("flow_factories_for_tests.not_callable")

    @pytest.mark.parametrize("as_text", [False, True], ids=["object", "text"])
    def test_load_from_factory(self, factories, as_text):
        factory = "flow_factories_for_tests.make" if as_text else factories.make
        engine = engines.load_from_factory(
            factory, factory_args=["a"], factory_kwargs={"k": 1}, store={"s": 2}, engine="serial", own=3
        )
        assert engine.storage.flow_meta == {
            "factory": {"name": "flow_factories_for_tests.make", "args": ["a"], "kwargs": {"k": 1}}
        }
        assert engine.storage.flow_name == "made"
        assert engine.options == {"own": 3}
        engine.run()
        assert engine.storage.fetch_all() == {"given": [["a"], {"k": 1}], "s": 2}

    def test_load_from_factory_saves_in_book_and_backend(self, factories, memory):
        book = models.LogBook("b")
        engine = engines.load_from_factory(factories.make, book=book, backend=memory)
        with contextlib.closing(memory.get_connection()) as connection:
            detail = connection.get_logbook(book.uuid).find(engine.storage.flow_uuid)
        assert detail.meta["factory"] == {"name": "flow_factories_for_tests.make", "args": [], "kwargs": {}}

    def test_a_flow_is_made_again_from_its_detail(self, factories):
        _, detail = persistence_utils.temporary_flow_detail()
        engines.save_factory_details(detail, factories.make, [1], {"k": 2})
        flow = engines.flow_from_detail(detail)
        assert flow.name == "made"
        assert engines.run(flow) == {"given": [[1], {"k": 2}]}

    def test_a_flow_is_made_again_from_a_detail_with_a_name_only(self, factories):
        _, detail = persistence_utils.temporary_flow_detail()
        detail.meta = {"factory": {"name": "flow_factories_for_tests.make"}}
        assert engines.run(engines.flow_from_detail(detail)) == {"given": [[], {}]}

    @pytest.mark.parametrize("meta", [None, {}, {"other": 1}, 42], ids=repr)
    def test_a_detail_without_a_factory(self, meta):
        _, detail = persistence_utils.temporary_flow_detail()
        detail.meta = meta
        with pytest.raises(ValueError, match=r"^Cannot .* no factory information saved.$"):
            engines.flow_from_detail(detail)

    @pytest.mark.parametrize("factory", [{}, {"name": "no.such.factory"}, {"args": []}], ids=repr)
    def test_a_detail_with_a_factory_that_cannot_be_imported(self, factory):
        _, detail = persistence_utils.temporary_flow_detail()
        detail.meta = {"factory": factory}
        with pytest.raises(ImportError, match="^Could not import factory"):
            engines.flow_from_detail(detail)

    def test_load_from_detail_resumes(self, factories, memory):
        engine = engines.load_from_factory(factories.make, factory_args=["a"], backend=memory)
        engine.run()
        with contextlib.closing(memory.get_connection()) as connection:
            detail = connection.get_flow_details(engine.storage.flow_uuid)
        again = engines.load_from_detail(detail, backend=memory, store={"s": 1}, engine="serial", own=1)
        assert again.storage.flow_uuid == engine.storage.flow_uuid
        assert again.options == {"own": 1}
        assert again.storage.get_flow_state() == "SUCCESS"
        again.run()
        assert again.storage.fetch_all() == {"given": [["a"], {}], "s": 1}

    @pytest.mark.parametrize("name", ["OwnFlow", "Maker.static", "Maker.made_by_class"])
    @pytest.mark.parametrize("as_text", [False, True], ids=["object", "text"])
    def test_classes_and_members_of_classes_are_factories_too(self, factories, name, as_text):
        factory = f"flow_factories_for_tests.{name}"
        if not as_text:
            factory = functools.reduce(getattr, name.split("."), factories)
        engine = engines.load_from_factory(factory)
        assert engine.storage.flow_meta["factory"]["name"] == f"flow_factories_for_tests.{name}"
        again = engines.load_from_detail(engine.storage._flowdetail)
        again.run()
        expected = {"OwnFlow": "own", "Maker.static": [[], {}], "Maker.made_by_class": [["Maker"], {}]}[name]
        assert again.storage.fetch_all() == {"given": expected}
