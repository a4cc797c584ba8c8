# SPDX-License-Identifier: Apache-2.0
"""Does some data fit a JSON schema?

Tuples count as arrays, since data is checked before it is encoded too. The ``jsonschema`` package is loaded by the
first check; the library's own formats are checked without it.
"""

from __future__ import annotations

from typing import Any


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


def schema_validate(data: Any, schema: dict[str, Any]) -> None:
    """Checks data against a JSON schema.

    Args:
        data: the data.
        schema: the schema; its ``$schema`` decides by which draft it is read.

    Raises:
        ValidationError: the data does not fit.
        SchemaError: the schema is wrong.
        ImportError: the ``jsonschema`` package is not installed.
    """
    try:
        import jsonschema
    except ImportError as e:
        raise ImportError(
            "Checking data against a JSON schema needs the package 'jsonschema': pip install jsonschema"
        ) from e

    draft = jsonschema.validators.validator_for(schema)

    def is_array(_checker: object, instance: object) -> bool:
        return isinstance(instance, (list, tuple))

    checker = jsonschema.validators.extend(draft, type_checker=draft.TYPE_CHECKER.redefine("array", is_array))
    try:
        draft.check_schema(schema)
        checker(schema).validate(data)
    except jsonschema.exceptions.SchemaError as e:
        raise SchemaError(e.message) from e
    except jsonschema.exceptions.ValidationError as e:
        raise ValidationError(e.message) from e
