# SPDX-License-Identifier: Apache-2.0
"""What may run or be reverted now, given what has ended so far?

Pure: no I/O, no threads, no clock. The plan is told what happened to an atom and answers what became possible, at the
cost of the links touched. It knows the flow as integers only (see :mod:`taskflow.engines.action_engine.layout`).

Going forward, each node has a count of predecessors that are not *passed* yet. An atom is passed when it ended in
SUCCESS or IGNORE and is not wanted reverted; a flow marker when all before it are. Going backward, each node that a
revert may concern has a count of successors that are not *clear* yet. An atom is clear when it is PENDING, REVERTED or
IGNORE, and all behind it are clear. The backward counts are made when a revert begins, for the part of the flow that
was reached: what nothing has touched is clear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import deciders, states
from taskflow import exceptions as exc
from taskflow.engines.action_engine import layout as layouts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

# Where an atom stands. Flow markers have no standing of their own.
(PENDING, RUNNING, SUCCESS, FAILURE, REVERTING, REVERTED, REVERT_FAILURE, IGNORED, RETRYING, MARKER) = range(10)

CODES = {
    states.PENDING: PENDING,
    None: PENDING,
    states.RUNNING: RUNNING,
    states.SUCCESS: SUCCESS,
    states.FAILURE: FAILURE,
    states.REVERTING: REVERTING,
    states.REVERTED: REVERTED,
    states.REVERT_FAILURE: REVERT_FAILURE,
    states.IGNORE: IGNORED,
    states.RETRYING: RETRYING,
}

# What is meant to happen to an atom next.
EXECUTE, REVERT, RETRY, IGNORE = range(4)

INTENTIONS: dict[str | None, int] = {
    states.EXECUTE: EXECUTE,
    states.REVERT: REVERT,
    states.RETRY: RETRY,
    states.IGNORE: IGNORE,
    # Of records that are older than intentions.
    None: EXECUTE,
}

_CLEAR = frozenset((PENDING, REVERTED, IGNORED, MARKER))
_UNSTARTED = frozenset((PENDING, RETRYING))
_ENDED_WELL = frozenset((SUCCESS, IGNORED))
_REVERTABLE = frozenset((SUCCESS, FAILURE))

WHOLE_FLOW = -1


class Plan:
    """The scheduling of one run over a layout.

    Args:
        layout: The compiled flow.

    Attributes:
        ready: Numbers of the atoms that may be executed, reverted or retried now (what of these, ``want`` says), as
            the keys of a dict in the order in which they became ready.
        status: Per node, where it stands.
        want: Per node, what is meant to happen to it next.
    """

    __slots__ = (
        "_blocked",
        "_dead",
        "_layout",
        "_passed",
        "_reverting",
        "_touched",
        "_waiting",
        "candidates",
        "ready",
        "status",
        "want",
    )

    def __init__(self, layout: layouts.Layout) -> None:
        self._layout = layout
        size = len(layout)
        self.status = bytearray(size)
        for i, kind in enumerate(layout.kinds):
            if kind >= layouts.FLOW:
                self.status[i] = MARKER
        self.want = bytearray(size)
        self._passed = bytearray(size)
        self._touched = bytearray(size)
        self._dead = bytearray(size)
        self._waiting = [len(p) for p in layout.pred]
        self._blocked: dict[int, int] = {}
        self._reverting: set[int] = set()
        self.ready: dict[int, None] = {}
        # Atoms that are ready but have deciders to be asked first.
        self.candidates: list[int] = []

    # -- beginning -------------------------------------------------------------------------------------------

    def restore(self, recorded: Iterable[tuple[int, int, int]]) -> None:
        """Begin from what was recorded of each atom; to be called once, first.

        Args:
            recorded: Number, standing and intention of each atom.
        """
        status, want, touched = self.status, self.want, self._touched
        fresh = True
        backward = False
        for i, standing, intention in recorded:
            if standing != PENDING:
                status[i] = standing
                touched[i] = 1
                fresh = False
            if intention != EXECUTE:
                want[i] = intention
                # Whatever has left its beginning in any way is found again by a walk, even if it never ran.
                touched[i] = 1
                backward = backward or intention != IGNORE
                fresh = False
        if not fresh:
            succ = self._layout.succ
            for i in reversed(self._layout.order):
                if not touched[i] and any(touched[s] for s in succ[i]):
                    touched[i] = 1
        self._pass([i for i, n in enumerate(self._waiting) if n == 0])
        if backward:
            self._count_backward(i for i in reversed(self._layout.order) if touched[i])

    # -- going forward ---------------------------------------------------------------------------------------

    def started(self, i: int) -> None:
        """Atom ``i`` is executing."""
        self.status[i] = RUNNING
        self._touched[i] = 1

    def succeeded(self, i: int) -> None:
        """Atom ``i`` has executed."""
        self.status[i] = SUCCESS
        if self.want[i] != EXECUTE:
            self.offer_revert(i)
        elif self._waiting[i] == 0:
            self._passed[i] = 1
            self._free(i)

    def failed(self, i: int) -> None:
        """The execution of atom ``i`` has failed; what follows from it is another call."""
        self.status[i] = FAILURE

    def _free(self, i: int) -> None:
        """Tell the successors of a passed node, and theirs where that makes them pass at once."""
        waiting, succ, status = self._waiting, self._layout.succ, self.status
        more = None
        for s in succ[i]:
            left = waiting[s] = waiting[s] - 1
            if left == 0:
                if status[s] == PENDING:
                    if self.want[s] == EXECUTE:
                        self._offer(s)
                elif more is None:
                    more = [s]
                else:
                    more.append(s)
        if more is not None:
            self._pass(more)

    def _pass(self, nodes: list[int]) -> None:
        """Look at nodes for which all before them is passed."""
        waiting, succ, status, want = self._waiting, self._layout.succ, self.status, self.want
        passed, touched = self._passed, self._touched
        stack = nodes
        stack.reverse()
        while stack:
            i = stack.pop()
            standing = status[i]
            if standing in _UNSTARTED:
                if want[i] == EXECUTE:
                    self._offer(i)
                continue
            if standing == MARKER:
                touched[i] = 1
            elif standing not in _ENDED_WELL or want[i] in (REVERT, RETRY):
                continue
            if passed[i]:
                continue
            passed[i] = 1
            freed = []
            for s in succ[i]:
                left = waiting[s] = waiting[s] - 1
                if left == 0:
                    freed.append(s)
            freed.reverse()
            stack.extend(freed)

    def _offer(self, i: int) -> None:
        if self._layout.deciders and self._layout.applying_deciders(i):
            self.candidates.append(i)
        else:
            self.ready[i] = None

    def approve(self, i: int) -> None:
        """The deciders of candidate ``i`` let it run."""
        self.ready[i] = None

    def still_wanted(self, i: int) -> bool:
        """Whether candidate ``i`` still is to be executed (an earlier vote may have ignored it)."""
        return self.status[i] in (PENDING, RETRYING) and self.want[i] == EXECUTE and self._waiting[i] == 0

    def ignore(self, i: int, depth: str) -> list[int]:
        """Pass over candidate ``i``, and over what the depth of the vote names behind it.

        Args:
            i: The candidate.
            depth: The widest depth among the votes against it.

        Returns:
            Numbers of the atoms that became ignored, in the order in which to tell of them.
        """
        layout = self._layout
        kinds, succ, status = layout.kinds, layout.succ, self.status
        if depth == deciders.Depth.ATOM:
            concerned = [i]
        elif depth == deciders.Depth.NEIGHBORS:
            concerned = [i, *(s for s in succ[i] if kinds[s] == layouts.TASK)]
        elif depth == deciders.Depth.FLOW:
            concerned = self._forward(i, lambda s: kinds[s] == layouts.TASK)
        else:
            dead = self._dead
            concerned = self._forward(i, lambda s: not dead[s])
            for n in concerned:
                dead[n] = 1
        ignored = []
        free = []
        self._touch(concerned)
        for n in concerned:
            if kinds[n] <= layouts.RETRY and status[n] == PENDING:
                status[n] = IGNORED
                self.want[n] = IGNORE
                self.ready.pop(n, None)
                ignored.append(n)
                if self._waiting[n] == 0:
                    free.append(n)
        self._pass(free)
        return ignored

    def _touch(self, nodes: Iterable[int]) -> None:
        """Mark nodes, and all before them, so that a walk from any retry before them finds them."""
        touched, pred = self._touched, self._layout.pred
        stack = list(nodes)
        for n in stack:
            touched[n] = 1
        while stack:
            for p in pred[stack.pop()]:
                if not touched[p]:
                    touched[p] = 1
                    stack.append(p)

    def _forward(self, i: int, enter: Callable[[int], bool]) -> list[int]:
        """``i`` and what is reached from it through nodes that may be entered: depth first, the last link first."""
        succ = self._layout.succ
        found: list[int] = []
        seen = set()
        stack = [i]
        while stack:
            n = stack.pop()
            if n in seen:
                continue
            seen.add(n)
            found.append(n)
            stack.extend(s for s in succ[n] if s not in seen and enter(s))
        return found

    # -- going backward --------------------------------------------------------------------------------------

    def revert_all(self) -> list[int]:
        """Everything is to be undone.

        Returns:
            Numbers of the atoms whose intention changed to REVERT.
        """
        if WHOLE_FLOW in self._reverting:
            return []
        self._reverting.add(WHOLE_FLOW)
        kinds, want = self._layout.kinds, self.want
        changed = [i for i in self._layout.graph_order if kinds[i] <= layouts.RETRY and want[i] != REVERT]
        for i in range(len(want)):
            want[i] = REVERT
        self.ready = {i: None for i in self.ready if self.status[i] not in (PENDING, RETRYING)}
        self.candidates.clear()
        self._count_backward(i for i in reversed(self._layout.order) if self._touched[i])
        return changed

    def revert(self, root: int) -> list[int]:
        """Retry ``root`` gives up: it and all that is reached from it is to be undone.

        Returns:
            Numbers of the atoms whose intention changed to REVERT.
        """
        if self.want[root] == REVERT and root in self._reverting:
            return []
        self._reverting.add(root)
        want = self.want
        # Behind a node that is wanted reverted already all is; flows that give up one after the other share a tail.
        reached = self._forward(root, lambda s: want[s] != REVERT)
        changed = self._want_revert(reached)
        self._recount(n for n in reached if self._touched[n])
        return changed

    def retry(self, root: int) -> tuple[list[int], bool]:
        """Retry ``root`` wants another attempt: what is reached from it is to be undone first.

        Only what was reached by the run is looked at; behind an atom that never started nothing can start, since its
        predecessors are wanted reverted.

        Returns:
            Numbers of the atoms whose intention changed to REVERT, and whether that of the retry became RETRY.
        """
        if root in self._reverting and self.want[root] in (REVERT, RETRY):
            return [], False
        self._reverting.add(root)
        touched = self._touched
        before = self.want[root]
        reached = self._forward(root, lambda s: bool(touched[s]))
        edge = {s: None for n in reached for s in self._layout.succ[n] if not touched[s]}
        changed = self._want_revert([n for n in [*reached, *edge] if n != root])
        if before != REVERT:
            self.want[root] = RETRY
        self._recount(reached)
        return changed, before not in (REVERT, RETRY)

    def _want_revert(self, nodes: Iterable[int]) -> list[int]:
        kinds, want, status, ready = self._layout.kinds, self.want, self.status, self.ready
        changed = []
        for n in nodes:
            if want[n] != REVERT:
                want[n] = REVERT
                if kinds[n] <= layouts.RETRY:
                    changed.append(n)
            if n in ready and status[n] in (PENDING, RETRYING):
                del ready[n]
        if self.candidates:
            self.candidates = [n for n in self.candidates if want[n] == EXECUTE]
        return changed

    def _recount(self, nodes: Iterable[int]) -> None:
        if self._layout.regular:
            self._count_backward(sorted(nodes, reverse=True))
        else:
            chosen = set(nodes)
            self._count_backward(n for n in reversed(self._layout.order) if n in chosen)

    def _count_backward(self, nodes: Iterable[int]) -> None:
        """Count, for nodes given successors first, the successors that are not clear."""
        blocked, status, succ = self._blocked, self.status, self._layout.succ
        for n in nodes:
            count = 0
            for s in succ[n]:
                if status[s] not in _CLEAR or blocked.get(s):
                    count += 1
            blocked[n] = count
            if count == 0:
                self.offer_revert(n)

    def offer_revert(self, n: int) -> None:
        """Atom ``n`` has ended: it may be undone if that is what is wanted and nothing behind it is in the way."""
        if self.status[n] in _REVERTABLE and self.want[n] in (REVERT, RETRY) and not self._blocked.get(n):
            self.ready[n] = None

    def reverting(self, i: int) -> None:
        """Atom ``i`` is being undone."""
        self.status[i] = REVERTING
        self._touched[i] = 1

    def reverted(self, i: int) -> None:
        """Atom ``i`` is undone; what led to it may follow."""
        self.status[i] = REVERTED
        self._passed_back(i)
        if not self._blocked.get(i):
            self._clear(i)

    def revert_failed(self, i: int) -> None:
        """Undoing atom ``i`` has failed; nothing before it can be undone any more."""
        self.status[i] = REVERT_FAILURE

    def _passed_back(self, i: int) -> None:
        """An undone node holds its successors back again."""
        if self._passed[i]:
            self._passed[i] = 0
            waiting = self._waiting
            for s in self._layout.succ[i]:
                waiting[s] += 1

    def _clear(self, i: int) -> None:
        blocked, status, pred = self._blocked, self.status, self._layout.pred
        stack = [i]
        while stack:
            for p in pred[stack.pop()]:
                count = blocked.get(p)
                if count:
                    blocked[p] = count - 1
                    if count == 1:
                        if status[p] in _CLEAR:
                            stack.append(p)
                        else:
                            self.offer_revert(p)

    # -- trying again ----------------------------------------------------------------------------------------

    def restart(self, root: int) -> list[int]:
        """Retry ``root`` begins another attempt: what is reached from it starts anew.

        Returns:
            Numbers of the atoms concerned, the retry not among them, in the order in which to tell of them.
        """
        kinds, want, status, touched = self._layout.kinds, self.want, self.status, self._touched
        reached = self._forward(root, lambda s: bool(touched[s]))
        edge = {s: None for n in reached for s in self._layout.succ[n] if not touched[s]}
        self._begin_again(reached)
        for n in edge:
            want[n] = EXECUTE
        status[root] = RETRYING
        want[root] = EXECUTE
        touched[root] = 1
        return [n for n in [*reached, *edge] if n != root and kinds[n] <= layouts.RETRY]

    def _begin_again(self, nodes: Sequence[int]) -> None:
        kinds, want, status, touched, dead = self._layout.kinds, self.want, self.status, self._touched, self._dead
        for n in nodes:
            self._passed_back(n)
            self._blocked.pop(n, None)
            self._reverting.discard(n)
            self.ready.pop(n, None)
            want[n] = EXECUTE
            touched[n] = 0
            dead[n] = 0
            if kinds[n] <= layouts.RETRY:
                status[n] = PENDING

    def offer_again(self, root: int) -> None:
        """Retry ``root``, found in the middle of beginning again, may run if nothing before it is in the way."""
        kinds, pred, want, passed = self._layout.kinds, self._layout.pred, self.want, self._passed
        stack = [root]
        while stack:
            for p in pred[stack.pop()]:
                if kinds[p] >= layouts.FLOW:
                    stack.append(p)
                elif not passed[p] or want[p] in (REVERT, RETRY):
                    return
        self.ready[root] = None

    # -- standing --------------------------------------------------------------------------------------------

    def put_back(self, i: int, standing: int) -> None:
        """Atom ``i`` was chosen but nothing of it has begun: it stands where it stood."""
        self.status[i] = standing
        if standing in _CLEAR and not self._blocked.get(i):
            self._clear(i)
        if standing not in (PENDING, RETRYING) or self.want[i] == EXECUTE:
            self.ready[i] = None

    def all_passed(self) -> bool:
        """Whether every atom ended in SUCCESS or IGNORE."""
        count = self.status.count
        return count(SUCCESS) + count(IGNORED) + count(MARKER) == len(self.status)


def recorded(details: Sequence[Any]) -> Iterator[tuple[int, int, int]]:
    """Number, standing and intention of each atom, as its record says and a plan understands."""
    for i, detail in enumerate(details):
        if detail is None:
            continue
        code = CODES.get(detail.state)
        if code is None:
            raise exc.InvalidState(
                f"Atom {detail.name!r} is recorded in state {detail.state!r}, which no atom has: "
                f"expected one of {', '.join(filter(None, CODES))}"
            )
        intention = INTENTIONS.get(detail.intention)
        if intention is None:
            raise exc.InvalidState(
                f"Atom {detail.name!r} is recorded with the intention {detail.intention!r}, which no atom has: "
                f"expected one of {', '.join(filter(None, INTENTIONS))}"
            )
        yield i, code, intention
