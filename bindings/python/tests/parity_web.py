"""The part `web` of the parity cases, mapped to the functions that the FastAPI kit uses."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any, Optional

import jarvis
from jarvis import _core
from jarvis._call import settled

#: A probe's answer for each state of a service with one check.
VERDICTS = {"healthy": "pass", "degraded": "warn", "down": "fail", "unknown": "unknown"}


def written(answer: Any) -> dict[str, Any]:
    status, headers, body = answer
    return {"status": status, "headers": dict(headers), "body": json.loads(body)}


class Web:
    """The part `web`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def http_status(self, kind: str) -> int:
        return _core._error_answer(kind)[0]

    def error_answer(self, kind: str, retry_after: Optional[timedelta] = None) -> dict[str, Any]:
        return written(_core._error_answer(kind, retry_after))

    def set_cookie(self, rules: Any, *, id: str, left: timedelta, https: bool) -> str:
        return _core.SessionCookie(rules).write(id, left, https)

    def clear_cookie(self, rules: Any, *, https: bool) -> str:
        return _core.SessionCookie(rules).clear(https)

    def read_cookie(self, rules: Any, header: str) -> Optional[str]:
        return _core.SessionCookie(rules).read(header.encode())

    async def health(self, platform: Any, services: Any) -> dict[str, Any]:
        """With real services that are in these states."""
        # One service that is down takes the platform with it only if it is critical.
        critical = platform["state"] != "degraded"
        known = []
        for name, state in services:
            verdict = {"verdict": VERDICTS[state], "message": "as the case wants it"}
            check = jarvis.Check("state", lambda _, verdict=verdict: verdict)
            known.append(jarvis.Service(name, [check], critical=critical))
        async with jarvis.Jarvis.open({}, state_dir=self.folder, services=known) as j:
            core: Any = j.health._core
            return written(await core._answer([], max_age=0))

    def liveness(self, *, supervises: bool, alive: bool, reason: str) -> dict[str, Any]:
        return written(_core._liveness(supervises, alive, reason))

    async def requests(
        self, service: str, records: Any, *, since: str, until: str
    ) -> dict[str, Any]:
        meter = _core.RequestMeter(service)
        for method, route, status, milliseconds, times in records:
            for n in range(1, times + 1):
                meter.begin()
                named = None if route is None else route.replace("{n}", str(n))
                meter.end(method, named, status, milliseconds / 1000)
        metrics = meter.metrics()
        events = []
        async with jarvis.Jarvis.open({}, store="memory:", state_dir=self.folder) as j:
            topic = f"requests.{service}"
            async with j.events.subscribe([topic, "requests.end"]) as published:
                core: Any = j._core
                assert await settled(core._publish_requests(meter)) is bool(records)
                await j.events.publish("requests.end")
                async for event in published:
                    if event.topic != topic:
                        break
                    # The times are those of this test.
                    assert event.payload["since"] <= event.payload["until"]
                    events.append({**event.payload, "since": since, "until": until})
        return {
            "events": events,
            "snapshot": meter.snapshot(),
            "metrics": metrics.splitlines(),
        }
