# SPDX-License-Identifier: Apache-2.0
"""How are the parts of a user's flow numbered and linked?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import flow as flows
from taskflow import task as tasks
from taskflow.engines.action_engine import layout as layouts

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Open:
    """A flow whose children are being numbered."""

    __slots__ = ("children", "entry", "flow", "inherited", "rest", "retry")

    def __init__(self, flow: Any, entry: int, rest: Iterator[Any], retry: int, inherited: int) -> None:
        self.flow = flow
        self.entry = entry
        self.rest = rest
        self.retry = retry
        self.inherited = inherited
        self.children: list[int] = []


class Builder:
    """Numbers a flow (or a lone task) in one walk with a stack of its own, hence at any depth of nesting."""

    def __init__(self, root: Any) -> None:
        self._layout = layouts.Layout(root)
        self._kind_of_class: dict[type, int] = {}
        # Per flow class, whether its children form a line by construction.
        self._chained: dict[type, bool] = {}
        self._seen: set[Any] = set()

    def build(self) -> layouts.Layout:
        """Number everything; to be called once.

        Returns:
            The layout.

        Raises:
            TypeError: Something is neither a task nor a flow.
            ValueError: An object appears twice.
        """
        layout = self._layout
        if self._kind(layout.root, None) == layouts.TASK:
            self._seen.add(layout.root)
            self._node(layout.root, layouts.TASK, -1, -1)
            return layout
        open_flows = [self._enter(layout.root, -1, -1)]
        nodes, kind_of = self._node, self._kind_of_class
        seen = self._seen
        while open_flows:
            top = open_flows[-1]
            entry, children = top.entry, top.children
            governing = top.retry if top.retry >= 0 else top.inherited
            for child in top.rest:
                kind = kind_of.get(type(child), -1)
                if kind < 0:
                    kind = self._kind(child, top.flow)
                if kind == layouts.TASK:
                    before = len(seen)
                    seen.add(child)
                    if len(seen) == before:
                        raise self._twice(child, top.flow)
                    children.append(nodes(child, layouts.TASK, entry, governing))
                else:
                    inner = self._enter(child, entry, governing)
                    children.append(inner.entry)
                    open_flows.append(inner)
                    break
            else:
                self._leave(top)
                open_flows.pop()
        return layout

    def _kind(self, item: Any, holder: Any) -> int:
        if isinstance(item, tasks.Task):
            kind = layouts.TASK
        elif isinstance(item, flows.Flow):
            kind = layouts.FLOW
        else:
            where = "" if holder is None else f" in flow {holder.name!r}"
            raise TypeError(
                f"Unknown object '{item}' ({type(item)}) requested to compile{where}: expected a task or a flow"
            )
        self._kind_of_class[type(item)] = kind
        return kind

    def _twice(self, item: Any, holder: Any) -> ValueError:
        where = "" if holder is None else f", met again in flow {holder.name!r},"
        return ValueError(f"Object '{item}'{where} is already part of this flow: each item can be used once only")

    def _node(self, item: Any, kind: int, parent: int, retry: int) -> int:
        layout = self._layout
        index = len(layout.items)
        layout.items.append(item)
        layout.kinds.append(kind)
        layout.names.append(item.name)
        layout.succ.append(())
        layout.pred.append(())
        layout.parent.append(parent)
        layout.retry_of.append(retry)
        return index

    def _enter(self, flow: Any, parent: int, inherited: int) -> _Open:
        if flow in self._seen:
            raise self._twice(flow, None if parent < 0 else self._layout.items[parent])
        self._seen.add(flow)
        entry = self._node(flow, layouts.FLOW, parent, inherited)
        self._layout._entries[id(flow)] = entry
        retry = -1
        if flow.retry is not None:
            if flow.retry in self._seen:
                raise ValueError(
                    f"Retry '{flow.retry}' of flow {flow.name!r} is already the retry of another flow: "
                    "each flow needs a retry object of its own"
                )
            self._seen.add(flow.retry)
            retry = self._node(flow.retry, layouts.RETRY, entry, inherited)
        return _Open(flow, entry, iter(flow), retry, inherited)

    def _leave(self, done: _Open) -> None:
        layout = self._layout
        entry, children = done.entry, done.children
        end = self._node(done.flow, layouts.FLOW_END, layout.parent[entry], done.inherited)
        layout.names[end] = f"{done.flow.name}[$]"
        layout.end_of[entry] = end
        layout.children_of[entry] = children
        flow_class = type(done.flow)
        chained = self._chained.get(flow_class)
        if chained is None:
            chained = self._chained[flow_class] = _is_chain(flow_class)
        starts, stops = self._link_chain(done) if chained else self._link(done)
        succ, pred = layout.succ, layout.pred
        # Entry, or the retry behind it, leads to whatever nothing else leads to; the end follows what leads nowhere.
        first = entry
        if done.retry >= 0:
            succ[entry] = (done.retry,)
            pred[done.retry] = (entry,)
            first = done.retry
        before = (first,)
        for c in starts:
            pred[c] = before
        succ[first] = tuple(starts)
        if not children:
            stops = [first]
        after = (end,)
        for leave in stops:
            succ[leave] = (*succ[leave], end) if succ[leave] else after
        pred[end] = tuple(stops)

    def _link_chain(self, done: _Open) -> tuple[list[int], list[int]]:
        """Link neighbours, without asking for links that are known; see :meth:`_link`."""
        layout, children = self._layout, done.children
        succ, pred, end_of = layout.succ, layout.pred, layout.end_of
        layout.pattern[done.entry] = layouts.CHAIN if len(children) > 1 else layouts.UNRELATED
        leaves = [end_of.get(c, c) for c in children] if end_of else children
        for leave, target in zip(leaves, children[1:], strict=False):
            succ[leave] = (target,)
            pred[target] = (leave,)
        return children[:1], leaves[-1:]

    def _link(self, done: _Open) -> tuple[list[int], list[int]]:
        """Link the children of a flow: those that nothing leads to, and the ends of those that lead nowhere."""
        layout = self._layout
        end_of = layout.end_of
        number: dict[Any, int] = {layout.items[c]: c for c in done.children}
        outgoing: dict[int, list[int]] = {}
        incoming: dict[int, list[int]] = {}
        leaves: list[int] = []
        targets: list[int] = []
        snapshots: list[Any] = []
        # Many links come with equal metadata.
        known: dict[Any, Any] = {}
        chain = True
        previous = -1
        for u, v, meta in done.flow.iter_links():
            source, target = number[u], number[v]
            leave = end_of.get(source, source)
            if leave in outgoing:
                outgoing[leave].append(target)
            else:
                outgoing[leave] = [target]
            if target in incoming:
                incoming[target].append(leave)
            else:
                incoming[target] = [leave]
            leaves.append(leave)
            targets.append(target)
            snapshots.append(layouts.snapshot_of(meta, known))
            if meta.get(flows.LINK_DECIDER) is not None:
                layout.deciders.setdefault(target, []).append(
                    (leave, meta[flows.LINK_DECIDER], meta.get(flows.LINK_DECIDER_DEPTH))
                )
            if source > target:
                layout.regular = False
            if chain:
                chain = previous in (-1, source) and source < target
                previous = target
        for leave, entered in outgoing.items():
            layout.succ[leave] = tuple(entered)
        for target, left in incoming.items():
            layout.pred[target] = tuple(left)
        if not leaves:
            pattern = layouts.UNRELATED
        elif chain and len(leaves) == len(done.children) - 1:
            pattern = layouts.CHAIN
        else:
            pattern = layouts.GRAPH
        layout.pattern[done.entry] = pattern
        if leaves and (pattern == layouts.GRAPH or any(snapshot is not None for snapshot in snapshots)):
            layout.links_of[done.entry] = (leaves, targets, snapshots)
        starts = [c for c in done.children if c not in incoming]
        stops = [leave for leave in (end_of.get(c, c) for c in done.children) if leave not in outgoing]
        return starts, stops


def _is_chain(flow_class: type) -> bool:
    """Whether the links of such a flow are those between neighbours and no others, as nothing of it was overridden."""
    from taskflow.patterns import linear_flow

    plain = linear_flow.Flow
    return (
        issubclass(flow_class, plain)
        and flow_class.iter_links is plain.iter_links
        and flow_class.__iter__ is plain.__iter__
    )
