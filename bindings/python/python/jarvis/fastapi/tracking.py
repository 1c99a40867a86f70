"""How many requests, how they ended and how long they took: :class:`TrackingMiddleware`."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from bisect import bisect_left
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jarvis._types import Seconds
from jarvis.errors import JarvisError
from jarvis.fastapi.lifespan import jarvis_of
from jarvis.jarvis import Jarvis

log = logging.getLogger("jarvis.fastapi")

#: Where the middleware leaves its numbers for ``/metrics``.
SCOPE_KEY = "jarvis.requests"

#: Upper bounds in seconds: OpenTelemetry's for ``http.server.request.duration``, and two below.
BOUNDS = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"}
)

#: What nginx writes when the client went away before the answer.
_CLIENT_CLOSED = 499

#: The bus takes 64 KiB.
_ROUTES_AN_EVENT = 100

#: What may stand behind ``requests.`` in a topic.
_SERVICE = re.compile(r"[A-Za-z0-9_:-]{1,64}")

#: Method, route, status.
Key = Tuple[str, str, int]


class Durations:
    """Counted durations, by bucket."""

    __slots__ = ("buckets", "longest", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.total = 0.0
        self.longest = 0.0

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)

    def merge(self, other: Durations) -> None:
        self.buckets = [mine + theirs for mine, theirs in zip(self.buckets, other.buckets)]
        self.total += other.total
        self.longest = max(self.longest, other.longest)

    def quantile(self, share: float) -> float:
        """By interpolation within a bucket, as Prometheus does it."""
        wanted, below = share * self.count, 0
        edges = [0.0, *BOUNDS, self.longest]
        for at, count in enumerate(self.buckets):
            if count and below + count >= wanted:
                low, high = edges[at], min(edges[at + 1], self.longest)
                return min(low + max(0.0, high - low) * (wanted - below) / count, self.longest)
            below += count
        return self.longest


class Requests:
    """What was seen since the start, and since the last event."""

    def __init__(self) -> None:
        self.in_flight = 0
        self._told: Dict[Key, Durations] = {}
        self._fresh: Dict[Key, Durations] = {}
        self._since = datetime.now(timezone.utc)

    def add(self, key: Key, seconds: float) -> bool:
        """Is it the first since the last event?"""
        first = not self._fresh
        self._fresh.setdefault(key, Durations()).add(seconds)
        return first

    def totals(self) -> Dict[Key, Durations]:
        totals: Dict[Key, Durations] = {}
        for part in (self._told, self._fresh):
            for key, durations in part.items():
                totals.setdefault(key, Durations()).merge(durations)
        return totals

    def take(self, service: str) -> List[Dict[str, Any]]:
        """The events about what was not told yet: none, one, or several of an application with
        very many routes."""
        routes = list(_routes(self._fresh))
        since, until = self._since, datetime.now(timezone.utc)
        self._told, self._fresh, self._since = self.totals(), {}, until
        return [
            {
                "service": service,
                "since": since.isoformat(),
                "until": until.isoformat(),
                "routes": routes[at : at + _ROUTES_AN_EVENT],
            }
            for at in range(0, len(routes), _ROUTES_AN_EVENT)
        ]

    def metrics(self) -> Iterator[str]:
        """Lines of the OpenMetrics text, with OpenTelemetry's names."""
        name = "http_server_request_duration_seconds"
        yield "# HELP http_server_active_requests Requests that are being answered.\n"
        yield "# TYPE http_server_active_requests gauge\n"
        yield f"http_server_active_requests {self.in_flight}\n"
        yield f"# HELP {name} How long requests took, of this worker.\n"
        yield f"# TYPE {name} histogram\n"
        for (method, route, status), durations in sorted(self.totals().items()):
            labels = (
                f'http_request_method="{method}",http_route="{_escaped(route)}",'
                f'http_response_status_code="{status}"'
            )
            below = 0
            for bound, count in zip([*BOUNDS, float("inf")], durations.buckets):
                below += count
                edge = "+Inf" if bound == float("inf") else repr(bound)
                yield f'{name}_bucket{{{labels},le="{edge}"}} {below}\n'
            yield f"{name}_sum{{{labels}}} {durations.total:.6f}\n"
            yield f"{name}_count{{{labels}}} {durations.count}\n"


