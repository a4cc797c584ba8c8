# SPDX-License-Identifier: Apache-2.0
"""Which tables and trees of the pages are read off the library, so that they can not go stale?

Adds the directives ``state-table`` (argument: job, flow, task or retry), ``engine-states`` and ``exception-tree``.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive

from taskflow import exceptions, states

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sphinx.application import Sphinx

TRANSITIONS = {
    "job": states._ALLOWED_JOB_TRANSITIONS,
    "flow": states._ALLOWED_FLOW_TRANSITIONS,
    "task": states._ALLOWED_TASK_TRANSITIONS,
    "retry": states._ALLOWED_RETRY_TRANSITIONS,
}


def ordered(pairs: Iterable[tuple[str, str]], start: str) -> list[str]:
    """Returns all states of a machine, in the order in which they are reached from its first one."""
    following: dict[str, list[str]] = {}
    for old, new in sorted(pairs):
        following.setdefault(old, []).append(new)
    reached = [start]
    for state in reached:
        reached.extend(new for new in following.get(state, ()) if new not in reached)
    return reached + sorted({state for pair in pairs for state in pair} - set(reached))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> nodes.table:
    """Returns a table of literal texts; a cell may hold several, set apart by blanks."""
    group = nodes.tgroup(cols=len(head))
    group.extend(nodes.colspec(colwidth=1) for _ in head)
    body = [nodes.thead("", line([nodes.paragraph("", text) for text in head]))]
    body.append(nodes.tbody("", *(line([literals(cell) for cell in row]) for row in rows)))
    group.extend(body)
    return nodes.table("", group, classes=["state-table"])


def line(cells: Iterable[nodes.Node]) -> nodes.row:
    """Returns one row of a table."""
    return nodes.row("", *(nodes.entry("", cell) for cell in cells))


def literals(text: str) -> nodes.paragraph:
    """Returns a paragraph in which each word is a literal."""
    paragraph = nodes.paragraph()
    for word in text.split():
        paragraph += [nodes.literal(text=word), nodes.Text(" ")]
    return paragraph


class StateTable(Directive):
    """Shows where each state of one of the stored machines may go."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Makes the table."""
        kind = self.arguments[0]
        pairs = TRANSITIONS[kind]
        names = ordered(pairs, states.UNCLAIMED if kind == "job" else states.PENDING)
        rows = [[name, " ".join(new for new in names if (name, new) in pairs)] for name in names]
        return [table(["from", "may go to"], rows)]


class ExceptionTree(Directive):
    """Shows the classes of taskflow.exceptions below their bases, each with the first line of its docstring."""

    def run(self) -> list[nodes.Node]:
        """Makes the nested lists."""
        own = [c for _, c in inspect.getmembers(exceptions, inspect.isclass) if c.__module__ == exceptions.__name__]
        roots = [c for c in own if not any(base in own for base in c.__bases__)]
        return [self.branch(roots, own)]

    def branch(self, classes: list[type], own: list[type]) -> nodes.bullet_list:
        """Returns the list of some classes, each with the list of those below it."""
        found = nodes.bullet_list()
        for cls in classes:
            head = nodes.paragraph("", "", nodes.literal(text=cls.__name__))
            if cls.__bases__[0] not in own:
                head += [nodes.Text(" (a "), nodes.literal(text=cls.__bases__[0].__name__), nodes.Text(")")]
            head += nodes.Text(": " + (cls.__doc__ or "").strip().split("\n\n")[0].replace("\n", " "))
            item = nodes.list_item("", head)
            if below := [c for c in own if cls in c.__bases__]:
                item += self.branch(below, own)
            found += item
        return found


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directives."""
    app.add_directive("state-table", StateTable)
    app.add_directive("exception-tree", ExceptionTree)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
