"""Types that the signatures of this package share."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Callable, Dict, List, Literal, Optional, Protocol, TypedDict, Union

#: What a native method of the awaitable face gives when its answer is not ready at once.
Future = asyncio.Future

#: A duration: seconds, or a timedelta.
Seconds = Union[float, timedelta]

IPAddress = Union[str, IPv4Address, IPv6Address]


#: Makes a probe, a restarter or a sink from the keys of its section.
Factory = Callable[[Dict[str, Any]], Any]


class Model(Protocol):
    """A Pydantic model."""

    def model_dump_json(self) -> str: ...


#: A JSON object: a dict with text keys, or a Pydantic model.
Data = Union[Dict[str, Any], Model]

#: Which instances' events a subscriber wants.
Origin = Literal["anywhere", "here", "elsewhere"]

#: What happens to a subscriber that is slower than its events.
Overflow = Literal["drop_oldest", "close"]

#: What JARVIS may do: act, or only say what it would.
Mode = Literal["act", "dry-run", "observe"]


class CacheStats(TypedDict, total=False):
    """What a cache has seen, in this process."""

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
    """Where a session was made, as far as the application says."""

    ip: Optional[str]
    user_agent: Optional[str]


class SessionHandle(str):
    """Names a session to those who may end it but must not become it: a text of its own kind.

    ``SessionHandle(text)`` makes one of what ``str(handle)`` gave.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Without itself: where ids are not hashed, the id is in it."""
        return "<jarvis.SessionHandle>"


# What the handle answers: plain data, with the same JSON in every language. Times are text
# (`2026-11-21T09:30:00.000Z`), durations are milliseconds.

#: What a service, a check or the platform is.
ServiceState = Literal["healthy", "degraded", "down", "unknown"]


class Platform(TypedDict):
    """The services as one, with counts."""

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
    """What one probe saw."""

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


class _StatusAnswer(TypedDict):
    source: Dict[str, Any]
    platform: Platform


class StatusAnswer(_StatusAnswer, total=False):
    """What the services are, and how fresh that is."""

    health: Dict[str, Any]
    operator: Dict[str, Any]


class PlatformSnapshot(TypedDict):
    """What the checks of this process say."""

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
    """Does the loop go round?"""

    reason: str


class _ActionAnswer(TypedDict):
    message: str


class ActionAnswer(_ActionAnswer, total=False):
    """What became of an action by hand."""

    intent: str
    maintenance: Dict[str, Any]


class _AlertTestAnswer(TypedDict):
    sink: str


class AlertTestAnswer(_AlertTestAnswer, total=False):
    """How one sink took a test alert; without ``error`` it was delivered."""

    error: str


class ProbeRequest(TypedDict):
    """What a probe is asked."""

    timeout_ms: int
    fresh: bool


class _ActionRequest(TypedDict):
    intent: str
    token: int
    timeout_ms: int


class ActionRequest(_ActionRequest, total=False):
    """What a restarter is to do; ``to`` is the version of a rollback."""

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
