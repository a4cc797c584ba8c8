# SPDX-License-Identifier: Apache-2.0
"""Do graph flows make the links that recomputing everything at each addition would make?"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskflow import exceptions as exc
from taskflow import retry, task
from taskflow.patterns import graph_flow

symbols = st.lists(st.sampled_from("abcd"), max_size=2, unique=True)


class T(task.Task):
    def execute(self, **kwargs):
        pass


class Model:
    """The rules of adding, written down without any thought of speed; links are {(u, v): set of reasons or marks}."""

    def __init__(self, from_retry):
        self.from_retry = set(from_retry)
        self.nodes = []
        self.links = {}

    def before(self, node):
        found, stack = [], [node]
        while stack:
            last = stack.pop()
            for u, v in self.links:
                if v is last and u not in found:
                    found.append(u)
                    stack.append(u)
        return found

    def unsatisfied(self, node):
        given_before = {symbol for other in self.before(node) for symbol in other.provides}
        return [s for s in node.requires if s not in self.from_retry and s not in given_before]

    def add(self, new, resolve_requires, resolve_existing):
        work = Model(self.from_retry)
        work.nodes, work.links = list(self.nodes), {pair: set(reasons) for pair, reasons in self.links.items()}
        required, provided = {}, {}
        for node in self.nodes:
            for symbol in self.unsatisfied(node):
                required.setdefault(symbol, []).append(node)
            for symbol in node.provides:
                provided.setdefault(symbol, []).append(node)
        for node in new:
            work.nodes.append(node)
            if resolve_requires:
                for symbol in work.unsatisfied(node):
                    providers = provided.get(symbol, [])
                    if len(providers) > 1:
                        raise exc.AmbiguousDependency("model")
                    for provider in providers:
                        work.links.setdefault((provider, node), set()).add(symbol)
                    if not providers:
                        required.setdefault(symbol, []).append(node)
            for symbol in node.provides:
                provided.setdefault(symbol, []).append(node)
            if resolve_existing:
                for symbol in node.provides:
                    waiting = required.get(symbol, [])
                    for other in [other for other in waiting if other is not node]:
                        work.links.setdefault((node, other), set()).add(symbol)
                        waiting.remove(other)
        self.adopt(work)

    def link(self, u, v):
        work = Model(self.from_retry)
        work.nodes, work.links = self.nodes, {**self.links}
        work.links[u, v] = {*self.links.get((u, v), ()), "manual"}
        self.adopt(work)

    def adopt(self, work):
        if any(node in work.before(node) for node in work.nodes):
            raise exc.DependencyFailure("model")
        self.nodes, self.links = work.nodes, work.links

    def order(self):
        placed = []
        free = [n for n in self.nodes if not any(v is n for _, v in self.links)]
        while free:
            node = free.pop(0)
            placed.append(node)
            for after in [v for u, v in self.links if u is node]:
                if after not in free and all(u in placed for u, v in self.links if v is after):
                    free.append(after)
        return placed


def shown(data):
    return {*data.get("reasons", ()), *(["manual"] if "manual" in data else [])}


steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("add"), st.lists(st.tuples(symbols, symbols), min_size=1, max_size=3), st.booleans(), st.booleans()
        ),
        st.tuples(
            st.just("add"), st.lists(st.tuples(symbols, symbols), min_size=1, max_size=3), st.just(True), st.just(True)
        ),
        st.tuples(st.just("link"), st.integers(0, 20), st.integers(0, 20), st.none()),
    ),
    max_size=10,
)


@given(steps, st.lists(st.sampled_from("ab"), max_size=1))
def test_links_agree_with_the_model(taken, from_retry):
    controller = retry.AlwaysRevert(provides=from_retry)
    flow, model = graph_flow.Flow("f", controller), Model(from_retry)
    for what, first, second, third in taken:
        if what == "add":
            new = [T(str(i), requires=needs, provides=gives) for i, (needs, gives) in enumerate(first)]
            change = (
                lambda new=new, a=second, b=third: model.add(new, a, b),
                lambda new=new, a=second, b=third: flow.add(*new, resolve_requires=a, resolve_existing=b),
            )
        elif model.nodes:
            u, v = model.nodes[first % len(model.nodes)], model.nodes[second % len(model.nodes)]
            change = (lambda u=u, v=v: model.link(u, v), lambda u=u, v=v: flow.link(u, v))
        else:
            continue
        try:
            change[0]()
        except exc.DependencyFailure as error:
            with pytest.raises(type(error)):
                change[1]()
        else:
            change[1]()

        assert {(u, v): shown(data) for u, v, data in flow.iter_links()} == model.links
        assert list(flow) == model.order()
        assert flow.requires == {s for node in model.nodes for s in model.unsatisfied(node)}
        assert flow.provides == {*from_retry, *(s for node in model.nodes for s in node.provides)}
        assert [u for u, _, _ in flow.iter_links()] == sorted(
            (u for u, _ in model.links), key=lambda node: model.nodes.index(node)
        )
