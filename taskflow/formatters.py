# SPDX-License-Identifier: Apache-2.0
"""What should a log say about a failed atom: what went wrong, and what had happened before it?"""

from __future__ import annotations

import collections
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from taskflow import atom as atoms
from taskflow import exceptions as exc
from taskflow import states
from taskflow.engines.action_engine import compiler
from taskflow.types import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable, Iterator

    from taskflow import storage as storages
    from taskflow.engines import base
    from taskflow.types import failure as failures

# How many lines the predecessors of an atom may take; the nearest ones are shown, as they tell most.
MAX_NODES = 500

# How many steps back from the failed atom are shown; each indents its line by three more columns.
MAX_DEPTH = 100

MASK = "***"

_INDENT = "  "
_MORE = "... (predecessors that are further away are not shown)"


class FailureFormatter:
    """Describes failures together with the atoms that came before the failed one.

    Args:
        engine: the engine that runs the flow.
        hide_inputs_outputs_of: names of atoms whose arguments and results are not shown, and not even read.
        mask_inputs_keys: keys whose values are masked wherever they occur in arguments.
        mask_outputs_keys: keys whose values are masked wherever they occur in results.
    """

    def __init__(
        self,
        engine: base.Engine,
        hide_inputs_outputs_of: Collection[str] = (),
        mask_inputs_keys: Collection[Hashable] = (),
        mask_outputs_keys: Collection[Hashable] = (),
    ) -> None:
        self._engine = engine
        self._hide_inputs_outputs_of = hide_inputs_outputs_of
        self._mask_inputs_keys = mask_inputs_keys
        self._mask_outputs_keys = mask_outputs_keys

    def format(
        self, fail: failures.Failure, atom_matcher: Callable[[tree.Node], object]
    ) -> tuple[failures.ExcInfo | None, str]:
        """Describes a failure.

        Args:
            fail: the failure.
            atom_matcher: called with nodes of the compiled hierarchy, true for that of the failed atom.

        Returns:
            The exception for the logging functions' ``exc_info``, ``None`` when it is lost; and what else there is
            to tell, as text: of a lost exception what is known of it, and the predecessors of an atom that was just
            executed. It may be empty.
        """
        exc_info = fail.exc_info
        text = "" if exc_info is not None else fail.pformat(traceback=True) + os.linesep
        storage = getattr(self._engine, "storage", None)
        compilation = getattr(self._engine, "compilation", None)
        if storage is None or compilation is None:
            return exc_info, text
        failed = compilation.hierarchy.find_first_match(atom_matcher)
        if failed is None or failed.metadata.get("kind") not in compiler.ATOMS:
            return exc_info, text
        try:
            if storage.get_atom_intention(failed.item.name) != states.EXECUTE:
                return exc_info, text
        except exc.NotFound:
            return exc_info, text
        return exc_info, text + self._format_predecessors(storage, compilation.execution_graph, failed.item)

    def _format_predecessors(self, storage: storages.Storage, graph: Any, atom: Any) -> str:
        root, complete = _predecessors(graph, atom)
        cache: dict[Any, Any] = {}
        drawn: set[int] = set()

        def text_of(node: tree.Node) -> str:
            if isinstance(node.item, _Again):
                where = "above" if id(node.item.shown) in drawn else "below"
                return f"{node.item.label} (shown {where})"
            drawn.add(id(node.item))
            return self._format_node(storage, cache, node)

        drawings = [
            child.pformat(stringify_node=text_of, linesep=os.linesep, starting_prefix=_INDENT) for child in root
        ]
        if not complete:
            drawings.append(_INDENT + _MORE)
        count = root.child_count(only_direct=False)
        return f"{count} predecessors (most recent first):{os.linesep}{os.linesep.join(drawings)}"

    def _format_node(self, storage: storages.Storage, cache: dict[Any, Any], node: tree.Node) -> str:
        """Gives the text of one predecessor.

        Args:
            storage: where states, arguments and results are.
            cache: what was read for this description already; filled here.
            node: the node, its kind in its metadata.

        Returns:
            One line.

        Raises:
            TypeError: the node is of no kind that is shown.
        """
        kind = node.metadata.get("kind")
        if kind == compiler.FLOW:
            return f"Flow '{node.item.name}'"
        if kind not in compiler.ATOMS:
            raise TypeError(
                f"Node '{node.item}' is of kind {kind!r}, only {compiler.FLOW!r}, {compiler.TASK!r} and"
                f" {compiler.RETRY!r} have a text"
            )
        known = cache.get(node.item.name)
        if known is None:
            known = cache[node.item.name] = self._describe(storage, node.item)
        return f"Atom '{node.item.name}' {known}" if known else f"Atom '{node.item.name}'"

    def _describe(self, storage: storages.Storage, atom: Any) -> str:
        name = atom.name
        shown: dict[str, Any] = {}

        def note(key: str, read: Callable[[], Any]) -> None:
            try:
                shown[key] = read()
            except (exc.NotFound, exc.StorageFailure):
                pass
            except Exception as e:
                # Whatever objects users' atoms gave or take, the failure has to reach the log.
                shown[key] = _Unreadable(e)

        note("intention", lambda: storage.get_atom_intention(name))
        note("state", lambda: storage.get_atom_state(name))
        if name not in self._hide_inputs_outputs_of:
            note("requires", lambda: self._masked(_arguments(storage, atom), self._mask_inputs_keys))
            note("provides", lambda: self._masked(storage.get(name), self._mask_outputs_keys))
        if not shown:
            return ""
        try:
            return repr(shown)
        except Exception:
            return repr({key: _Text(value) for key, value in shown.items()})

    def _masked(self, data: Any, keys: Collection[Hashable]) -> Any:
        return self._mask_keys(data, keys) if keys else data

    def _mask_keys(self, data: Any, keys: Collection[Hashable]) -> Any:
        """Copies data, its values of some keys replaced.

        Args:
            data: anything; looked through are mappings, lists, tuples, queues and sets in each other.
            keys: the keys of mappings, or names of fields of named tuples, whose values are replaced.

        Returns:
            The copy; something that is no container is returned itself.
        """
        return mask(data, keys)


