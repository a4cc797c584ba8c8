# SPDX-License-Identifier: Apache-2.0
"""How the file system in memory behaves."""

import threading

import pytest

from taskflow import exceptions as exc
from taskflow.persistence.backends import impl_memory
from taskflow.types import tree


@pytest.fixture
def fs():
    return impl_memory.FakeFilesystem()


def fill(fs, *paths):
    for path in paths:
        fs.ensure_path(path)


def test_node_of_the_drawing():
    node = impl_memory.FakeInode("a", "/x/a", 3)
    assert isinstance(node, tree.Node)
    assert node.item == "a"
    assert node.metadata == {"path": "/x/a", "value": 3}


@pytest.mark.parametrize(("path", "short"), [("/", "/"), ("/a//b/../c/", "/a/c"), ("//x", "//x"), ("/a/./b", "/a/b")])
def test_normal_form_of_paths(path, short):
    assert impl_memory.FakeFilesystem.normpath(path) == short


@pytest.mark.parametrize("path", ["", "a", "./a", None])
def test_only_absolute_paths_are_taken(fs, path):
    for use in (fs.normpath, fs.ensure_path, fs.ls, fs.ls_r, fs.delete, fs.get, fs.__getitem__):
        with pytest.raises(ValueError, match="path"):
            use(path)


def test_splitting_and_joining():
    fs = impl_memory.FakeFilesystem
    assert fs.root_path == "/"
    assert fs.split("/a/b") == ("/a", "b")
    assert fs.join("/", "a") == "//a"
    assert fs.join("/a", "b", "c") == "/a/b/c"


def test_ensured_path_has_all_parents_and_no_values(fs):
    fs.ensure_path("/a/b/c")
    assert fs.ls_r("/") == ["a", "a/b", "a/b/c"]
    assert [fs[path] for path in ("/a", "/a/b", "/a/b/c", "/")] == [None] * 4


def test_ensuring_a_path_leaves_what_is_there(fs):
    fs.ensure_path("/a/b")
    fs["/a"] = 1
    fs["/a/b"] = 2
    fs.ensure_path("/a/b")
    fs.ensure_path("/")
    assert (fs["/a"], fs["/a/b"]) == (1, 2)


@pytest.mark.parametrize(("deep_copy", "shared"), [(True, False), (False, True)])
def test_values_are_copied_in_and_out(deep_copy, shared):
    fs = impl_memory.FakeFilesystem(deep_copy=deep_copy)
    inner = []
    value = {"a": inner}
    fs["/v"] = value
    value["b"] = 1
    read = fs["/v"]
    assert read == {"a": []}
    assert read is not fs["/v"]
    assert (read["a"] is inner) is shared
    read["c"] = 1
    assert fs["/v"] == {"a": []}


def test_value_that_can_not_be_copied_leaves_no_trace(fs):
    with pytest.raises(TypeError):
        fs["/v"] = threading.Lock()
    assert fs.ls("/") == []


def test_value_needs_a_parent(fs):
    with pytest.raises(exc.NotFound):
        fs["/a/b"] = 1
    fs["/a"] = 1
    fs["/a/b"] = 2
    assert fs["/a/b"] == 2


def test_root_can_have_a_value(fs):
    assert fs["/"] is None
    fs["/"] = 9
    assert fs["/"] == 9


def test_get_gives_the_default_for_what_is_missing_only(fs):
    fs["/a"] = 1
    assert fs.get("/a", 5) == 1
    assert fs.get("/b", 5) == 5
    assert fs.get("/b") is None
    with pytest.raises(exc.NotFound):
        fs["/b"]


def test_listing_is_in_order_of_addition(fs):
    fill(fs, "/d", "/c/x", "/a")
    assert fs.ls("/") == ["d", "c", "a"]
    assert fs.ls("/", absolute=True) == ["/d", "/c", "/a"]
    assert fs.ls("/c") == ["x"]
    assert fs.ls("/c", absolute=True) == ["/c/x"]
    with pytest.raises(exc.NotFound):
        fs.ls("/nope")


