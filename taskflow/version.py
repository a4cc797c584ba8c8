# SPDX-License-Identifier: Apache-2.0
"""Which version of the library is this, and who makes it?"""

TASK_VENDOR = "The taskflow project"
TASK_PRODUCT = "taskflow"
TASK_PACKAGE: str | None = None


def version_string() -> str:
    """Tells the version of the installed distribution.

    Returns:
        The version text, or ``"unknown"`` when the library runs from a source tree that was never installed.
    """
    from importlib import metadata

    try:
        return metadata.version("taskflow")
    except metadata.PackageNotFoundError:
        return "unknown"


def version_string_with_package() -> str:
    """Tells the version together with the packager's own suffix, if there is one.

    Returns:
        The version text, followed by ``-<TASK_PACKAGE>`` when that is set.
    """
    if TASK_PACKAGE is None:
        return version_string()
    return f"{version_string()}-{TASK_PACKAGE}"
