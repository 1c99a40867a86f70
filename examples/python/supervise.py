"""A service that is probed and restarted by Python code.

The "service" is a number in this process. It fails, the probe notices, the restarter restarts it,
and the sink gets an alert.

    python examples/python/supervise.py
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

import jarvis


class Coach:
    """Probe and restarter of one service."""

    def __init__(self) -> None:
        self.life = 1
        self.well = True

    async def probe(self, request: Any) -> Any:
        if not self.well:
            return {"verdict": "fail", "kind": "exited", "message": "the model is gone"}
        return f"life {self.life}"

    async def observe(self) -> Any:
        return {"state": "running" if self.well else "exited", "instance": f"life-{self.life}"}

    async def restart(self, request: Any) -> Any:
        self.life += 1
        self.well = True
        return "loaded again"


class Pager:
    """Receives alerts."""

    async def deliver(self, alert: Any) -> None:
        print(f"{alert['severity']}: {alert['title']}")


async def main() -> None:
    coach = Coach()
    with tempfile.TemporaryDirectory() as folder:
        j = jarvis.Jarvis.open(
            {},
            state_dir=folder,
            services=[
                jarvis.Service(
                    "coach",
                    checks=[jarvis.Check("model", coach, interval=0.1)],
                    restarter=coach,
                    critical=True,
                )
            ],
            sinks={"pager": Pager()},
        )
        async with j:
            running = asyncio.create_task(j.run())
            events = await j.events.subscribe(["health", "action", "incident"])
            print("state:", (await j.health.check())["platform"]["state"])
            coach.well = False
            async for event in events:
                print(event.topic, event.event["type"])
                if event.event["type"] in ("verify_passed", "incident_recovered"):
                    break
            print("restarted: life", coach.life)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
