"""Opening the native handle, for both faces of the package."""

from __future__ import annotations

import os
from typing import Any, Dict, Iterable, List, Mapping, Optional, Union

from jarvis import _core
from jarvis._types import Factory
from jarvis.service import AlertSink, Service, Sink, written


def open_core(
    blocking: bool,
    config: Optional[Union[str, os.PathLike[str], Dict[str, Any]]],
    services: Iterable[Service],
    sinks: Optional[Mapping[str, Union[AlertSink, Sink]]],
    probes: Optional[Mapping[str, Factory]],
    restarters: Optional[Mapping[str, Factory]],
    **options: Any,
) -> _core.Jarvis:
    """The native handle. ``options`` are those that the core takes as they are."""
    given = _Given(services, sinks or {}, probes, restarters)
    return _core.Jarvis(
        blocking,
        config,
        more=given.more,
        probes=given.probes,
        restarters=given.restarters,
        sinks=given.sinks,
        **options,
    )


def _always(backend: Any) -> Factory:
    """A factory for a backend that exists already."""
    return lambda _: backend


class _Given:
    """Services and sinks that are arguments, as the configuration that describes them."""

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
            table["restart"] = {"via": kind, **written(service.restart)}
        return table

    def _sink(self, name: str, given: Union[AlertSink, Sink]) -> Dict[str, Any]:
        sink = given if isinstance(given, Sink) else Sink(given)
        kind = f"python:{name}"
        self.sinks[kind] = _always(sink.sink)
        return {"type": kind, **sink.settings}
