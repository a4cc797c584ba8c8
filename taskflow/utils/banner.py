# SPDX-License-Identifier: Apache-2.0
"""What does a program say about itself when it starts?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from taskflow import version

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    BANNER_HEADER: str

_LOGO = """\
  .--.      .--.      .--.
 | () | -> | () | -> | () |
  '--'      '--'      '--'
 taskflow v{version}"""


def _make_header() -> str:
    return os.linesep.join(_LOGO.format(version=version.version_string()).splitlines())


def __getattr__(name: str) -> Any:
    # Made on demand, as looking up the version is slow.
    if name == "BANNER_HEADER":
        globals()[name] = header = _make_header()
        return header
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _numbered(items: Iterable[Any]) -> list[str]:
    return [f"  {number}. {item}" for number, item in enumerate(items, start=1)]


def _chapter_lines(name: str, contents: Any) -> list[str]:
    if isinstance(contents, dict):
        return [f"  {key} => {value}" for key, value in sorted(contents.items())]
    if isinstance(contents, (list, tuple)):
        return _numbered(contents)
    if isinstance(contents, (set, frozenset)):
        return _numbered(sorted(contents))
    raise TypeError(
        f"Chapter {name!r} of a banner must be a dictionary, list, tuple or set, not {type(contents).__name__}"
    )


def make_banner(what: str, chapters: Mapping[str, Any]) -> str:
    """Makes the text that a program prints when it starts.

    Args:
        what: what it is.
        chapters: dictionaries, lists, tuples or sets of what is to be known about it, by titles.

    Returns:
        Lines joined by ``os.linesep``.

    Raises:
        TypeError: a chapter is something else.
    """
    lines = [_make_header(), f"*{what}*"]
    for name in sorted(chapters):
        lines.append(f"{name}:")
        lines += _chapter_lines(name, chapters[name])
    return os.linesep.join(lines)
