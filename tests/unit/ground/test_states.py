# SPDX-License-Identifier: Apache-2.0
"""Do the state tables and the functions that read them agree with what is documented?"""

import itertools

import pytest

from taskflow import exceptions as exc
from taskflow import states

JOB = {("UNCLAIMED", "CLAIMED"), ("CLAIMED", "UNCLAIMED"), ("CLAIMED", "COMPLETE")}
FLOW = {
    ("PENDING", "RUNNING"),
    *(("RUNNING", new) for new in ("SUCCESS", "FAILURE", "REVERTED", "SUSPENDING", "RESUMING")),
    ("SUCCESS", "RUNNING"),
    ("SUCCESS", "PENDING"),
    ("FAILURE", "RUNNING"),
    ("REVERTED", "PENDING"),
    *(("SUSPENDING", new) for new in ("SUSPENDED", "SUCCESS", "FAILURE", "REVERTED", "RESUMING")),
    ("SUSPENDED", "RUNNING"),
    ("RESUMING", "SUSPENDED"),
}
RESTING = ("PENDING", "FAILURE", "SUCCESS", "SUSPENDED", "REVERTED")
IGNORED = {pair for pair in itertools.product(RESTING, ("SUSPENDING", "SUSPENDED", "RESUMING")) if pair[0] != pair[1]}
TASK = {
    ("PENDING", "RUNNING"),
    ("PENDING", "IGNORE"),
    ("RUNNING", "SUCCESS"),
    ("RUNNING", "FAILURE"),
    ("FAILURE", "REVERTING"),
    ("SUCCESS", "REVERTING"),
    ("REVERTING", "REVERTED"),
    ("REVERTING", "REVERT_FAILURE"),
    ("REVERTED", "PENDING"),
    ("IGNORE", "PENDING"),
}
RETRY = TASK | {("SUCCESS", "RETRYING"), ("RETRYING", "RUNNING")}

ALL = [
    "CLAIMED COMPLETE UNCLAIMED FAILURE PENDING REVERTING REVERTED RUNNING SUCCESS SUSPENDING SUSPENDED RESUMING",
    "RETRYING IGNORE REVERT_FAILURE EXECUTE REVERT RETRY SCHEDULING WAITING ANALYZING",
]
NAMES = " ".join(ALL).split()
PAIRS = list(itertools.product(NAMES, NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_its_own_name(name):
    assert getattr(states, name) == name


def test_intentions():
    assert states.INTENTIONS == ("EXECUTE", "IGNORE", "REVERT", "RETRY")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (states._ALLOWED_JOB_TRANSITIONS, JOB),
        (states._ALLOWED_FLOW_TRANSITIONS, FLOW),
        (states._IGNORED_FLOW_TRANSITIONS, IGNORED),
        (states._ALLOWED_TASK_TRANSITIONS, TASK),
        (states._ALLOWED_RETRY_TRANSITIONS, RETRY),
    ],
)
def test_tables_are_frozen_sets_of_pairs(table, expected):
    assert isinstance(table, frozenset)
    assert table == expected


def outcome(check, old, new):
    try:
        return check(old, new)
    except exc.InvalidState as e:
        return str(e)


def test_job_transitions():
    for old, new in PAIRS:
        result = outcome(states.check_job_transition, old, new)
        if old == new:
            assert result is False
        elif (old, new) in JOB:
            assert result is True
        else:
            assert result.startswith("Job transition")
            assert "not allowed" in result


def test_flow_transitions():
    for old, new in PAIRS:
        result = outcome(states.check_flow_transition, old, new)
        if old == new or (old, new) in IGNORED:
            assert result is False
        elif (old, new) in FLOW:
            assert result is True
        else:
            assert result.startswith("Flow transition")
            assert "not allowed" in result
            assert old in result
            assert new in result


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("RUNNING", "PENDING"),
        ("REVERTED", "RUNNING"),
        ("RESUMING", "RUNNING"),
        ("FAILURE", "SUCCESS"),
        ("FAILURE", "PENDING"),
        ("SUSPENDED", "PENDING"),
        ("REVERTING", "RESUMING"),
    ],
)
def test_flow_transitions_that_are_errors(old, new):
    with pytest.raises(exc.InvalidState, match=r"^Flow transition.*not allowed"):
        states.check_flow_transition(old, new)


@pytest.mark.parametrize(
    ("check", "table"), [(states.check_task_transition, TASK), (states.check_retry_transition, RETRY)]
)
def test_atom_transitions_never_raise(check, table):
    for pair in PAIRS:
        assert check(*pair) is (pair in table)
