# SPDX-License-Identifier: Apache-2.0
"""How do bytes become text and text become objects, and how is it said that they do not?"""

from __future__ import annotations

from typing import Any


def binary_encode(text: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> bytes:
    """Encodes a text, unless it is bytes already.

    Args:
        text: the text.
        encoding: how to encode it.
        errors: what to do about characters that the encoding does not have.

    Returns:
        Bytes.

    Raises:
        TypeError: neither text nor bytes.
    """
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode(encoding, errors)
    raise TypeError(f"Text or bytes are expected for encoding, not {type(text).__name__}")


def binary_decode(data: str | bytes, encoding: str = "utf-8", errors: str = "strict") -> str:
    """Decodes bytes, unless they are text already.

    Args:
        data: the bytes.
        encoding: how to decode them; where that fails, UTF-8 is tried.
        errors: what to do about bytes that can not be decoded.

    Returns:
        Text.

    Raises:
        TypeError: neither text nor bytes.
        UnicodeDecodeError: the bytes can not be decoded.
    """
    if isinstance(data, str):
        return data
    if not isinstance(data, bytes):
        raise TypeError(f"Text or bytes are expected for decoding, not {type(data).__name__}")
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError:
        return data.decode("utf-8", errors)


def _check_root(root: Any, root_types: Any, kind: str) -> Any:
    if root_types:
        permitted = root_types if isinstance(root_types, type) else tuple(root_types)
        if not isinstance(root, permitted):
            raise ValueError(f"The {kind} data must have one of {root_types} as its root, not {type(root).__name__}")
    return root


def decode_json(raw_data: str | bytes, root_types: Any = (dict,)) -> Any:
    """Decodes JSON.

    Args:
        raw_data: the JSON text.
        root_types: the types of which the outermost object must be; nothing permits all.

    Returns:
        The decoded object.

    Raises:
        ValueError: no JSON, or another outermost object.
        TypeError: neither text nor bytes.
    """
    import json

    text = binary_decode(raw_data)
    try:
        root = json.loads(text)
    except RecursionError as e:
        raise ValueError("The JSON data is nested too deeply") from e
    return _check_root(root, root_types, "JSON")


def decode_msgpack(raw_data: bytes, root_types: Any = (dict,)) -> Any:
    """Decodes msgpack.

    Args:
        raw_data: the bytes.
        root_types: the types of which the outermost object must be; nothing permits all.

    Returns:
        The decoded object.

    Raises:
        ValueError: no msgpack, or another outermost object.
        TypeError: no bytes.
        ImportError: the ``msgpack`` package is not installed.
    """
    import msgpack  # type: ignore[import-untyped,unused-ignore]

    if not isinstance(raw_data, (bytes, bytearray, memoryview)):
        raise TypeError(f"Bytes are expected as msgpack data, not {type(raw_data).__name__}")
    try:
        root = msgpack.unpackb(raw_data, raw=False, strict_map_key=False)
    except Exception as e:  # it raises exceptions of many unrelated types
        raise ValueError(f"The data is no msgpack: {e}") from e
    return _check_root(root, root_types, "msgpack")
