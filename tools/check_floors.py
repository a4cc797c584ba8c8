# SPDX-License-Identifier: Apache-2.0
"""Does every file of the package import only from its own floor or the floors below, and without circles?

usage: python tools/check_floors.py [PACKAGE-FOLDER]      exit 1 when an import goes up or runs in a circle

Three kinds of import are told apart: those at module level, which run when the module is imported, those inside
functions, which run later, and those under ``if TYPE_CHECKING:``, which never run. None of them may go up. Circles are
looked for among the first.
"""

from __future__ import annotations

import ast
import collections
import pathlib
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The longest prefix that fits decides. A module that fits none is an offender too: it has no place in the house yet.
FLOORS = {
    "taskflow": 0,
    "taskflow.utils": 0,
    "taskflow.version": 0,
    "taskflow.exceptions": 1,
    "taskflow.logging": 1,
    "taskflow.states": 1,
    "taskflow.types": 1,
    "taskflow.atom": 2,
    "taskflow.binding": 2,
    "taskflow.deciders": 2,
    "taskflow.flow": 2,
    "taskflow.patterns": 2,
    "taskflow.retry": 2,
    "taskflow.task": 2,
    "taskflow.persistence": 3,
    "taskflow.lookups": 3,
    "taskflow.records": 3,
    "taskflow.storage": 3,
    "taskflow.engines": 4,
    "taskflow.formatters": 5,
    "taskflow.listeners": 5,
    "taskflow.jobs": 6,
    "taskflow.conductors": 7,
    "taskflow.testing": 7,
    "taskflow.cli": 8,
    # Published module names that say `utils` but are about something of a higher floor.
    "taskflow.utils.banner": 1,
    "taskflow.utils.kazoo_utils": 1,
    "taskflow.utils.misc": 1,
    "taskflow.utils.persistence_utils": 3,
    "taskflow.utils.schema_utils": 1,
}
MODULE, FUNCTION, TYPING = "module level", "inside a function", "for type checkers"


def floor_of(module: str) -> int | None:
    """Returns the floor of a module, or None when the table does not place it."""
    name = module
    while name:
        if name in FLOORS and (name != "taskflow" or module == "taskflow"):
            return FLOORS[name]
        name = name.rpartition(".")[0]
    return None


def modules_of(package: pathlib.Path) -> dict[str, pathlib.Path]:
    """Returns the dotted names of all files below a package's folder."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def is_typing_test(node: ast.expr) -> bool:
    """Says whether an `if` asks for TYPE_CHECKING, bare or as typing.TYPE_CHECKING."""
    return "TYPE_CHECKING" in {getattr(node, "id", None), getattr(node, "attr", None)}


def walk(nodes: list[ast.stmt], kind: str) -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Yields every import statement below some statements, with its kind."""
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, kind
        elif isinstance(node, ast.If) and is_typing_test(node.test):
            yield from walk(node.body, TYPING)
            yield from walk(node.orelse, kind)
        else:
            inner = FUNCTION if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and kind == MODULE else kind
            for field in ("body", "orelse", "finalbody"):
                yield from walk(getattr(node, field, []), inner)
            for part in [*getattr(node, "handlers", []), *getattr(node, "cases", [])]:
                yield from walk(part.body, inner)


def targets(node: ast.Import | ast.ImportFrom, module: str, is_package: bool, known: set[str]) -> Iterator[str]:
    """Yields the modules of the package that one import statement names."""
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    else:
        base = node.module or ""
        if node.level:
            package = module if is_package else module.rpartition(".")[0]
            for _ in range(node.level - 1):
                package = package.rpartition(".")[0]
            base = f"{package}.{base}".rstrip(".")
        names = [full if (full := f"{base}.{alias.name}") in known else base for alias in node.names]
    yield from (name for name in names if name.split(".")[0] == "taskflow")


def circles(edges: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yields one circle for each back edge of a depth-first walk."""
    state: dict[str, int] = {}
    for start in sorted(edges):
        if start in state:
            continue
        path, stack = [start], [iter(sorted(edges[start]))]
        state[start] = 1
        while stack:
            following = next(stack[-1], None)
            if following is None:
                stack.pop()
                state[path.pop()] = 2
            elif state.get(following) == 1:
                yield [*path[path.index(following) :], following]
            elif following not in state:
                state[following] = 1
                path.append(following)
                stack.append(iter(sorted(edges.get(following, ()))))


def check(package: pathlib.Path) -> tuple[list[str], collections.Counter[str]]:
    """Returns what is wrong with a package's imports, and how many imports of each kind there are."""
    known = modules_of(package)
    wrong: list[str] = []
    counts: collections.Counter[str] = collections.Counter()
    edges: dict[str, set[str]] = collections.defaultdict(set)
    for module, path in known.items():
        own = floor_of(module)
        if own is None:
            wrong.append(f"{path}: module {module} stands on no floor; give it one in tools/check_floors.py")
            continue
        for node, kind in walk(ast.parse(path.read_text(encoding="utf-8")).body, MODULE):
            for target in targets(node, module, path.name == "__init__.py", set(known)):
                counts[kind] += 1
                there = floor_of(target)
                if target not in known:
                    wrong.append(f"{path}:{node.lineno}: {module} imports {target}, which does not exist")
                elif there is None or there > own:
                    wrong.append(
                        f"{path}:{node.lineno}: {module} (floor {own}) imports {target} (floor {there}), {kind}"
                    )
                elif kind == MODULE and target != module:
                    edges[module].add(target)
    wrong.extend(f"circle: {' -> '.join(circle)}" for circle in circles(edges))
    return wrong, counts


def main() -> int:
    """Prints the offenders and a summary."""
    package = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "taskflow")
    wrong, counts = check(package)
    for line in wrong:
        print(line)
    print(
        f"floors: {len(wrong)} offenders; imports within the package: "
        + ", ".join(f"{counts[kind]} {kind}" for kind in (MODULE, FUNCTION, TYPING))
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
