# SPDX-License-Identifier: Apache-2.0
"""Do flows need and give what working it out by hand says, whatever is built and changed in which order?"""

import copy
import pickle

from hypothesis import given
from hypothesis import strategies as st

from taskflow import exceptions as exc
from taskflow import retry, task
from taskflow.patterns import graph_flow, linear_flow, unordered_flow

symbols = st.sets(st.sampled_from("abcdef"), max_size=2)


class T(task.Task):
    def execute(self, **kwargs):
        pass


def make(needs, gives):
    return T("t", requires=sorted(needs), provides=sorted(gives))


def worked_out(item):
    """Gives (requires, provides) by plain recursion over what flows show."""
    if not isinstance(item, (linear_flow.Flow, unordered_flow.Flow, graph_flow.Flow)):
        return set(item.requires), set(item.provides)
    own = item.retry
    needs, gives = (set(own.requires), set(own.provides)) if own is not None else (set(), set())
    from_retry = set(gives)
    links = [(u, v) for u, v, _ in item.iter_links()]
    earlier = set(from_retry)
    for child in item:
        child_needs, child_gives = worked_out(child)
        if isinstance(item, linear_flow.Flow):
            satisfied = set(earlier)
        elif isinstance(item, unordered_flow.Flow):
            satisfied = from_retry
        else:
            satisfied, stack, seen = set(from_retry), [child], [child]
            while stack:
                v = stack.pop()
                for u in [u for u, w in links if w is v and u not in seen]:
                    seen.append(u)
                    stack.append(u)
                    satisfied |= worked_out(u)[1]
        needs |= child_needs - satisfied
        gives |= child_gives
        earlier |= child_gives
    return needs, gives


@st.composite
def building(draw):
    """Steps of building: (what, which flow, which other, data)."""
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(["task", "task", "task", "flow", "link", "target", "look", "copy"]),
                st.integers(0, 9),
                st.integers(0, 9),
                symbols,
                symbols,
                st.sampled_from([linear_flow.Flow, unordered_flow.Flow, graph_flow.Flow, graph_flow.TargetedFlow]),
                st.booleans(),
                st.booleans(),
            ),
            max_size=25,
        )
    )


@given(building())
def test_symbols_of_nested_flows(steps):
    flows = [graph_flow.TargetedFlow("top")]
    for what, first, second, needs, gives, pattern, flag, other_flag in steps:
        flow = flows[first % len(flows)]
        flags = {"resolve_requires": flag, "resolve_existing": other_flag} if isinstance(flow, graph_flow.Flow) else {}
        items = list(flow)
        try:
            if what == "task":
                flow.add(make(needs, gives), **flags)
            elif what == "flow":
                controller = retry.AlwaysRevert(requires=sorted(needs), provides=sorted(gives)) if flag else None
                inner = pattern(f"f{len(flows)}", controller)
                flow.add(inner, **flags)
                flows.append(inner)
            elif what == "link" and flags and len(items) > 1:
                flow.link(items[first % len(items)], items[second % len(items)])
            elif what == "target" and isinstance(flow, graph_flow.TargetedFlow) and items:
                if flag:
                    flow.set_target(items[second % len(items)])
                else:
                    flow.reset_target()
            elif what == "look":
                assert (flow.requires, flow.provides) == worked_out(flow)
            elif what == "copy":
                for again in (copy.deepcopy(flow), pickle.loads(pickle.dumps(flow))):
                    assert (again.requires, again.provides) == worked_out(flow)
        except exc.DependencyFailure:
            pass
    for flow in flows:
        assert (flow.requires, flow.provides) == worked_out(flow)
