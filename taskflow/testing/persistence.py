# SPDX-License-Identifier: Apache-2.0
"""Does a persistence backend do what engines and programs rely on?

A package that brings a backend runs these tests on it, with unittest or with pytest:

.. code-block:: python

   import tempfile
   import unittest

   from taskflow.persistence import backends
   from taskflow.testing import persistence


   class TestFolders(persistence.BackendConformance, unittest.TestCase):
       def backend(self):
           folder = tempfile.TemporaryDirectory()
           self.addCleanup(folder.cleanup)
           backend = backends.fetch({"connection": "dir", "path": folder.name})
           backend.get_connection().upgrade()
           return backend

       def another_backend(self, backend):
           return backends.fetch({"connection": "dir", "path": backend.path})
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskflow.testing import _keeping, _running, _sharing, _units, _values

if TYPE_CHECKING:
    from taskflow.persistence import base


class BackendConformance(_keeping.Keeping, _units.Units, _values.Values, _sharing.Sharing, _running.Running):
    """Tests of everything that all backends have in common; goes before ``unittest.TestCase`` among the base classes.

    A subclass overrides :meth:`backend` and, unless it sets ``shared`` to false, :meth:`another_backend`. Each test
    asks for one fresh backend, uses it through as many connections as it likes, and closes it.

    Attributes:
        shared: Whether a second backend object sees the same records. When false, second connections of the same
            backend take its place.
        serialises: Whether values are kept as JSON text, so that a tuple comes back as a list; when false, values have
            to come back as they are.
        microseconds: Whether times of books are kept to the microsecond; when false, to the second.
        names_culprits: Whether the error about a value that cannot be stored has the attributes ``permanent`` (true:
            trying again does not help) and ``atom_uuid`` (whose value it is, None unless an atom's).
        astral_names: Whether names may have characters beyond U+FFFF; when false, such names have to be refused.
        long_text: How many characters the longest value has that is stored.
        rounds: How often things are repeated that many do at once.
    """

    def backend(self) -> base.Backend:
        """Makes a fresh and empty backend, on which ``upgrade()`` has been called.

        Returns:
            The backend. It is closed when the test has ended; what else there is to be removed then, hand to
            ``self.addCleanup``.
        """
        return super().backend()

    def another_backend(self, backend: base.Backend) -> base.Backend:
        """Makes a second backend object, as another process would, that keeps its records where the given one does.

        Args:
            backend: What :meth:`backend` returned in this test.

        Returns:
            The other backend. It is closed when the test has ended.
        """
        return super().another_backend(backend)
