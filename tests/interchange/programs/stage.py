# SPDX-License-Identifier: Apache-2.0
"""What is written down while a flow runs, and where does the process stop?"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
from typing import Any

from taskflow.types import failure as ft

_path: str | None = None
_stop_at: int | None = None
_how: str = ""
_passed = 0
_engine: Any = None


def begin(path: str, stop_at: int | None, how: str) -> None:
    """Says where lines go, and at which point (the first is 0) the process is killed, or its engine suspended."""
    global _path, _stop_at, _how, _passed  # noqa: PLW0603 - a process has one stage
    _path, _stop_at, _how, _passed = path, stop_at, how, 0


def set_engine(engine: Any) -> None:
    """Says which engine is suspended."""
    global _engine  # noqa: PLW0603
    _engine = engine


def passed() -> int:
    """Returns how many points were passed."""
    return _passed


def describe(value: Any) -> Any:
    """Returns something that JSON can hold, and that differs where values or their types differ."""
    if isinstance(value, ft.Failure):
        return {"a failure": describe(value.to_dict(include_args=True))}
    if isinstance(value, dict) and "traceback_str" in value:
        # Without the lines of the traceback, which name files of the library.
        changed = {"traceback_str": bool(value["traceback_str"]), "exc_args": list(value["exc_args"])}
        return {key: describe(changed.get(key, v)) for key, v in value.items()}
    if isinstance(value, dict):
        # Keys that are texts as such, so that what is compared can be read.
        return {k if isinstance(k, str) else f"{type(k).__name__} {k!r}": describe(v) for k, v in value.items()}
    if isinstance(value, tuple):
        return {"a tuple": [describe(v) for v in value]}
    if isinstance(value, (set, frozenset)):
        return {"a set": sorted(repr(v) for v in value)}
    if isinstance(value, list):
        return [describe(v) for v in value]
    if isinstance(value, float):
        return {"a float": repr(value)}
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, dt.datetime):
        return {"a datetime": value.isoformat()}
    return {f"a {type(value).__name__}": "" if type(value).__repr__ is object.__repr__ else repr(value)}


def point(*words: Any) -> None:
    """Leaves a line that survives the process, and stops if this is the point."""
    global _passed  # noqa: PLW0603
    line = json.dumps([describe(word) for word in words]) + "\n"
    descriptor = os.open(_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(descriptor, line.encode("ascii"))
    finally:
        os.close(descriptor)
    here, _passed = _passed, _passed + 1
    if here == _stop_at:
        if _how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        _engine.suspend()