class _Again:
    """Stands for what is shown at another place already.

    Args:
        label: what it is.
        shown: the item at that place.
    """

    def __init__(self, label: str, shown: Any) -> None:
        self.label = label
        self.shown = shown


class _Unreadable:
    """Stands for a value that could not be had."""

    def __init__(self, error: Exception) -> None:
        self._text = f"<not readable: {type(error).__name__}>"

    def __repr__(self) -> str:
        return self._text


class _Text:
    """Stands for a value, with a text for certain."""

    def __init__(self, value: Any) -> None:
        try:
            self._text = repr(value)
        except Exception as e:
            self._text = repr(_Unreadable(e))

    def __repr__(self) -> str:
        return self._text


def _arguments(storage: storages.Storage, atom: Any) -> dict[str, Any]:
    return storage.fetch_mapped_args(atoms.arguments_of(atom), atom_name=atom.name, optional_args=atom.optional)


def _predecessors(graph: Any, atom: Any) -> tuple[tree.Node, bool]:
    """Puts what precedes an atom into a tree, the nearest first.

    Atoms and flows that are met again are not followed again, as the ways through a flow are many more than its atoms.

    Args:
        graph: the execution graph.
        atom: the atom.

    Returns:
        The atom's node with its predecessors below, and whether these are all.
    """
    root = tree.Node(atom)
    seen = {atom}
    single_ends: dict[Any, tuple[Any, bool]] = {}
    left = MAX_NODES
    complete = True
    queue = collections.deque([(root, 0)])
    while queue:
        node, depth = queue.popleft()
        for item in _direct_predecessors(graph, node.item, single_ends):
            if left == 0:
                return root, False
            if depth == MAX_DEPTH:
                complete = False
                break
            left -= 1
            if isinstance(item, _Again):
                node.add(tree.Node(item))
                continue
            kind = graph.nodes[item].get("kind")
            if item in seen and graph.pred[item]:
                label = "Flow" if kind == compiler.FLOW else "Atom"
                node.add(tree.Node(_Again(f"{label} '{item.name}'", item)))
                continue
            child = tree.Node(item, **graph.nodes[item])
            node.add(child)
            if item not in seen:
                seen.add(item)
                queue.append((child, depth + 1))
    return root, complete


