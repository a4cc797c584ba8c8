# SPDX-License-Identifier: Apache-2.0
"""How does a program get an engine for its flow, and get it back later from what was saved?"""

from __future__ import annotations

import contextlib
import importlib
import re
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow.utils import names, persistence_utils

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from taskflow.engines import base
    from taskflow.persistence import base as persistence
    from taskflow.persistence import models

ENGINES_NAMESPACE = "taskflow.engines"
ENGINE_DEFAULT = "default"

# The engines that ship with the library; other names are looked up among the installed entry points.
_OWN = {
    "default": "taskflow.engines.action_engine.engine:SerialActionEngine",
    "serial": "taskflow.engines.action_engine.engine:SerialActionEngine",
    "parallel": "taskflow.engines.action_engine.engine:ParallelActionEngine",
}

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.\-]*:")


def _options_of(text: str) -> tuple[str, dict[str, Any]]:
    """The name of the engine in a text that may be a URI, and the options in it."""
    if not isinstance(text, str):
        raise TypeError(f"An engine is chosen by its name or a URI, not by {text!r} ({type(text)})")
    if not _SCHEME.match(text):
        return text, {}
    from taskflow.utils import misc

    try:
        uri = misc.parse_uri(text)
        return uri.scheme, misc.merge_uri(uri, {})
    except ValueError as e:
        # Not the whole text: a password may be in it.
        raise ValueError(f"The URI of engine {text.partition(':')[0]!r} is not valid: {e}") from e


def _backend_of(backend: Any) -> Any:
    """A backend, made from its configuration where that was given."""
    if isinstance(backend, dict):
        from taskflow.persistence import backends

        return backends.fetch(backend)
    return _check(backend, "backend", "get_connection", "a persistence backend or the configuration of one, a dict,")


def _check(given: Any, name: str, needed: str, expected: str) -> Any:
    """What was given for an argument, unless it is nothing of the kind; ``None`` may be given for all of them.

    Raises:
        TypeError: It is something else.
    """
    if given is not None and not hasattr(given, needed):
        raise TypeError(f"Argument {name!r} must be {expected} or None, not {given!r} ({type(given)})")
    return given


def _checked_store(store: Any) -> dict[str, Any] | None:
    if not store:
        return None
    try:
        return dict(store)
    except (TypeError, ValueError) as e:
        raise TypeError(f"Argument 'store' must be a dict of names and values, not {store!r} ({type(store)})") from e


def _engine_class(name: str, namespace: str) -> Any:
    if namespace == ENGINES_NAMESPACE and name in _OWN:
        module, _, attribute = _OWN[name].partition(":")
        return getattr(importlib.import_module(module), attribute)
    import stevedore.driver

    return stevedore.driver.DriverManager(namespace, name).driver


def load(
    flow: Any,
    store: Mapping[str, Any] | None = None,
    flow_detail: models.FlowDetail | None = None,
    book: models.LogBook | None = None,
    backend: persistence.Backend | dict[str, Any] | None = None,
    namespace: str = ENGINES_NAMESPACE,
    engine: str = ENGINE_DEFAULT,
    **kwargs: Any,
) -> base.Engine:
    """Make an engine for a flow; it is neither compiled nor prepared.

    Args:
        flow: The flow, or a lone task.
        store: Values to inject for the whole flow.
        flow_detail: The record to go on with; a new one by default.
        book: The book that a new record is put into.
        backend: A persistence backend, or the configuration of one.
        namespace: The entry-point group that engines are looked up in.
        engine: The name of an engine, or a URI with that name as its scheme and options in it.
        **kwargs: Options of the engine; they win over those of a URI.

    Returns:
        The engine.

    Raises:
        NotFound: There is no engine of that name.
    """
    name, options = _options_of(engine or ENGINE_DEFAULT)
    options.update(kwargs)
    if not isinstance(namespace, str):
        raise TypeError(f"Engines are looked up in an entry-point group by its name, not in {namespace!r}")
    store = _checked_store(store)
    where = _backend_of(backend)
    _check(book, "book", "add", "a LogBook")
    _check(flow_detail, "flow_detail", "meta", "a FlowDetail")
    if flow_detail is None:
        flow_detail = persistence_utils.create_flow_detail(flow, book=book, backend=where)
    try:
        made: base.Engine = _engine_class(name, namespace)(flow, flow_detail, where, options)
    except RuntimeError as e:
        raise exc.NotFound(
            f"Could not find engine {name!r} in {namespace!r}: install what provides it, or use one of "
            f"{', '.join(sorted(_OWN))}",
            e,
        ) from e
    if store:
        made.storage.inject(store)
    return made


