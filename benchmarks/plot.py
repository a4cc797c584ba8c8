# SPDX-License-Identifier: Apache-2.0
"""How does the cost of a task change with the size of its flow, as a picture?"""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from benchmarks import figures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks import plan, running

WIDTH, HEIGHT = 760, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 130, 40, 60
FONT = "sans-serif"

#: Colours that differ for most colour-blind readers too; the line's pattern says which library.
COLOURS = {"linear": "#0072b2", "unordered": "#d55e00", "layered": "#009e73"}


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """One line of the picture: its name, its colour, its pattern, and points of size and microseconds."""

    name: str
    colour: str
    dashes: str
    points: list[tuple[float, float]]


def lines(findings: running.Findings, settings: plan.Settings) -> list[Line]:
    """The lines of what was found: load and run together."""
    reference = figures.of_growth(findings.reference_growth, settings.base)
    ours = figures.of_growth(findings.growth, settings.base)
    found = []
    for shape, colour in COLOURS.items():
        points = [(float(g.size), g.load + g.run) for g in ours if g.shape == shape]
        found.append(Line(shape, colour, "", points))
        points = [(float(g.size), g.load + g.run) for g in reference if g.shape == shape]
        for row in findings.rows.values():
            wanted = row.comparison
            if wanted.group == "memory" and wanted.ours["arguments"]["shape"] == shape and row.reference is not None:
                parts = row.reference.parts.values()
                if len(parts) == 2 and not any(cost.cut for cost in parts):
                    points.append((float(wanted.tasks), sum(c.cpu for c in parts) / wanted.tasks * figures.MICRO))
        found.append(Line(f"{shape}, 6.5", colour, "6 4", sorted(points)))
    return [line for line in found if line.points]


def _decades(values: Iterable[float]) -> tuple[int, int]:
    every = list(values)
    first, last = math.floor(math.log10(min(every))), math.ceil(math.log10(max(every)))
    return first, max(last, first + 1)


def svg(found: list[Line]) -> str:
    """A picture with logarithmic axes, as SVG; without lines an empty one."""
    texts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="{FONT}" font-size="13">',
        "<title>The cost of a task against the size of its flow</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
    ]
    points = [point for line in found for point in line.points]
    if points:
        across, up = _decades(x for x, _ in points), _decades(y for _, y in points)

        def place(x: float, y: float) -> tuple[float, float]:
            right = (math.log10(x) - across[0]) / (across[1] - across[0])
            high = (math.log10(y) - up[0]) / (up[1] - up[0])
            return (
                LEFT + right * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - high * (HEIGHT - TOP - BOTTOM),
            )

        texts.extend(_axes(across, up, place))
        labels: list[float] = []
        for line in sorted(found, key=lambda line: place(*line.points[-1])[1]):
            placed = [place(*point) for point in line.points]
            way = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
            pattern = f' stroke-dasharray="{line.dashes}"' if line.dashes else ""
            texts.append(f'<polyline points="{way}" fill="none" stroke="{line.colour}" stroke-width="2"{pattern}/>')
            texts.extend(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.colour}"/>' for x, y in placed)
            x, y = placed[-1]
            # Names that would lie on each other move down.
            y = max([y, *(label + 16 for label in labels if abs(label - y) < 16 or label > y)])
            labels.append(y)
            texts.append(f'<text x="{x + 9:.1f}" y="{y + 4:.1f}" fill="{line.colour}">{escape(line.name)}</text>')
    return "\n".join([*texts, "</svg>", ""])


def _axes(
    across: tuple[int, int], up: tuple[int, int], place: Callable[[float, float], tuple[float, float]]
) -> list[str]:
    texts = []
    for power in range(across[0], across[1] + 1):
        x, bottom = place(10.0**power, 10.0 ** up[0])
        _, top = place(10.0**power, 10.0 ** up[1])
        texts.append(f'<line x1="{x:.1f}" y1="{bottom:.1f}" x2="{x:.1f}" y2="{top:.1f}" stroke="#dddddd"/>')
        texts.append(f'<text x="{x:.1f}" y="{bottom + 20:.1f}" text-anchor="middle">{10**power:,}</text>')
    for power in range(up[0], up[1] + 1):
        left, y = place(10.0 ** across[0], 10.0**power)
        right, _ = place(10.0 ** across[1], 10.0**power)
        texts.append(f'<line x1="{left:.1f}" y1="{y:.1f}" x2="{right:.1f}" y2="{y:.1f}" stroke="#dddddd"/>')
        texts.append(f'<text x="{left - 8:.1f}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:,g}</text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    texts.append(f'<text x="{middle}" y="{HEIGHT - 14}" text-anchor="middle">tasks in the flow</text>')
    texts.append(f'<text x="{LEFT}" y="22" text-anchor="start">microseconds of load and run for a task</text>')
    return texts
