# SPDX-License-Identifier: Apache-2.0
"""Do banners, descriptions of messages, JSON schemas and the look for eventlet work as documented?"""

import os
import sys
import types

import pytest

from taskflow import version
from taskflow.utils import banner, eventlet_utils, kombu_utils, schema_utils


class TestBanner:
    def lines(self, what, chapters):
        text = banner.make_banner(what, chapters)
        assert text.startswith(banner.BANNER_HEADER + os.linesep)
        return text[len(banner.BANNER_HEADER) :].split(os.linesep)[1:]

    def test_header_ends_with_the_version(self):
        assert banner.BANNER_HEADER.endswith(f"v{version.version_string()}")
        assert not hasattr(banner, "NO_SUCH_THING")

    def test_no_chapters(self):
        assert self.lines("my program", {}) == ["*my program*"]

    def test_chapters(self):
        chapters = {
            "Tasks": ["b", "a"],
            "Connection": {"url": "x", "driver": 5},
            "Empty": [],
            "Set": {"z", "y"},
            "Tuple": ("one",),
        }
        assert self.lines("p", chapters) == [
            "*p*",
            "Connection:",
            "  driver => 5",
            "  url => x",
            "Empty:",
            "Set:",
            "  1. y",
            "  2. z",
            "Tasks:",
            "  1. b",
            "  2. a",
            "Tuple:",
            "  1. one",
        ]

    @pytest.mark.parametrize("contents", [None, "text", 5])
    def test_other_contents(self, contents):
        with pytest.raises(TypeError, match="'Bad'"):
            banner.make_banner("p", {"Bad": contents})


class TestDelayedPretty:
    def test_all_parts_in_order(self):
        message = types.SimpleNamespace(
            delivery_tag=7,
            content_type="a/b",
            body="abc",
            properties={"type": "T", "correlation_id": "c", "delivery_info": {"routing_key": "rk"}},
        )
        assert str(kombu_utils.DelayedPretty(message)) == (
            "7: {'content_type': 'a/b', 'correlation_id': 'c', 'routing_key': 'rk', 'type': 'T', 'body_length': 3}"
        )

    @pytest.mark.parametrize(
        "message",
        [
            types.SimpleNamespace(),
            types.SimpleNamespace(delivery_tag=None, properties=None, body=None),
            types.SimpleNamespace(properties={"delivery_info": None}, content_type=None),
        ],
    )
    def test_missing_parts(self, message):
        assert str(kombu_utils.DelayedPretty(message)) == "None: {}"

    def test_is_made_once_and_when_printed(self):
        message = types.SimpleNamespace(delivery_tag=1)
        pretty = kombu_utils.DelayedPretty(message)
        message.delivery_tag = 2
        assert str(pretty) == "2: {}"
        message.delivery_tag = 3
        assert str(pretty) == "2: {}"


class TestSchema:
    SCHEMA = {
        "type": "object",
        "required": ["items"],
        "properties": {"items": {"type": "array", "items": {"type": "integer"}, "minItems": 1}},
    }

    @pytest.mark.parametrize("data", [{"items": [1]}, {"items": (1, 2)}, {"items": [1], "more": ()}])
    def test_good(self, data):
        assert schema_utils.schema_validate(data, self.SCHEMA) is None

    @pytest.mark.parametrize("data", [{}, {"items": []}, {"items": ()}, {"items": ("a",)}, {"items": {1}}, [], None])
    def test_bad(self, data):
        with pytest.raises(schema_utils.ValidationError) as caught:
            schema_utils.schema_validate(data, self.SCHEMA)
        assert caught.value.message
        assert str(caught.value) == caught.value.message

    def test_a_wrong_schema(self):
        with pytest.raises(schema_utils.SchemaError) as caught:
            schema_utils.schema_validate({}, {"type": 5})
        assert caught.value.message

    def test_the_draft_is_chosen_by_the_schema(self):
        old = {"$schema": "http://json-schema.org/draft-03/schema#", "properties": {"a": {"required": True}}}
        with pytest.raises(schema_utils.ValidationError):
            schema_utils.schema_validate({}, old)

    def test_many_schemas(self):
        for i in range(200):
            schema = {"const": i}
            schema_utils.schema_validate(i, schema)
            with pytest.raises(schema_utils.ValidationError):
                schema_utils.schema_validate(i + 1, schema)

    def test_without_the_package(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "jsonschema", None)
        with pytest.raises(ImportError, match="pip install"):
            schema_utils.schema_validate({}, {"type": "object"})


class TestEventlet:
    def test_available_is_a_bool(self):
        assert isinstance(eventlet_utils.EVENTLET_AVAILABLE, bool)

    def test_missing(self, monkeypatch):
        monkeypatch.setattr(eventlet_utils, "EVENTLET_AVAILABLE", False)
        with pytest.deprecated_call(), pytest.raises(RuntimeError, match="eventlet"):
            eventlet_utils.check_for_eventlet()
        with pytest.deprecated_call(), pytest.raises(KeyError):
            eventlet_utils.check_for_eventlet(KeyError("mine"))

    def test_present(self, monkeypatch):
        monkeypatch.setattr(eventlet_utils, "EVENTLET_AVAILABLE", True)
        with pytest.deprecated_call():
            assert eventlet_utils.check_for_eventlet() is None


def test_modules_of_older_releases_do_not_exist():
    with pytest.raises(ImportError):
        __import__("taskflow.utils.async_utils")
