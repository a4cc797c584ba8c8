# SPDX-License-Identifier: Apache-2.0
"""How any value is written as JSON text, for records that every version of the library must be able to read."""

from __future__ import annotations

import datetime as dt
import io
import itertools
import json
import json.encoder
import sys
import types
from collections.abc import Iterable
from typing import Any

# Written as their str(): nobody can read them back, but a record that mentions one is still worth keeping.
_NAMED = (
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.ClassMethodDescriptorType,
    types.ModuleType,
    types.CodeType,
    types.TracebackType,
    types.FrameType,
    staticmethod,
    classmethod,
    types.GeneratorType,
    itertools.count,
)
_SCALARS = (str, int, float, type(None))


def _is_instance_of(value: Any, module_name: str, *class_names: str) -> bool:
    # An instance can only exist if its module was imported, so the module need not be imported to find out.
    module = sys.modules.get(module_name)
    return module is not None and isinstance(value, tuple(getattr(module, name) for name in class_names))


def _as_text(value: Any) -> str | None:
    """Returns the text that stands for a value, or None if it is not one that is written as text."""
    if isinstance(value, dt.datetime):
        return value.replace(tzinfo=None).isoformat(timespec="microseconds")
    if isinstance(value, dt.date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8")
    if isinstance(value, Exception):
        return repr(value)
    if (
        isinstance(value, _NAMED)
        or _is_instance_of(value, "uuid", "UUID")
        or _is_instance_of(value, "decimal", "Decimal")
        or _is_instance_of(value, "ipaddress", "IPv4Address", "IPv6Address")
    ):
        return str(value)
    return None


def _plain(value: Any) -> Any:
    """Turns a value into what JSON has, all the way down."""
    if isinstance(value, _SCALARS):
        return value
    text = _as_text(value)
    if text is not None:
        return text
    try:
        if hasattr(value, "items"):
            return {_plain(key): _plain(item) for key, item in dict(value.items()).items()}
        if isinstance(value, Iterable | memoryview) and not isinstance(value, io.IOBase):
            return [_plain(item) for item in value]
    except TypeError:
        # Looks like a container but can not be gone through, or has keys that JSON has no form for.
        return str(value)
    except RecursionError:
        pass
    raise ValueError(f"No JSON form for {type(value).__module__}.{type(value).__qualname__} object: {_shown(value)}")


def _shown(value: Any) -> str:
    try:
        text = repr(value)
    except Exception as e:
        text = f"<repr failed with {type(e).__name__}>"
    return text if len(text) <= 200 else f"{text[:200]}..."


_careful = json.JSONEncoder(default=_plain)
_make_fast = getattr(json.encoder, "c_make_encoder", None)
_fast: Any = None
if _make_fast is not None:
    # Made once and without the table that finds cycles; a cycle then ends as RecursionError, see encode().
    _fast = _make_fast(None, _plain, json.encoder.encode_basestring_ascii, None, ": ", ", ", False, False, True)
_quoted = json.encoder.encode_basestring_ascii


def encode(value: Any) -> str:
    """Writes a value as JSON text, in ASCII, with the separators ``", "`` and ``": "``.

    Args:
        value: anything that the standard encoder takes, and also containers of all kinds (written as arrays or
            objects), times, UUIDs, decimals, bytes (as UTF-8 text), IP addresses, exceptions (as their repr), classes,
            functions and modules (as their str).

    Raises:
        TypeError: a dictionary has a key that JSON has no form for.
        ValueError: a value has no form in JSON, or contains itself.
    """
    kind = type(value)
    if value is None:
        return "null"
    if kind is str:
        return _quoted(value)
    if kind is int:
        return int.__repr__(value)
    if _fast is not None:
        try:
            return "".join(_fast(value, 0))
        except RecursionError:
            pass
    try:
        return _careful.encode(value)
    except RecursionError as e:
        raise ValueError(f"Nested too deeply, or containing itself, for JSON: {_shown(value)}") from e


def decode(text: str | bytes) -> Any:
    """Reads JSON text.

    Raises:
        ValueError: it is no JSON, or no UTF-8.
    """
    return json.loads(text)


def decode_strictly(text: str | bytes) -> Any:
    """Reads JSON text that keeps to the standard, which knows no infinite numbers and no NaN.

    Raises:
        ValueError: it is no JSON, or has such a number.
    """

    def refuse(name: str) -> Any:
        raise ValueError(f"{name} is no number that standard JSON has")

    return json.loads(text, parse_constant=refuse)


def encodable_failure(form: dict[str, Any], strictly: bool = False) -> dict[str, Any]:
    """Makes a failure's stored form one that can be encoded, whatever the arguments of its exception are.

    Args:
        form: what Failure.to_dict() gave; it is not modified.
        strictly: the JSON has to keep to the standard, see decode_strictly().

    Returns:
        The same form, with each argument that has no JSON form replaced by its repr.
    """
    return {
        **form,
        "exc_args": tuple(encodable(argument, strictly) for argument in form.get("exc_args") or ()),
        "causes": [encodable_failure(cause, strictly) for cause in form.get("causes") or ()],
    }


def encodable(argument: Any, strictly: bool = False) -> Any:
    """Returns an argument of an exception, or its repr if it has no JSON form; see encodable_failure()."""
    try:
        text = encode(argument)
        if strictly:
            decode_strictly(text)
    except Exception:
        try:
            return repr(argument)
        except Exception:
            return f"<{type(argument).__qualname__} object>"
    return argument


def encode_failure(form: dict[str, Any] | None, strictly: bool = False) -> str:
    """Writes a failure's stored form as JSON text; this always works, see encodable_failure()."""
    try:
        return _encoded(form, strictly)
    except Exception:
        if form is None:
            raise
        return encode(encodable_failure(form, strictly))


def _encoded(value: Any, strictly: bool) -> str:
    text = encode(value)
    if strictly and ("NaN" in text or "Infinity" in text):
        decode_strictly(text)
    return text


def encode_strictly(value: Any) -> str:
    """Writes a value like encode(), as JSON that keeps to the standard.

    Raises:
        TypeError, ValueError: as encode(), or the value has a number that standard JSON does not know.
    """
    return _encoded(value, strictly=True)


def encode_history(history: Iterable[tuple[Any, dict[str, Any]]], strictly: bool = False) -> str:
    """Writes the stored form of a retry's history as JSON text.

    Raises:
        TypeError, ValueError: a result has no JSON form; failures always have one.
    """
    history = list(history)
    try:
        return _encoded(history, strictly)
    except Exception:
        forms = [
            (result, {name: encodable_failure(form, strictly) for name, form in failures.items()})
            for result, failures in history
        ]
        return _encoded(forms, strictly)
