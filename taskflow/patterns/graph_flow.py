# SPDX-License-Identifier: Apache-2.0
"""How is a flow built whose order follows from what its items need and give, and from links made by hand?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

from taskflow import deciders, flow
from taskflow import exceptions as exc

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

# A link that only passes symbols is kept as the tuple of these, which is a fraction of the size of metadata; any
# other one as its metadata. Neither is ever changed: a link that gets more is replaced, and can be put back.
_Link = tuple[Any, ...] | dict[str, Any]


class _Wanted(NamedTuple):
    """A link that an addition asks for."""

    provider: Any
    requiree: Any
    symbol: Any
    may_close_cycle: bool


def _metadata(link: _Link) -> dict[str, Any]:
    """Gives metadata of a link that its receiver may change."""
    if isinstance(link, tuple):
        return {flow.LINK_REASONS: set(link)}
    metadata = dict(link)
    if flow.LINK_REASONS in metadata:
        metadata[flow.LINK_REASONS] = set(metadata[flow.LINK_REASONS])
    return metadata


def _with_symbol(link: _Link | None, symbol: Any) -> _Link:
    if link is None:
        return (symbol,)
    if isinstance(link, tuple):
        return link if symbol in link else (*link, symbol)
    return {**link, flow.LINK_REASONS: {*link.get(flow.LINK_REASONS, ()), symbol}}


def _frozen(symbols: flow.Symbols) -> flow.Symbols:
    return flow.Symbols(frozenset(symbols.requires), frozenset(symbols.provides))


def _in_order(symbols: Collection[Any]) -> Iterable[Any]:
    """Goes through symbols the same way in each process, which sets of texts do not by themselves."""
    return sorted(symbols, key=repr) if isinstance(symbols, (set, frozenset)) and len(symbols) > 1 else symbols


def _spread(neighbours: Mapping[Any, Iterable[Any]], start: Any, seen: set[Any]) -> Iterator[Any]:
    """Goes along links from a node, giving the other end of each, and collects in ``seen`` what was met."""
    seen.add(start)
    stack = [start]
    while stack:
        for node in neighbours[stack.pop()]:
            if node not in seen:
                seen.add(node)
                stack.append(node)
            yield node


class _LinkView:
    """All visible links of a flow, to be gone through as often as wanted."""

    def __init__(self, owner: Flow) -> None:
        self._owner = owner

    def __iter__(self) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
        for before, after, link in self._owner._visible_links():
            yield before, after, _metadata(link)

    def __len__(self) -> int:
        return sum(1 for _ in self._owner._visible_links())


class Flow(flow.Flow, composed=True):
    """A flow whose items run as soon as what they depend on is there.

    An item that requires a symbol depends on the item of this flow that provides it. More dependencies can be added
    by `link`.

    Args:
        name: the name of the flow.
        retry: the controller that decides what happens when something in the flow fails.
    """

    # Symbols that somebody in the flow waits for are indexed. An entry of `_wanting` may be out of date in one way: a
    # provider that stands far before the item satisfies it without having a link to it. That can only be where
    # resolving was switched off or an inner flow has changed, so it is found out when somebody asks (`_settle`), not
    # at each change.

    def __init__(self, name: Any, retry: Any = None) -> None:
        super().__init__(name, retry)
        self._after: dict[Any, dict[Any, _Link]] = {}
        self._before: dict[Any, list[Any]] = {}
        self._providing: dict[Any, list[Any]] = {}
        self._wanting: dict[Any, dict[Any, None]] = {}
        # What was last read from items whose symbols can change, and which of them are to be read again.
        self._read_symbols: dict[Any, flow.Symbols] = {}
        self._outdated: dict[int, Any] = {}
        self._order: list[Any] | None = None

    def __getstate__(self) -> Any:
        # Inner flows of a copy do not know yet that it depends on them: reading them makes them know it.
        state = super().__getstate__()
        copied = state[0] if isinstance(state, tuple) else state
        copied["_outdated"] = dict(enumerate(self._read_symbols))
        copied["_order"] = None
        return state

    def add(self, *nodes: Any, **kwargs: Any) -> Self:
        """Adds items and links them by the symbols that they require and provide; on an error nothing is changed.

        Args:
            nodes: atoms and flows.
            kwargs: ``resolve_requires`` (default true): whether the new items are linked to those that provide what
                they require; ``resolve_existing`` (default true): whether the new items are linked to those known
                before that require what they provide.

        Returns:
            The flow itself.

        Raises:
            taskflow.exceptions.AmbiguousDependency: several items provide a symbol that a new one requires.
            taskflow.exceptions.DependencyFailure: items would depend on each other in a circle.
            ValueError: an item is ``None``.
            TypeError: an item is not hashable.
        """
        new = [node for node in dict.fromkeys(nodes) if node not in self._after]
        if None in new:
            raise ValueError(f"None can not be added to graph flow '{self.name}'; add atoms and flows")
        if not new:
            return self
        self._refresh(flow.symbols_of)
        symbols = {node: flow.symbols_of(node) for node in new}
        resolve_existing = bool(kwargs.get("resolve_existing", True))
        if resolve_existing:
            for node in new:
                for symbol in symbols[node].provides:
                    self._settle(symbol)
        addition = _Addition(self, symbols)
        addition.plan(bool(kwargs.get("resolve_requires", True)), resolve_existing)
        self._insert(new, addition.links)
        self._index(symbols, addition)
        self._forget_views()
        return self

    def _insert(self, new: Sequence[Any], links: Sequence[_Wanted]) -> None:
        """Puts nodes and links in; takes them out again if these make a circle."""
        replaced: list[tuple[Any, Any, _Link | None]] = []
        try:
            for node in new:
                self._after[node] = {}
                self._before[node] = []
            patience = len(self._after) + len(links)
            for provider, requiree, symbol, may_close_cycle in links:
                present = self._after[provider].get(requiree)
                if present is None:
                    if may_close_cycle and patience > 0:
                        cost = self._cost_of_path(requiree, provider)
                        if cost is None:
                            raise self._no_path(provider, requiree, f"which requires {symbol!r}")
                        patience -= cost
                    self._before[requiree].append(provider)
                self._after[provider][requiree] = _with_symbol(present, symbol)
                replaced.append((provider, requiree, present))
            # Many searches in one addition would cost more than sorting everything once.
            if patience <= 0 and len(self._sorted(self._after)) < len(self._after):
                circular = [link for link in links if link.may_close_cycle]
                raise self._no_path(
                    circular[0].provider, circular[0].requiree, f"which requires {circular[0].symbol!r}"
                )
        except BaseException:
            for provider, requiree, link in reversed(replaced):
                if link is None:
                    del self._after[provider][requiree]
                    self._before[requiree].pop()
                else:
                    self._after[provider][requiree] = link
            for node in new:
                self._after.pop(node, None)
                self._before.pop(node, None)
            raise

    def _no_path(self, u: Any, v: Any, reason: str) -> exc.DependencyFailure:
        return exc.DependencyFailure(
            f"No path through the items of flow '{self.name}' is left: '{u}' can not come before '{v}', {reason}, as "
            "they would depend on each other in a circle; remove one of these dependencies"
        )

    def _cost_of_path(self, start: Any, goal: Any) -> int | None:
        """Looks for a path by searching from both ends at once; the cost is that of the smaller side.

        Returns:
            How many links were looked at, ``None`` if there is a path.
        """
        if start == goal:
            return None
        ahead: set[Any] = set()
        behind: set[Any] = set()
        cost = 1
        for one, other in zip(_spread(self._after, start, ahead), _spread(self._before, goal, behind), strict=False):
            if one in behind or one == goal or other in ahead:
                return None
            cost += 2
        return cost

    def _index(self, symbols: Mapping[Any, flow.Symbols], addition: _Addition) -> None:
        for node, found in symbols.items():
            for symbol in found.provides:
                self._providing.setdefault(symbol, []).append(node)
            if isinstance(node, flow.Flow):
                self._read_symbols[node] = _frozen(found)
                self._watch(node)
        for symbol in addition.served:
            self._wanting.pop(symbol, None)
        for symbol, nodes in addition.unserved():
            if nodes:
                self._wanting.setdefault(symbol, {}).update(dict.fromkeys(nodes))

    def _watch(self, node: flow.Flow) -> None:
        if node._composed and node._known_symbols is not None:
            self._depend_on(node)
        else:
            # It does not tell when it changes, so it has to be read each time.
            self._outdated[id(node)] = node

    def _inner_changed(self, inner: flow.Flow) -> None:
        self._outdated[id(inner)] = inner

    def _refresh(self, read: Callable[[Any], flow.Symbols]) -> None:
        """Reads inner flows again that may have changed, and corrects the index where they did."""
        if not self._outdated:
            return
        satisfied_by_retry = self._given_by_retry().provides
        for key, node in list(self._outdated.items()):
            before, now = self._read_symbols[node], _frozen(read(node))
            del self._outdated[key]
            self._watch(node)
            self._read_symbols[node] = now
            if not before.provides <= now.provides:
                self._index_anew()
                continue
            for symbol in now.provides - before.provides:
                self._providing.setdefault(symbol, []).append(node)
            for symbol in now.requires - before.requires:
                if symbol not in satisfied_by_retry:
                    self._wanting.setdefault(symbol, {})[node] = None
            for symbol in before.requires - now.requires:
                self._wanting.get(symbol, {}).pop(node, None)

    def _index_anew(self) -> None:
        """Builds the index of symbols from nothing; what is provided from afar is left to `_settle`."""
        satisfied_by_retry = self._given_by_retry().provides
        self._providing, self._wanting = {}, {}
        for node in self._after:
            found = self._symbols_in(node)
            for symbol in found.provides:
                self._providing.setdefault(symbol, []).append(node)
            for symbol in found.requires:
                if symbol not in satisfied_by_retry:
                    self._wanting.setdefault(symbol, {})[node] = None

    def _symbols_in(self, node: Any) -> flow.Symbols:
        return self._read_symbols.get(node) or flow.Symbols(node.requires, node.provides)

    def _settle(self, symbol: Any) -> None:
        """Finds out which of the nodes that wait for a symbol have a provider somewhere before them."""
        waiting, providers = self._wanting.get(symbol), self._providing.get(symbol)
        if not waiting or not providers:
            return
        reached: set[Any] = set()
        stack = list(providers)
        while stack:
            for node in self._after[stack.pop()]:
                if node not in reached:
                    reached.add(node)
                    stack.append(node)
        for node in [node for node in waiting if node in reached]:
            del waiting[node]
        if not waiting:
            del self._wanting[symbol]

    def link(self, u: Any, v: Any, decider: Any = None, decider_depth: Any = None) -> Self:
        """Makes one item come before another; on an error nothing is changed.

        Args:
            u: the item that comes first.
            v: the item that comes after it.
            decider: called with ``history``, the results of the atoms that come directly before and have a decider;
                when it returns something false, ``v`` and what ``decider_depth`` tells is ignored.
            decider_depth: how far that reaches, a `taskflow.deciders.Depth` or its text; `Depth.ALL` unless given.

        Returns:
            The flow itself.

        Raises:
            ValueError: an item is not in the flow, the decider can not be called, there is a depth without one, or
                the depth is unknown.
            TypeError: the depth is no text.
            taskflow.exceptions.DependencyFailure: items would depend on each other in a circle.
        """
        if u not in self._after:
            raise ValueError(f"Node '{u}' not found to link from in flow '{self.name}'; add it first")
        if v not in self._after:
            raise ValueError(f"Node '{v}' not found to link to in flow '{self.name}'; add it first")
        added: dict[str, Any] = {flow.LINK_MANUAL: True}
        if decider is not None:
            if not callable(decider):
                raise ValueError(f"The decider between '{u}' and '{v}' must be callable, {decider!r} is not")
            added[flow.LINK_DECIDER] = decider
        if decider_depth is not None:
            if decider is None:
                raise ValueError(
                    f"There is a decider depth but no decider between '{u}' and '{v}'; give both or neither"
                )
            added[flow.LINK_DECIDER_DEPTH] = deciders.Depth.translate(decider_depth)
        present = self._after[u].get(v)
        if present is None:
            if self._cost_of_path(v, u) is None:
                raise self._no_path(u, v, "as asked for")
            self._refresh(flow.symbols_of)
            self._before[v].append(u)
            for symbol in self._symbols_in(u).provides:
                self._wanting.get(symbol, {}).pop(v, None)
        self._after[u][v] = {**(_metadata(present) if present is not None else {}), **added}
        self._forget_views()
        return self

    def _forget_views(self) -> None:
        self._order = None
        self._changed()

    def _visible(self) -> Collection[Any]:
        """Gives the nodes that are shown, in the order of their addition; all that comes before one is shown too."""
        return self._after

    def _visible_links(self) -> Iterator[tuple[Any, Any, _Link]]:
        visible = self._visible()
        for node in visible:
            for after, link in self._after[node].items():
                if after in visible:
                    yield node, after, link

    def _sorted(self, nodes: Collection[Any]) -> list[Any]:
        """Sorts nodes: first all that nothing precedes, then those that these free, and so on."""
        missing = {node: len(self._before[node]) for node in nodes}
        order = [node for node, count in missing.items() if not count]
        for node in order:  # grows while it is gone through
            for after in self._after[node]:
                if after in missing:
                    missing[after] -= 1
                    if not missing[after]:
                        order.append(after)
        return order

    def _in_topological_order(self) -> list[Any]:
        if self._order is None:
            self._order = self._sorted(self._visible())
        return self._order

    def __len__(self) -> int:
        return len(self._visible())

    def __iter__(self) -> Iterator[Any]:
        return iter(self._in_topological_order())

    def iter_links(self) -> Iterable[tuple[Any, Any, dict[str, Any]]]:
        """Goes through the links between items.

        Returns:
            An iterable, which may be gone through repeatedly, of an item, one that comes after it, and the metadata
            of their link. The dictionaries (and the sets of reasons in them) are copies: changing them does not
            change the flow.
        """
        return _LinkView(self)

    def iter_nodes(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Goes through the items so that each comes after those that it depends on.

        Yields:
            Each item with an empty dictionary.
        """
        for node in self._in_topological_order():
            yield node, {}

    requires = flow.composed_requires

    def _compose(self, read: Callable[[Any], flow.Symbols]) -> flow.Symbols:
        self._refresh(read)
        retry = self._given_by_retry()
        visible = self._visible()
        needed = set(retry.requires)
        for symbol in list(self._wanting):
            self._settle(symbol)
            if any(node in visible for node in self._wanting.get(symbol, ())):
                needed.add(symbol)
        given: set[Any] = {*retry.provides}
        if len(visible) == len(self._after):
            given.update(self._providing)
        else:
            for node in visible:
                given.update(self._symbols_in(node).provides)
        return flow.Symbols(frozenset(needed), frozenset(given))

    def _inner_flows(self) -> Iterable[flow.Flow]:
        return [node for node in self._read_symbols if node._composed]

    def _can_be_remembered(self) -> bool:
        return not self._outdated


