"""Errors: :class:`JarvisError`, and one subclass for each kind.

Each class also derives from the built-in exception that fits, so that ``except KeyError`` or
``except ConnectionError`` works, too::

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

    Code that JARVIS calls, such as a probe, may raise one to tell what kind of failure it is.

    Attributes:
        code: The stable code, the same in every language: ``"ERR_JARVIS_NOT_FOUND"``.
        kind: The kind in snake_case: ``"not_found"``.
        message: What happened, without operation and context; ``str()`` has everything.
        retryable: Whether the call may be repeated, because certainly nothing was applied.
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
    """An internal cause of an error: one message of the chain in ``__cause__``."""


class NotFoundError(JarvisError, KeyError):
    """It does not exist."""

    code = "ERR_JARVIS_NOT_FOUND"


class ConflictError(JarvisError):
    """Another writer changed it first, or it exists already.

    Attributes:
        current: The stored session, if a session could not be saved.
    """

    code = "ERR_JARVIS_CONFLICT"
    current: Optional[Session] = None


class InvalidInputError(JarvisError, ValueError):
    """An argument is not valid. The same call fails again."""

    code = "ERR_JARVIS_INVALID_INPUT"


class ConfigInvalidError(JarvisError, ValueError):
    """The configuration is not valid. The message names file, line and key."""

    code = "ERR_JARVIS_CONFIG_INVALID"


class UnauthorizedError(JarvisError, PermissionError):
    """The credentials are missing or wrong."""

    code = "ERR_JARVIS_UNAUTHORIZED"


class ForbiddenError(JarvisError, PermissionError):
    """The credentials are valid, but the action is not allowed, for example by a gate."""

    code = "ERR_JARVIS_FORBIDDEN"


class RateLimitedError(JarvisError):
    """Too many calls. Wait for ``retry_after``."""

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
    """A deadline passed. The call may have been applied."""

    code = "ERR_JARVIS_TIMEOUT"


class OperationCancelledError(JarvisError):
    """The caller gave up, or the handle is closed."""

    code = "ERR_JARVIS_CANCELLED"


class UnsupportedError(JarvisError, NotImplementedError):
    """This backend does not support that."""

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
