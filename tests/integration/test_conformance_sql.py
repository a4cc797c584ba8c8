# SPDX-License-Identifier: Apache-2.0
"""Do databases in servers pass the tests that every backend has to pass?"""

import unittest
from typing import ClassVar

import pytest

from taskflow.persistence.backends import impl_sqlalchemy
from taskflow.testing import persistence


class InServer(persistence.BackendConformance):
    server_name: ClassVar[str]
    driver: ClassVar[str]
    url: ClassVar[dict] = {}

    @pytest.fixture(autouse=True)
    def _find_server(self, request):
        self.server = request.getfixturevalue(self.server_name)

    def _open(self):
        backend = impl_sqlalchemy.SQLAlchemyBackend({"connection": self.url[type(self)]})
        backend.get_connection().upgrade()
        return backend

    def backend(self):
        # One database for all tests, emptied each time: to make tables takes longer than the tests.
        if type(self) not in self.url:
            self.url[type(self)] = self.server.fresh(self.driver)
        backend = self._open()
        connection = backend.get_connection()
        connection.clear_all()
        connection.close()
        return backend

    def another_backend(self, backend):
        return self._open()


class TestPsycopg2(InServer, unittest.TestCase):
    server_name, driver = "postgresql", "psycopg2"


class TestPsycopg(InServer, unittest.TestCase):
    server_name, driver = "postgresql", "psycopg"


class TestMariaDB(InServer, unittest.TestCase):
    server_name, driver = "mariadb", "pymysql"
    microseconds = False
    # Its columns for names were given a character set that ends at U+FFFF.
    astral_names = False
