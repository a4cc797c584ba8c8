# SPDX-License-Identifier: Apache-2.0
"""What does a flow look like as integers: its nodes, their links, their nesting, and who precedes whom?"""

from __future__ import annotations

import bisect
import itertools
from typing import TYPE_CHECKING, Any

from taskflow import atom as atoms
from taskflow import exceptions as exc
from taskflow import flow as flows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

TASK, RETRY, FLOW, FLOW_END = range(4)

# How the children of a flow are ordered; the first two answer "who precedes whom" without looking at links.
UNRELATED, CHAIN, GRAPH = range(3)

# A decider on a link: index of the link's source, the callable, and its depth (None: the widest).
EdgeDecider = tuple[int, Any, Any]


class Layout:
    """The nodes of a compiled flow, numbered so that a flow's content lies between its entry and its end.

    Numbers follow the nesting: a flow's entry, its retry, its children in the flow's own order, its end. A child
    that must wait for another has the higher number, unless a flow class iterates against its own links
    (``regular`` is false then). Everything here is fixed once built.
    """

    __slots__ = (
        "_entries",
        "_graph_labels",
        "_graph_order",
        "_names",
        "_numbers",
        "_order",
        "_providers",
        "children_of",
        "deciders",
        "end_of",
        "items",
        "kinds",
        "links_of",
        "names",
        "parent",
        "pattern",
        "pred",
        "regular",
        "retry_of",
        "root",
        "succ",
    )

    def __init__(self, root: Any) -> None:
        self.root = root
        self.items: list[Any] = []
        self.kinds = bytearray()
        self.names: list[Any] = []
        self.succ: list[tuple[int, ...]] = []
        self.pred: list[tuple[int, ...]] = []
        self.parent: list[int] = []
        self.retry_of: list[int] = []
        self.end_of: dict[int, int] = {}
        self.children_of: dict[int, list[int]] = {}
        self.pattern: dict[int, int] = {}
        # Number left, number entered, snapshot of the metadata: a list of each.
        self.links_of: dict[int, tuple[list[int], list[int], list[Any]]] = {}
        self.deciders: dict[int, list[EdgeDecider]] = {}
        self.regular = True
        self._entries: dict[int, int] = {}
        self._numbers: dict[int, int] | None = None
        self._names: dict[Any, int] | None = None
        self._providers: _Providers | None = None
        self._graph_order: Sequence[int] | None = None
        self._order: Sequence[int] | None = None
        self._graph_labels: dict[int, _GraphLabels] = {}

    def __len__(self) -> int:
        return len(self.items)

    # -- orders ----------------------------------------------------------------------------------------------

    @property
    def graph_order(self) -> Sequence[int]:
        """Node numbers in the order in which the public execution graph holds them (a retry after its children)."""
        if self._graph_order is None:
            if RETRY not in self.kinds:
                self._graph_order = range(len(self.items))
            else:
                order: list[int] = []
                waiting: list[int] = []
                for i, kind in enumerate(self.kinds):
                    if kind == FLOW:
                        waiting.append(-1)
                    elif kind == RETRY:
                        waiting[-1] = i
                        continue
                    elif kind == FLOW_END:
                        retry = waiting.pop()
                        if retry >= 0:
                            order.append(retry)
                    order.append(i)
                self._graph_order = order
        return self._graph_order

    @property
    def order(self) -> Sequence[int]:
        """Node numbers such that every node comes after all of its predecessors."""
        if self._order is None:
            self._order = range(len(self.items)) if self.regular else self._sorted()
        return self._order

    def _sorted(self) -> list[int]:
        missing = [len(p) for p in self.pred]
        order = [i for i, n in enumerate(missing) if n == 0]
        for i in order:
            for s in self.succ[i]:
                missing[s] -= 1
                if missing[s] == 0:
                    order.append(s)
        if len(order) != len(missing):
            stuck = sorted(str(self.names[i]) for i, n in enumerate(missing) if n)
            raise exc.CompilationFailure(
                f"The links of {str(self.root)!r} form a cycle through {', '.join(stuck[:10])}; remove one of them"
            )
        return order

    def atoms(self) -> Iterator[int]:
        """Numbers of the tasks and retries, in graph order."""
        kinds = self.kinds
        return (i for i in self.graph_order if kinds[i] <= RETRY)

    def links(self, flow: int) -> Iterable[tuple[int, int, Any]]:
        """The links among the children of a flow: number left, number entered, snapshot of the metadata."""
        kept = self.links_of.get(flow)
        if kept is not None:
            return zip(*kept, strict=True)
        if self.pattern[flow] != CHAIN:
            return ()
        return ((self.end_of.get(u, u), v, None) for u, v in itertools.pairwise(self.children_of[flow]))

    def number_of(self, atom: Any) -> int:
        """The number of a task or retry of this flow, -1 for anything else."""
        if self._numbers is None:
            kinds = self.kinds
            self._numbers = {id(item): i for i, item in enumerate(self.items) if kinds[i] <= RETRY}
        return self._numbers.get(id(atom), -1)

    def named(self, name: Any) -> int:
        """The number of the atom of that name, -1 for a name that no atom has."""
        if self._names is None:
            kinds = self.kinds
            self._names = {n: i for i, n in enumerate(self.names) if kinds[i] <= RETRY}
        return self._names.get(name, -1)

    # -- who provides, who precedes --------------------------------------------------------------------------

    def _index(self) -> _Providers:
        index = self._providers
        if index is None:
            index = _Providers()
            kinds = self.kinds
            for i, item in enumerate(self.items):
                if kinds[i] <= RETRY:
                    index.add(i, atoms.outputs_of(item))
            self._providers = index
        return index

    def providers_of(self, symbol: Any) -> Sequence[int]:
        """Numbers, ascending, of the atoms that say to provide ``symbol``."""
        index = self._providers or self._index()
        one = index.one.get(symbol)
        return index.several.get(symbol, ()) if one is None else (one,)

    @property
    def sole_providers(self) -> dict[Any, int]:
        """Symbol -> the one atom that says to provide it, as its whole result; all other symbols are left out."""
        return self._index().whole

    def visible_providers(self, symbol: Any, node: int) -> Iterator[tuple[int, Any]]:
        """Yield the names of the providers of ``symbol`` that precede ``node``, the nearest first.

        Each comes with the number of the flow that makes its scope. Positions in the numbering descend from the
        nearest scope to the outermost one, hence a walk downwards from ``node`` meets the providers in exactly that
        order; stretches that cannot precede it (siblings that are not linked to it) are jumped over.
        """
        found = self.providers_of(symbol)
        parent = self.parent
        home = parent[node]
        at = bisect.bisect_left(found, node) - 1
        while at >= 0:
            candidate = found[at]
            flow = self._meeting(candidate, node) if parent[candidate] != home else home
            if self._before(flow, candidate, node):
                yield flow, self.names[candidate]
                at -= 1
            elif self.pattern[flow] == UNRELATED:
                # Of this flow only its retry can still precede.
                at = bisect.bisect_right(found, flow + 1, 0, at) - 1
                if at >= 0 and found[at] == flow + 1 and self.kinds[flow + 1] != RETRY:
                    at -= 1
            else:
                at = bisect.bisect_left(found, self._child(flow, candidate), 0, at + 1) - 1

    def precedes(self, first: int, second: int) -> bool:
        """Whether atom ``first`` has to end before atom ``second`` may start."""
        return first != second and self._before(self._meeting(first, second), first, second)

    def _meeting(self, a: int, b: int) -> int:
        """The innermost flow that holds both; the two climb in turn, so the nearer one sets the cost."""
        parent, end_of = self.parent, self.end_of
        pa, pb = parent[a], parent[b]
        while True:
            if pa <= b <= end_of[pa]:
                return pa
            if pb <= a <= end_of[pb]:
                return pb
            pa, pb = parent[pa], parent[pb]

    def _child(self, flow: int, node: int) -> int:
        """The child of ``flow`` that is or holds ``node``."""
        children = self.children_of[flow]
        return children[bisect.bisect_right(children, node) - 1]

    def _before(self, flow: int, first: int, second: int) -> bool:
        retry = flow + 1 if self.kinds[flow + 1] == RETRY else -1
        if first == retry:
            return True
        if second == retry:
            return False
        pattern = self.pattern[flow]
        if pattern == CHAIN:
            return first < second
        if pattern == UNRELATED:
            return False
        if self.parent[first] != flow:
            first = self._child(flow, first)
        if self.parent[second] != flow:
            second = self._child(flow, second)
        # Most often a value is used by whoever is linked to its provider.
        if self.end_of.get(first, first) in self.pred[second]:
            return True
        labels = self._graph_labels.get(flow)
        if labels is None:
            labels = self._graph_labels[flow] = _GraphLabels(self, flow)
        return labels.before(first, second)

    def child_predecessors(self, child: int) -> list[int]:
        """The siblings that ``child`` (a task, or a flow's entry) is linked from."""
        found = []
        for p in self.pred[child]:
            kind = self.kinds[p]
            if kind == FLOW_END:
                found.append(self._entry_of(p))
            elif kind == TASK:
                found.append(p)
        return found

    def _entry_of(self, end: int) -> int:
        return self._entries[id(self.items[end])]

    # -- deciders --------------------------------------------------------------------------------------------

    def applying_deciders(self, node: int) -> list[EdgeDecider]:
        """The deciders asked before atom ``node`` runs: on its own links, then on those of the flows it enters."""
        found: list[EdgeDecider] = []
        while True:
            found.extend(self.deciders.get(node, ()))
            entry = -1
            for p in self.pred[node]:
                if self.kinds[p] == FLOW:
                    entry = p
            if entry < 0:
                return found
            node = entry


