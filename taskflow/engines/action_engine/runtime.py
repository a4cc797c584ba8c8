# SPDX-License-Identifier: Apache-2.0
"""What does an engine hold ready for its runs, and what can be done to atoms between them?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskflow import states
from taskflow.engines.action_engine import layout as layouts
from taskflow.engines.action_engine import loop as loops
from taskflow.engines.action_engine import recorder as recorders
from taskflow.engines.action_engine import scopes
from taskflow.utils import texts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from taskflow import storage as storages
    from taskflow.engines.action_engine.compiler import Compilation
    from taskflow.types import notifier as notifiers


class Runtime:
    """A compiled flow together with where it is saved, who hears of it, and what runs it.

    Args:
        compilation: What the flow was compiled to.
        storage: Where its atoms are saved.
        atom_notifier: Who hears of them.
        task_executor: What runs tasks.
        retry_executor: What runs retries.
        options: The engine's options.
    """

    def __init__(
        self,
        compilation: Compilation,
        storage: storages.Storage,
        atom_notifier: notifiers.Notifier,
        task_executor: Any,
        retry_executor: Any,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if compilation.layout is None:
            raise ValueError("An engine needs a compilation that the pattern compiler made")
        self.compilation = compilation
        self.layout: layouts.Layout = compilation.layout
        self.storage = storage
        self.atom_notifier = atom_notifier
        self.task_executor = task_executor
        self.retry_executor = retry_executor
        self.options: Mapping[str, Any] = options if options is not None else {}
        self.defer_reverts = texts.as_bool(self.options.get("defer_reverts", False))
        self.never_resolve = texts.as_bool(self.options.get("never_resolve", False))

    def details(self) -> list[Any]:
        """Per node number the live record of the atom, ``None`` for flow markers."""
        detail_of = self.storage.detail_of
        return [
            detail_of(name) if kind <= layouts.RETRY else None
            for name, kind in zip(self.layout.names, self.layout.kinds, strict=True)
        ]

    def fetch_scopes_for(self, atom_name: str) -> scopes.ScopeWalker | None:
        """The scopes of the atom of that name; ``None`` when there is no such atom."""
        node = self.layout.named(atom_name)
        return None if node < 0 else scopes.ScopeWalker.at(self.layout, node)

    @property
    def builder(self) -> Any:
        """Builds the machine of a run, for tools that step through it themselves."""
        from taskflow.engines.action_engine import builder

        return builder.MachineBuilder(self)

    def start(self, statistics: dict[str, Any], timeout: float | None, gather_statistics: bool) -> loops.Loop:
        """Make the loop of one run."""
        return loops.Loop(self, statistics, timeout=timeout, gather_statistics=gather_statistics)

    def reset_all(self) -> None:
        """Set every atom back to its beginning, as one unit of work, and tell of those that had left it."""
        layout, details = self.layout, self.details()
        recorder = recorders.Recorder(layout, details, self.storage, self.atom_notifier)
        told = []
        for i in layout.atoms():
            detail = details[i]
            fields: dict[str, Any] = {}
            if detail.intention != states.EXECUTE:
                fields["intention"] = states.EXECUTE
            progress = None
            old = detail.state
            if layout.kinds[i] == layouts.TASK:
                if old != states.PENDING or detail.meta.get("progress", 0.0) != 0.0:
                    fields["state"] = states.PENDING
                    progress = 0.0
            else:
                if detail.results:
                    fields["results"] = []
                if old != states.PENDING:
                    fields["state"] = states.PENDING
            if fields:
                recorder.note(i, fields, progress)
            if "state" in fields:
                told.append((i, old))
        recorder.flush()
        for i, old in told:
            self.storage.forget_failures(layout.names[i])
            recorder.tell(i, states.PENDING, old)
            if layout.kinds[i] == layouts.TASK:
                recorder.tell_progress(i, 0.0)