def test_listing_everything_goes_level_by_level_newest_first(fs):
    fill(fs, "/d", "/c/d", "/b/c/d", "/a/b/c/d")
    assert fs.ls_r("/") == ["a", "b", "c", "d", "a/b", "b/c", "c/d", "a/b/c", "b/c/d", "a/b/c/d"]
    assert fs.ls_r("/a/b") == ["c", "c/d"]
    assert fs.ls_r("/a/b", absolute=True) == ["/a/b/c", "/a/b/c/d"]
    assert fs.ls_r("/", absolute=True)[0] == "/a"
    with pytest.raises(exc.NotFound):
        fs.ls_r("/nope")


def test_clear_leaves_the_root(fs):
    fill(fs, "/a/b", "/c")
    fs.clear()
    assert fs.ls_r("/") == []
    fs["/a"] = 1
    assert fs.ls("/") == ["a"]


def test_delete(fs):
    fill(fs, "/a/b/c", "/d")
    for path in ("/", "/a", "/a/b"):
        with pytest.raises(ValueError, match=path):
            fs.delete(path)
    fs.delete("/d")
    fs.delete("/a/b", recursive=True)
    assert fs.ls_r("/") == ["a"]
    for path in ("/d", "/a/b/c"):
        with pytest.raises(exc.NotFound):
            fs.delete(path)
    fs.ensure_path("/x/y")
    del fs["/x"]
    fs.delete("/", recursive=True)
    assert fs.ls_r("/") == []
    assert fs["/"] is None


def test_links_are_followed_when_reading(fs):
    fs["/a"] = 1
    fs.symlink("/a", "/b")
    fs.symlink("/b", "/c")
    assert (fs["/b"], fs["/c"]) == (1, 1)
    fs["/c"] = 5
    assert (fs["/a"], fs["/c"]) == (1, 1)
    fs["/a"] = 2
    assert fs["/c"] == 2


def test_link_may_dangle(fs):
    fs.symlink("/a", "/b")
    with pytest.raises(exc.NotFound):
        fs["/b"]
    assert fs.get("/b", 7) == 7
    fs["/a"] = 1
    assert fs["/b"] == 1
    fs.delete("/a")
    assert fs.get("/b") is None


def test_link_has_no_children(fs):
    fs.ensure_path("/a/x")
    fs.symlink("/a", "/b")
    assert fs.ls("/b") == []
    assert fs.ls_r("/") == ["b", "a", "a/x"]
    with pytest.raises(exc.NotFound):
        fs["/b/x"]


def test_link_needs_a_parent(fs):
    with pytest.raises(exc.NotFound):
        fs.symlink("/a", "/x/y")


def test_what_is_there_becomes_a_link(fs):
    fs["/a"] = 1
    fs["/b"] = 2
    fs.symlink("/a", "/b")
    assert fs["/b"] == 1


@pytest.mark.parametrize("targets", [{"/a": "/a"}, {"/a": "/b", "/b": "/a"}, {"/a": "/b", "/b": "/c", "/c": "/b"}])
def test_circle_of_links_is_an_error(fs, targets):
    for link, target in targets.items():
        fs.symlink(target, link)
    with pytest.raises(ValueError, match="circle"):
        fs["/a"]
    with pytest.raises(ValueError, match="circle"):
        fs.get("/a", 1)


def test_removed_tree_is_gone_for_links_into_it(fs):
    fs.ensure_path("/a/b")
    fs["/a/b"] = 1
    fs.symlink("/a/b", "/l")
    fs.delete("/a", recursive=True)
    with pytest.raises(exc.NotFound):
        fs["/l"]


def test_drawing(fs):
    fill(fs, "/d", "/c/e")
    fs.symlink("/d", "/l")
    assert fs.pformat().splitlines() == ["/", "|__d", "|__c", "|  |__e", "|__l (link to /d)"]
