"""Manual control of the services: :class:`Operator`."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, List, Optional, Sequence, Union

from jarvis._call import settled
from jarvis._types import ActionAnswer, AlertTestAnswer, Seconds, StatusAnswer
from jarvis.stream import Subscription

__all__ = ["Operator"]


class Operator:
    """Manual control of the services: ``jarvis.operator``.

    Requests go to the loop that runs on this state directory, in this process or in another one,
    through its socket. If none runs, services that another program runs can still be acted on
    once, under the lease; anything else raises :class:`~jarvis.UnavailableError`.

    A manual action overrides budgets, cooldown and maintenance. It never overrides the kill switch,
    the lease, the mode or the allow-list: those raise :class:`~jarvis.ForbiddenError` with the name
    of the gate. ``by`` is recorded as the person or program that asks.
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any) -> None:
        self._core = core

    async def status(self) -> StatusAnswer:
        """The state of each service, and what the loop does about it."""
        return await settled(self._core.status())

    async def restart(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer:
        """Restarts a service now.

        Args:
            service: The service.
            by: Who asks.
            wait: Wait until the action is verified or has failed, at most five minutes.

        Raises:
            ForbiddenError: A gate is closed.
            NotFoundError: There is no such service.
            ConflictError: With ``wait``: the service is not healthy afterwards.
        """
        return await settled(self._core.restart(service, by=by, wait=wait))

    async def start(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer:
        """Starts a service. Arguments and errors are those of :meth:`restart`."""
        return await settled(self._core.start(service, by=by, wait=wait))

    async def stop(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer:
        """Stops a service and leaves it stopped. Arguments and errors are those of :meth:`restart`."""
        return await settled(self._core.stop(service, by=by, wait=wait))

    async def reset(self, service: str, *, by: str = "python") -> ActionAnswer:
        """Clears the budgets, the breaker and the backoff of a service."""
        return await settled(self._core.reset(service, by=by))

    async def pause(
        self, reason: str = "", *, lasting: Optional[Seconds] = None, by: str = "python"
    ) -> ActionAnswer:
        """Starts no action until :meth:`resume`, or for this time. Running actions are finished."""
        return await settled(self._core.pause(reason, lasting=lasting, by=by))

    async def resume(self, *, by: str = "python") -> ActionAnswer:
        """Ends a pause."""
        return await settled(self._core.resume(by=by))

    async def maintain(
        self, services: Sequence[str], duration: Seconds, *, reason: str = "", by: str = "python"
    ) -> ActionAnswer:
        """Opens a maintenance window now, for these names or globs of services."""
        return await settled(self._core.maintain([*services], duration, reason=reason, by=by))

    async def end_maintenance(
        self, window: Optional[int] = None, *, by: str = "python"
    ) -> ActionAnswer:
        """Closes a window that :meth:`maintain` opened, or all of them."""
        return await settled(self._core.end_maintenance(window, by=by))

    def events(
        self,
        topics: Sequence[str] = (),
        *,
        service: Optional[str] = None,
        since: Optional[Union[datetime, timedelta, str]] = None,
        limit: Optional[int] = None,
        follow: bool = False,
        everywhere: bool = False,
    ) -> Subscription:
        """Reads the retained events, oldest first, and follows new ones.

        Args:
            topics: Only topics that match one of these patterns.
            service: Only events of this service.
            since: Only retained events from this time on: a datetime, RFC 3339 text, or a timedelta
                back from now. By default all.
            limit: Only the newest retained events, at most this many.
            follow: Go on with new events, also with the messages of applications.
            everywhere: With ``follow``: also the events of other instances on the bus.

        Raises:
            NotFoundError: Nothing has been recorded yet. Raised when it is iterated.
            InvalidInputError: Only topics of applications are asked for, without ``follow``; their
                messages are not retained.
        """
        return Subscription(
            lambda: self._core.events(
                [*topics],
                service=service,
                since=since,
                limit=limit,
                follow=follow,
                everywhere=everywhere,
            )
        )

    async def test_alert(self, sink: Optional[str] = None) -> List[AlertTestAnswer]:
        """Sends a test alert to this sink, or to every sink.

        Raises:
            NotFoundError: There is no such sink, or no sink at all.
        """
        return await settled(self._core.test_alert(sink))

    async def reload(self) -> List[str]:
        """Makes the running loop reload its configuration. Returns one line for each change.

        Raises:
            UnavailableError: No loop runs.
            ConfigInvalidError: The configuration is refused; nothing changed.
        """
        return await settled(self._core.reload())
