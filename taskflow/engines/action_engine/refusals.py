# SPDX-License-Identifier: Apache-2.0
"""What becomes of an outcome that the backend will never take?

The atom has failed then: its outcome is replaced by a failure that says so, and with it is saved whatever else came of
atoms in that unit of work. What was about to follow from those outcomes is dropped, since it may follow no more; an
engine goes on from the records, as it does after a kill at that point.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import states
from taskflow.types import failure as failures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskflow import storage as storages

_UNDOING = (states.REVERTED, states.REVERT_FAILURE)
_ENDED = (states.SUCCESS, states.FAILURE, *_UNDOING)

# Characters of the reason that are kept in the failure.
_MOST = 2_000
_AS_BEFORE = {"state": states.PENDING}


class Refused(Exception):
    """Outcomes were replaced, and what was to follow from them has not happened.

    Args:
        uuids: Those of the atoms whose outcomes were refused.
    """

    def __init__(self, uuids: frozenset[str]) -> None:
        super().__init__("What atoms returned can not be stored; their failures are")
        self.uuids = uuids


def culprit(error: exc.StorageFailure) -> str | None:
    """The uuid of the atom that a unit of work was refused for, if trying that again does not help."""
    return getattr(error, "atom_uuid", None) if getattr(error, "permanent", False) else None


def find(uuid: str, transitions: Sequence[storages.Transition]) -> int:
    """Where in a unit of work the outcome of an atom is, -1 if nowhere."""
    for position, (detail, fields, _) in enumerate(transitions):
        if detail.uuid == uuid and fields.get("state") in _ENDED:
            return position
    return -1


def replaced(
    transition: storages.Transition, error: exc.StorageFailure, kind: str, flow_name: str
) -> tuple[storages.Transition, failures.Failure]:
    """The failure that takes the place of an outcome.

    Args:
        transition: The outcome.
        error: Why it is refused.
        kind: What the atom is: a task or a retry.
        flow_name: The flow that it belongs to.

    Returns:
        What is to be saved instead, and the failure in it.
    """
    detail, fields, _ = transition
    undone = fields["state"] in _UNDOING
    reason = str(error)
    cause: exc.StorageFailure | None = error
    if len(reason) > _MOST:
        # What shows the value, here or in a chain of causes, may be too large to be stored in its turn.
        reason, cause = f"{reason[:_MOST]} ...", None
    what = f"the reversion of {kind}" if undone else kind
    try:
        raise exc.StorageFailure(
            f"What came of {what} {detail.name!r} of flow {flow_name!r} can not be stored: {reason}", cause=cause
        ) from cause
    except exc.StorageFailure:
        failure = failures.Failure()
    changed = detail.outcome(states.REVERT_FAILURE if undone else states.FAILURE, failure)
    return (detail, changed, None), failure


def outcomes(transitions: Sequence[storages.Transition]) -> list[storages.Transition]:
    """What of a unit of work holds whatever follows: what came of atoms, and that some did not begin."""
    return [
        transition
        for transition in transitions
        if transition[1].get("state") in _ENDED or transition[1] == _AS_BEFORE or _is_history(transition[1])
    ]


def _is_history(fields: dict[str, Any]) -> bool:
    return fields.keys() == {"results"}
