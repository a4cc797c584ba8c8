# SPDX-License-Identifier: Apache-2.0
"""How backends are found by name or address."""

import sys
import types

import pytest

from taskflow import exceptions as exc
from taskflow.persistence import backends, base, models
from taskflow.persistence.backends import impl_memory, impl_sqlalchemy


def test_namespace():
    assert backends.BACKEND_NAMESPACE == "taskflow.persistence"


@pytest.mark.parametrize(
    "conf",
    [
        "memory",
        "memory:",
        "memory://",
        "memory+x://",
        {"connection": "memory"},
        {"connection": "memory://", "path": "/x"},
    ],
)
def test_memory(conf):
    backend = backends.fetch(conf)
    assert isinstance(backend, impl_memory.MemoryBackend)
    if isinstance(conf, dict):
        assert backend.path == conf.get("path", "/")


@pytest.mark.parametrize(
    "conf", ["sqlite://", "sqlite:///", "sqlite:////no/such/file.db", {"connection": "sqlite+pysqlite://"}]
)
def test_sqlite(conf):
    with_engine = backends.fetch(conf)
    assert isinstance(with_engine, impl_sqlalchemy.SQLAlchemyBackend)
    assert with_engine.engine.dialect.name == "sqlite"
    with_engine.close()


def test_options_in_the_address_are_taken_unless_given_already():
    conf = {"connection": "memory://?path=/from/address&deep_copy=&x=1", "x": "mine"}
    backend = backends.fetch(conf)
    assert backend.path == "/from/address"
    assert backend._conf["x"] == "mine"
    assert backend._conf["connection"] == conf["connection"]
    assert list(conf) == ["connection", "x"]


def test_unknown_backend():
    for conf in ("nothing-like-this", "postgres://h/d"):
        with pytest.raises(exc.NotFound, match="memory"):
            backends.fetch(conf)


@pytest.mark.parametrize(
    ("conf", "error"), [({}, KeyError), ({"path": "x"}, KeyError), ({"connection": 5}, AttributeError)]
)
def test_bad_configurations(conf, error):
    with pytest.raises((error, TypeError)):
        backends.fetch(conf)


def test_errors_of_the_constructor_pass():
    with pytest.raises(ValueError, match="sqlite_journal_mode"):
        backends.fetch({"connection": "sqlite://", "sqlite_journal_mode": "x"})


class Foreign(base.Backend):
    def __init__(self, conf, **kwargs):
        super().__init__(conf)
        if kwargs.get("error"):
            raise kwargs["error"]
        self.kwargs = kwargs

    def get_connection(self):
        raise RuntimeError

    def close(self):
        pass


def register(monkeypatch, name, target):
    # Imported only here: this is what the library must not need for its own backends.
    import importlib.metadata

    points = importlib.metadata.EntryPoints([importlib.metadata.EntryPoint(name, target, "some.namespace")])
    from stevedore import extension

    monkeypatch.setattr(extension.ExtensionManager, "list_entry_points", lambda self: list(points))


def test_other_namespaces_are_looked_up_among_entry_points(monkeypatch):
    module = types.ModuleType("foreign_backends")
    module.Foreign = Foreign
    monkeypatch.setitem(sys.modules, "foreign_backends", module)
    register(monkeypatch, "memory", "foreign_backends:Foreign")
    backend = backends.fetch("memory", namespace="some.namespace", extra=1)
    assert type(backend) is Foreign
    assert backend.kwargs == {"extra": 1}
    with pytest.raises(exc.NotFound):
        backends.fetch("other", namespace="some.namespace")
    with pytest.raises(exc.NotFound):
        backends.fetch("memory", namespace="some.namespace", error=RuntimeError("x"))
    with pytest.raises(ValueError, match="x"):
        backends.fetch("memory", namespace="some.namespace", error=ValueError("x"))


def test_keyword_arguments_reach_the_backend():
    import sqlalchemy as sa

    engine = sa.create_engine("sqlite://")
    assert backends.fetch("sqlite", engine=engine).engine is engine
    with pytest.raises(TypeError):
        backends.fetch("memory", engine=engine)


def test_context_manager_upgrades_and_closes():
    with backends.backend("sqlite://") as backend:
        connection = backend.get_connection()
        connection.save_logbook(models.LogBook("b", "B"))
        assert connection.get_logbook("B").name == "b"
    # Closing has dropped the database, since it lives in the connection only.
    with pytest.raises(exc.StorageFailure):
        backend.get_connection().get_logbook("B")
    backend.close()


def test_context_manager_closes_after_an_error(monkeypatch):
    closed = []
    monkeypatch.setattr(impl_memory.MemoryBackend, "close", lambda self: closed.append(self))
    with pytest.raises(ZeroDivisionError), backends.backend("memory") as backend:
        raise ZeroDivisionError
    assert closed == [backend]