class _Providers:
    """Who says to provide which symbol. Most symbols have one provider, which then costs no object of its own.

    Attributes:
        one: Symbol -> the number of its only provider.
        whole: Those of them that stand for the whole result of their provider.
        several: Symbol -> the numbers of its providers, ascending, where there are several.
    """

    __slots__ = ("one", "several", "whole")

    def __init__(self) -> None:
        self.one: dict[Any, int] = {}
        self.whole: dict[Any, int] = {}
        self.several: dict[Any, list[int]] = {}

    def add(self, i: int, outputs: Mapping[Any, Any]) -> None:
        one = self.one
        for symbol, index in outputs.items():
            if symbol in self.several:
                self.several[symbol].append(i)
            elif symbol in one:
                self.several[symbol] = [one.pop(symbol), i]
                self.whole.pop(symbol, None)
            else:
                one[symbol] = i
                if index is None:
                    self.whole[symbol] = i


class _GraphLabels:
    """Answers whether one child of a graph flow precedes another, mostly without walking.

    Each child has a level (longest way from a start) and a place in a spanning forest of the links: a lower or equal
    level says no, lying below in the forest says yes, and only what is left is walked for, backwards and bounded by
    the level.
    """

    __slots__ = ("_known", "_last", "_layout", "_level", "_place")

    def __init__(self, layout: Layout, flow: int) -> None:
        self._layout = layout
        children = layout.children_of[flow]
        if not layout.regular:
            wanted = set(children)
            children = [i for i in layout.order if i in wanted]
        level: dict[int, int] = {}
        below: dict[int, list[int]] = {}
        tops: list[int] = []
        for child in children:
            deepest, over = 0, -1
            for p in layout.child_predecessors(child):
                if level[p] >= deepest:
                    deepest, over = level[p], p
            level[child] = deepest + 1
            if over < 0:
                tops.append(child)
            else:
                below.setdefault(over, []).append(child)
        place: dict[int, int] = {}
        last: dict[int, int] = {}
        stack = [(top, False) for top in reversed(tops)]
        count = 0
        while stack:
            child, left = stack.pop()
            if left:
                last[child] = count
                continue
            count += 1
            place[child] = count
            stack.append((child, True))
            stack.extend((c, False) for c in reversed(below.get(child, ())))
        self._level, self._place, self._last = level, place, last
        self._known: dict[tuple[int, int], bool] = {}

    def before(self, first: int, second: int) -> bool:
        level = self._level
        if level[first] >= level[second]:
            return False
        if self._place[first] <= self._place[second] <= self._last[first]:
            return True
        known = self._known.get((first, second))
        if known is None:
            known = self._known[first, second] = self._walk(first, second)
        return known

    def _walk(self, first: int, second: int) -> bool:
        level, place = self._level, self._place
        low, begin, end = level[first], place[first], self._last[first]
        stack, seen = [second], {second}
        while stack:
            for p in self._layout.child_predecessors(stack.pop()):
                if p == first or begin <= place[p] <= end:
                    return True
                if level[p] > low and p not in seen:
                    seen.add(p)
                    stack.append(p)
        return False


def snapshot_of(meta: dict[str, Any], known: dict[Any, Any]) -> Any:
    """A link's metadata as it is now, small: later changes of the flow must not show in what was compiled."""
    if len(meta) == 1:
        if meta.get(flows.LINK_INVARIANT) is True:
            return None
        reasons = meta.get(flows.LINK_REASONS)
        if reasons is not None:
            kept = tuple(reasons)
            return known.setdefault(kept, kept)
    copied = dict(meta)
    if flows.LINK_REASONS in copied:
        copied[flows.LINK_REASONS] = set(copied[flows.LINK_REASONS])
    return copied


def metadata_of(snapshot: Any) -> dict[str, Any]:
    """The link metadata that a snapshot was taken of."""
    if snapshot is None:
        return {flows.LINK_INVARIANT: True}
    if isinstance(snapshot, tuple):
        return {flows.LINK_REASONS: set(snapshot)}
    return dict(snapshot)
