# SPDX-License-Identifier: Apache-2.0
"""Runs what it is asked to in processes of their own that have one of the libraries loaded already.

A request is a line of JSON, ``{"call": <module.function>, "arguments": [...], "answer": <file>}``; the process calls
the function and writes what it returns into the file. The answer is a line with the code that the process ended with.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import pathlib
import sys
import traceback
from typing import Any

# Loaded once, here and below: a process that is made from this one begins to work at once.
import defects  # noqa: F401
import legs  # noqa: F401

import taskflow
from taskflow.persistence.backends import impl_dir, impl_sqlalchemy, impl_zookeeper  # noqa: F401

LOADED = ("alembic.command", "alembic.config", "kazoo.client", "kazoo.retry", "psycopg2.extras", "pymysql.cursors")
LOADED += ("sqlalchemy.dialects.mysql.pymysql", "sqlalchemy.dialects.postgresql.psycopg2")


def _serve(request: dict[str, Any]) -> int:
    module, name = request["call"].split(".")
    try:
        answer = getattr(sys.modules[module], name)(*request["arguments"])
    except BaseException:
        traceback.print_exc()
        return 1
    pathlib.Path(request["answer"]).write_text(json.dumps(answer), encoding="utf-8")
    return 0


def main() -> None:
    """Serves until nobody asks any more."""
    for name in LOADED:
        importlib.import_module(name)
    # What is loaded stays shared with the processes that are made from this one.
    gc.freeze()
    about = {"file": taskflow.__file__, "version": None}
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        about["version"] = importlib.metadata.version("taskflow")
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        process = os.fork()
        if not process:
            code = 1
            try:
                code = _serve(json.loads(line))
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
