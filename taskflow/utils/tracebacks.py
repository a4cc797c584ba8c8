# SPDX-License-Identifier: Apache-2.0
"""How is a traceback kept cheaply and still printed truly later?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    Sources = tuple[tuple[str, Sequence[str]], ...]


def freeze_sources(tb: TracebackType | None) -> Sources:
    """Takes hold of the source lines that a traceback refers to.

    A traceback object keeps files, names and positions as they were, but no source: that is read when it is formatted,
    and by then the file may be another one. Formatting at once would cost many times as much as all else that is
    captured, and most failures are never printed. So only references to the lists of lines are taken, which
    `linecache` reads once for each file and all failures share.

    Args:
        tb: the traceback.

    Returns:
        Pairs of a file name and the lines of that file.
    """
    import linecache

    found: dict[str, Sequence[str]] = {}
    while tb is not None:
        frame = tb.tb_frame
        filename = frame.f_code.co_filename
        if filename not in found:
            linecache.checkcache(filename)
            found[filename] = linecache.getlines(filename, frame.f_globals)
        tb = tb.tb_next
    return tuple(found.items())


def format_traceback(tb: TracebackType | None, sources: Sources = ()) -> str:
    """Formats a traceback as the interpreter does, with the source lines as they were when it was captured.

    Args:
        tb: the traceback.
        sources: what `freeze_sources` returned for it.

    Returns:
        The text, without header line.
    """
    if tb is None:
        return ""
    import linecache
    import traceback

    for filename, lines in sources:
        linecache.checkcache(filename)
        if linecache.getlines(filename) != lines:
            break
    else:
        return "".join(traceback.format_tb(tb))
    known = dict(sources)
    frames = []
    for frame, lineno in traceback.walk_tb(tb):
        code = frame.f_code
        lines = known.get(code.co_filename, ())
        line = lines[lineno - 1] if 0 < lineno <= len(lines) else ""
        frames.append(traceback.FrameSummary(code.co_filename, lineno, code.co_name, lookup_line=False, line=line))
    return "".join(traceback.StackSummary.from_list(frames).format())