def run(
    flow: Any,
    store: Mapping[str, Any] | None = None,
    flow_detail: models.FlowDetail | None = None,
    book: models.LogBook | None = None,
    backend: persistence.Backend | dict[str, Any] | None = None,
    namespace: str = ENGINES_NAMESPACE,
    engine: str = ENGINE_DEFAULT,
    **kwargs: Any,
) -> dict[Any, Any]:
    """Make an engine as :func:`load` does, run it, and return all values.

    Args:
        flow: The flow, or a lone task.
        store: Values to inject for the whole flow.
        flow_detail: The record to go on with; a new one by default.
        book: The book that a new record is put into.
        backend: A persistence backend, or the configuration of one.
        namespace: The entry-point group that engines are looked up in.
        engine: The name of an engine, or a URI with that name as its scheme and options in it.
        **kwargs: Options of the engine.

    Returns:
        Name -> value, of what was injected and of what the atoms provided.
    """
    made = load(
        flow,
        store=store,
        flow_detail=flow_detail,
        book=book,
        backend=backend,
        namespace=namespace,
        engine=engine,
        **kwargs,
    )
    made.run()
    return made.storage.fetch_all()


def _import(name: str) -> Any:
    """Import ``module.attribute`` or ``module.Class.attribute``.

    Raises:
        ImportError: There is no such thing.
    """
    parts = name.split(".")
    for at in range(len(parts) - 1, 0, -1):
        module_name = ".".join(parts[:at])
        if not all(parts[:at]):
            continue
        try:
            found: Any = importlib.import_module(module_name)
        except ModuleNotFoundError as e:
            if e.name is not None and (module_name == e.name or module_name.startswith(f"{e.name}.")):
                continue
            raise
        try:
            for attribute in parts[at:]:
                found = getattr(found, attribute)
        except AttributeError as e:
            raise ImportError(f"{name!r} cannot be imported: {e}") from e
        return found
    raise ImportError(f"{name!r} cannot be imported: expected the dotted name of something in an importable module")


def _check_factory(factory: Any) -> tuple[str, Callable[..., Any]]:
    """The name that a factory is saved under, and the factory."""
    if isinstance(factory, str):
        return factory, _import(factory)
    if not callable(factory):
        # A ValueError for what is no callable too: callers know it as the error of a bad factory.
        raise ValueError(  # noqa: TRY004
            f"Flow factory {factory!r} is not reimportable: expected a function, a class or a dotted name"
        )
    name = names.callable_name(factory)
    try:
        again = _import(name)
    except ImportError as e:
        raise ValueError(
            f"Flow factory {factory!r} is not reimportable by name {name!r}: "
            "a later process has to find it again, so it must be a function or class of an importable module"
        ) from e
    if again != factory:
        raise ValueError(
            f"Flow factory {factory!r} is not reimportable by name {name!r}: importing that gives {again!r}"
        )
    return name, factory


def save_factory_details(
    flow_detail: models.FlowDetail,
    flow_factory: Any,
    factory_args: Iterable[Any] | None,
    factory_kwargs: Mapping[str, Any] | None,
    backend: persistence.Backend | dict[str, Any] | None = None,
) -> None:
    """Note in a flow's record how to make the flow again.

    Args:
        flow_detail: The record.
        flow_factory: A function or class that makes the flow, or its dotted name.
        factory_args: Its positional arguments.
        factory_kwargs: Its keyword arguments.
        backend: Where to save the record too.

    Raises:
        ImportError: The name cannot be imported.
        ValueError: The factory would not be found again by its name.
    """
    name, _ = _check_factory(flow_factory)
    flow_detail.meta = {
        **(flow_detail.meta or {}),
        "factory": {"name": name, "args": factory_args or [], "kwargs": factory_kwargs or {}},
    }
    where = _backend_of(backend)
    if where is not None:
        with contextlib.closing(where.get_connection()) as connection:
            connection.update_flow_details(flow_detail)


