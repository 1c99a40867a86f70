"""Backends written in Python: what a class needs to be a probe, a restarter or a sink.

Methods may be plain functions or coroutine functions. A plain function is called on a thread, so it
may block; a coroutine is awaited on the loop on which ``check()`` or ``run()`` was called. Exceptions
have a meaning, too: see each method. A call that does not return by its deadline is counted in
``Jarvis.left_behind``, and the method is not called again before it returns.
"""

from __future__ import annotations

from datetime import timedelta
from typing import (
    Any,
    Awaitable,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Protocol,
    Union,
)

from jarvis._types import ActionRequest, Alert, Factory, ProbeRequest, Seconds

__all__ = [
    "AlertSink",
    "Check",
    "HealthProbe",
    "ProbeAnswer",
    "Service",
    "ServiceRestarter",
    "Sink",
]

#: None or True: healthy. False: not healthy. A string: healthy, with this message. Or
#: ``{"verdict": "pass" | "warn" | "fail" | "unknown", "kind": …, "message": …, "facts": {…}}``.
ProbeAnswer = Union[None, bool, str, Mapping[str, Any]]

#: Whether it runs; the instance that runs; or ``{"state": "running" | "exited" | …, "instance": …}``.
RunningAnswer = Union[bool, str, Mapping[str, Any]]

#: None, a message, or ``{"message": …, "before": …, "after": …}``.
ReceiptAnswer = Union[None, str, Mapping[str, Any]]


class HealthProbe(Protocol):
    """Measures one target once. A plain function with this signature works too."""

    def probe(self, request: ProbeRequest) -> Union[ProbeAnswer, Awaitable[ProbeAnswer]]:
        """Measures the target.

        An exception means that it could not be measured, except for those that show a failing
        target: :class:`ConnectionError` is a refused connection, :class:`TimeoutError` a timeout.
        """
        ...


class ServiceRestarter(Protocol):
    """Restarts one service.

    Optional methods are ``start``, ``stop`` and ``roll_back``, with the signature of ``restart``, and
    ``settle_roll_back``, ``last_log_lines`` and ``release``, which take one mapping
    (``{"keep": …}``, ``{"lines": …}``, ``{"why": "interrupted" | "terminated"}``).
    """

    def observe(self) -> Union[RunningAnswer, Awaitable[RunningAnswer]]:
        """What runs at the moment."""
        ...

    def restart(self, request: ActionRequest) -> Union[ReceiptAnswer, Awaitable[ReceiptAnswer]]:
        """Stops the service if it runs, and starts it. Never called twice for one intent."""
        ...


class AlertSink(Protocol):
    """Delivers messages to people."""

    def deliver(self, alert: Alert) -> Union[object, Awaitable[object]]:
        """Delivers one message. Returning means that the receiver has accepted it.

        After :class:`ConnectionError`, :class:`TimeoutError` and errors with ``retryable`` it is
        called again. Any other exception is final.
        """
        ...


def written(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Settings as the configuration has them: durations as text, without those that are None."""
    return {
        key: duration(value) if isinstance(value, timedelta) else value
        for key, value in settings.items()
        if value is not None
    }


def duration(span: Seconds) -> str:
    """A duration as the configuration has it."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    return f"{round(seconds * 1000)}ms"


class Check:
    """A check of a service by a probe written in Python.

    Args:
        name: The name of the check within its service.
        probe: An object with a method ``probe``, or a plain function.
        interval: The time from one probe to the next; 30 s by default.
        timeout: How long one probe may take; 5 s by default.
        settings: Any other key that a check may have in the configuration.
    """

    def __init__(
        self,
        name: str,
        probe: Union[HealthProbe, Callable[[ProbeRequest], Any]],
        *,
        interval: Optional[Seconds] = None,
        timeout: Optional[Seconds] = None,
        **settings: Any,
    ) -> None:
        self.name = name
        self.probe = probe
        self.settings = written(
            {
                **settings,
                "interval": None if interval is None else duration(interval),
                "timeout": None if timeout is None else duration(timeout),
            }
        )


class Service:
    """A service that the program adds to those of the configuration.

    Args:
        name: Its name.
        checks: Its checks.
        restarter: Restarts it. Without one it is only watched.
        critical: Whether the platform is down without it; the configuration's default by default.
        depends_on: The services it depends on.
        restart: Keys of the ``[restart]`` section, such as ``{"max": 3}``.
        settings: Any other key that a service may have in the configuration.
    """

    def __init__(
        self,
        name: str,
        checks: Iterable[Check] = (),
        *,
        restarter: Optional[ServiceRestarter] = None,
        critical: Optional[bool] = None,
        depends_on: Iterable[str] = (),
        restart: Optional[Mapping[str, Any]] = None,
        **settings: Any,
    ) -> None:
        self.name = name
        self.checks = list(checks)
        self.restarter = restarter
        self.restart = dict(restart or {})
        self.settings = written(
            {**settings, "critical": critical, "depends_on": list(depends_on) or None}
        )


class Sink:
    """A receiver of alerts, with settings.

    Args:
        sink: The receiver.
        settings: Keys of the ``[alert.NAME]`` section, such as ``min_severity="critical"``.
    """

    def __init__(self, sink: AlertSink, **settings: Any) -> None:
        self.sink = sink
        self.settings = written(settings)
