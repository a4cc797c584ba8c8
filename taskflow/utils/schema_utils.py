# SPDX-License-Identifier: Apache-2.0
"""Does some data fit a JSON schema?

Tuples count as arrays, since data is checked before it is encoded too. The ``jsonschema`` package is loaded by the
first check; the library's own formats are checked without it.
"""

from __future__ import annotations

from typing import Any

# Checkers by the identities of the schemas, which are kept with them so that an identity can not be used again. Making
# a checker takes much longer than using it, and programs have few schemas.
_checkers: dict[int, tuple[dict[str, Any], Any]] = {}
_MAX_CHECKERS = 64


class ValidationError(Exception):
    """The data does not fit the schema.

    Args:
        message: what does not fit, and where.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class SchemaError(Exception):
    """The schema itself is wrong.

    Args:
        message: what is wrong with it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def _is_array(_checker: object, instance: object) -> bool:
    return isinstance(instance, (list, tuple))


def _checker_for(schema: dict[str, Any]) -> Any:
    known = _checkers.get(id(schema))
    if known is not None:
        return known[1]
    try:
        import jsonschema
    except ImportError as e:
        raise ImportError("Checking data against a JSON schema needs the package: pip install jsonschema") from e

    draft = jsonschema.validators.validator_for(schema)
    try:
        draft.check_schema(schema)
    except jsonschema.exceptions.SchemaError as e:
        raise SchemaError(e.message) from e
    extended = jsonschema.validators.extend(draft, type_checker=draft.TYPE_CHECKER.redefine("array", _is_array))
    checker = extended(schema)
    if len(_checkers) >= _MAX_CHECKERS:
        _checkers.clear()
    _checkers[id(schema)] = (schema, checker)
    return checker


def schema_validate(data: Any, schema: dict[str, Any]) -> None:
    """Checks data against a JSON schema.

    Args:
        data: the data.
        schema: the schema, which must not be changed later; its ``$schema`` decides by which draft it is read.

    Raises:
        ValidationError: the data does not fit.
        SchemaError: the schema is wrong.
        ImportError: the ``jsonschema`` package is not installed.
    """
    checker = _checker_for(schema)
    from jsonschema import exceptions

    try:
        checker.validate(data)
    except exceptions.ValidationError as e:
        raise ValidationError(e.message) from e
