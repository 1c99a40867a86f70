"""The native half of the package. Its classes are the blocking face, `jarvis.sync`. For the
awaitable face, which wraps them, they return a future if an answer is not ready at once."""

import os
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Callable, Generic, List, Mapping, TypeVar, final

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
    StateChange,
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
    "RequestMeter",
    "Session",
    "SessionCookie",
    "SessionStore",
    "SessionSummary",
    "Stream",
    "_OPEN_METRICS",
    "__version__",
    "_error_answer",
    "_liveness",
    "_merged",
]

__version__: str

#: The content type of OpenMetrics text.
_OPEN_METRICS: str

#: Status, headers and body of an HTTP answer.
_WebAnswer = tuple[int, List[tuple[str, str]], str]

def _error_answer(kind: str, retry_after: Seconds | None = None) -> _WebAnswer: ...
def _liveness(supervises: bool, alive: bool, reason: str) -> _WebAnswer: ...
def _merged(base: str, mine: str, theirs: str) -> str: ...

@final
class RequestMeter:
    """Counts requests by route and status, with their durations."""

    def __new__(cls, service: str) -> RequestMeter: ...
    def begin(self) -> None:
        """A request begins."""

    def end(self, method: str, route: str | None, status: int, seconds: float) -> bool:
        """A request ends. Returns whether it is the first one since the last event."""

    def metrics(self, others: str | None = None) -> str:
        """OpenMetrics text: that of others, and the requests."""

    def snapshot(self) -> dict[str, Any]:
        """The requests since the start, by route."""

@final
class SessionCookie:
    """The cookie that carries a session id."""

    def __new__(cls, rules: Mapping[str, Any]) -> SessionCookie: ...
    def read(self, header: bytes) -> str | None:
        """The id in a `Cookie` header."""

    def write(self, id: str, left: Seconds, https: bool) -> str:
        """The `Set-Cookie` header that gives the visitor an id."""

    def clear(self, https: bool) -> str:
        """The `Set-Cookie` header that removes the cookie."""

@final
class Session:
    """A session as stored at one version. Change `data`, `user` or `ttl`, then save it."""

    @property
    def id(self) -> str:
        """The visitor's secret. It belongs in the cookie and nowhere else."""

    user: str | None
    """The user it belongs to, once that is known."""

    @property
    def data(self) -> Any:
        """The data: a dict, parsed when it is first read."""

    @data.setter
    def data(self, value: Data) -> None: ...
    def model(self, kind: type[Any]) -> Any:
        """The data as a Pydantic model: `session.model(Cart)`."""

    def json(self) -> str:
        """The data as JSON text."""

    def copy(self) -> Session:
        """A copy that later changes don't affect: the base of `save_merged`."""

    @property
    def version(self) -> int:
        """Grows by one with every save."""

    @property
    def created_at(self) -> datetime:
        """When it was created, in UTC."""

    @property
    def updated_at(self) -> datetime:
        """When it was last saved, in UTC."""

    @property
    def expires_at(self) -> datetime:
        """When it expires, in UTC."""

    @property
    def ttl(self) -> timedelta:
        """How long it lives after a save or an extension."""

    @ttl.setter
    def ttl(self, value: Seconds) -> None: ...
    meta: SessionMeta
    """Where it was created."""

@final
class SessionSummary:
    """A session without its data, and without its id if ids are hashed."""

    @property
    def handle(self) -> SessionHandle:
        """Identifies it."""

    @property
    def id(self) -> str | None:
        """The visitor's secret, if the policy does not hash ids."""

    @property
    def user(self) -> str | None:
        """The user it belongs to, once that is known."""

    @property
    def version(self) -> int:
        """How often it was saved."""

    @property
    def created_at(self) -> datetime:
        """When it was created, in UTC."""

    @property
    def updated_at(self) -> datetime:
        """When it was last saved, in UTC."""

    @property
    def expires_at(self) -> datetime:
        """When it expires, in UTC."""

    @property
    def meta(self) -> SessionMeta:
        """Where it was created."""

_Id = str | Session
_Named = str | Session | SessionHandle | SessionSummary

