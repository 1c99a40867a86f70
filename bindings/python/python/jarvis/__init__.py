"""Sessions, cache, events, health checks and verified restarts: jarvis-core for Python.

The classes here are for asyncio and uvloop; :mod:`jarvis.sync` has the same without ``await``.
Importing this starts nothing.
"""

from __future__ import annotations

from jarvis._core import Envelope, Session, SessionSummary, __version__
from jarvis._types import SessionHandle
from jarvis.cache import Cache
from jarvis.errors import (
    BudgetExceededError,
    ConfigInvalidError,
    ConflictError,
    CorruptError,
    ExhaustedError,
    ForbiddenError,
    InternalError,
    InvalidInputError,
    JarvisError,
    NotFoundError,
    OperationCancelledError,
    OperationTimeoutError,
    RateLimitedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
    UnsupportedError,
)
from jarvis.events import EventBus
from jarvis.health import Health
from jarvis.jarvis import Jarvis
from jarvis.operator import Operator
from jarvis.service import AlertSink, Check, HealthProbe, Service, ServiceRestarter, Sink
from jarvis.session import SessionStore
from jarvis.stream import Stream, Subscription

from jarvis import sync as sync

__all__ = [
    "AlertSink",
    "BudgetExceededError",
    "Cache",
    "Check",
    "ConfigInvalidError",
    "ConflictError",
    "CorruptError",
    "Envelope",
    "EventBus",
    "ExhaustedError",
    "ForbiddenError",
    "Health",
    "HealthProbe",
    "InternalError",
    "InvalidInputError",
    "Jarvis",
    "JarvisError",
    "NotFoundError",
    "OperationCancelledError",
    "OperationTimeoutError",
    "Operator",
    "RateLimitedError",
    "Service",
    "ServiceRestarter",
    "Session",
    "SessionHandle",
    "SessionStore",
    "SessionSummary",
    "Sink",
    "Stream",
    "Subscription",
    "TooLargeError",
    "UnauthorizedError",
    "UnavailableError",
    "UnsupportedError",
    "__version__",
    "sync",
]
