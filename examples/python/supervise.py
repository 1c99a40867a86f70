"""A service that is watched and healed by code of one's own.

The "service" is a number in this process: it breaks, the probe sees it, the restarter mends it,
and the sink is told.

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
    """Is told of trouble."""

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
            print("well:", (await j.health.check())["platform"]["state"])
            coach.well = False
            async for event in events:
                print(event.topic, event.event["type"])
                if event.event["type"] in ("verify_passed", "incident_recovered"):
                    break
            print("mended: life", coach.life)
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


if __name__ == "__main__":
    asyncio.run(main())
