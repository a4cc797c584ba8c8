# SPDX-License-Identifier: Apache-2.0
"""Does a backend that a storage made for itself show what is recorded, whenever somebody looks into it?"""

import uuid

import pytest

from taskflow import engines, states, storage, task
from taskflow.patterns import linear_flow
from taskflow.persistence import models


class Add(task.Task):
    default_provides = "total"

    def execute(self):
        return 42


def looked_up(made):
    connection = made.backend.get_connection()
    return connection.get_flow_details(made.flow_uuid)


def test_what_was_recorded_before_somebody_looks_is_there():
    engine = engines.load(linear_flow.Flow("f").add(Add("a"), Add("b")))
    engine.run()
    found = looked_up(engine.storage)
    assert (found.state, {d.name: (d.state, d.results) for d in found}) == (
        states.SUCCESS,
        {"a": (states.SUCCESS, 42), "b": (states.SUCCESS, 42)},
    )


def test_what_is_recorded_after_somebody_looked_is_there_too():
    made = storage.Storage(models.FlowDetail("f", str(uuid.uuid4())))
    made.ensure_atoms([Add("a")])
    made.update_flow_metadata({"x": 1})
    assert looked_up(made).meta == {"x": 1}
    made.save("a", 7)
    made.set_flow_state(states.RUNNING)
    made.update_flow_metadata({"y": 2})
    found = looked_up(made)
    assert (found.state, found.meta, [d.results for d in found]) == (states.RUNNING, {"x": 1, "y": 2}, [7])


def test_a_task_that_looks_in_the_middle_of_a_run_sees_itself_running():
    seen = []

    class Look(task.Task):
        def execute(self):
            found = {d.name: d.state for d in looked_up(engine.storage)}
            seen.append(found)

    engine = engines.load(linear_flow.Flow("f").add(Add("a"), Look("look"), Add("b")))
    engine.run()
    assert seen == [{"a": states.SUCCESS, "look": states.RUNNING, "b": states.PENDING}]
    assert {d.name: d.state for d in looked_up(engine.storage)} == dict.fromkeys(("a", "look", "b"), states.SUCCESS)


@pytest.mark.parametrize("executor", ["serial", "threaded"])
def test_whether_anybody_looks_makes_no_difference_to_the_outcome(executor):
    flow = linear_flow.Flow("f").add(Add("a"))
    engine = engines.load(
        flow, **({"engine": "serial"} if executor == "serial" else {"engine": "parallel", "executor": executor})
    )
    looked_up(engine.storage)
    engine.run()
    assert engine.storage.fetch("total") == 42
    assert [d.results for d in looked_up(engine.storage)] == [42]
