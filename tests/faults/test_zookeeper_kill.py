# SPDX-License-Identifier: Apache-2.0
"""Does a flow in ZooKeeper survive SIGKILLs with every kind of engine, running, retrying and reverting?"""

from __future__ import annotations

import importlib.util
import json
import pathlib
import sys

import pytest
from kazoo import exceptions as k_exc

HERE = pathlib.Path(__file__).parent


def _load(name):
    # What is done with databases, as a module whose tests are not collected a second time.
    spec = importlib.util.spec_from_file_location(f"zookeeper_{name}", HERE / f"{name}.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_kills = _load("test_kill_sql")
rng = _kills.rng


class Nodes(_kills.Folder):
    """Records in ZooKeeper, read without the library."""

    def __init__(self, server):
        self.server = server
        self.path = server.fresh()
        self.url = f"zookeeper://{server.hosts}{self.path}"

    def forms(self, folder):
        with self.server.client() as client:
            try:
                names = client.get_children(f"{self.path}/{folder}")
            except k_exc.NoNodeError:
                return []  # killed before there were folders
            return [json.loads(client.get(f"{self.path}/{folder}/{name}")[0]) for name in names]


@pytest.mark.parametrize("kind", ["serial", "threads", "processes"])
@pytest.mark.parametrize("fails", [False, True])
def test_killed_flow_loses_and_repeats_nothing(tmp_path, nursery_of, zookeeper, kind, fails, rng):
    nodes = Nodes(zookeeper)
    _kills.kill_and_compare(tmp_path, nursery_of, nodes, kind, fails, rng)
    # And nothing is there that belongs to nobody.
    with zookeeper.client() as client:
        flows = client.get_children(f"{nodes.path}/flow_details")
        linked = {name for flow in flows for name in client.get_children(f"{nodes.path}/flow_details/{flow}")}
        assert set(client.get_children(f"{nodes.path}/atom_details")) == linked
        books = client.get_children(f"{nodes.path}/books")
        assert {name for book in books for name in client.get_children(f"{nodes.path}/books/{book}")} == set(flows)
