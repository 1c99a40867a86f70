"""The state of the services: :class:`Health`."""

from __future__ import annotations

from typing import Any, Optional, Sequence

from jarvis._call import settled
from jarvis._types import (
    CheckAnswer,
    Healthz,
    PlatformSnapshot,
    Seconds,
    StateChange,
    StatusAnswer,
    UptimeAnswer,
)
from jarvis.stream import Stream

__all__ = ["Health"]


class Health:
    """The state of the services: ``jarvis.health``.

    :meth:`check` runs its own probes. :meth:`status` and :meth:`uptime` ask the loop that
    supervises this state directory, in this process (:meth:`jarvis.Jarvis.run`) or in another one
    (``jarvis up``); if none runs, they read what it left behind. :meth:`snapshot`, :meth:`healthz`
    and :meth:`metrics` are about this process.
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any) -> None:
        self._core = core

    async def check(self, services: Sequence[str] = ()) -> CheckAnswer:
        """Probes these services, or all, once and over fresh connections.

        Raises:
            NotFoundError: A service is unknown; the message suggests the nearest name.
        """
        return await settled(self._core.check([*services]))

    async def status(self) -> StatusAnswer:
        """The state of the services. ``source`` says how fresh it is.

        Raises:
            OperationTimeoutError: A loop runs but does not answer.
        """
        return await settled(self._core.status())

    async def uptime(
        self, services: Sequence[str] = (), *, window: Optional[Seconds] = None
    ) -> UptimeAnswer:
        """How much of the time these services, or all, were up.

        Args:
            services: The services.
            window: How far back; 24 h by default.

        Raises:
            NotFoundError: A service is unknown, or nothing has been recorded yet.
        """
        return await settled(self._core.uptime([*services], window=window))

    def snapshot(self) -> PlatformSnapshot:
        """The results of this process's checks, with thresholds applied.

        Services are unknown if this process does not supervise.
        """
        return self._core.snapshot()

    def healthz(self) -> Healthz:
        """Whether the supervision loop of this process is alive: the answer of ``/healthz``."""
        return self._core.healthz()

    async def metrics(self) -> str:
        """The metrics of this process, as OpenMetrics text."""
        return await settled(self._core.metrics())

    def watch(self, services: Sequence[str] = ()) -> Stream[StateChange]:
        """Yields the state changes of these services, or of all.

        It begins with the known state of each service; then an item follows whenever the state, its
        cause or the flapping of a service changes::

            async with jarvis.health.watch() as changes:
                async for change in changes:
                    print(change["service"], change["state"])

        If this process supervises, or no process does, these are its own changes; otherwise those of
        the loop that runs on the state directory.

        Raises:
            NotFoundError: A service is unknown; the message suggests the nearest name.
        """
        watch = self._core.watch([*services])
        return Stream(lambda: watch)
