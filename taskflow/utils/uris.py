# SPDX-License-Identifier: Apache-2.0
"""What do the URIs say that name drivers and where they find their servers?"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from urllib import parse

    class Uri(parse.SplitResult):
        """A split URI whose query can be asked for as a dictionary."""

        def params(self, collapse: bool = True) -> dict[str, Any]:
            """Tells the parameters of the query."""


# RFC 3986 section 3.1.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@functools.cache
def _uri_class() -> type[Uri]:
    """Makes the class of split URIs, on demand as `urllib.parse` is a large import."""
    from urllib import parse

    class Uri(parse.SplitResult):
        """A split URI whose query can be asked for as a dictionary."""

        __slots__ = ()

        def params(self, collapse: bool = True) -> dict[str, Any]:
            """Tells the parameters of the query.

            Args:
                collapse: of a repeated name keep the last value only, instead of the list of its values.

            Returns:
                Names with values; those with blank values are left out.
            """
            found = parse.parse_qs(self.query)
            return {name: values[-1] if collapse or len(values) == 1 else values for name, values in found.items()}

    return Uri  # type: ignore[return-value]


def parse_uri(uri: str) -> Uri:
    """Splits a URI.

    Args:
        uri: the URI.

    Returns:
        A `urllib.parse.SplitResult` with one more method, ``params``, for the query.

    Raises:
        TypeError: no text.
        ValueError: the text does not start with a scheme.
    """
    if not isinstance(uri, str):
        raise TypeError(f"A URI must be a text, not {type(uri).__name__}")
    if not _SCHEME.match(uri):
        raise ValueError(f"A URI must start with a scheme and a colon, {uri!r} does not")
    from urllib import parse

    return _uri_class()(*parse.urlsplit(uri))


def merge_uri(uri: Uri, conf: dict[str, Any]) -> dict[str, Any]:
    """Adds what a URI says to a configuration, which has precedence.

    Args:
        uri: the split URI.
        conf: the configuration; it is changed.

    Returns:
        The same configuration.

    Raises:
        ValueError: the port is out of range.
    """
    port = uri.port
    if uri.username:
        conf.setdefault("username", uri.username)
    if uri.password:
        conf.setdefault("password", uri.password)
    if port is not None:
        conf.setdefault("port", port)
    hostname = uri.hostname
    if hostname:
        if port is not None:
            # Without brackets nobody could tell the last part of an IPv6 address from the port.
            hostname = f"[{hostname}]:{port}" if ":" in hostname else f"{hostname}:{port}"
        conf.setdefault("hostname", hostname)
    for name, value in uri.params().items():
        conf.setdefault(name, value)
    return conf


def extract_driver_and_conf(conf: str | Mapping[str, Any], conf_key: str) -> tuple[Any, Any]:
    """Tells which driver a configuration asks for.

    Args:
        conf: the configuration, or only the value of ``conf_key``.
        conf_key: where in the configuration the name of a driver, or a URI with it as scheme, is.

    Returns:
        The name of the driver, and the configuration together with what the URI says.

    Raises:
        KeyError: the configuration does not have that key.
    """
    if isinstance(conf, str):
        conf = {conf_key: conf}
    driver = conf[conf_key]
    try:
        uri = parse_uri(driver)
    except (TypeError, ValueError):
        return driver, conf
    return uri.scheme, merge_uri(uri, dict(conf))
