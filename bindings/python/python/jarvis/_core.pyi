"""The native half of the package. Its classes are the blocking face, `jarvis.sync`; to the
awaitable face, which wraps them, they give a future where an answer is not ready at once."""

import os
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Callable, Iterator, List, Literal, Mapping, final, overload

from typing_extensions import Self

from jarvis._types import (
    ActionAnswer,
    AlertTestAnswer,
    CacheStats,
    CheckAnswer,
    Data,
    Factory,
    Healthz,
    IPAddress,
    Mode,
    Origin,
    Overflow,
    PlatformSnapshot,
    Seconds,
    SessionHandle,
    SessionMeta,
    StatusAnswer,
    UptimeAnswer,
)
from jarvis.errors import JarvisError

__all__ = [
    "Cache",
    "Envelope",
    "EventBus",
    "Health",
    "Jarvis",
    "Operator",
    "Session",
    "SessionStore",
    "SessionSummary",
    "Subscription",
    "__version__",
    "_echo",
    "_error_kinds",
    "_fail",
    "_panic",
]

__version__: str

_error_kinds: List[tuple[str, str]]

def _echo(_key: str, value: str) -> str: ...
def _fail(code: str) -> None: ...
def _panic(here: bool) -> Any: ...

@final
class Session:
    """A session as it was stored at one version. Change `data`, `user` or `ttl`, then save it."""

    @property
    def id(self) -> str:
        """The visitor's secret: what belongs into the cookie and nowhere else."""

    user: str | None
    """Whose it is, once that is known."""

    @property
    def data(self) -> Any:
        """What it holds: a dict, parsed when it is first looked at."""

    @data.setter
    def data(self, value: Data) -> None: ...
    def model(self, kind: type[Any]) -> Any:
        """The data as a Pydantic model: `session.model(Cart)`."""

    def json(self) -> str:
        """The data as JSON text."""

    @property
    def version(self) -> int:
        """Grows by one with every save."""

    @property
    def created_at(self) -> datetime:
        """When it was made, in UTC."""

    @property
    def updated_at(self) -> datetime:
        """When it was last saved, in UTC."""

    @property
    def expires_at(self) -> datetime:
        """From when on it is gone, in UTC."""

    @property
    def ttl(self) -> timedelta:
        """How long it lives after a save or an extension."""

    @ttl.setter
    def ttl(self, value: Seconds) -> None: ...
    meta: SessionMeta
    """Where it was made."""

@final
class SessionSummary:
    """A session as others may see it: without its data, and without its id where ids are hashed."""

    @property
    def handle(self) -> SessionHandle:
        """Names it."""

    @property
    def id(self) -> str | None:
        """The visitor's secret, only where the policy does not hash ids."""

    @property
    def user(self) -> str | None:
        """Whose it is, once that is known."""

    @property
    def version(self) -> int:
        """How often it was saved."""

    @property
    def created_at(self) -> datetime:
        """When it was made, in UTC."""

    @property
    def updated_at(self) -> datetime:
        """When it was last saved, in UTC."""

    @property
    def expires_at(self) -> datetime:
        """From when on it is gone, in UTC."""

    @property
    def meta(self) -> SessionMeta:
        """Where it was made."""

_Id = str | Session
_Named = str | Session | SessionHandle | SessionSummary

@final
class SessionStore:
    """Keeps sessions. See `jarvis.SessionStore`."""

    def create(
        self,
        user: str | None = None,
        data: Data | None = None,
        *,
        id: str | None = None,
        ttl: Seconds | None = None,
        ip: IPAddress | None = None,
        user_agent: str | None = None,
    ) -> Session: ...
    def load(self, id: _Id) -> Session | None: ...
    def load_and_extend(self, id: _Id, ttl: Seconds | None = None) -> Session | None: ...
    def save(self, session: Session, *, force: bool = False) -> Session: ...
    def update(
        self,
        id: _Id,
        change: Callable[[Session], object],
        *,
        deadline: Seconds | None = None,
    ) -> Session | None: ...
    def delete(self, session: _Named) -> bool: ...
    def extend(self, session: _Named, ttl: Seconds | None = None) -> datetime | None: ...
    def regenerate(self, id: _Id, user: str | None = None) -> Session | None: ...
    def list(self, user: str) -> List[SessionSummary]: ...
    def clear(self, user: str, except_: _Named | None = None) -> int: ...
    def count(self, user: str | None = None) -> int: ...
    def load_many(self, ids: List[_Id]) -> List[Session | None]: ...
    def save_many(
        self, sessions: List[Session], *, force: bool = False
    ) -> List[Session | JarvisError]: ...
    def delete_many(self, sessions: List[_Named]) -> int: ...
    def scan_page(
        self, cursor: str | None = None, limit: int = 256
    ) -> tuple[List[SessionSummary], str | None]: ...

@final
class Cache:
    """Keeps values for a while, by key. See `jarvis.Cache`."""

    def get(self, key: str, raw: bool = False) -> Any: ...
    def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: Seconds | None = None,
        if_absent: bool = False,
        if_present: bool = False,
        tags: List[str] = ...,
    ) -> bool: ...
    def delete(self, *keys: str) -> int: ...
    def exists(self, key: str) -> bool: ...
    def get_many(self, keys: List[str], *, raw: bool = False) -> List[Any]: ...
    def set_many(
        self,
        entries: Mapping[str, Any],
        *,
        ttl: Seconds | None = None,
        if_absent: bool = False,
        if_present: bool = False,
        tags: List[str] = ...,
    ) -> int: ...
    def increment(self, key: str, by: int = 1, *, ttl: Seconds | None = None) -> int: ...
    def expire(self, key: str, ttl: Seconds) -> bool: ...
    def lifetime(self, key: str) -> float | None: ...
    def invalidate_tag(self, tag: str) -> None: ...
    def invalidate_pattern(self, pattern: str) -> int: ...
    def flush(self) -> None: ...
    def stats(self) -> CacheStats: ...
    def get_or_load(
        self,
        key: str,
        loader: Callable[[], Any],
        *,
        ttl: Seconds | None = None,
        tags: List[str] = ...,
        stale: Seconds | None = None,
        early: float = 0.0,
        wait: Seconds | None = None,
        raw: bool = False,
    ) -> Any: ...

