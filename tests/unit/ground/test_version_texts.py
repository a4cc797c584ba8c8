# SPDX-License-Identifier: Apache-2.0
"""Is the version read from the installed distribution, when it is asked for?"""

from importlib import metadata

import pytest

import taskflow
from taskflow import version


def test_version_comes_from_the_metadata(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: f"1.2-{name}")
    assert version.version_string() == "1.2-taskflow"
    assert version.version_string_with_package() == "1.2-taskflow"
    assert taskflow.__version__ == "1.2-taskflow"


def test_version_of_a_tree_that_was_never_installed(monkeypatch):
    def nowhere(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", nowhere)
    assert version.version_string() == "unknown"


def test_the_packager_can_add_a_suffix(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "7")
    monkeypatch.setattr(version, "TASK_PACKAGE", "acme3")
    assert version.version_string_with_package() == "7-acme3"


def test_vendor_and_product_are_texts():
    assert version.TASK_PACKAGE is None
    assert version.TASK_VENDOR
    assert version.TASK_PRODUCT


def test_the_package_has_no_other_attributes():
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = taskflow.no_such_thing