class _Addition:
    """Which links an addition to a flow asks for, found without changing the flow."""

    def __init__(self, target: Flow, symbols: Mapping[Any, flow.Symbols]) -> None:
        self._target = target
        self._symbols = symbols
        self._satisfied_by_retry = target._given_by_retry().provides
        self._providing: dict[Any, list[Any]] = {}
        self._waiting: dict[Any, list[Any]] = {}
        self._unresolved: dict[Any, list[Any]] = {}
        self.links: list[_Wanted] = []
        self.served: set[Any] = set()

    def plan(self, resolve_requires: bool, resolve_existing: bool) -> None:
        for node, (requires, provides) in self._symbols.items():
            self._require(node, _in_order(requires), resolve_requires)
            for symbol in provides:
                self._providing.setdefault(symbol, []).append(node)
            if resolve_existing:
                for symbol in _in_order(provides):
                    self._serve(node, symbol)

    def _require(self, node: Any, requires: Iterable[Any], resolve: bool) -> None:
        for symbol in requires:
            if symbol in self._satisfied_by_retry:
                continue
            if not resolve:
                self._unresolved.setdefault(symbol, []).append(node)
                continue
            known, new = self._target._providing.get(symbol, ()), self._providing.get(symbol, ())
            if len(known) + len(new) > 1:
                raise exc.AmbiguousDependency(
                    f"Item '{node}' of flow '{self._target.name}' requires {symbol!r}, which several others provide: "
                    f"{', '.join(sorted(str(getattr(item, 'name', item)) for item in (*known, *new)))}; rename what "
                    "they provide, or add the item with resolve_requires=False and link it to one of them"
                )
            for provider in (*known, *new):
                self.links.append(_Wanted(provider, node, symbol, may_close_cycle=False))
            if not known and not new:
                self._waiting.setdefault(symbol, []).append(node)

    def _serve(self, node: Any, symbol: Any) -> None:
        new = self._waiting.get(symbol, [])
        known: Iterable[Any] = () if symbol in self.served else self._target._wanting.get(symbol, ())
        for requiree in (*known, *(item for item in new if item is not node)):
            self.links.append(_Wanted(node, requiree, symbol, may_close_cycle=True))
        self.served.add(symbol)
        if new:
            self._waiting[symbol] = [item for item in new if item is node]

    def unserved(self) -> Iterator[tuple[Any, list[Any]]]:
        """Goes through the symbols that new nodes still wait for."""
        yield from self._waiting.items()
        yield from self._unresolved.items()


class TargetedFlow(Flow, composed=True):
    """A graph flow of which only what one item needs is run.

    Until a target is set, all of it is.

    Args:
        args: as for `Flow`.
        kwargs: as for `Flow`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._target: Any = None
        self._shown: dict[Any, None] | None = None

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        (state[0] if isinstance(state, tuple) else state)["_shown"] = None
        return state

    def set_target(self, target_node: Any) -> None:
        """Shows only an item and everything that comes before it.

        Args:
            target_node: the item.

        Raises:
            ValueError: it is not in the flow; the target stays what it was.
        """
        if target_node not in self._after:
            raise ValueError(
                f"Node '{target_node}' not found in flow '{self.name}'; add it before making it the target"
            )
        self._target = target_node
        self._forget_views()

    def reset_target(self) -> None:
        """Shows all items again."""
        self._target = None
        self._forget_views()

    def _forget_views(self) -> None:
        self._shown = None
        super()._forget_views()

    def _visible(self) -> Collection[Any]:
        if self._target is None:
            return self._after
        if self._shown is None:
            needed: set[Any] = set()
            for _ in _spread(self._before, self._target, needed):
                pass
            self._shown = {node: None for node in self._after if node in needed}
        return self._shown
