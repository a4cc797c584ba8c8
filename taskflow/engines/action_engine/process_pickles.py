# SPDX-License-Identifier: Apache-2.0
"""How do tasks get to another process, and how do their outcomes come back?

By pickle, with errors that name the task and the very part that could not be pickled.
"""

from __future__ import annotations

import contextlib
import copyreg
import io
import pickle
import sys
import types
from typing import TYPE_CHECKING, Any

from taskflow.types import failure as failures
from taskflow.utils import names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# How the program's main module is called in a process that was made to be like the program's own, and in the program.
_MAIN_ELSEWHERE = "__mp_main__."
_MAIN = "__main__."

# How far into an object the search for what can not be pickled goes.
_DEPTH = 12


def _dumps(value: Any) -> bytes:
    written = io.BytesIO()
    pickler = pickle.Pickler(written, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(value)
    return written.getvalue()


def _plain_dumps(value: Any) -> bytes | None:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except Exception:
        return None


def _loads(payload: bytes | bytearray) -> Any:
    return pickle.loads(payload)  # noqa: S301 - only processes of this program can have written it


def _reduce_failure(failure: failures.Failure) -> tuple[Any, ...]:
    """Failures always get through, at worst without the exception and the arguments of exceptions."""
    state = failure.__getstate__()
    exc_info = _plain_dumps(state.pop("exc_info", None))
    _rename_main(state, _MAIN_ELSEWHERE, _MAIN)
    arguments = [record.get("exc_args", ()) for record in _chain(state)]
    for record in _chain(state):
        record["exc_args"] = ()
    return _make_failure, (state, _plain_dumps(arguments), exc_info)


def _make_failure(state: dict[str, Any], arguments: bytes | None, exc_info: bytes | None) -> failures.Failure:
    if getattr(sys.modules["__main__"], "__name__", "") + "." == _MAIN_ELSEWHERE:
        _rename_main(state, _MAIN, _MAIN_ELSEWHERE)
    if arguments is not None:
        with contextlib.suppress(Exception):
            for record, its in zip(_chain(state), _loads(arguments), strict=True):
                record["exc_args"] = its
    if exc_info is not None:
        # Exceptions whose constructors take other arguments than the exceptions hold fail to be read.
        with contextlib.suppress(Exception):
            found = _loads(exc_info)
            if found is not None and isinstance(found[1], BaseException):
                state["exc_info"] = found
    failure = failures.Failure.__new__(failures.Failure)
    failure.__setstate__(state)
    return failure


def _chain(record: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The record of a failure and those of all its causes."""
    yield record
    for cause in record["causes"]:
        yield from _chain(cause)


def _rename_main(state: dict[str, Any], before: str, after: str) -> None:
    """Types are compared by name, and what the main module defines has another one in worker processes."""
    for record in _chain(state):
        record["exc_type_names"] = [
            after + name.removeprefix(before) if name.startswith(before) else name for name in record["exc_type_names"]
        ]


_REDUCERS: Any = {**copyreg.dispatch_table, failures.Failure: _reduce_failure}


def pack_work(what: str, task: Any, arguments: Mapping[str, Any], events: Sequence[Any]) -> bytes:
    """Make bytes of a job.

    Args:
        what: What is to be done with the task.
        task: The task; its listeners stay here.
        arguments: For its method.
        events: The types of the events that somebody here wants to hear of.

    Returns:
        The bytes, for :func:`unpack_work`.

    Raises:
        PicklingError: Something in it can not be pickled.
    """
    bare = task.copy(retain_listeners=False)
    try:
        return _dumps((what, bare, arguments, tuple(events)))
    except Exception as e:
        path, part, error = _culprit(bare, "task") or _culprit(arguments, "arguments") or ("task", bare, e)
        raise pickle.PicklingError(
            f"Task {task.name!r} can not be sent to a worker process: {path} ({names.class_name(part)}) can not be "
            f"pickled ({error}). A process executor needs tasks of classes, and functions, that can be imported by "
            "name, with attributes and arguments that can be pickled; other tasks can run in threads"
        ) from e


def unpack_work(payload: bytes | bytearray) -> tuple[str, Any, dict[str, Any], tuple[Any, ...]]:
    """Make a job of bytes.

    Args:
        payload: What :func:`pack_work` made.

    Returns:
        What is to be done, the task, the arguments, the types of the events.
    """
    what, task, arguments, events = _loads(payload)
    return what, task, arguments, events


def pack_event(event_type: Any, details: Any) -> bytes:
    """Make bytes of an event.

    Args:
        event_type: Its type.
        details: What is known about it.

    Returns:
        The bytes, for :func:`unpack_event`.

    Raises:
        PicklingError: Something in it can not be pickled.
    """
    try:
        return _dumps((event_type, details))
    except Exception as e:
        path, part, error = _culprit(details, "details") or ("its type", event_type, e)
        raise pickle.PicklingError(f"{path} ({names.class_name(part)}) can not be pickled ({error})") from e


def unpack_event(payload: bytes) -> tuple[Any, Any]:
    """Make an event of bytes.

    Args:
        payload: What :func:`pack_event` made.

    Returns:
        Its type and details.
    """
    event_type, details = _loads(payload)
    return event_type, details


def pack_outcome(task_name: str, what: str, result: Any) -> bytes:
    """Make bytes of what came of a task.

    Args:
        task_name: The name of the task.
        what: What was done.
        result: What it returned, or its failure.

    Returns:
        The bytes, for :func:`unpack_outcome`; of a failure with the pickling error when the result can not be pickled.
    """
    try:
        return _dumps((what, result))
    except Exception as e:
        path, part, error = _culprit(result, "result") or ("result", result, e)
        try:
            raise pickle.PicklingError(
                f"The result of task {task_name!r} can not be sent back from its worker process: {path} "
                f"({names.class_name(part)}) can not be pickled ({error})"
            ) from e
        except pickle.PicklingError:
            return _dumps((what, failures.Failure()))


def unpack_outcome(task_name: str, payload: bytes) -> tuple[str, Any]:
    """Make what came of a task of bytes.

    Args:
        task_name: The name of the task.
        payload: What :func:`pack_outcome` made.

    Returns:
        What was done, and what the task returned or its failure.

    Raises:
        UnpicklingError: It can not be read here.
    """
    try:
        what, result = _loads(payload)
    except Exception as e:
        raise pickle.UnpicklingError(
            f"The result of task {task_name!r} came back from its worker process but can not be read here: "
            f"{type(e).__name__}: {e}"
        ) from e
    if isinstance(result, failures.Failure):
        _note_origin(result, task_name)
    return what, result


def _note_origin(failure: failures.Failure, task_name: str) -> None:
    """Let an exception that is raised again show where it was raised first: its traceback object stayed there."""
    text = failure.traceback_str
    if text and failure.exception is not None:
        with contextlib.suppress(Exception):
            failure.exception.add_note(
                f"\nRaised in the worker process of task {task_name!r}:\nTraceback (most recent call last):\n"
                + text.rstrip()
            )


def _culprit(value: Any, path: str, depth: int = _DEPTH) -> tuple[str, Any, Exception] | None:
    """Find the innermost part of a value that can not be pickled.

    Returns:
        Where it is, what it is, and the error; ``None`` when the whole can be pickled.
    """
    try:
        _dumps(value)
    except Exception as e:
        error = e
    else:
        return None
    if depth:
        for step, part in _parts(value):
            found = _culprit(part, path + step, depth - 1)
            if found is not None:
                return found
    return path, value, error


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in list(value.items()):
            yield f"[key {key!r}]", key
            yield f"[{key!r}]", part
    elif isinstance(value, (list, tuple)):
        for i, part in enumerate(list(value)):
            yield f"[{i}]", part
    elif isinstance(value, (set, frozenset)):
        for part in list(value):
            yield f"[{part!r}]", part
    elif not isinstance(value, (type, types.ModuleType)):
        for attributes in _states(value):
            for name, part in attributes.items():
                yield f".{name}", part


def _states(value: Any) -> list[dict[str, Any]]:
    """The attributes that the pickle of an object would hold."""
    try:
        state = value.__getstate__()
    except Exception:
        return []
    return [part for part in (state if isinstance(state, tuple) else (state,)) if isinstance(part, dict)]