@final
class SessionStore:
    """Stores sessions. See `jarvis.SessionStore`."""

    @property
    def _in_memory(self) -> bool:
        """Whether the sessions are in memory, so that no call blocks."""

    @property
    def _blocking(self) -> SessionStore:
        """The same store for the blocking face."""

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
    def save_merged(self, base: Session, session: Session) -> Session | None: ...
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
    """Keeps values for a limited time, by key. See `jarvis.Cache`."""

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
    """An event with its origin and time."""

    @property
    def topic(self) -> str:
        """The topic."""

    @property
    def sequence(self) -> int:
        """Counts up by one within one `instance`, over all topics."""

    @property
    def instance(self) -> str:
        """The process that published it."""

    @property
    def at(self) -> datetime:
        """When it was published, in UTC, by that process's clock."""

    @property
    def event(self) -> dict[str, Any]:
        """The event: its `type` and its fields."""

    @property
    def payload(self) -> Any:
        """The payload of an application's message; None for JARVIS's own events."""

    @property
    def stream(self) -> tuple[str, int] | None:
        """Its position in the order of all instances: an epoch, and a number within it."""

@final
class EventBus:
    """Carries events to subscribers. See `jarvis.EventBus`."""

    @property
    def instance(self) -> str:
        """Identifies this bus in this process."""

    def publish(self, topic: str, payload: Any = None) -> Envelope: ...
    def subscribe(
        self,
        topics: List[str] = ...,
        patterns: List[str] = ...,
        *,
        origin: Origin = "anywhere",
        overflow: Overflow = "drop_oldest",
        buffer: int = ...,
    ) -> Stream[Envelope]: ...
    def flush(self) -> None: ...

_T = TypeVar("_T")

@final
class Stream(Generic[_T]):
    """Items that arrive over time: an iterator, and a context manager."""

    def ready(self) -> None:
        """Waits until `take` has something to return, unless another consumer takes it first."""

    def take(self) -> List[_T]:
        """The items that have arrived."""

    @property
    def ended(self) -> bool:
        """Whether it has ended and everything was taken."""

    def __class_getitem__(cls, key: Any) -> Any: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _T: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_error: object) -> None: ...
    @property
    def missed(self) -> int:
        """How many events are known to be missing, because the subscriber was too slow or the
        connection was lost."""

    @property
    def gaps(self) -> int:
        """How often an unknown number of events may be missing."""

    def close(self) -> None:
        """Ends the stream. Whoever waits gets the items that have arrived, then the end. Safe to
        repeat."""

@final
class Health:
    """The state of the services. See `jarvis.Health`."""

    def check(self, services: List[str] = ...) -> CheckAnswer: ...
    def status(self) -> StatusAnswer: ...
    def uptime(
        self, services: List[str] = ..., *, window: Seconds | None = None
    ) -> UptimeAnswer: ...
    def snapshot(self) -> PlatformSnapshot: ...
    def healthz(self) -> Healthz: ...
    def metrics(self) -> str: ...
    def watch(self, services: List[str] = ...) -> Stream[StateChange]: ...
    def _answer(self, services: List[str] = ..., *, max_age: Seconds = ...) -> _WebAnswer: ...
    def _liveness_answer(self) -> _WebAnswer: ...

@final
class Operator:
    """Manual control of the services. See `jarvis.Operator`."""

    def status(self) -> StatusAnswer: ...
    def restart(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer: ...
    def start(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer: ...
    def stop(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer: ...
    def reset(self, service: str, *, by: str = "python") -> ActionAnswer: ...
    def pause(
        self, reason: str = "", *, lasting: Seconds | None = None, by: str = "python"
    ) -> ActionAnswer: ...
    def resume(self, *, by: str = "python") -> ActionAnswer: ...
    def maintain(
        self, services: List[str], duration: Seconds, *, reason: str = "", by: str = "python"
    ) -> ActionAnswer: ...
    def end_maintenance(
        self, window: int | None = None, *, by: str = "python"
    ) -> ActionAnswer: ...
    def events(
        self,
        topics: List[str] = ...,
        *,
        service: str | None = None,
        since: datetime | timedelta | str | None = None,
        limit: int | None = None,
        follow: bool = False,
        everywhere: bool = False,
    ) -> Stream[Envelope]: ...
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
        """The event bus."""

    @property
    def health(self) -> Health:
        """The health of the services."""

    @property
    def operator(self) -> Operator:
        """Manual control of the services."""

    @property
    def left_behind(self) -> int:
        """How many calls of the program's own objects hang past their deadline."""

    def start(self) -> None:
        """Starts the supervision loop."""

    def stop(self, interrupted: bool = False) -> None:
        """Asks the loop to end in good order."""

    def ended(self) -> None:
        """Waits until the loop has ended. Returns at once if it was not started."""

    @property
    def state_dir(self) -> os.PathLike[str]:
        """The state directory."""

    def close(self) -> None:
        """Closes the stores and their connections. Safe to repeat."""

    def _publish_requests(self, meter: RequestMeter) -> bool: ...
