# SPDX-License-Identifier: Apache-2.0
"""Does building graph flows cost about what their nodes and links cost?

Each test builds a flow in which work of the size of the flow at each step would take minutes; a step of constant cost
takes a fraction of a millisecond. The limits are therefore far from both.
"""

import itertools
import random
import time

import pytest

from taskflow import task
from taskflow.patterns import graph_flow, linear_flow

NODES = 20_000
SECONDS = 40.0
WIDTH = 20


class T(task.Task):
    def execute(self, **kwargs):
        pass


def chain():
    return [T(str(i), requires=[f"s{i - 1}"] if i else [], provides=f"s{i}") for i in range(NODES)]


def layered():
    made = []
    for i in range(NODES):
        layer, place = divmod(i, WIDTH)
        needed = [f"s{(layer - 1) * WIDTH + (place + j) % WIDTH}" for j in range(3)] if layer else []
        made.append(T(str(i), requires=needed, provides=f"s{i}"))
    return made


def star():
    return [T("hub", provides="x"), *(T(str(i), requires=["x"]) for i in range(NODES - 1))]


def backwards(items):
    return items[::-1]


def shuffled(items):
    random.Random(1).shuffle(items)
    return items


@pytest.fixture(autouse=True)
def _limit():
    start = time.process_time()
    yield
    assert time.process_time() - start < SECONDS


@pytest.mark.parametrize(
    ("build", "order", "links"),
    [
        pytest.param(chain, list, NODES - 1, id="chain"),
        pytest.param(chain, backwards, NODES - 1, id="chain-backwards"),
        pytest.param(chain, shuffled, NODES - 1, id="chain-shuffled"),
        pytest.param(layered, list, 3 * (NODES - WIDTH), id="layered"),
        pytest.param(layered, backwards, 3 * (NODES - WIDTH), id="layered-backwards"),
        pytest.param(star, list, NODES - 1, id="star"),
        pytest.param(star, backwards, NODES - 1, id="star-backwards"),
    ],
)
def test_adding_one_by_one(build, order, links):
    flow = graph_flow.Flow("f")
    for item in order(build()):
        flow.add(item)

    assert len(flow.iter_links()) == links
    assert flow.requires == set()
    assert len(list(flow)) == NODES


@pytest.mark.parametrize("order", [list, backwards, shuffled])
def test_adding_at_once(order):
    flow = graph_flow.Flow("f").add(*order(layered()))

    assert len(flow.iter_links()) == 3 * (NODES - WIDTH)


@pytest.mark.parametrize("order", [list, backwards, shuffled])
def test_linking_by_hand(order):
    items = [T(str(i)) for i in range(NODES)]
    flow = graph_flow.Flow("f").add(*items)
    for before, after in order(list(itertools.pairwise(items))):
        flow.link(before, after)

    assert list(flow) == items


def test_linking_by_hand_what_data_could():
    flow = graph_flow.Flow("f")
    previous = None
    for item in chain():
        flow.add(item, resolve_requires=False, resolve_existing=False)
        if previous is not None:
            flow.link(previous, item)
        previous = item

    assert flow.requires == set()


def test_subflows_that_grow_after_they_were_added():
    flow = graph_flow.Flow("f")
    for i in range(NODES // 2):
        inner = linear_flow.Flow(str(i))
        flow.add(inner)
        inner.add(T(f"t{i}", requires=["q"], provides=f"s{i}"))

    assert flow.requires == {"q"}
    assert len(flow.provides) == NODES // 2


@pytest.mark.parametrize("inside_out", [True, False])
def test_graph_flows_inside_each_other(inside_out):
    flows = [graph_flow.Flow(str(i)) for i in range(5_000)]
    pairs = list(itertools.pairwise(flows))
    flows[-1].add(T("t", requires=["x"], provides="y"))
    for outer, inner in reversed(pairs) if inside_out else pairs:
        outer.add(inner)

    assert (flows[0].requires, flows[0].provides) == ({"x"}, {"y"})
