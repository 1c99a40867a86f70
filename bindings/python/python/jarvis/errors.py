"""What can go wrong: :class:`JarvisError`, and one class a kind.

Each class also derives from the built-in exception that fits, so that ``except KeyError`` or
``except ConnectionError`` works where code expects one::

    try:
        await sessions.save(session)
    except jarvis.ConflictError as conflict:
        session = conflict.current
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Optional

if TYPE_CHECKING:
    from jarvis._core import Session

__all__ = [
    "BudgetExceededError",
    "Cause",
    "ConfigInvalidError",
    "ConflictError",
    "CorruptError",
    "ExhaustedError",
    "ForbiddenError",
    "InternalError",
    "InvalidInputError",
    "JarvisError",
    "NotFoundError",
    "OperationCancelledError",
    "OperationTimeoutError",
    "RateLimitedError",
    "TooLargeError",
    "UnauthorizedError",
    "UnavailableError",
    "UnsupportedError",
]


class JarvisError(Exception):
    """The base of all errors of this package.

    May be raised by code that JARVIS calls, such as a probe, to say what kind of failure it is.

    Attributes:
        code: The stable code, the same in every language: ``"ERR_JARVIS_NOT_FOUND"``.
        kind: The kind in snake_case: ``"not_found"``.
        message: What happened, without operation and context; ``str()`` has all of it.
        retryable: Is it certain that nothing was applied, so that the call may be repeated?
        retry_after: How many seconds the other side asked to wait, or None.
        operation: The operation that failed, such as ``"session.redis.save"``, or None.
        context: Facts, such as the service or the path.
    """

    code: str = "ERR_JARVIS_INTERNAL"

    def __init__(
        self,
        message: str = "",
        *,
        retryable: bool = False,
        retry_after: Optional[float] = None,
        operation: Optional[str] = None,
        context: Optional[Mapping[str, str]] = None,
        text: Optional[str] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retryable = retryable
        self.retry_after = retry_after
        self.operation = operation
        self.context = dict(context or {})
        self._text = message if text is None else text

    @property
    def kind(self) -> str:
        return self.code[len("ERR_JARVIS_") :].lower()

    def __str__(self) -> str:
        return self._text

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuilt, (type(self), self.message, self.__dict__))


def _rebuilt(kind: type[JarvisError], message: str, state: dict[str, Any]) -> JarvisError:
    error = kind(message)
    error.__dict__.update(state)
    return error


class Cause(Exception):
    """What an error was caused by, inside: one line of the chain in ``__cause__``."""


class NotFoundError(JarvisError, KeyError):
    """The thing asked for does not exist."""

    code = "ERR_JARVIS_NOT_FOUND"


class ConflictError(JarvisError):
    """Somebody else changed it first, or it exists already.

    Attributes:
        current: What is stored now, where it is a session that could not be saved.
    """

    code = "ERR_JARVIS_CONFLICT"
    current: Optional[Session] = None


class InvalidInputError(JarvisError, ValueError):
    """An argument is wrong; calling again with the same one fails the same way."""

    code = "ERR_JARVIS_INVALID_INPUT"


class ConfigInvalidError(JarvisError, ValueError):
    """A configuration is wrong; the message names file, line and key."""

    code = "ERR_JARVIS_CONFIG_INVALID"


class UnauthorizedError(JarvisError, PermissionError):
    """No credentials, or wrong ones."""

    code = "ERR_JARVIS_UNAUTHORIZED"


class ForbiddenError(JarvisError, PermissionError):
    """The credentials are fine, the act is not allowed. A gate's refusal is this kind."""

    code = "ERR_JARVIS_FORBIDDEN"


class RateLimitedError(JarvisError):
    """Too many calls; wait for ``retry_after``."""

    code = "ERR_JARVIS_RATE_LIMITED"


class BudgetExceededError(JarvisError):
    """A budget (money, or restarts) is used up."""

    code = "ERR_JARVIS_BUDGET_EXCEEDED"


class TooLargeError(JarvisError, ValueError):
    """A body, a key or a document is over its limit."""

    code = "ERR_JARVIS_TOO_LARGE"


class ExhaustedError(JarvisError, OSError):
    """The machine ran out of disk, descriptors, memory or threads."""

    code = "ERR_JARVIS_EXHAUSTED"


class UnavailableError(JarvisError, ConnectionError):
    """A dependency can't be reached, or is not ready."""

    code = "ERR_JARVIS_UNAVAILABLE"


class OperationTimeoutError(JarvisError, TimeoutError):
    """A deadline passed. What was asked may have been applied."""

    code = "ERR_JARVIS_TIMEOUT"


class OperationCancelledError(JarvisError):
    """The caller gave up, or the handle is closed."""

    code = "ERR_JARVIS_CANCELLED"


class UnsupportedError(JarvisError, NotImplementedError):
    """This backend can't do that."""

    code = "ERR_JARVIS_UNSUPPORTED"


class CorruptError(JarvisError):
    """Stored data is damaged, or newer than this program."""

    code = "ERR_JARVIS_CORRUPT"


class InternalError(JarvisError, RuntimeError):
    """A bug in jarvis-core or in a plug-in."""

    code = "ERR_JARVIS_INTERNAL"


_BY_CODE: dict[str, type[JarvisError]] = {
    kind.code: kind
    for kind in (
        NotFoundError,
        ConflictError,
        InvalidInputError,
        ConfigInvalidError,
        UnauthorizedError,
        ForbiddenError,
        RateLimitedError,
        BudgetExceededError,
        TooLargeError,
        ExhaustedError,
        UnavailableError,
        OperationTimeoutError,
        OperationCancelledError,
        UnsupportedError,
        CorruptError,
        InternalError,
    )
}


def _from_core(
    code: str,
    message: str,
    retryable: bool,
    retry_after: Optional[float],
    operation: Optional[str],
    context: dict[str, str],
    text: str,
) -> JarvisError:
    """The exception of an error of the core."""
    return _BY_CODE[code](
        message,
        retryable=retryable,
        retry_after=retry_after,
        operation=operation,
        context=context,
        text=text,
    )
