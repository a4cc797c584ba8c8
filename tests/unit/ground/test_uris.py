# SPDX-License-Identifier: Apache-2.0
"""Are URIs split and merged into configurations as documented?"""

import types
import urllib.parse

import pytest

from taskflow.utils import misc


class TestParse:
    def test_all_parts(self):
        uri = misc.parse_uri("MySQL://me:secret@Some.Host:3306/db/x?a=1&b=2#end")
        assert isinstance(uri, urllib.parse.SplitResult)
        assert (uri.scheme, uri.hostname, uri.port) == ("mysql", "some.host", 3306)
        assert (uri.username, uri.password) == ("me", "secret")
        assert (uri.path, uri.query, uri.fragment) == ("/db/x", "a=1&b=2", "end")
        assert uri.params() == {"a": "1", "b": "2"}

    def test_absent_parts(self):
        uri = misc.parse_uri("memory:")
        assert (uri.username, uri.password, uri.hostname, uri.port) == (None, None, None, None)
        assert (uri.path, uri.query, uri.fragment) == ("", "", "")
        assert uri.params() == {}

    def test_ipv6(self):
        uri = misc.parse_uri("zookeeper://[2001:DB8::1]:2181/x")
        assert (uri.hostname, uri.port) == ("2001:db8::1", 2181)

    def test_params(self):
        uri = misc.parse_uri("x://h?a=1&a=2&b=&c=%20d")
        assert uri.params() == uri.params(collapse=True) == {"a": "2", "c": " d"}
        assert uri.params(collapse=False) == {"a": ["1", "2"], "c": " d"}

    @pytest.mark.parametrize("uri", [None, 5, b"http://x", [], {}])
    def test_texts_only(self, uri):
        with pytest.raises(TypeError):
            misc.parse_uri(uri)

    @pytest.mark.parametrize("uri", ["", "memory", "://x", "1http://x", "-a:b", "/a/b", "a b:c", " a:b"])
    def test_a_scheme_is_needed(self, uri):
        with pytest.raises(ValueError, match="scheme"):
            misc.parse_uri(uri)

    @pytest.mark.parametrize("uri", ["a:", "a1+.-:x", "postgresql+psycopg2://h"])
    def test_schemes(self, uri):
        assert misc.parse_uri(uri).scheme == uri.partition(":")[0]


class TestMerge:
    def merged(self, uri, conf=None):
        return misc.merge_uri(misc.parse_uri(uri), {} if conf is None else conf)

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("x://h", {"hostname": "h"}),
            ("x://h:5", {"hostname": "h:5", "port": 5}),
            ("x://h:0", {"hostname": "h:0", "port": 0}),
            ("x://u:p@h/path#f", {"username": "u", "password": "p", "hostname": "h"}),
            ("x://:p@h", {"password": "p", "hostname": "h"}),
            ("x://?a=1&b=&a=2", {"a": "2"}),
            ("x://[::1]:80", {"hostname": "[::1]:80", "port": 80}),
            ("x://[::1]", {"hostname": "::1"}),
            ("x:", {}),
        ],
    )
    def test_into_nothing(self, uri, expected):
        assert self.merged(uri) == expected

    def test_what_is_there_stays(self):
        conf = {"username": None, "port": "", "a": 0, "hostname": "mine", "other": 1}
        made = self.merged("x://u:p@h:5?a=1&b=2", conf)
        assert made is conf
        assert made == {
            "username": None,
            "port": "",
            "a": 0,
            "hostname": "mine",
            "other": 1,
            "password": "p",
            "b": "2",
        }

    def test_port_out_of_range(self):
        with pytest.raises(ValueError, match="range"):
            self.merged("x://h:99999")


class TestExtract:
    def test_of_a_text(self):
        assert misc.extract_driver_and_conf("memory", "connection") == ("memory", {"connection": "memory"})
        driver, conf = misc.extract_driver_and_conf("zk://h:5?a=1", "connection")
        assert driver == "zk"
        assert conf == {"connection": "zk://h:5?a=1", "hostname": "h:5", "port": 5, "a": "1"}

    def test_of_a_name_gives_the_object_itself(self):
        conf = {"connection": "memory", "a": 1}
        driver, made = misc.extract_driver_and_conf(conf, "connection")
        assert driver == "memory"
        assert made is conf

    @pytest.mark.parametrize("value", [None, 5, True, ["x"]])
    def test_of_what_is_no_text(self, value):
        assert misc.extract_driver_and_conf({"k": value}, "k") == (value, {"k": value})

    def test_of_a_uri_leaves_the_configuration_alone(self):
        conf = types.MappingProxyType({"connection": "zk://h", "hostname": "mine"})
        driver, made = misc.extract_driver_and_conf(conf, "connection")
        assert driver == "zk"
        assert made == {"connection": "zk://h", "hostname": "mine"}

    def test_the_key_is_needed(self):
        with pytest.raises(KeyError):
            misc.extract_driver_and_conf({}, "connection")
