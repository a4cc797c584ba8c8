# SPDX-License-Identifier: Apache-2.0
"""Workflows that survive crashes: what is the name of this package, and which version of it is installed?

Importing the package itself imports none of its modules; import what you use, for example::

    from taskflow import engines, task
    from taskflow.patterns import linear_flow
"""

TYPE_CHECKING = False  # ``typing`` is not worth its import here
if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        # Looked up on demand: reading the metadata of installed distributions costs more than a small flow.
        if name == "__version__":
            from taskflow import version

            return version.version_string()
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
