# SPDX-License-Identifier: Apache-2.0
"""What is known of nodes without asking, and how is a record changed without encoding all of it?"""

from __future__ import annotations

import json

import pytest

from taskflow import exceptions as exc
from taskflow.persistence import base, models
from taskflow.persistence.backends.zookeeper import items


def item(size=10):
    return items.make({"name": "f", "meta": {"x": "y" * size}, "state": None, "uuid": "F"})


class TestItems:
    def test_change_keeps_everything_else(self):
        detail = models.TaskDetail("t", "T")
        made = items.make(base._format_atom(detail))
        changed = made.changed(detail, {"state": "RUNNING", "results": [1, (2,)]})
        wanted = json.loads(made.data)
        wanted["atom"] |= {"state": "RUNNING", "results": [1, [2]]}
        assert json.loads(changed.data) == wanted
        assert list(json.loads(changed.data)["atom"]) == list(json.loads(made.data)["atom"])
        assert json.loads(made.data)["atom"]["state"] is None

    @pytest.mark.parametrize(
        "form",
        [
            {"name": "f", "meta": {}, "state": None, "uuid": "F"},
            {"name": "b", "meta": {}, "uuid": "B", "updated_at": None, "created_at": None},
        ],
    )
    def test_what_can_not_be_encoded_is_named(self, form):
        with pytest.raises(exc.StorageFailure, match=f"'{form['name']}' .{form['uuid']}.* 'meta'"):
            items.make({**form, "meta": {"x": object()}})

    @pytest.mark.parametrize("data", [b"[]", b"", b"1", b"nothing"])
    def test_what_is_no_record(self, data):
        with pytest.raises(ValueError, match=r".+"):
            items.decode(data)


class TestKnown:
    def test_what_was_put_last(self):
        known, one, other = items.Known(), item(1), item(2)
        known.put("/a", one, 3)
        assert known.get("/a") == (one, 3)
        known.put("/a", other, 4)
        assert known.get("/a") == (other, 4)
        assert known.get("/b") is None

    def test_late_news_are_no_news(self):
        known, one, other = items.Known(), item(1), item(2)
        known.put("/a", one, 3)
        known.put("/a", other, 2)
        assert known.get("/a") == (one, 3)

    def test_forgetting(self):
        known = items.Known()
        for path in ("/a", "/b", "/c"):
            known.put(path, item(), 0)
        known.forget("/a")
        known.forget("/x")
        assert [path for path in ("/a", "/b", "/c") if known.get(path)] == ["/b", "/c"]
        known.clear()
        assert known.get("/b") is None

    def test_what_was_not_used_for_long_goes_first(self):
        one = item(100)
        known = items.Known(most=3 * len(one.data))
        for path in ("/a", "/b", "/c"):
            known.put(path, one, 0)
        known.get("/a")
        known.put("/d", one, 0)
        assert [path for path in ("/a", "/b", "/c", "/d") if known.get(path)] == ["/a", "/c", "/d"]
        # What was dropped makes room again.
        known.forget("/a")
        known.put("/e", one, 0)
        assert [path for path in ("/c", "/d", "/e") if known.get(path)] == ["/c", "/d", "/e"]

    def test_large_ones_are_not_kept(self):
        known = items.Known()
        known.put("/a", item(), 0)
        known.put("/a", item(100_000), 1)
        assert known.get("/a") is None