def _escaped(label: str) -> str:
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _routes(fresh: Mapping[Key, Durations]) -> Iterator[Dict[str, Any]]:
    by_route: Dict[Tuple[str, str], Tuple[Durations, Dict[str, int]]] = {}
    for (method, route, status), durations in sorted(fresh.items()):
        whole, statuses = by_route.setdefault((method, route), (Durations(), {}))
        whole.merge(durations)
        statuses[str(status)] = durations.count
    for (method, route), (whole, statuses) in by_route.items():
        yield {
            "method": method,
            "route": route,
            "count": whole.count,
            "errors": sum(count for status, count in statuses.items() if status >= "500"),
            "statuses": statuses,
            "p50_ms": round(whole.quantile(0.5) * 1000, 3),
            "p99_ms": round(whole.quantile(0.99) * 1000, 3),
            "max_ms": round(whole.longest * 1000, 3),
        }


class TrackingMiddleware:
    """Counts requests by route and status, and publishes what they cost::

        app.add_middleware(TrackingMiddleware, service="coach")

    An event on the topic ``requests.coach`` of the bus, every 10 s in which there was a request and
    once more at the end, has for each method and route the count, the statuses, the errors (5xx),
    and the times ``p50_ms``, ``p99_ms`` and ``max_ms``, which run until the last byte. Routes are
    templates, ``/songs/{song}``; what no route matches is ``"(unmatched)"``, and a client that went
    away is status 499. No address, header, argument or body is kept. An event that the bus does not
    take is dropped and told to the log.

    :func:`health_router` shows the totals of this worker to Prometheus. Add it last, so that it is
    outermost.

    Args:
        app: The application.
        service: Names the service in the topic and in the event.
        every: How long events are apart, in seconds or as a timedelta.
        jarvis: Whose bus; that of :func:`lifespan` when absent.

    Raises:
        ValueError: The service is no part of a topic.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str,
        every: Seconds = 10.0,
        jarvis: Optional[Jarvis] = None,
    ) -> None:
        if not _SERVICE.fullmatch(service):
            raise ValueError(f"service: {service!r} has to be letters, digits, '-', '_' or ':'")
        self._app = app
        self._service = service
        self._every = every.total_seconds() if isinstance(every, timedelta) else float(every)
        self._given = jarvis
        self._jarvis = jarvis
        self._requests = Requests()
        self._timer: Optional[asyncio.TimerHandle] = None
        self._publishing: Set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._track(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._app(scope, self._ending(receive), send)
        else:
            await self._app(scope, receive, send)

    async def _track(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        requests = self._requests
        scope[SCOPE_KEY] = requests
        requests.in_flight += 1
        began = time.perf_counter()
        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            status = _CLIENT_CLOSED
            raise
        finally:
            requests.in_flight -= 1
            seconds = time.perf_counter() - began
            if requests.add((_method(scope), _route(scope), status), seconds):
                self._arm(scope)

    def _arm(self, scope: Scope) -> None:
        """No timer runs while there is nothing to tell."""
        self._jarvis = self._given or jarvis_of(scope)
        self._timer = asyncio.get_running_loop().call_later(self._every, self._due)

    def _due(self) -> None:
        task = asyncio.get_running_loop().create_task(self._publish())
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self) -> None:
        payloads = self._requests.take(self._service)
        try:
            for payload in payloads:
                assert self._jarvis is not None
                await self._jarvis.events.publish(f"requests.{self._service}", payload)
        except JarvisError as error:
            log.warning("what requests cost could not be published: %s", error)

    def _ending(self, receive: Receive) -> Receive:
        async def wrapped() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._end()
            return message

        return wrapped

    async def _end(self) -> None:
        """The handle is still open: the application hears of its end after this."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(self._publish(), *self._publishing)


def _method(scope: Scope) -> str:
    """What anybody may write is not kept as a name of its own."""
    return scope["method"] if scope["method"] in _METHODS else "OTHER"


def _route(scope: Scope) -> str:
    path: Optional[str] = getattr(scope.get("route"), "path", None)
    return "(unmatched)" if path is None else path
