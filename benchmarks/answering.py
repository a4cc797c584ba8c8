# SPDX-License-Identifier: Apache-2.0
"""What does a process that measures do with what it is asked?

One request and one answer a line, as JSON. A request names a function of a module of this package.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import traceback
from typing import Any

from benchmarks import timing


def measure(request: dict[str, Any]) -> timing.Result:
    """Carry a request out, here and now.

    Args:
        request: ``measure`` (``module.function``), ``arguments``, and how often: ``repeats``, ``seconds``, ``limit``.

    Returns:
        What was found.
    """
    module, _, function = request["measure"].partition(".")
    return timing.repeated(
        getattr(importlib.import_module(f"benchmarks.{module}"), function),
        request.get("arguments", {}),
        request.get("repeats", 1),
        request.get("seconds", 0.0),
        request.get("limit"),
    )


def quiet() -> None:
    """Keep what the library logs about flows that fail on purpose out of sight."""
    logger = logging.getLogger("taskflow")
    logger.addHandler(logging.NullHandler())
    logger.propagate = False


def _version() -> str:
    import taskflow

    version = getattr(taskflow, "__version__", None)
    if version is None:
        import importlib.metadata

        version = importlib.metadata.version("taskflow")
    return str(version)


def serve() -> None:
    """Answer requests until there are no more."""
    # The measured code may print; the answers go to where nothing else goes.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    quiet()
    import taskflow

    hello = {"version": _version(), "file": taskflow.__file__, "python": sys.version.split()[0]}
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = {"result": measure(json.loads(line)).to_dict()}
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), file=answers, flush=True)