def _direct_predecessors(graph: Any, item: Any, passed: dict[Any, tuple[Any, bool]]) -> Iterator[Any]:
    """Goes through the atoms and flows right before an item; for the end of a flow come the last items in it.

    Args:
        graph: the execution graph.
        item: the atom or flow.
        passed: for each end of a flow that was gone through the first item before it, and whether it is the only one.

    Yields:
        Items of the graph; for an end that was gone through before and has several items before it, one that stands
        for all these.
    """
    # The ends within each other that are being gone through, each with its first item and how many it had.
    inside: list[tuple[Any, Iterator[Any], list[Any]]] = [(None, iter(graph.pred[item]), [])]
    while inside:
        end, remaining, found = inside[-1]
        before = next(remaining, None)
        if before is None:
            inside.pop()
            if end is not None:
                passed[end] = (found[0], len(found) == 1)
                _note(inside[-1][2], found)
        elif graph.nodes[before].get("kind") != compiler.FLOW_END:
            _note(found, [before])
            yield before
        elif before not in passed:
            inside.append((before, iter(graph.pred[before]), []))
        else:
            first, alone = passed[before]
            _note(found, [first] if alone else [first, first])
            yield first if alone else _Again(f"Last atoms of flow '{before.flow.name}'", first)


def _note(found: list[Any], more: list[Any]) -> None:
    """Keeps the first two of what was found: enough to know one, and whether there are others."""
    found.extend(more[: 2 - len(found)])


def mask(data: Any, keys: Collection[Hashable]) -> Any:
    """Copies data, its values of some keys replaced by `MASK`.

    Args:
        data: anything; looked through are mappings, lists, tuples, queues and sets in each other.
        keys: the keys of mappings, or names of fields of named tuples, whose values are replaced.

    Returns:
        The copy, of plain containers; something that is no container is returned itself.
    """
    return _masked(data, keys, {})


def _masked(data: Any, keys: Collection[Hashable], copies: dict[int, tuple[Any, Any]]) -> Any:
    # Copies are found by the identity of what they are of, as data may contain the same object often, or itself; that
    # is kept beside them, so that no identity is given to a second object.
    if id(data) in copies:
        return copies[id(data)][0]
    copy: Any
    if isinstance(data, Mapping):
        copy = {}
        copies[id(data)] = copy, data
        for key, value in data.items():
            copy[key] = MASK if key in keys else _masked(value, keys, copies)
        return copy
    if isinstance(data, (list, collections.deque)):
        copy = collections.deque(maxlen=data.maxlen) if isinstance(data, collections.deque) else []
        copies[id(data)] = copy, data
        copy.extend(_masked(value, keys, copies) for value in data)
        return copy
    if isinstance(data, tuple):
        fields = getattr(data, "_fields", None)
        if fields is None:
            copy = tuple([_masked(value, keys, copies) for value in data])
        else:
            pairs = zip(fields, data, strict=True)
            copy = type(data)(*[MASK if field in keys else _masked(value, keys, copies) for field, value in pairs])
    elif isinstance(data, (set, frozenset)):
        values = [_masked(value, keys, copies) for value in data]
        try:
            copy = type(data)(values)
        except TypeError:  # a mapping that can be in a set became a dict, which can not
            copy = values
    else:
        return data
    copies[id(data)] = copy, data
    return copy
