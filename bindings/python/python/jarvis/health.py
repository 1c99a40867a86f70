"""What is well, and how long it was: :class:`Health`."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from jarvis._types import (
    CheckAnswer,
    Future,
    Healthz,
    PlatformSnapshot,
    Seconds,
    StatusAnswer,
    UptimeAnswer,
)
from jarvis.events import Subscription

__all__ = ["Health"]


class Health:
    """What is well, and how long it was: ``jarvis.health``.

    :meth:`check` probes by itself; :meth:`status`, :meth:`uptime` and :meth:`watch` ask the loop
    that supervises this state directory, in this process (:meth:`jarvis.Jarvis.run`) or in another
    (``jarvis up``), and without one what it left behind.
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any) -> None:
        self._core = core

    async def check(self, services: Sequence[str] = ()) -> CheckAnswer:
        """Probes these services (all when none is named) once, now, on fresh connections.

        Raises:
            NotFoundError: A service is unknown; the message has the nearest name.
        """
        answer = self._core.check([*services])
        return await answer if type(answer) is Future else answer

    async def status(self) -> StatusAnswer:
        """What the services are; ``source`` says how fresh that is.

        Raises:
            OperationTimeoutError: A loop runs, and does not answer.
        """
        answer = self._core.status()
        return await answer if type(answer) is Future else answer

    async def uptime(
        self, services: Sequence[str] = (), *, window: Optional[Seconds] = None
    ) -> UptimeAnswer:
        """How much of the time these services (all when none is named) were up.

        Args:
            services: Which.
            window: How far back; 24 h when absent.

        Raises:
            NotFoundError: A service is unknown, or nothing was recorded yet.
        """
        answer = self._core.uptime([*services], window=window)
        return await answer if type(answer) is Future else answer

    def snapshot(self) -> PlatformSnapshot:
        """What the checks of this process say, thresholds applied. Unknown where it runs none."""
        return self._core.snapshot()

    def healthz(self) -> Healthz:
        """Does the supervision loop of this process go round? What ``/healthz`` answers."""
        return self._core.healthz()

    async def metrics(self) -> str:
        """The numbers of this process, as OpenMetrics text."""
        answer = self._core.metrics()
        return await answer if type(answer) is Future else answer

    def watch(self, service: Optional[str] = None) -> Subscription:
        """Tells what happens to the services, or to one, as it happens.

        An async iterator of :class:`~jarvis.Envelope`, to be used as
        :meth:`jarvis.EventBus.subscribe` is.

        Raises:
            NotFoundError: When iterated: no loop runs, and none ever did.
        """
        return Subscription(lambda: self._core.watch(service))
