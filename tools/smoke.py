# SPDX-License-Identifier: Apache-2.0
"""Does an installed package run a first flow, and go on from what an earlier run stored?

usage: python tools/smoke.py memory|URL      the URL of an empty database
"""

import sys

from taskflow import engines, states, task
from taskflow.patterns import linear_flow


class Double(task.Task):
    """Doubles a number."""

    default_provides = "doubled"

    def execute(self, number: int) -> int:
        """Returns twice the number."""
        return 2 * number


class Tell(task.Task):
    """Prints a number."""

    def execute(self, doubled: int) -> None:
        """Prints the number."""
        print(f"smoke: the double is {doubled}")


def build() -> linear_flow.Flow:
    """Returns the flow, anew for each engine."""
    return linear_flow.Flow("smoke").add(Double(), Tell())


def run_in_memory() -> bool:
    """Runs the flow where nothing is kept."""
    return engines.run(build(), store={"number": 21})["doubled"] == 42


def run_and_reload(url: str) -> bool:
    """Runs the flow on a database, and looks at it with a second engine that knows only what was stored."""
    from taskflow.persistence import backends

    with backends.backend(url) as backend:
        first = engines.load(build(), store={"number": 21}, backend=backend)
        first.run()
        stored = backend.get_connection().get_flow_details(first.storage.flow_uuid)
        second = engines.load(build(), flow_detail=stored, backend=backend)
        second.run()
        return second.storage.fetch("doubled") == 42 and second.storage.get_flow_state() == states.SUCCESS


def main() -> int:
    """Runs what the argument names."""
    well = run_in_memory() if sys.argv[1] == "memory" else run_and_reload(sys.argv[1])
    print(f"smoke: {'well' if well else 'wrong result'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
