# SPDX-License-Identifier: Apache-2.0
"""How is a flow run? Get an engine with :func:`load`, or run at once with :func:`run`."""

from __future__ import annotations

import sys

from taskflow.engines.helpers import (
    flow_from_detail,
    load,
    load_from_detail,
    load_from_factory,
    run,
    save_factory_details,
)

__all__ = [
    "flow_from_detail",
    "load",
    "load_from_detail",
    "load_from_factory",
    "run",
    "save_factory_details",
]


def _warn_if_partly_patched() -> None:
    # The program may use eventlet; this only looks at what the program itself has imported.
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is None:
        return
    missing = [name for name in ("thread", "time") if not patcher.is_monkey_patched(name)]
    if missing:
        import warnings

        warnings.warn(
            f"eventlet is in use but has not patched {' and '.join(missing)}: green threads would block each other; "
            "call eventlet.monkey_patch() before taskflow is imported",
            RuntimeWarning,
            stacklevel=3,
        )


_warn_if_partly_patched()
