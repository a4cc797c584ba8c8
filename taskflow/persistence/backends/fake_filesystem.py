# SPDX-License-Identifier: Apache-2.0
"""A file system that exists in memory only: folders, values and links, addressed by posix paths."""

from __future__ import annotations

import collections
import copy
import posixpath
import threading
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow.types import tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class FakeInode(tree.Node):
    """One node of the drawing of a file system.

    Args:
        item: its name.
        path: its full path.
        value: what it holds.
    """

    def __init__(self, item: str, path: str, value: Any = None) -> None:
        super().__init__(item, path=path, value=value)


class _Entry:
    """What lies at one path."""

    __slots__ = ("children", "name", "path", "target", "value")

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.value: Any = None
        self.target: str | None = None
        self.children: dict[str, _Entry] = {}


class FakeFilesystem:
    """Folders, values and links in memory.

    Any path can hold a value and have children at the same time. Values are copied when stored and when read.

    Args:
        deep_copy: copy values deeply, or only their outermost object.
    """

    root_path = posixpath.sep

    def __init__(self, deep_copy: bool = True) -> None:
        self._copy: Callable[[Any], Any] = copy.deepcopy if deep_copy else copy.copy
        self._guard = threading.RLock()
        self._entries: dict[str, _Entry] = {}
        self._root = _Entry(self.root_path, self.root_path)
        self._entries[self.root_path] = self._root
        # Called before anything is looked up: the owner may have something to add first.
        self._before_access: Callable[[], None] | None = None

    @classmethod
    def normpath(cls, path: str) -> str:
        """Returns the shortest form of an absolute path.

        Raises:
            ValueError: the path is empty or not absolute.
        """
        if not path:
            raise ValueError("A path of a memory file system must not be empty")
        if not path.startswith(cls.root_path):
            raise ValueError(f"A path of a memory file system must start with {cls.root_path!r}, not be {path!r}")
        return posixpath.normpath(path)

    @staticmethod
    def split(p: str) -> tuple[str, str]:
        """Splits a path into its parent and its last part."""
        return posixpath.split(p)

    @staticmethod
    def join(*pieces: str) -> str:
        """Puts slashes between pieces; nothing is normalised."""
        return posixpath.sep.join(pieces)

    # -- for the owner, who has taken care of locking and of what is to be added first

    def _exists(self, path: str) -> bool:
        return path in self._entries

    def _peek(self, path: str) -> Any:
        return self._entries[path].value

    def _put(self, path: str, value: Any) -> None:
        self._make(path).value = value

    def _link(self, src_path: str, dest_path: str) -> None:
        self._make(dest_path).target = src_path

    def _make(self, path: str) -> _Entry:
        entry = self._entries.get(path)
        if entry is None:
            parent_path, name = posixpath.split(path)
            entry = self._entries[path] = _Entry(name, path)
            self._find(parent_path).children[name] = entry
        return entry

    def _find(self, path: str) -> _Entry:
        try:
            return self._entries[path]
        except KeyError:
            raise exc.NotFound(f"Path {path!r} does not exist in this memory file system") from None

    def _below(self, entry: _Entry) -> Iterator[_Entry]:
        queue = collections.deque(reversed(entry.children.values()))
        while queue:
            child = queue.popleft()
            yield child
            queue.extend(reversed(child.children.values()))

    def _access(self, path: str) -> str:
        if self._before_access is not None:
            self._before_access()
        return self.normpath(path)

    # -- for everybody

    def ensure_path(self, path: str) -> None:
        """Makes a path with all its parents, where missing."""
        with self._guard:
            path = self._access(path)
            missing = []
            while path.strip(self.root_path) and path not in self._entries:
                missing.append(path)
                path = posixpath.dirname(path)
            for path in reversed(missing):
                parent = self._entries.get(posixpath.dirname(path), self._root)
                name = posixpath.basename(path)
                parent.children[name] = self._entries[path] = _Entry(name, path)

    def __getitem__(self, path: str) -> Any:
        with self._guard:
            path = self._access(path)
            entry = self._find(path)
            seen = [path]
            while entry.target is not None:
                if entry.target in seen:
                    raise ValueError(f"Links must not lead in a circle, but {' -> '.join([*seen, entry.target])} do")
                seen.append(entry.target)
                entry = self._find(entry.target)
            return self._copy(entry.value)

    def __setitem__(self, path: str, value: Any) -> None:
        with self._guard:
            path = self._access(path)
            if path not in self._entries:
                self._find(posixpath.dirname(path))
            value = self._copy(value)
            self._make(path).value = value

    def __delitem__(self, path: str) -> None:
        self.delete(path, recursive=True)

    def get(self, path: str, default: Any = None) -> Any:
        """Returns the value at a path, or the default if there is no such path."""
        try:
            return self[path]
        except exc.NotFound:
            return default

    def ls(self, path: str, absolute: bool = False) -> list[str]:
        """Lists what lies directly below a path, in the order in which it was added.

        Args:
            path: where to look; links are not followed.
            absolute: give full paths instead of names.

        Raises:
            NotFound: there is no such path.
        """
        with self._guard:
            children = self._find(self._access(path)).children.values()
            return [child.path if absolute else child.name for child in children]

    def ls_r(self, path: str, absolute: bool = False) -> list[str]:
        """Lists everything below a path, level by level, the newest first.

        Args:
            path: where to look; links are not followed.
            absolute: give full paths instead of those below the given path.

        Raises:
            NotFound: there is no such path.
        """
        with self._guard:
            start = self._find(self._access(path))
            if absolute:
                return [entry.path for entry in self._below(start)]
            skipped = len(start.path) if start is self._root else len(start.path) + 1
            return [entry.path[skipped:] for entry in self._below(start)]

    def clear(self) -> None:
        """Removes everything but the root."""
        with self._guard:
            self._access(self.root_path)
            self._clear()

    def _clear(self) -> None:
        self._root.children.clear()
        self._entries.clear()
        self._entries[self.root_path] = self._root

    def delete(self, path: str, recursive: bool = False) -> None:
        """Removes a path.

        Args:
            path: what to remove; the root is emptied instead.
            recursive: remove what lies below it too.

        Raises:
            NotFound: there is no such path.
            ValueError: something lies below it, or it is the root, and the removal is not recursive.
        """
        with self._guard:
            entry = self._find(self._access(path))
            if not recursive:
                if entry is self._root:
                    raise ValueError(f"The root {self.root_path!r} can only be emptied, by a recursive delete")
                if entry.children:
                    count = len(entry.children)
                    raise ValueError(f"Path {entry.path!r} has {count} children, delete it recursively or them first")
            if entry is self._root:
                self._clear()
                return
            for child in self._below(entry):
                del self._entries[child.path]
            del self._entries[entry.path]
            parent = self._entries.get(posixpath.dirname(entry.path), self._root)
            parent.children.pop(entry.name, None)

    def symlink(self, src_path: str, dest_path: str) -> None:
        """Makes the second path a link to the first one, which need not exist.

        Raises:
            NotFound: the parent of the link does not exist.
        """
        with self._guard:
            src_path = self._access(src_path)
            dest_path = self.normpath(dest_path)
            self._make(dest_path).target = src_path

    def pformat(self) -> str:
        """Draws the whole file system as a tree."""
        with self._guard:
            self._access(self.root_path)
            root = FakeInode(self._root.name, self._root.path, self._root.value)
            todo = [(self._root, root)]
            while todo:
                entry, node = todo.pop()
                for child in entry.children.values():
                    below = FakeInode(child.name, child.path, child.value)
                    if child.target is not None:
                        below.metadata["target"] = child.target
                    node.add(below)
                    todo.append((child, below))
        return root.pformat(stringify_node=_draw)


def _draw(node: tree.Node) -> str:
    target = node.metadata.get("target")
    return f"{node.item}" if target is None else f"{node.item} (link to {target})"
