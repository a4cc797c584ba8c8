# SPDX-License-Identifier: Apache-2.0
"""Which tables and pictures of the pages are read off the library, so that they can not go stale?

Adds the directives ``state-machine`` (argument: job, flow, task or retry) and ``exception-tree``.
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


WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 132, 28, 78, 34, 46


def picture(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> str:
    """Returns a drawing of a machine: a column for each distance from the first state, arrows for the moves."""
    columns: dict[str, int] = {names[0]: 0}
    for name in names:
        for old, new in pairs:
            if old == name:
                columns.setdefault(new, columns.get(name, 0) + 1)
    rows: dict[str, int] = {}
    for name in names:
        rows[name] = sum(columns[name] == columns[other] for other in rows)
    tallest = max(rows.values()) + 1
    left = {name: MARGIN + columns[name] * (WIDTH + GAP_X) for name in names}
    top = {}
    for name in names:
        inside = sum(columns[other] == columns[name] for other in names)
        top[name] = MARGIN + (rows[name] + (tallest - inside) / 2) * (HEIGHT + GAP_Y)
    width = 2 * MARGIN + max(columns.values()) * (WIDTH + GAP_X) + WIDTH
    height = 2 * MARGIN + (tallest - 1) * (HEIGHT + GAP_Y) + HEIGHT
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height:.0f}" role="img" '
            'class="state-machine" style="max-width: 100%" font-family="monospace" '
            'font-size="13" fill="none" stroke="currentColor">'
        ),
        (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="currentColor" stroke="none"/></marker></defs>'
        ),
    ]
    for old, new in sorted(pairs):
        step = columns[new] - columns[old]
        middle_old, middle_new = top[old] + HEIGHT / 2, top[new] + HEIGHT / 2
        if step > 0:  # from right side to left side
            start, end = (left[old] + WIDTH, middle_old), (left[new], middle_new)
            bend = (end[0] - start[0]) / 2
            curve = f"{start[0] + bend:.0f} {start[1]:.0f} {end[0] - bend:.0f} {end[1]:.0f}"
        elif step == 0:  # along the right side of a column
            start, end = (left[old] + WIDTH, middle_old + 5), (left[new] + WIDTH, middle_new - 5)
            curve = f"{start[0] + 40:.0f} {start[1]:.0f} {end[0] + 40:.0f} {end[1]:.0f}"
        else:  # backwards, around all boxes: above them from the upper half of the picture, else below
            above = middle_old < height / 2
            side = 0 if above else HEIGHT
            start, end = (left[old] + 40, top[old] + side), (left[new] + WIDTH - 40, top[new] + side)
            peak = MARGIN - 10 * -step if above else height - MARGIN + 10 * -step
            bow = start[1] + (peak - start[1]) / 0.75  # a curve comes three quarters of the way to its handles
            curve = f"{start[0] - 20:.0f} {bow:.0f} {end[0] + 20:.0f} {bow:.0f}"
        parts.append(
            f'<path d="M{start[0]:.0f} {start[1]:.0f}C{curve} {end[0]:.0f} {end[1]:.0f}" opacity="0.65" '
            'marker-end="url(#tip)"/>'
        )
    for name in names:
        parts.append(f'<rect x="{left[name]}" y="{top[name]:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="6"/>')
        parts.append(
            f'<text x="{left[name] + WIDTH / 2:.0f}" y="{top[name] + HEIGHT / 2 + 4:.0f}" text-anchor="middle" '
            f'fill="currentColor" stroke="none">{name}</text>'
        )
    return "".join([*parts, "</svg>"])


class StateMachine(Directive):
    """Shows one of the stored machines: a picture, and a table of where each state may go."""

    required_arguments: ClassVar[int] = 1

    def run(self) -> list[nodes.Node]:
        """Makes the picture and the table."""
        kind = self.arguments[0]
        pairs = TRANSITIONS[kind]
        names = ordered(pairs, states.UNCLAIMED if kind == "job" else states.PENDING)
        rows = [[name, " ".join(new for new in names if (name, new) in pairs)] for name in names]
        drawing = nodes.raw("", picture(names, pairs), format="html")
        return [drawing, table(["from", "may go to"], rows)]


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
    app.add_directive("state-machine", StateMachine)
    app.add_directive("exception-tree", ExceptionTree)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