@final
class Envelope:
    """An event with where and when."""

    @property
    def topic(self) -> str:
        """What it is about."""

    @property
    def sequence(self) -> int:
        """Counts up by one within one `instance`, over all topics."""

    @property
    def instance(self) -> str:
        """The process that published it."""

    @property
    def at(self) -> datetime:
        """When, in UTC, by that process's clock."""

    @property
    def event(self) -> dict[str, Any]:
        """What happened: `type` and its fields."""

    @property
    def payload(self) -> Any:
        """What a message says; None for events of JARVIS's own."""

    @property
    def stream(self) -> tuple[str, int] | None:
        """Its place in the order of all instances: an epoch, and a number within it."""

@final
class EventBus:
    """Carries events to whoever subscribed. See `jarvis.EventBus`."""

    @property
    def instance(self) -> str:
        """Names this bus in this process."""

    def publish(self, topic: str, payload: Any = None) -> Envelope: ...
    def subscribe(
        self,
        topics: List[str] = ...,
        patterns: List[str] = ...,
        *,
        origin: Origin = "anywhere",
        overflow: Overflow = "drop_oldest",
        buffer: int = ...,
    ) -> Subscription: ...
    def flush(self) -> None: ...

@final
class Subscription:
    """One subscriber's end: an iterator of envelopes, and a context manager."""

    def ready(self) -> None:
        """Waits until `take` has something to give, unless another consumer was quicker."""

    def take(self) -> List[Envelope]:
        """The envelopes that are there."""

    @property
    def ended(self) -> bool:
        """Has it ended, with nothing left to take?"""

    def __iter__(self) -> Self: ...
    def __next__(self) -> Envelope: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...
    @property
    def missed(self) -> int:
        """How many events are known to be missing: it was too slow, or the connection was lost."""

    @property
    def gaps(self) -> int:
        """How often events may be missing, and nobody knows how many."""

    def close(self) -> None:
        """Unsubscribes; whoever waits gets what is there, then the end. Safe to repeat."""

@final
class Health:
    """What is well, and how long it was. See `jarvis.Health`."""

    def check(self, services: List[str] = ...) -> CheckAnswer: ...
    def status(self) -> StatusAnswer: ...
    def uptime(
        self, services: List[str] = ..., *, window: Seconds | None = None
    ) -> UptimeAnswer: ...
    def snapshot(self) -> PlatformSnapshot: ...
    def healthz(self) -> Healthz: ...
    def metrics(self) -> str: ...
    def watch(self, service: str | None = None) -> Subscription: ...

@final
class Operator:
    """What a person asks of the loop that supervises. See `jarvis.Operator`."""

    def status(self) -> StatusAnswer: ...
    def restart(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer: ...
    def start(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer: ...
    def stop(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer: ...
    def reset(self, service: str, *, by: str = "python") -> ActionAnswer: ...
    def pause(self, reason: str = "", *, lasting: Seconds | None = None) -> ActionAnswer: ...
    def resume(self, *, by: str = "python") -> ActionAnswer: ...
    def maintain(
        self, services: List[str], duration: Seconds, *, reason: str = "", by: str = "python"
    ) -> ActionAnswer: ...
    def end_maintenance(
        self, window: int | None = None, *, by: str = "python"
    ) -> ActionAnswer: ...
    def test_alert(self, sink: str | None = None) -> List[AlertTestAnswer]: ...
    def reload(self) -> List[str]: ...

@final
class Jarvis:
    """The handle on everything that a configuration describes."""

    def __new__(
        cls,
        blocking: bool,
        config: str | os.PathLike[str] | dict[str, Any] | None = None,
        *,
        store: str | None = None,
        sessions: str | None = None,
        cache: str | None = None,
        bus: str | None = None,
        state_dir: str | os.PathLike[str] | None = None,
        mode: Mode | None = None,
        more: dict[str, Any] | None = None,
        probes: dict[str, Factory] | None = None,
        restarters: dict[str, Factory] | None = None,
        sinks: dict[str, Factory] | None = None,
    ) -> Jarvis: ...
    @property
    def sessions(self) -> SessionStore:
        """The sessions."""

    @property
    def cache(self) -> Cache:
        """The cache."""

    @property
    def events(self) -> EventBus:
        """The bus."""

    @property
    def health(self) -> Health:
        """What is well, and how long it was."""

    @property
    def operator(self) -> Operator:
        """What a person asks of the loop that supervises."""

    @property
    def left_behind(self) -> int:
        """How many calls of the program's own objects hang, and nobody waits for them any more."""

    def start(self) -> None:
        """Begins to supervise."""

    def stop(self, interrupted: bool = False) -> None:
        """Tells the loop to end, in good order."""

    def ended(self) -> None:
        """Waits until the loop ended. At once where none was begun."""

    @property
    def state_dir(self) -> os.PathLike[str]:
        """The folder of everything that is remembered."""

    def close(self) -> None:
        """Ends what goes on behind the stores. Safe to repeat."""
