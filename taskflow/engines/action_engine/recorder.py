# SPDX-License-Identifier: Apache-2.0
"""How does what a step of the loop changed get saved, and then told?

Changes are gathered and saved as one unit of work, at the latest before any code of the user runs: a task, a retry, a
decider, a listener, or the caller of ``run_iter`` between two steps. Hence what is heard was saved before, and with
nobody listening a step costs one unit of work: the outcome of what ended together with the start of what follows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import states
from taskflow import task as tasks
from taskflow.engines.action_engine import layout as layouts
from taskflow.engines.action_engine import refusals

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from taskflow import storage as storages
    from taskflow.types import notifier as notifiers

NO_RESULT: Any = object()

# The states in which something has come of an atom: entering one is told even if the atom is in it already.
RESULT_STATES = (states.SUCCESS, states.FAILURE, states.REVERTED, states.REVERT_FAILURE)


class Recorder:
    """Saves and tells the changes of atoms.

    Args:
        layout: The compiled flow.
        details: Per node number, the record of that atom (``None`` for flow markers).
        storage: Where to save.
        notifier: Whom to tell.
        replaces: Whether an outcome that the backend will never take is replaced by a failure.

    Attributes:
        refused: Atoms whose outcomes were replaced, and their failures; for whoever replaces them to take out.
    """

    __slots__ = (
        "_ahead",
        "_details",
        "_histories",
        "_layout",
        "_notifier",
        "_own_progress",
        "_pending",
        "_replaces",
        "_storage",
        "_written",
        "refused",
    )

    def __init__(
        self,
        layout: layouts.Layout,
        details: Sequence[Any] | Mapping[int, Any],
        storage: storages.Storage,
        notifier: notifiers.Notifier,
        replaces: bool = False,
    ) -> None:
        self._layout = layout
        self._details = details
        self._storage = storage
        self._notifier = notifier
        self._pending: list[storages.Transition] = []
        # Retries whose newest attempt got a failure that is not saved yet.
        self._histories: dict[int, None] = {}
        # Outcomes that are to be saved before they show: not saved yet, and saved.
        self._ahead: dict[int, storages.Transition] = {}
        self._written: dict[int, tuple[storages.Transition, Any]] = {}
        # Per task class, whether it hears of progress in a method of its own.
        self._own_progress: dict[type, bool] = {}
        self._replaces = replaces
        self.refused: dict[int, Any] = {}

    # -- gathering -------------------------------------------------------------------------------------------------

    def note(self, i: int, fields: dict[str, Any], progress: float | None = None) -> None:
        """Gather a change of atom ``i``."""
        self._pending.append((self._details[i], fields, progress))

    def outcome(self, i: int, state: str, result: Any, progress: float | None = None) -> None:
        """Gather what came of atom ``i``, unless it has been saved ahead: then it only has to show."""
        detail = self._details[i]
        if self._ahead or self._written:
            self._ahead.pop(i, None)
            written = self._written.pop(i, None)
            if written is not None and written[1] is detail.meta:
                for name, value in written[0][1].items():
                    setattr(detail, name, value)
                return
        fields = detail.outcome(state, result) if state == states.SUCCESS else self._changes(i, state, result)
        self._pending.append((detail, fields, progress))

    def ahead(self, i: int, state: str, result: Any, progress: float | None) -> None:
        """Gather what came of atom ``i`` to be saved before it shows, with whatever is saved next."""
        detail = self._details[i]
        self._ahead[i] = (detail, self._changes(i, state, result), progress)

    def _changes(self, i: int, state: str, result: Any) -> dict[str, Any]:
        fields: dict[str, Any] = self._details[i].outcome(state, result)
        if state == states.REVERTED and self._layout.kinds[i] == layouts.RETRY:
            # Whatever attempts were made, they count no more.
            fields["results"] = []
        return fields

    def retry_failure(self, i: int, failed: str, failure: Any) -> None:
        """Put the failure of an atom into the newest attempt of retry ``i``; the first one of an atom stays.

        It shows at once and is saved with the rest of the step: many failures under one retry are saved once, and
        one that was not saved is put in again by whoever takes up the failed atom.
        """
        detail = self._details[i]
        if not detail.results:
            # Says what is wrong.
            self._storage.save_retry_failure(detail.name, failed, failure)
        known = detail.last_failures
        if failed not in known:
            known[failed] = failure
            self._histories[i] = None

    def gather_histories(self) -> None:
        """Gather the histories that failures were put into; called once in a phase, at its end."""
        if self._histories:
            for i in self._histories:
                detail = self._details[i]
                self._pending.append((detail, {"results": list(detail.results)}, None))
            self._histories.clear()

    @property
    def gathered(self) -> int:
        """How many changes wait to be saved."""
        return len(self._pending)

    def has_gathered(self, detail: Any) -> bool:
        """Whether a change of that record waits to be saved."""
        return any(changed is detail for changed, _, _ in self._pending) or bool(self._ahead)

    def flush(self) -> None:
        """Save what was gathered, as one unit of work.

        Raises:
            StorageFailure: It could not be saved; it is forgotten then.
            Refused: Of outcomes in it, failures were saved instead.
        """
        if self._pending or self._ahead:
            pending, self._pending = self._pending, []
            ahead, self._ahead = self._ahead, {}
            try:
                if ahead:
                    self._save(pending, ahead)
                else:
                    self._storage.commit(pending)
            except exc.StorageFailure as e:
                if not self._replaces:
                    raise
                self._replace(e, pending, ahead)

    def _save(self, pending: list[storages.Transition], ahead: dict[int, storages.Transition]) -> None:
        bases = {i: transition[0].meta for i, transition in ahead.items()}
        self._storage.commit(pending, tuple(ahead.values()))
        for i, transition in ahead.items():
            self._written[i] = (transition, bases[i])

    def _replace(
        self, error: exc.StorageFailure, pending: list[storages.Transition], ahead: dict[int, storages.Transition]
    ) -> None:
        """Save failures in place of the outcomes that are refused.

        Args:
            error: Why the unit of work was refused.
            pending: What it was to change.
            ahead: Outcomes in it that are not to show yet: nothing followed from those.

        Raises:
            StorageFailure: It is not an outcome that is refused, or the failure is refused as well.
            Refused: Something was to follow from an outcome that is refused.
        """
        replaced: dict[int, Any] = {}
        followed: set[str] = set()
        while True:
            uuid = refusals.culprit(error)
            if uuid is None:
                raise error
            i = self._number_of(uuid)
            position = -1 if i in ahead else refusals.find(uuid, pending)
            if i in replaced or (i not in ahead and position < 0):
                raise error
            kind = "task" if self._layout.kinds[i] == layouts.TASK else "retry"
            outcome = ahead[i] if i in ahead else pending[position]
            outcome, replaced[i] = refusals.replaced(outcome, error, kind, self._storage.flow_name)
            if i in ahead:
                ahead[i] = outcome
            else:
                pending[position] = outcome
                followed.add(uuid)
            unit = refusals.outcomes(pending) if followed else pending
            try:
                self._save(unit, ahead)
            except exc.StorageFailure as e:
                error = e
            else:
                break
        self.refused.update(replaced)
        if followed:
            raise refusals.Refused(frozenset(followed))

    def _number_of(self, uuid: str) -> int:
        for i in self._layout.atoms():
            if self._details[i].uuid == uuid:
                return i
        return -1

    # -- changing ----------------------------------------------------------------------------------------------------

    def move(self, nodes: Iterable[int], state: str | None, intention: str | None) -> None:
        """Gather that atoms are put into a state without doing anything, and tell of those for which that is news.

        Args:
            nodes: Their numbers, in the order in which to tell of them.
            state: The state; ``None`` to leave it.
            intention: What is meant to happen to them next; ``None`` to leave it.
        """
        # What is gathered but not saved does not show in the records yet.
        settled = not self._pending
        ended = state in RESULT_STATES
        told = []
        for i in nodes:
            detail = self._details[i]
            fields: dict[str, Any] = {}
            progress = None
            if intention and not (settled and detail.intention == intention):
                fields["intention"] = intention
            if state and self._is_news(i, state, 0.0):
                fields["state"] = state
                told.append((i, detail.state))
                if self._layout.kinds[i] == layouts.TASK:
                    progress = 0.0
                if ended:
                    # Whatever came of it before is not what came of it now.
                    fields.update(self._changes(i, state, None))
                    self._storage.forget_failures(detail.name)
            if fields:
                self.note(i, fields, progress)
        for i, old in told:
            self.tell(i, state or states.PENDING, old, 0.0 if self._layout.kinds[i] == layouts.TASK else None)

    def change(self, i: int, state: str, progress: float | None = None, result: Any = NO_RESULT) -> None:
        """Save at once that atom ``i`` goes into a state, with what came of it if anything, and tell; if it is news."""
        if not self._is_news(i, state, progress):
            return
        detail = self._details[i]
        old = detail.state
        if state not in RESULT_STATES:
            result = NO_RESULT
            self.note(i, {"state": state}, progress)
            self.flush()
        elif result is NO_RESULT:
            self.outcome(i, state, None, progress)
            self.flush()
            self._storage.forget_failures(detail.name)
        else:
            self.outcome(i, state, result, progress)
            self.flush()
            undone = state in (states.REVERTED, states.REVERT_FAILURE)
            self._storage.note_outcome(detail, result, state, states.REVERT if undone else states.EXECUTE)
        self.tell(i, state, old, progress, result)

    def _is_news(self, i: int, state: str, progress: float | None) -> bool:
        detail = self._details[i]
        if detail.state != state or state in RESULT_STATES:
            return True
        if self._layout.kinds[i] != layouts.TASK:
            return False
        return progress is None or detail.meta.get("progress", 0.0) != progress

    # -- telling -----------------------------------------------------------------------------------------------------

    @property
    def listened_to(self) -> bool:
        """Whether anybody hears of atoms at all."""
        return bool(len(self._notifier))

    def tell(
        self, i: int, state: str, old_state: str | None, progress: float | None = None, result: Any = NO_RESULT
    ) -> None:
        """Tell listeners that atom ``i`` is in a new state, once that is saved; and of progress that goes with it.

        Args:
            i: The number of the atom.
            state: Its state.
            old_state: The one before.
            progress: Progress that the engine made for a task, which it and those who listen to it hear of.
            result: What came of it, if anything.
        """
        if self._notifier._topics and self._notifier.has_listeners(state):
            self.flush()
            kind = "task" if self._layout.kinds[i] == layouts.TASK else "retry"
            detail = self._details[i]
            told = {f"{kind}_name": detail.name, f"{kind}_uuid": detail.uuid, "old_state": old_state}
            if result is not NO_RESULT:
                told["result"] = result
            self._notifier.notify(state, told)
        if progress is None:
            return
        task = self._layout.items[i]
        own = self._own_progress.get(type(task))
        if own is None:
            own = type(task).update_progress is not tasks.Task.update_progress
            self._own_progress[type(task)] = own
        if own or (task._notifier is not None and task._notifier.has_listeners(tasks.EVENT_UPDATE_PROGRESS)):
            self.flush()
            task.update_progress(progress)
