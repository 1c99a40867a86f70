"""Counts requests, with their outcome and duration: :class:`TrackingMiddleware`."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import Optional, Set

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jarvis._call import settled
from jarvis._core import RequestMeter
from jarvis._types import Seconds
from jarvis.errors import JarvisError
from jarvis.fastapi.lifespan import jarvis_of
from jarvis.jarvis import Jarvis

log = logging.getLogger("jarvis.fastapi")

#: Where the middleware leaves its meter for ``/metrics``.
SCOPE_KEY = "jarvis.requests"

#: The status that nginx logs when the client closed the connection before the answer.
_CLIENT_CLOSED_REQUEST = 499


class TrackingMiddleware:
    """Counts requests by route and status, and publishes their durations::

        app.add_middleware(TrackingMiddleware, service="coach")

    While there are requests, an event is published every 10 s, and once more at the end, on the
    topic ``requests.coach``. For each method and route it has the count, the statuses, the errors
    (5xx), and the durations ``p50_ms``, ``p99_ms`` and ``max_ms``, measured until the last byte.
    Routes are templates, ``/songs/{song}``; requests without a route are ``"(unmatched)"``, and a
    client that closed the connection is status 499. No address, header, argument or body is kept. An
    event that the bus does not accept is dropped, with a line in the log.

    ``/metrics`` of :func:`health_router` has the totals of this worker. Add this middleware last, so
    that it is the outermost.

    Args:
        app: The application.
        service: The name of the service in the topic and in the event.
        every: The time between events, in seconds or as a timedelta.
        jarvis: The handle whose bus is used; by default that of :func:`lifespan`.

    Raises:
        ValueError: The service can't be part of a topic.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        service: str,
        every: Seconds = 10.0,
        jarvis: Optional[Jarvis] = None,
    ) -> None:
        self._app = app
        self._every = every.total_seconds() if isinstance(every, timedelta) else float(every)
        self._given = jarvis
        self._jarvis = jarvis
        self._meter = RequestMeter(service)
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

        scope[SCOPE_KEY] = self._meter
        self._meter.begin()
        began = time.perf_counter()
        try:
            await self._app(scope, receive, noting)
        except asyncio.CancelledError:
            status = _CLIENT_CLOSED_REQUEST
            raise
        finally:
            seconds = time.perf_counter() - began
            route: Optional[str] = getattr(scope.get("route"), "path", None)
            if self._meter.end(scope["method"], route, status, seconds):
                self._arm(scope)

    def _arm(self, scope: Scope) -> None:
        """Starts the timer: the first request since the last event."""
        self._jarvis = self._given or jarvis_of(scope)
        self._timer = asyncio.get_running_loop().call_later(self._every, self._due)

    def _due(self) -> None:
        task = asyncio.get_running_loop().create_task(self._publish())
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self) -> None:
        if self._jarvis is None:
            return
        try:
            await settled(self._jarvis._core._publish_requests(self._meter))
        except JarvisError as error:
            log.warning("the request statistics could not be published: %s", error)

    def _ending(self, receive: Receive) -> Receive:
        async def wrapped() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                await self._end()
            return message

        return wrapped

    async def _end(self) -> None:
        """Publishes the last event. The handle is still open: the application ends after this."""
        if self._timer is not None:
            self._timer.cancel()
        await asyncio.gather(self._publish(), *self._publishing)

