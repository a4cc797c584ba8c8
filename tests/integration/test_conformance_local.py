# SPDX-License-Identifier: Apache-2.0
"""Do the backends that need no server do what every backend has to do?"""

import tempfile
import unittest

from taskflow.persistence import backends
from taskflow.testing import persistence


class TestMemory(persistence.BackendConformance, unittest.TestCase):
    shared = False
    serialises = False

    def backend(self):
        return backends.fetch("memory")


class TestSQLiteInMemory(persistence.BackendConformance, unittest.TestCase):
    shared = False

    def backend(self):
        backend = backends.fetch("sqlite://")
        backend.get_connection().upgrade()
        return backend


class InTemporaryFolder(persistence.BackendConformance):
    def conf(self, folder):
        raise NotImplementedError

    def backend(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self._conf = self.conf(folder.name)
        backend = backends.fetch(self._conf)
        backend.get_connection().upgrade()
        return backend

    def another_backend(self, backend):
        return backends.fetch(self._conf)


class TestSQLiteFile(InTemporaryFolder, unittest.TestCase):
    def conf(self, folder):
        return {"connection": f"sqlite:///{folder}/records.db"}


class TestFolder(InTemporaryFolder, unittest.TestCase):
    def conf(self, folder):
        return {"connection": "dir", "path": f"{folder}/records", "fsync": False}
