"""What a person asks of the loop that supervises: :class:`Operator`."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence

from jarvis._types import ActionAnswer, AlertTestAnswer, Future, Seconds, StatusAnswer

__all__ = ["Operator"]


class Operator:
    """What a person asks of the loop that supervises: ``jarvis.operator``.

    It is asked through its socket in the state directory, be it in this process or in another.
    Without one, services that another program runs can be acted on once, under the lease; anything
    else is :class:`~jarvis.UnavailableError`.

    An action by hand overrides budgets, cooldown and maintenance. It never overrides the kill
    switch, the lease, the mode or the allow-list: that is :class:`~jarvis.ForbiddenError`, and its
    message names the gate. ``by`` is who asks, for the record.
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any) -> None:
        self._core = core

    async def status(self) -> StatusAnswer:
        """Where each service stands."""
        answer = self._core.status()
        return await answer if type(answer) is Future else answer

    async def restart(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer:
        """Restarts a service now.

        Args:
            service: Which.
            by: Who asks.
            wait: Stay until it is verified or has failed, at most five minutes.

        Raises:
            ForbiddenError: A gate is closed.
            NotFoundError: There is no such service.
            ConflictError: With ``wait``: it is not well afterwards.
        """
        answer = self._core.restart(service, by=by, wait=wait)
        return await answer if type(answer) is Future else answer

    async def start(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer:
        """Starts a service. As :meth:`restart`."""
        answer = self._core.start(service, by=by, wait=wait)
        return await answer if type(answer) is Future else answer

    async def stop(self, service: str, *, by: str = "python", wait: bool = True) -> ActionAnswer:
        """Stops a service; it is left stopped. As :meth:`restart`."""
        answer = self._core.stop(service, by=by, wait=wait)
        return await answer if type(answer) is Future else answer

    async def reset(self, service: str, *, by: str = "python") -> ActionAnswer:
        """Clears the budgets, the breaker and the backoff of a service."""
        answer = self._core.reset(service, by=by)
        return await answer if type(answer) is Future else answer

    async def pause(self, reason: str = "", *, lasting: Optional[Seconds] = None) -> ActionAnswer:
        """Begins nothing until :meth:`resume`, or for so long; what is under way is finished."""
        answer = self._core.pause(reason, lasting=lasting)
        return await answer if type(answer) is Future else answer

    async def resume(self, *, by: str = "python") -> ActionAnswer:
        """Acts again."""
        answer = self._core.resume(by=by)
        return await answer if type(answer) is Future else answer

    async def maintain(
        self, services: Sequence[str], duration: Seconds, *, reason: str = "", by: str = "python"
    ) -> ActionAnswer:
        """Opens a maintenance window now, for these names or globs of services."""
        answer = self._core.maintain([*services], duration, reason=reason, by=by)
        return await answer if type(answer) is Future else answer

    async def end_maintenance(
        self, window: Optional[int] = None, *, by: str = "python"
    ) -> ActionAnswer:
        """Closes a window that :meth:`maintain` opened, or all of them."""
        answer = self._core.end_maintenance(window, by=by)
        return await answer if type(answer) is Future else answer

    async def test_alert(self, sink: Optional[str] = None) -> List[AlertTestAnswer]:
        """Sends a test alert to this sink, or to each.

        Raises:
            NotFoundError: There is no such sink, or none at all.
        """
        answer = self._core.test_alert(sink)
        return await answer if type(answer) is Future else answer

    async def reload(self) -> List[str]:
        """Makes a running loop read its configuration again; what changed, in lines.

        Raises:
            UnavailableError: No loop runs.
            ConfigInvalidError: The configuration is refused; nothing changed.
        """
        answer = self._core.reload()
        return await answer if type(answer) is Future else answer
