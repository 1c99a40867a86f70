"""Backends of one's own: what a class needs to be a probe, a restarter or a sink.

Methods may be plain functions or coroutine functions. A plain one is called on a thread, so it may
block; a coroutine is awaited on the loop that ``check()`` or ``run()`` was called from. An
exception is an answer too: see each method. A call that does not return by its deadline is left
behind: it is counted in ``Jarvis.left_behind``, and not made again before it returns.
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

#: Nothing or True: it is well. False: it is not. A text: it is well, and this is the message. Or
#: ``{"verdict": "pass" | "warn" | "fail" | "unknown", "kind": …, "message": …, "facts": {…}}``.
ProbeAnswer = Union[None, bool, str, Mapping[str, Any]]

#: Does it run; the name of its life; or ``{"state": "running" | "exited" | …, "instance": …}``.
RunningAnswer = Union[bool, str, Mapping[str, Any]]

#: Nothing, a line for a person, or ``{"message": …, "before": …, "after": …}``.
ReceiptAnswer = Union[None, str, Mapping[str, Any]]


class HealthProbe(Protocol):
    """Measures one target once. A bare function will do too."""

    def probe(self, request: ProbeRequest) -> Union[ProbeAnswer, Awaitable[ProbeAnswer]]:
        """Is it well?

        What it raises means that it could not be measured, except for what tells of a sick target:
        :class:`ConnectionError` is a refused connection, :class:`TimeoutError` no answer in time.
        """
        ...


class ServiceRestarter(Protocol):
    """Brings one service back. It may also have ``start``, ``stop`` and ``roll_back`` (as
    ``restart``), and ``settle_roll_back``, ``last_log_lines`` and ``release``, each of which is given
    one mapping (``{"keep": …}``, ``{"lines": …}``, ``{"why": "interrupted" | "terminated"}``). What
    it has not is unsupported, or needs nothing to be done."""

    def observe(self) -> Union[RunningAnswer, Awaitable[RunningAnswer]]:
        """What runs now."""
        ...

    def restart(self, request: ActionRequest) -> Union[ReceiptAnswer, Awaitable[ReceiptAnswer]]:
        """Stops what runs, if anything does, and starts it. Never called twice for one intent."""
        ...


class AlertSink(Protocol):
    """Delivers messages to people."""

    def deliver(self, alert: Alert) -> Union[object, Awaitable[object]]:
        """Delivers one message; that it returns means that the receiver has taken it.

        :class:`ConnectionError`, :class:`TimeoutError` and errors with ``retryable`` are tried
        again, anything else is final.
        """
        ...


def _seconds(span: Seconds) -> str:
    """As a configuration writes it."""
    seconds = span.total_seconds() if isinstance(span, timedelta) else float(span)
    return f"{round(seconds * 1000)}ms"


def _written(settings: Mapping[str, Any]) -> Dict[str, Any]:
    """Durations as the configuration writes them; what is None is left out."""
    return {
        key: _seconds(value) if isinstance(value, timedelta) else value
        for key, value in settings.items()
        if value is not None
    }


def _always(backend: Any) -> Factory:
    """A factory that gives what is there already."""
    return lambda _: backend


class Check:
    """A check of a service by a probe of one's own.

    Args:
        name: Names it within its service.
        probe: The probe: an object with a method ``probe``, or a bare function.
        interval: From one probe to the next; 30 s when absent.
        timeout: How long one probe may take; 5 s when absent.
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
        self.settings = _written(
            {
                **settings,
                "interval": None if interval is None else _seconds(interval),
                "timeout": None if timeout is None else _seconds(timeout),
            }
        )


class Service:
    """A service that the program describes itself, beside those of the configuration.

    Args:
        name: Its name.
        checks: How it is watched.
        restarter: Brings it back; without one it is only watched.
        critical: Is the platform down without it? The configuration's default when absent.
        depends_on: The services that it needs.
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
        self.settings = _written(
            {**settings, "critical": critical, "depends_on": list(depends_on) or None}
        )


class Sink:
    """A receiver of alerts with its route.

    Args:
        sink: The receiver.
        settings: Keys of the ``[alert.NAME]`` section, such as ``min_severity="critical"``.
    """

    def __init__(self, sink: AlertSink, **settings: Any) -> None:
        self.sink = sink
        self.settings = _written(settings)


class _Given:
    """Services and sinks that are arguments, as the configuration that they amount to."""

    def __init__(
        self,
        services: Iterable[Service],
        sinks: Mapping[str, Union[AlertSink, Sink]],
        probes: Optional[Mapping[str, Factory]],
        restarters: Optional[Mapping[str, Factory]],
    ) -> None:
        self.probes: Dict[str, Factory] = dict(probes or {})
        self.restarters: Dict[str, Factory] = dict(restarters or {})
        self.sinks: Dict[str, Factory] = {}
        tables = {service.name: self._service(service) for service in services}
        alerts = {name: self._sink(name, sink) for name, sink in sinks.items()}
        more = {"service": tables, "alert": alerts}
        self.more = {section: table for section, table in more.items() if table} or None

    def _service(self, service: Service) -> Dict[str, Any]:
        table = dict(service.settings)
        checks: List[Dict[str, Any]] = []
        for check in service.checks:
            kind = f"python:{service.name}:{check.name}"
            self.probes[kind] = _always(check.probe)
            checks.append({"type": kind, "name": check.name, **check.settings})
        if checks:
            table["check"] = checks
        if service.restarter is not None:
            kind = f"python:{service.name}"
            self.restarters[kind] = _always(service.restarter)
            table["restart"] = {"via": kind, **_written(service.restart)}
        return table

    def _sink(self, name: str, given: Union[AlertSink, Sink]) -> Dict[str, Any]:
        sink = given if isinstance(given, Sink) else Sink(given)
        kind = f"python:{name}"
        self.sinks[kind] = _always(sink.sink)
        return {"type": kind, **sink.settings}
