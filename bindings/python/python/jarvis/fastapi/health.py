"""Routes that say whether the application is well: :func:`health_router`."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any, List, Optional, Sequence, Union

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jarvis._types import CheckAnswer, PlatformSnapshot, Seconds
from jarvis.fastapi.lifespan import JarvisDep, supervises
from jarvis.fastapi.tracking import SCOPE_KEY, Requests
from jarvis.jarvis import Jarvis

_NO_STORE = {"cache-control": "no-store"}

_OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

#: OpenMetrics texts end with this.
_END = "# EOF\n"


def health_router(
    *,
    services: Sequence[str] = (),
    max_age: Seconds = 1.0,
    metrics: bool = False,
    tags: Optional[List[Union[str, Any]]] = None,
) -> APIRouter:
    """``/health`` and ``/healthz``, and ``/metrics`` where it is asked for::

        app.include_router(health_router())

    - ``/health`` says how the services are that the handle knows, as
      ``{"state": "healthy", "healthy": 1, …, "services": [{"service": "db", "state": "healthy"}]}``.
      200 when they are healthy or degraded, 503 when they are down or nobody knows. Without any
      service it is 200 as long as the application answers. Where the application supervises it
      tells what is known, else it probes, once for all who ask at the same time. It is for a load
      balancer, and for a JARVIS that watches.
    - ``/healthz`` says ``{"alive": true}`` and 200 as long as the event loop turns. Where the
      application supervises (``lifespan(run=True)``) it is 503 when that has ended or hangs, with
      the ``reason``. It is for whoever would restart the process: what others do wrong does not
      show here.
    - ``/metrics`` is OpenMetrics text: what the core counts, and with :class:`TrackingMiddleware`
      the requests. Of several workers, it is the one that answers.

    Args:
        services: Which services ``/health`` is about; all when none is named.
        max_age: For how many seconds a round of probes holds.
        metrics: Serve ``/metrics``.
        tags: For the API's documentation.
    """
    router = APIRouter(tags=["health"] if tags is None else tags)
    rounds = _Rounds(services, max_age)

    @router.get("/health", response_class=JSONResponse)
    async def health(jarvis: JarvisDep) -> Response:
        """Is everything well that this application needs?"""
        snapshot = jarvis.health.snapshot()
        known: Union[PlatformSnapshot, CheckAnswer] = snapshot
        if services or not snapshot["loop_stats"]["running"]:
            known = await rounds.last(jarvis)
        states = [{"service": one["service"], "state": one["state"]} for one in known["services"]]
        well = not states or known["platform"]["state"] in ("healthy", "degraded")
        # Not the messages of the checks: they may name hosts and paths.
        body = {**known["platform"], "services": states}
        return JSONResponse(body, 200 if well else 503, _NO_STORE)

    @router.get("/healthz", response_class=JSONResponse)
    async def healthz(jarvis: JarvisDep) -> Response:
        """Does this process go round?"""
        answer = jarvis.health.healthz()
        if answer["alive"] or not supervises(jarvis):
            return JSONResponse({"alive": True}, 200, _NO_STORE)
        return JSONResponse({"alive": False, "reason": answer.get("reason")}, 503, _NO_STORE)

    if metrics:

        @router.get("/metrics", response_class=Response)
        async def metrics_(request: Request, jarvis: JarvisDep) -> Response:
            """The numbers of this process."""
            text = (await jarvis.health.metrics()).removesuffix(_END)
            requests: Optional[Requests] = request.scope.get(SCOPE_KEY)
            tracked = "" if requests is None else "".join(requests.metrics())
            return Response(text + tracked + _END, 200, _NO_STORE, _OPENMETRICS)

    return router


class _Rounds:
    """Rounds of probes, one at a time however many ask: nobody can make us probe without end."""

    def __init__(self, services: Sequence[str], max_age: Seconds) -> None:
        self._services = tuple(services)
        self._max_age = max_age.total_seconds() if isinstance(max_age, timedelta) else max_age
        self._round: Optional[asyncio.Task[CheckAnswer]] = None
        self._of: Optional[Jarvis] = None
        self._until = 0.0

    async def last(self, jarvis: Jarvis) -> CheckAnswer:
        task = self._round
        if task is None or self._of is not jarvis or (task.done() and time.monotonic() >= self._until):
            task = asyncio.get_running_loop().create_task(jarvis.health.check(self._services))
            task.add_done_callback(self._ended)
            self._round, self._of = task, jarvis
        # Who asked first may go away, and the others still want to know.
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[CheckAnswer]) -> None:
        # An error is for those who waited; the next one asks again.
        failed = task.cancelled() or task.exception() is not None
        self._until = 0.0 if failed else time.monotonic() + self._max_age
