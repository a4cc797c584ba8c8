# SPDX-License-Identifier: Apache-2.0
"""Are bytes, JSON and msgpack decoded, and refused where they are wrong?"""

import msgpack
import pytest

from taskflow.utils import misc


def test_binary_encode():
    assert misc.binary_encode("ä") == "ä".encode()
    assert misc.binary_encode("ä", encoding="latin-1") == b"\xe4"
    assert misc.binary_encode("ä", "ascii", "replace") == b"?"
    given = b"\xff"
    assert misc.binary_encode(given) is given
    with pytest.raises(UnicodeEncodeError):
        misc.binary_encode("ä", encoding="ascii")


@pytest.mark.parametrize("bad", [bytearray(b"x"), 5, None, ["x"]])
def test_binary_needs_text_or_bytes(bad):
    with pytest.raises(TypeError):
        misc.binary_encode(bad)
    with pytest.raises(TypeError):
        misc.binary_decode(bad)


def test_binary_decode():
    assert misc.binary_decode(b"\xc3\xa4") == "ä"
    assert misc.binary_decode("ä") == "ä"
    assert misc.binary_decode(b"\xe4", encoding="latin-1") == "ä"
    assert misc.binary_decode(b"\xc3\xa4", encoding="ascii") == "ä"
    assert misc.binary_decode(b"\xff", errors="replace") == "\ufffd"
    with pytest.raises(UnicodeDecodeError):
        misc.binary_decode(b"\xff")


def test_decode_json():
    assert misc.decode_json('{"a": [1, "ä"]}') == {"a": [1, "ä"]}
    assert misc.decode_json(b'{"a": "\xc3\xa4"}') == {"a": "ä"}
    assert misc.decode_json("[1]", root_types=(list,)) == [1]
    assert misc.decode_json("5", root_types=()) == 5
    assert misc.decode_json("null", root_types=None) is None
    assert misc.decode_json("[]", root_types=(dict, list)) == []


@pytest.mark.parametrize("bad", ["", "{", b"\xff", "[1]", "5", "[" * 100_000])
def test_decode_json_of_what_is_wrong(bad):
    with pytest.raises(ValueError):
        misc.decode_json(bad)


@pytest.mark.parametrize("bad", [None, 5, {}])
def test_decode_json_needs_text_or_bytes(bad):
    with pytest.raises(TypeError):
        misc.decode_json(bad)


def test_decode_msgpack():
    assert misc.decode_msgpack(msgpack.packb({"a": [1, "ä", b"x"], 5: None})) == {"a": [1, "ä", b"x"], 5: None}
    assert misc.decode_msgpack(msgpack.packb([1]), root_types=(list,)) == [1]
    assert misc.decode_msgpack(msgpack.packb(5), root_types=()) == 5


@pytest.mark.parametrize("bad", [b"", b"\xc1", b"\x81", msgpack.packb({}) * 2, msgpack.packb([1]), msgpack.packb(5)])
def test_decode_msgpack_of_what_is_wrong(bad):
    with pytest.raises(ValueError):
        misc.decode_msgpack(bad)


@pytest.mark.parametrize("bad", [None, 5, {}, "text"])
def test_decode_msgpack_needs_bytes(bad):
    with pytest.raises(TypeError):
        misc.decode_msgpack(bad)
