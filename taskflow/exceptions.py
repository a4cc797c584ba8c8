# SPDX-License-Identifier: Apache-2.0
"""Which errors does the library raise, and how do they print?

The hierarchy::

    Exception
     ├─ TaskFlowException
     │   ├─ StorageFailure            a backend could not read, save or delete
     │   ├─ ConductorFailure          conducting went wrong
     │   ├─ JobFailure                a job or jobboard operation went wrong
     │   │   └─ UnclaimableJob        somebody else owns the job
     │   ├─ ExecutionFailure          an engine could not do its work
     │   │   ├─ RequestTimeout        no worker started a request in time
     │   │   └─ InvalidState          the state tables forbid it
     │   ├─ DependencyFailure         something that is needed is wrong
     │   │   ├─ AmbiguousDependency   more than one possible provider
     │   │   └─ MissingDependencies   no provider at all
     │   ├─ CompilationFailure        the flow can not be compiled
     │   ├─ IncompatibleVersion       a server or library is too old or too new
     │   ├─ Duplicate                 the name is taken
     │   ├─ NotFound                  no such entry, provider or driver
     │   ├─ Empty                     nothing where something is needed
     │   ├─ MultipleChoices           several where one is needed
     │   ├─ InvalidFormat             data of another shape than expected
     │   └─ DisallowedAccess          a value that can not exist in this state
     ├─ WrappedFailure                several failures, or one that lost its exception
     └─ NotImplementedError           a feature that this library does not have
"""

from __future__ import annotations

import builtins
import os
import sys

TYPE_CHECKING = False  # ``typing`` would be the most expensive import of this module
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, NoReturn

    from taskflow.types import failure


def _safe_str(value: object) -> str:
    """Returns ``str(value)``, or a placeholder: printing an error must not hide it behind another one."""
    try:
        return str(value)
    except Exception:
        return f"<unprintable {type(value).__name__} object>"


def _recreate(cls: type[BaseException], *args: object) -> BaseException:
    """Makes an exception of which only ``args`` is set, without calling its constructor."""
    return cls.__new__(cls, *args)


class TaskFlowException(Exception):
    """Base of (nearly) all errors of this library.

    Args:
        message: what happened, for people.
        cause: the object, usually an exception, that led to this error.
    """

    def __init__(self, message: str, cause: object = None) -> None:
        super().__init__(message)
        self._cause = cause

    @property
    def cause(self) -> Any:
        """The object that led to this error, or ``None``."""
        return self._cause

    def __str__(self) -> str:
        return self.pformat()

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors of subclasses take other arguments than ``args`` holds, so copies must not call them.
        return _recreate, (type(self), *self.args), self.__dict__.copy()

    def pformat(self, indent: int = 2, indent_text: str = " ", show_root_class: bool = False) -> str:
        """Formats the message and, below it, the messages of all causes, each further to the right.

        Args:
            indent: how many times ``indent_text`` is repeated for each step down the causes.
            indent_text: the text to indent with.
            show_root_class: start with the class name of this error too.

        Returns:
            Lines joined by ``os.linesep``.

        Raises:
            ValueError: ``indent`` is negative.
        """
        if indent < 0:
            raise ValueError(f"indent must be 0 or more, not {indent}")
        lines = [f"{type(self).__name__}: {self._own_message()}" if show_root_class else self._own_message()]
        visited = {id(self)}
        margin = ""
        cause = self.cause
        while cause is not None and id(cause) not in visited:
            visited.add(id(cause))
            margin += indent_text * indent
            if isinstance(cause, TaskFlowException):
                lines.append(f"{margin}{type(cause).__name__}: {cause._own_message()}")
                cause = cause.cause
            else:
                lines.extend(margin + line for line in _foreign_lines(cause))
                break
        return os.linesep.join(lines)

    def _own_message(self) -> str:
        return _safe_str(self.args[0]) if self.args else ""


def _foreign_lines(cause: object) -> list[str]:
    """Returns the lines that stand for a cause which is none of our exceptions."""
    if not isinstance(cause, BaseException):
        return [_safe_str(cause)]
    import traceback

    return [line.rstrip("\n") for line in traceback.format_exception_only(type(cause), cause)]


class StorageFailure(TaskFlowException):
    """A persistence backend could not read, save or delete something."""


class ConductorFailure(TaskFlowException):
    """Conducting went wrong."""


class JobFailure(TaskFlowException):
    """An operation on a job or a jobboard went wrong."""


class UnclaimableJob(JobFailure):
    """The job can not be claimed, because somebody owns it already."""


class ExecutionFailure(TaskFlowException):
    """An engine could not do its work."""