def load_from_factory(
    flow_factory: Any,
    factory_args: Iterable[Any] | None = None,
    factory_kwargs: Mapping[str, Any] | None = None,
    store: Mapping[str, Any] | None = None,
    book: models.LogBook | None = None,
    backend: persistence.Backend | dict[str, Any] | None = None,
    namespace: str = ENGINES_NAMESPACE,
    engine: str = ENGINE_DEFAULT,
    **kwargs: Any,
) -> base.Engine:
    """Make an engine for the flow that a factory makes, and note the factory in the flow's record.

    Args:
        flow_factory: A function or class that makes the flow, or its dotted name.
        factory_args: Its positional arguments.
        factory_kwargs: Its keyword arguments.
        store: Values to inject for the whole flow.
        book: The book that the record is put into.
        backend: A persistence backend, or the configuration of one.
        namespace: The entry-point group that engines are looked up in.
        engine: The name of an engine, or a URI with that name as its scheme and options in it.
        **kwargs: Options of the engine.

    Returns:
        The engine.

    Raises:
        ImportError: The factory's name cannot be imported.
        ValueError: The factory would not be found again by its name.
    """
    _, factory = _check_factory(flow_factory)
    try:
        args, keywords = list(factory_args or ()), dict(factory_kwargs or {})
    except (TypeError, ValueError) as e:
        raise TypeError(
            f"Flow factory {flow_factory!r} cannot be called with {factory_args!r} and {factory_kwargs!r}: "
            "expected a list of arguments and a dict of keyword arguments"
        ) from e
    if not callable(factory):
        raise TypeError(f"Flow factory {flow_factory!r} is {factory!r}: expected a function or a class")
    flow = factory(*args, **keywords)
    where = _backend_of(backend)
    flow_detail = persistence_utils.create_flow_detail(flow, book=book, backend=where)
    save_factory_details(flow_detail, flow_factory, factory_args, factory_kwargs, backend=where)
    return load(
        flow,
        store=store,
        flow_detail=flow_detail,
        book=book,
        backend=where,
        namespace=namespace,
        engine=engine,
        **kwargs,
    )


def flow_from_detail(flow_detail: models.FlowDetail) -> Any:
    """Make a flow again by the factory that is noted in its record.

    Args:
        flow_detail: The record.

    Returns:
        The flow.

    Raises:
        ValueError: No factory is noted.
        ImportError: The factory cannot be imported.
    """
    try:
        noted = flow_detail.meta["factory"]
    except (KeyError, AttributeError, TypeError):
        raise ValueError(
            f"Cannot reconstruct flow {flow_detail.name} {flow_detail.uuid}: no factory information saved."
        ) from None
    try:
        factory = _import(noted["name"])
    except (KeyError, TypeError, ImportError) as e:
        raise ImportError(f"Could not import factory for flow {flow_detail.name} {flow_detail.uuid}") from e
    return factory(*(noted.get("args") or ()), **(noted.get("kwargs") or {}))


def load_from_detail(
    flow_detail: models.FlowDetail,
    store: Mapping[str, Any] | None = None,
    backend: persistence.Backend | dict[str, Any] | None = None,
    namespace: str = ENGINES_NAMESPACE,
    engine: str = ENGINE_DEFAULT,
    **kwargs: Any,
) -> base.Engine:
    """Make an engine that goes on with a recorded flow, made again by its factory.

    Args:
        flow_detail: The record.
        store: Values to inject for the whole flow.
        backend: A persistence backend, or the configuration of one.
        namespace: The entry-point group that engines are looked up in.
        engine: The name of an engine, or a URI with that name as its scheme and options in it.
        **kwargs: Options of the engine.

    Returns:
        The engine.
    """
    flow = flow_from_detail(flow_detail)
    return load(
        flow, store=store, flow_detail=flow_detail, backend=backend, namespace=namespace, engine=engine, **kwargs
    )
