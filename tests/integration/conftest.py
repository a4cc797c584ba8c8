# SPDX-License-Identifier: Apache-2.0
"""How does one test run on every kind of backend?"""

from __future__ import annotations

import contextlib

import pytest

from taskflow.persistence import backends, base
from taskflow.persistence.backends import impl_memory

DATABASES = {"postgresql": "psycopg", "mariadb": "pymysql"}
_urls = {}


def _passed_on(name):
    def method(self, *args, **kwargs):
        return getattr(self.inner, name)(*args, **kwargs)

    return method


class _PlainConnection(base.Connection):
    """Has what a connection must have, and nothing more than single flows that can be removed."""

    def __init__(self, backend):
        self._backend = backend
        self.inner = backend.inner.get_connection()

    @property
    def backend(self):
        return self._backend

    for _name in (*base.Connection.__abstractmethods__, "destroy_flow_details"):
        if _name != "backend":
            locals()[_name] = _passed_on(_name)


class PlainBackend(base.Backend):
    """A backend such as other packages bring."""

    def __init__(self):
        super().__init__({})
        self.inner = impl_memory.MemoryBackend()

    def get_connection(self):
        return _PlainConnection(self)

    def close(self):
        self.inner.close()


@pytest.fixture(params=["memory", "plain", "sqlite memory", "sqlite file", "dir", "zookeeper", *DATABASES])
def backend(request, tmp_path):
    """An empty backend of each kind, with all servers that there are."""
    kind = request.param
    if kind == "plain":
        with contextlib.closing(PlainBackend()) as made:
            yield made
        return
    if kind in DATABASES:
        server = request.getfixturevalue(kind)
        if kind not in _urls:
            _urls[kind] = server.fresh(DATABASES[kind])
        conf = {"connection": _urls[kind]}
    elif kind == "zookeeper":
        server = request.getfixturevalue("zookeeper")
        conf = {"connection": "zookeeper", "hosts": server.hosts, "path": server.fresh()}
    else:
        conf = {
            "memory": {"connection": "memory"},
            "sqlite memory": {"connection": "sqlite://"},
            "sqlite file": {"connection": f"sqlite:///{tmp_path}/book.db"},
            "dir": {"connection": "dir", "path": str(tmp_path / "records"), "fsync": False},
        }[kind]
    with backends.backend(conf) as made:
        yield made
        if kind in DATABASES:
            made.get_connection().clear_all()