class RequestTimeout(ExecutionFailure):
    """No remote worker started the request in the permitted time."""


class InvalidState(ExecutionFailure):
    """The transition or the operation is not permitted in the present state."""


class DependencyFailure(TaskFlowException):
    """Something that an atom or flow depends on is wrong."""


class AmbiguousDependency(DependencyFailure):
    """More than one provider fits and nothing decides between them."""


class MissingDependencies(DependencyFailure):
    """Values are required that nobody provides.

    Args:
        who: what requires them.
        requirements: the names that nobody provides; kept as ``missing_requirements``.
        cause: the object, usually an exception, that led to this error.
        method: the name of the method of ``who`` that requires them.
    """

    METHOD_TPL = "'%(method)s' method on "
    MESSAGE_TPL = "'%(who)s' requires %(requirements)s but no other entity produces said requirements"

    def __init__(self, who: object, requirements: Any, cause: object = None, method: str | None = None) -> None:
        self.missing_requirements = requirements
        template = f"{self.METHOD_TPL}{self.MESSAGE_TPL}" if method else self.MESSAGE_TPL
        super().__init__(template % {"method": method, "who": who, "requirements": requirements}, cause)


class CompilationFailure(TaskFlowException):
    """The flow can not be compiled."""


class IncompatibleVersion(TaskFlowException):
    """The version of a server or a library is outside of what is supported."""


class Duplicate(TaskFlowException):
    """The name, or an equal entry, exists already."""


class NotFound(TaskFlowException):
    """The entry, provider or driver does not exist."""


class Empty(TaskFlowException):
    """Something is empty that must not be."""


class MultipleChoices(TaskFlowException):
    """There are several possible choices where one is needed."""


class InvalidFormat(TaskFlowException):
    """The data does not have the expected shape."""


class DisallowedAccess(TaskFlowException):
    """The value can not exist in the state that its owner is in.

    Args:
        message: what happened, for people.
        cause: the object, usually an exception, that led to this error.
        state: the name of the state that was found.
    """

    def __init__(self, message: str, cause: object = None, state: str | None = None) -> None:
        super().__init__(message, cause=cause)
        self.state = state


class NotImplementedError(builtins.NotImplementedError):
    """This library (or this driver) does not have the feature."""


class WrappedFailure(Exception):
    """Several failures, or one whose exception is lost, raised as one exception.

    Args:
        causes: the failures; a failure that itself wraps others is replaced by those.
    """

    def __init__(self, causes: Iterable[failure.Failure]) -> None:
        super().__init__()
        self.args = ()  # else it holds what ``__new__`` was given, maybe a used up iterator
        own_kind = type(self)
        flat: list[failure.Failure] = []
        for cause in causes:
            if cause.check(own_kind) and cause.exception:
                flat.extend(cause.exception)
            else:
                flat.append(cause)
        self._causes = tuple(flat)

    def __iter__(self) -> Iterator[failure.Failure]:
        return iter(self._causes)

    def __len__(self) -> int:
        return len(self._causes)

    def __reduce__(self) -> tuple[Any, ...]:
        return _recreate, (type(self), *self.args), self.__dict__.copy()

    def __str__(self) -> str:
        return f"WrappedFailure: [{', '.join(map(str, self._causes))}]"

    def check(self, *exc_classes: Any) -> Any:
        """Looks whether any of the failures was caused by one of the given exceptions.

        Args:
            exc_classes: exception classes, or texts with qualified class names.

        Returns:
            The argument that matched the first matching failure, or ``None``.
        """
        if not exc_classes:
            return None
        for cause in self._causes:
            found = cause.check(*exc_classes)
            if found is not None:
                return found
        return None


def raise_with_cause(exc_cls: type[TaskFlowException], message: str, *args: Any, **kwargs: Any) -> NoReturn:
    """Raises one of this library's errors, caused by the exception that is being handled at the moment.

    Args:
        exc_cls: the class to raise.
        message: its message.
        args: further positional arguments for its constructor.
        kwargs: further keyword arguments; ``cause`` replaces the exception that is being handled.

    Raises:
        TaskFlowException: always, an instance of ``exc_cls``.
        ValueError: ``exc_cls`` is not derived from `TaskFlowException`.
    """
    if not issubclass(exc_cls, TaskFlowException):
        raise ValueError(f"{exc_cls.__name__!r} must be derived from TaskFlowException to carry a cause")  # noqa: TRY004 - the documented type
    if "cause" not in kwargs:
        handled = sys.exc_info()[1]
        if handled is not None:
            kwargs["cause"] = handled
    raise exc_cls(message, *args, **kwargs) from kwargs.get("cause")
