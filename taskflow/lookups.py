# SPDX-License-Identifier: Apache-2.0
"""Which value does a name have, for a whole flow or for one of its atoms?"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from taskflow import exceptions as exc
from taskflow import records, states
from taskflow.persistence import models
from taskflow.utils import uuids

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from taskflow.persistence import base

META_INJECTED = "injected"

# The kinds of values that are given to a whole flow.
_PERSISTENT = "injected"
_TRANSIENT = "transient"

_EXTRACT_ERRORS = (IndexError, KeyError, ValueError, TypeError)
_WHOLE = (None,)
_NOTHING: Any = object()


class Lookups(records.Records):
    """Knows who provides which name, and finds values: injected ones, and those in the results of atoms.

    Args:
        flow_detail: The record of the flow; changed in place by every save.
        backend: Where to save; a private in-memory backend when there is none.
        scope_fetcher: Called with an atom's name, returns the scopes (iterable of lists of names, nearest first) whose
            results that atom may use, or ``None``.
    """

    injector_name = "_TaskFlow_INJECTOR"

    def __init__(
        self,
        flow_detail: models.FlowDetail,
        backend: base.Backend | None = None,
        scope_fetcher: Callable[[str], Any] | None = None,
    ) -> None:
        super().__init__(flow_detail, backend)
        self._scope_fetcher = scope_fetcher if scope_fetcher is not None else _no_scopes
        self._transients: dict[Any, Any] = {}
        self._transient_args: dict[str, dict[Any, Any]] = {}
        # Names whose value does not come from an atom: name -> the kinds of flow level values, in order of coming.
        self._defaults: dict[Any, list[str]] = {}
        # Name -> atom name -> indices into that atom's result.
        self._providers: dict[Any, dict[str, tuple[Any, ...]]] = {}
        # Atom name -> what it promises: name -> index into its result.
        self._outputs: dict[str, Mapping[Any, Any]] = {}
        for detail in flow_detail:
            self._adopt(detail)

    def _adopt(self, detail: models.AtomDetail) -> None:
        if detail.name == self.injector_name:
            if not isinstance(detail, models.TaskDetail):
                raise TypeError(
                    f"The record {detail.name!r} of flow {self.flow_name!r} holds injected values and must be a "
                    f"TaskDetail, not a {type(detail).__name__}"
                )
            self._register_defaults(detail.results or (), _PERSISTENT)
        super()._adopt(detail)

    def _register_outputs(self, atom_name: str, outputs: Mapping[Any, Any]) -> None:
        """Note what an atom promises."""
        self._outputs[atom_name] = outputs
        for symbol, index in outputs.items():
            at = self._providers.setdefault(symbol, {})
            known = at.get(atom_name)
            if known is None:
                at[atom_name] = _WHOLE if index is None else (index,)
            elif index not in known:
                at[atom_name] = (*known, index)

    # -- injecting ---------------------------------------------------------------------------------------------------

    def inject(self, pairs: Any, transient: bool = False) -> None:
        """Give values to the whole flow.

        Args:
            pairs: A dict or pairs of name and value.
            transient: Whether to keep them in this object only, unsaved.
        """
        values = dict(pairs)
        with self._writing():
            if transient:
                self._transients.update(values)
                self._register_defaults(values, _TRANSIENT)
                return
            detail = self._details.get(self.injector_name)
            if detail is None:
                detail = models.TaskDetail(self.injector_name, uuids.generate_uuid())
                detail.results = values
                detail.state = states.SUCCESS
                self.write((), [detail])
                self._details[self.injector_name] = detail
            else:
                self.write([(detail, detail.outcome(states.SUCCESS, {**(detail.results or {}), **values}))])
            self._register_defaults(values, _PERSISTENT)

    def _register_defaults(self, names: Iterable[Any], kind: str) -> None:
        for name in names:
            kinds = self._defaults.get(name)
            if kinds is None:
                self._defaults[name] = [kind]
            elif kind not in kinds:
                kinds.append(kind)

    def inject_atom_args(self, atom_name: str, pairs: Any, transient: bool = True) -> None:
        """Give values to one atom.

        Args:
            atom_name: Its name.
            pairs: A dict or pairs of name and value.
            transient: Whether to keep them in this object only, unsaved.

        Raises:
            NotFound: The atom is unknown.
        """
        with self._writing():
            detail = self.detail_of(atom_name)
            values = dict(pairs)
            if transient:
                self._transient_args.setdefault(atom_name, {}).update(values)
            else:
                kept = {**(detail.meta.get(META_INJECTED) or {}), **values}
                self._update_meta(detail, {META_INJECTED: kept})

    # -- looking up --------------------------------------------------------------------------------------------------

    def _default_value(self, name: Any, kind: str) -> Any:
        """A flow level value; raises one of the extract errors, or DisallowedAccess, when it is not there."""
        if kind == _TRANSIENT:
            return self._transients[name]
        return self._executed(self._details[self.injector_name])[name]

    def fetch(self, name: Any, many_handler: Callable[[list[Any]], Any] | None = None) -> Any:
        """The value of a name, whoever provides it.

        Args:
            name: The name.
            many_handler: Chooses from a list of values; the first by default.

        Returns:
            What the handler chose.

        Raises:
            NotFound: Nobody provides the name, or no value is there.
        """
        with self._reading():
            values = self._values_of(name)
        return values[0] if many_handler is None else many_handler(values)

    def _values_of(self, name: Any) -> list[Any]:
        defaults, providers = self._defaults.get(name, ()), self._providers.get(name)
        if not defaults and providers is None:
            raise exc.NotFound(f"Name {name!r} is not mapped as a produced output by any providers")
        values = []
        for kind in defaults:
            try:
                values.append(self._default_value(name, kind))
            except (*_EXTRACT_ERRORS, exc.DisallowedAccess) as e:
                raise _no_result(name, f"the {kind} values of the flow", e) from e
        for atom_name, indices in tuple(providers.items()) if providers else ():
            detail = self._details[atom_name]
            try:
                result = self._executed(detail)
            except exc.DisallowedAccess as e:
                if e.state == states.IGNORE:
                    continue
                raise exc.NotFound(f"Unable to find result {name!r}: atom {atom_name!r} has none", e) from e
            try:
                values.extend(result if index is None else result[index] for index in indices)
            except _EXTRACT_ERRORS as e:
                raise _no_result(name, f"atom {atom_name!r}", e) from e
        if not values:
            raise exc.NotFound(f"Unable to find result {name!r}: whoever provides it was passed over")
        return values

    def fetch_all(self, many_handler: Callable[[list[Any]], Any] | None = None) -> dict[Any, Any]:
        """The values of all names that have one.

        Args:
            many_handler: Makes one value of a list of them; by default a single one is itself and several a list.

        Returns:
            Name -> value.
        """
        if many_handler is None:
            many_handler = _one_or_all
        found = {}
        with self._reading():
            for name in dict.fromkeys((*self._defaults, *self._providers)):
                with contextlib.suppress(exc.NotFound):
                    found[name] = self._values_of(name)
        return {name: many_handler(values) for name, values in found.items()}

    def fetch_mapped_args(
        self,
        args_mapping: Mapping[str, Any],
        atom_name: str | None = None,
        scope_walker: Any = None,
        optional_args: Any = None,
    ) -> dict[str, Any]:
        """The values for the arguments of an atom.

        Args:
            args_mapping: Argument name -> name of the value.
            atom_name: The atom, whose injected values and scopes then count.
            scope_walker: The scopes to look in; those of the atom by default.
            optional_args: Arguments to leave out when nothing can provide them.

        Returns:
            Argument name -> value.

        Raises:
            NotFound: A value is missing.
        """
        injected: tuple[Mapping[Any, Any], ...] = ()
        if atom_name is not None:
            detail = self.detail_of(atom_name)
            if not args_mapping:
                return {}
            transient = self._transient_args.get(atom_name)
            kept = detail.meta.get(META_INJECTED)
            if transient or kept:
                injected = tuple(values for values in (transient, kept) if values)
        elif not args_mapping:
            return {}
        values = {}
        optional = optional_args or ()
        with self._reading():
            defaults, providers = self._defaults, self._providers
            quick = getattr(scope_walker, "sole_provider", None)
            for bound, name in args_mapping.items():
                if injected:
                    given = next((given for given in injected if name in given), None)
                    if given is not None:
                        values[bound] = given[name]
                        continue
                if name in defaults:
                    values[bound] = self._first_default(name)
                    continue
                provided_by = providers.get(name)
                if provided_by is None:
                    if bound in optional:
                        continue
                    raise exc.NotFound(
                        f"Name {name!r} is not mapped as a produced output by any providers"
                        f" (wanted as argument {bound!r} of atom {atom_name!r})"
                    )
                value = _NOTHING
                if quick is not None:
                    value = self._sole_value(quick(name), provided_by)
                if value is _NOTHING:
                    if scope_walker is None and atom_name is not None:
                        scope_walker = self._scope_fetcher(atom_name)
                    value = self._scoped_value(name, scope_walker)
                if value is not _NOTHING:
                    values[bound] = value
                elif bound not in optional:
                    raise exc.NotFound(
                        f"Value {name!r} for argument {bound!r} of atom {atom_name!r} is provided by"
                        f" {sorted(provided_by)}, none of which is accessible from it"
                    )
        return values

    def values_nearby(
        self,
        args_mapping: Mapping[str, Any],
        detail: models.AtomDetail,
        sole_providers: Mapping[Any, int],
        nearby: Collection[int],
        details: Sequence[Any],
    ) -> dict[str, Any] | None:
        """The values for the arguments of an atom, where each is the whole result of an atom linked directly to it.

        Args:
            args_mapping: Argument name -> name of the value.
            detail: The record of the atom.
            sole_providers: Name -> the number of the one atom of the flow whose whole result it names.
            nearby: The numbers of the atoms linked directly to this one.
            details: Per number, the record of the atom.

        Returns:
            Argument name -> value; ``None`` if it takes :meth:`fetch_mapped_args` to find out.
        """
        if self._shared_lock is not None or META_INJECTED in detail.meta or detail._name in self._transient_args:
            return None
        defaults = self._defaults
        values = {}
        for bound, name in args_mapping.items():
            provider = sole_providers.get(name)
            if provider is None or provider not in nearby or name in defaults:
                return None
            source = details[provider]
            if source.state != states.SUCCESS or source.failure:
                return None
            values[bound] = source.last_results
        return values

    def _first_default(self, name: Any) -> Any:
        kind = self._defaults[name][0]
        try:
            return self._default_value(name, kind)
        except (*_EXTRACT_ERRORS, exc.DisallowedAccess) as e:
            raise _no_result(name, f"the {kind} values of the flow", e) from e

    def _sole_value(self, provider: Any, provided_by: Mapping[str, tuple[Any, ...]]) -> Any:
        """The value of a name that one atom alone is known to provide, if it is there at once."""
        indices = provided_by.get(provider)
        if indices is None:
            return _NOTHING
        detail = self._details[provider]
        if detail.state != states.SUCCESS or detail.failure:
            return _NOTHING
        result = detail.last_results
        index = indices[0]
        if index is None:
            return result
        try:
            return result[index]
        except _EXTRACT_ERRORS:
            return _NOTHING

    def _scoped_value(self, name: Any, scope_walker: Any) -> Any:
        providers = self._providers[name]
        deciding: Any = _NOTHING
        error: Exception | None = None
        for scope, atom_name in _visible(scope_walker, name, providers):
            if deciding is not _NOTHING and scope != deciding:
                break
            indices = providers.get(atom_name)
            if indices is None:
                continue
            try:
                result = self._executed(self._details[atom_name])
            except exc.DisallowedAccess as e:
                if e.state == states.IGNORE:
                    continue
                raise exc.NotFound(
                    f"Value {name!r} of atom {atom_name!r} is not there in its state {e.state}", e
                ) from e
            # The nearest scope that has anything decides.
            deciding = scope
            for index in indices:
                if index is None:
                    return result
                try:
                    return result[index]
                except _EXTRACT_ERRORS as e:
                    error = e
        if deciding is not _NOTHING:
            raise _no_result(name, "the nearest scope that provides it", error) from error
        return _NOTHING

    def fetch_unsatisfied_args(
        self,
        atom_name: str,
        args_mapping: Mapping[str, Any],
        scope_walker: Any = None,
        optional_args: Any = None,
    ) -> set[str]:
        """The arguments of an atom that nothing could provide.

        Args:
            atom_name: The atom.
            args_mapping: Argument name -> name of the value.
            scope_walker: The scopes to look in; those of the atom by default.
            optional_args: Arguments that need no value.

        Returns:
            The names of such arguments.

        Raises:
            NotFound: The atom is unknown.
        """
        missing = set()
        with self._reading():
            detail = self.detail_of(atom_name)
            transient = self._transient_args.get(atom_name) or ()
            kept = detail.meta.get(META_INJECTED) or ()
            optional = optional_args or ()
            quick = getattr(scope_walker, "sole_provider", None)
            for bound, name in args_mapping.items():
                if bound in optional or name in transient or name in kept:
                    continue
                if name in self._defaults and self._has_default(name):
                    continue
                providers = self._providers.get(name)
                if providers:
                    if quick is not None and quick(name) in providers:
                        continue
                    if scope_walker is None:
                        scope_walker = self._scope_fetcher(atom_name)
                    if any(provider in providers for _, provider in _visible(scope_walker, name, providers)):
                        continue
                missing.add(bound)
        return missing

    def _has_default(self, name: Any) -> bool:
        for kind in self._defaults[name]:
            with contextlib.suppress(*_EXTRACT_ERRORS, exc.DisallowedAccess):
                self._default_value(name, kind)
                return True
        return False


def _no_scopes(_atom_name: str) -> None:
    return None


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values


def _visible(scope_walker: Any, name: Any, providers: Mapping[str, Any]) -> Iterable[tuple[Any, str]]:
    """The providers of a name that a walker shows, nearest first, each with what tells its scope from others."""
    if scope_walker is None:
        return ()
    direct = getattr(scope_walker, "providers", None)
    if direct is not None:
        visible: Iterable[tuple[Any, str]] = direct(name)
        return visible
    return (
        (level, atom_name) for level, scope in enumerate(scope_walker) for atom_name in scope if atom_name in providers
    )


def _no_result(name: Any, where: str, cause: BaseException | None) -> exc.NotFound:
    return exc.NotFound(f"Unable to find result {name!r} in {where}", cause)
