"""Routes that tell whether the application is healthy: :func:`health_router`."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple, Union

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from jarvis._call import settled
from jarvis._core import _OPEN_METRICS, RequestMeter, _liveness
from jarvis._types import Seconds
from jarvis.fastapi.lifespan import JarvisDep, supervision_failed
from jarvis.fastapi.tracking import SCOPE_KEY


def health_router(
    *,
    services: Sequence[str] = (),
    max_age: Seconds = 1.0,
    metrics: bool = False,
    tags: Optional[List[Union[str, Any]]] = None,
) -> APIRouter:
    """``/health`` and ``/healthz``, and optionally ``/metrics``::

        app.include_router(health_router())

    - ``/health`` returns the state of the services that the handle knows, as
      ``{"state": "healthy", "healthy": 1, …, "services": [{"service": "db", "state": "healthy"}]}``.
      200 if they are healthy or degraded, 503 if they are down or unknown. Without any service it is
      200 as long as the application answers. If the application supervises, this is what it knows;
      otherwise it probes, once for all concurrent requests. It is for load balancers, and for a
      JARVIS that watches.
    - ``/healthz`` returns ``{"alive": true}`` and 200 as long as the event loop runs. If the
      application supervises (``lifespan(run=True)``), it is 503 with the ``reason`` when the
      supervision has ended or hangs. It is for a supervisor that restarts the process: failures of
      other services don't show here.
    - ``/metrics`` is OpenMetrics text: the metrics of the core, and with
      :class:`TrackingMiddleware` the requests. Of several workers, it is the one that answers.

    Args:
        services: The services of ``/health``; by default all.
        max_age: For how many seconds the result of a round of probes is used.
        metrics: Serve ``/metrics``.
        tags: For the API's documentation.
    """
    router = APIRouter(tags=["health"] if tags is None else tags)

    @router.get("/health", response_class=JSONResponse)
    async def health(jarvis: JarvisDep) -> Response:
        """Whether everything that this application needs is healthy."""
        core = jarvis.health._core
        return _written(await settled(core._answer([*services], max_age=max_age)))

    @router.get("/healthz", response_class=JSONResponse)
    async def healthz(jarvis: JarvisDep) -> Response:
        """Whether this process is alive."""
        if supervision_failed(jarvis):
            alive = jarvis.health.healthz()["alive"]
            return _written(_liveness(True, alive, "the supervision failed; see the log"))
        return _written(jarvis.health._core._liveness_answer())

    if metrics:

        @router.get("/metrics", response_class=Response)
        async def metrics_(request: Request, jarvis: JarvisDep) -> Response:
            """The metrics of this process."""
            text = await jarvis.health.metrics()
            meter: Optional[RequestMeter] = request.scope.get(SCOPE_KEY)
            if meter is not None:
                text = meter.metrics(text)
            return Response(text, 200, {"cache-control": "no-store"}, _OPEN_METRICS)

    return router


def _written(answer: Tuple[int, List[Tuple[str, str]], str]) -> Response:
    status, headers, body = answer
    return Response(body, status, dict(headers))
