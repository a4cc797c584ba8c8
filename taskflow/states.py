# SPDX-License-Identifier: Apache-2.0
"""Which states are there, and which may follow which?

The tables are the rule: the functions only look into them, and the documentation is drawn from them.
"""

from __future__ import annotations

from taskflow import exceptions as exc

# Jobs.
CLAIMED = "CLAIMED"
COMPLETE = "COMPLETE"
UNCLAIMED = "UNCLAIMED"

# Flows and atoms.
FAILURE = "FAILURE"
PENDING = "PENDING"
REVERTED = "REVERTED"
REVERTING = "REVERTING"
RUNNING = "RUNNING"
SUCCESS = "SUCCESS"

# Flows only.
RESUMING = "RESUMING"
SUSPENDED = "SUSPENDED"
SUSPENDING = "SUSPENDING"

# Atoms only (``RETRYING`` for retries only).
IGNORE = "IGNORE"
RETRYING = "RETRYING"
REVERT_FAILURE = "REVERT_FAILURE"

# What an atom is meant to do next.
EXECUTE = "EXECUTE"
RETRY = "RETRY"
REVERT = "REVERT"
INTENTIONS = (EXECUTE, IGNORE, REVERT, RETRY)

# What an engine itself is doing; never stored.
ANALYZING = "ANALYZING"
SCHEDULING = "SCHEDULING"
WAITING = "WAITING"

_Pairs = frozenset[tuple[str, str]]


def _pairs(*rows: tuple[str, tuple[str, ...]]) -> _Pairs:
    return frozenset((old, new) for old, followers in rows for new in followers)


_ALLOWED_JOB_TRANSITIONS = _pairs(
    (UNCLAIMED, (CLAIMED,)),
    (CLAIMED, (COMPLETE, UNCLAIMED)),
)

_ALLOWED_FLOW_TRANSITIONS = _pairs(
    (PENDING, (RUNNING,)),
    (RUNNING, (SUCCESS, FAILURE, REVERTED, SUSPENDING, RESUMING)),
    (SUSPENDING, (SUSPENDED, SUCCESS, FAILURE, REVERTED, RESUMING)),
    (RESUMING, (SUSPENDED,)),
    (SUSPENDED, (RUNNING,)),
    (SUCCESS, (RUNNING, PENDING)),
    (FAILURE, (RUNNING,)),
    (REVERTED, (PENDING,)),
)

# A flow that rests has nothing to suspend or to resume: asking for it is no error, it just has no effect.
_IGNORED_FLOW_TRANSITIONS: _Pairs = frozenset(
    (old, new)
    for old in (PENDING, FAILURE, SUCCESS, SUSPENDED, REVERTED)
    for new in (SUSPENDING, SUSPENDED, RESUMING)
    if old != new
)

_ALLOWED_TASK_TRANSITIONS = _pairs(
    (PENDING, (RUNNING, IGNORE)),
    (RUNNING, (SUCCESS, FAILURE)),
    (SUCCESS, (REVERTING,)),
    (FAILURE, (REVERTING,)),
    (REVERTING, (REVERTED, REVERT_FAILURE)),
    (REVERTED, (PENDING,)),
    (IGNORE, (PENDING,)),
)

_ALLOWED_RETRY_TRANSITIONS = _ALLOWED_TASK_TRANSITIONS | _pairs(
    (SUCCESS, (RETRYING,)),
    (RETRYING, (RUNNING,)),
)


def check_job_transition(old_state: str, new_state: str) -> bool:
    """Checks a change of the state of a job.

    Args:
        old_state: the state it is in.
        new_state: the state it would enter.

    Returns:
        ``True`` when the change is allowed, ``False`` when there is nothing to change.

    Raises:
        InvalidState: the change is not allowed.
    """
    if old_state == new_state:
        return False
    if (old_state, new_state) in _ALLOWED_JOB_TRANSITIONS:
        return True
    raise exc.InvalidState(f"Job transition from {old_state} to {new_state} is not allowed")


def check_flow_transition(old_state: str, new_state: str) -> bool:
    """Checks a change of the state of a flow.

    Args:
        old_state: the state it is in.
        new_state: the state it would enter.

    Returns:
        ``True`` when the change is allowed, ``False`` when there is nothing to change or the request has no effect.

    Raises:
        InvalidState: the change is not allowed.
    """
    if old_state == new_state:
        return False
    pair = (old_state, new_state)
    if pair in _ALLOWED_FLOW_TRANSITIONS:
        return True
    if pair in _IGNORED_FLOW_TRANSITIONS:
        return False
    raise exc.InvalidState(f"Flow transition from {old_state} to {new_state} is not allowed")


def check_task_transition(old_state: str, new_state: str) -> bool:
    """Checks a change of the state of a task.

    Args:
        old_state: the state it is in.
        new_state: the state it would enter.

    Returns:
        Whether the change is allowed.
    """
    return (old_state, new_state) in _ALLOWED_TASK_TRANSITIONS


def check_retry_transition(old_state: str, new_state: str) -> bool:
    """Checks a change of the state of a retry.

    Args:
        old_state: the state it is in.
        new_state: the state it would enter.

    Returns:
        Whether the change is allowed.
    """
    return (old_state, new_state) in _ALLOWED_RETRY_TRANSITIONS
