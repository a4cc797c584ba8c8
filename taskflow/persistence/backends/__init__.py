# SPDX-License-Identifier: Apache-2.0
"""How a persistence backend is found by its name or address."""

from __future__ import annotations

import contextlib
import importlib
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import logging
from taskflow.utils import misc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskflow.persistence import base

LOG = logging.getLogger(__name__)

BACKEND_NAMESPACE = "taskflow.persistence"

# Looking into entry points costs more than a small flow's whole run, so what ships with the library is known here.
_OWN_BACKENDS = {
    "dir": ("taskflow.persistence.backends.impl_dir", "DirBackend"),
    "file": ("taskflow.persistence.backends.impl_dir", "DirBackend"),
    "memory": ("taskflow.persistence.backends.impl_memory", "MemoryBackend"),
    "mysql": ("taskflow.persistence.backends.impl_sqlalchemy", "SQLAlchemyBackend"),
    "postgresql": ("taskflow.persistence.backends.impl_sqlalchemy", "SQLAlchemyBackend"),
    "sqlite": ("taskflow.persistence.backends.impl_sqlalchemy", "SQLAlchemyBackend"),
    "zookeeper": ("taskflow.persistence.backends.impl_zookeeper", "ZkBackend"),
}


def _own_class(module_name: str, class_name: str) -> Any:
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as e:
        if e.name != module_name:
            raise  # a library that the backend needs; its name is what the user must see
        raise RuntimeError(f"module {module_name} is not part of this installation") from e
    return getattr(module, class_name)


def fetch(conf: str | dict[str, Any], namespace: str = BACKEND_NAMESPACE, **kwargs: Any) -> base.Backend:
    """Makes the backend that a configuration names.

    Args:
        conf: the name or address of the backend, or a mapping that has it under ``connection``, along with options.
        namespace: the group of entry points in which backends are looked up.
        kwargs: passed on to the backend's constructor.

    Raises:
        NotFound: there is no such backend, or it could not be loaded.
        KeyError: the mapping names no ``connection``.
    """
    driver, conf = misc.extract_driver_and_conf(conf, "connection")
    driver = driver.partition("+")[0]
    LOG.debug("Looking for persistence backend %r in %r", driver, namespace)
    try:
        if namespace == BACKEND_NAMESPACE and driver in _OWN_BACKENDS:
            backend = _own_class(*_OWN_BACKENDS[driver])(conf, **kwargs)
        else:
            from stevedore import driver as plugins

            manager: Any = plugins.DriverManager(
                namespace, driver, invoke_on_load=True, invoke_args=(conf,), invoke_kwds=kwargs
            )
            backend = manager.driver
    except RuntimeError as e:
        known = (
            ", ".join(sorted(_OWN_BACKENDS)) if namespace == BACKEND_NAMESPACE else f"see entry points {namespace!r}"
        )
        msg = f"Could not find or load persistence backend {driver!r} (this library has: {known})"
        raise exc.NotFound(msg, cause=e) from e
    return backend  # type: ignore[no-any-return]


@contextlib.contextmanager
def backend(conf: str | dict[str, Any], namespace: str = BACKEND_NAMESPACE, **kwargs: Any) -> Iterator[base.Backend]:
    """Makes a backend, brings its layout up to date, yields it and closes it in the end.

    Args:
        conf: as for fetch().
        namespace: as for fetch().
        kwargs: as for fetch().
    """
    made = fetch(conf, namespace=namespace, **kwargs)
    with contextlib.closing(made):
        with contextlib.closing(made.get_connection()) as connection:
            connection.upgrade()
        yield made
