"""Types that the signatures of this package share."""

from __future__ import annotations

from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Callable, Dict, List, Literal, Optional, Protocol, TypedDict, Union

#: A duration: seconds, or a timedelta.
Seconds = Union[float, timedelta]

IPAddress = Union[str, IPv4Address, IPv6Address]


#: Creates a probe, a restarter or a sink from the keys of its section.
Factory = Callable[[Dict[str, Any]], Any]


class Model(Protocol):
    """A Pydantic model."""

    def model_dump_json(self) -> str: ...


#: A JSON object: a dict with string keys, or a Pydantic model.
Data = Union[Dict[str, Any], Model]

#: Which instances' events a subscriber gets.
Origin = Literal["anywhere", "here", "elsewhere"]

#: What happens when a subscriber is slower than its events.
Overflow = Literal["drop_oldest", "close"]

#: What JARVIS may do: act, or only report what it would do.
Mode = Literal["act", "dry-run", "observe"]


class CacheStats(TypedDict, total=False):
    """The statistics of a cache in this process."""

    hits: int
    near_hits: int
    stale_hits: int
    misses: int
    loads: int
    load_failures: int
    errors: int
    evictions: int
    entries: int
    read_p50_us: int
    read_p99_us: int


class SessionMeta(TypedDict):
    """Where a session was created, as far as the application told."""

    ip: Optional[str]
    user_agent: Optional[str]


class SessionHandle(str):
    """Identifies a session to those who may end it but must not use it.

    It is a subclass of ``str``: ``SessionHandle(text)`` restores one from ``str(handle)``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Hides the text, which contains the id if ids are not hashed."""
        return "<jarvis.SessionHandle>"


# Answers of the handle: plain data, with the same JSON in every language. Times are text
# (`2026-11-21T09:30:00.000Z`), durations are milliseconds.

#: The state of a service, a check or the platform.
ServiceState = Literal["healthy", "degraded", "down", "unknown"]


class Platform(TypedDict):
    """The state of all services together, with counts."""

    state: ServiceState
    healthy: int
    degraded: int
    down: int
    unknown: int


class _Observation(TypedDict):
    verdict: Literal["pass", "warn", "fail", "unknown"]
    message: str
    latency_ms: float
    phases: Dict[str, float]


class Observation(_Observation, total=False):
    """The result of one probe."""

    kind: str
    instance: str
    facts: List[Any]


class CheckResult(TypedDict):
    """One check in a round of probes."""

    check: str
    critical: bool
    at: str
    observation: Observation


class ServiceCheck(TypedDict):
    """One service in a round of probes."""

    service: str
    state: ServiceState
    critical: bool
    checks: List[CheckResult]


class CheckAnswer(TypedDict):
    """One round of real probes."""

    at: str
    took_ms: float
    platform: Platform
    services: List[ServiceCheck]


class Cause(TypedDict, total=False):
    """The check that decided a state, and why."""

    check: str
    kind: str
    message: str


class StateChange(TypedDict):
    """A service whose state, cause or flapping changed.

    ``watched`` is False when the service was removed from the configuration.
    """

    service: str
    state: ServiceState
    cause: Optional[Cause]
    flapping: bool
    watched: bool
    at: str


class _StatusAnswer(TypedDict):
    source: Dict[str, Any]
    platform: Platform


class StatusAnswer(_StatusAnswer, total=False):
    """The state of the services, and how fresh it is."""

    health: Dict[str, Any]
    operator: Dict[str, Any]


class PlatformSnapshot(TypedDict):
    """The results of the checks of this process."""

    at: str
    platform: Platform
    services: List[Dict[str, Any]]
    loop_stats: Dict[str, Any]


class UptimeAnswer(TypedDict):
    """How much of the time the services were up."""

    source: Dict[str, Any]
    window_ms: float
    to: str
    overall: Dict[str, Any]
    services: List[Dict[str, Any]]


class _Healthz(TypedDict):
    alive: bool
    loop_stats: Dict[str, Any]


class Healthz(_Healthz, total=False):
    """Whether the supervision loop is alive."""

    reason: str


class _ActionAnswer(TypedDict):
    message: str


class ActionAnswer(_ActionAnswer, total=False):
    """The outcome of a manual action."""

    intent: str
    maintenance: Dict[str, Any]


class _AlertTestAnswer(TypedDict):
    sink: str


class AlertTestAnswer(_AlertTestAnswer, total=False):
    """The outcome of a test alert to one sink; without ``error`` it was delivered."""

    error: str


class ProbeRequest(TypedDict):
    """The request to a probe."""

    timeout_ms: int
    fresh: bool


class _ActionRequest(TypedDict):
    intent: str
    token: int
    timeout_ms: int


class ActionRequest(_ActionRequest, total=False):
    """The request to a restarter; ``to`` is the version of a rollback."""

    to: str


class _Alert(TypedDict):
    id: str
    key: str
    status: Literal["triggered", "updated", "reminder", "recovered", "resolved", "test"]
    severity: Literal["info", "warning", "critical"]
    title: str
    body: str
    at: str


class Alert(_Alert, total=False):
    """One message to people."""

    service: str
    lasted_ms: float
