# SPDX-License-Identifier: Apache-2.0
"""Does the ZooKeeper backend do what every backend has to do?"""

import unittest

import pytest

from taskflow.persistence import backends
from taskflow.testing import persistence


class TestZooKeeper(persistence.BackendConformance, unittest.TestCase):
    @pytest.fixture(autouse=True)
    def _server(self, zookeeper):
        self._zookeeper = zookeeper

    def _fetch(self):
        backend = backends.fetch({"connection": "zookeeper", "hosts": self._zookeeper.hosts, "path": self._path})
        self.addCleanup(backend.close)
        return backend

    def backend(self):
        self._path = self._zookeeper.fresh()
        backend = self._fetch()
        backend.get_connection().upgrade()
        return backend

    def another_backend(self, backend):
        return self._fetch()
