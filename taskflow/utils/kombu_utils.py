# SPDX-License-Identifier: Apache-2.0
"""How does a message of a broker look in the log?"""

from __future__ import annotations

from typing import Any


class DelayedPretty:
    """Describes a message when, and only if, the description is printed.

    Args:
        message: the message.
    """

    def __init__(self, message: Any) -> None:
        self._message = message
        self._text: str | None = None

    def __str__(self) -> str:
        if self._text is None:
            self._text = _describe(self._message)
        return self._text


def _describe(message: Any) -> str:
    properties = getattr(message, "properties", None) or {}
    delivery = properties.get("delivery_info") or {}
    body = getattr(message, "body", None)
    known = {
        "content_type": getattr(message, "content_type", None),
        "correlation_id": properties.get("correlation_id"),
        "routing_key": delivery.get("routing_key"),
        "type": properties.get("type"),
        "body_length": None if body is None else len(body),
    }
    shown = {name: value for name, value in known.items() if value is not None}
    return f"{getattr(message, 'delivery_tag', None)}: {shown}"
