"""Sessions, the cache and messages, from asyncio.

    python examples/python/sessions.py                          # in memory
    python examples/python/sessions.py redis://127.0.0.1:6379   # on a server
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import jarvis


async def profile_of(user: str) -> dict[str, Any]:
    """Stands for a slow database."""
    await asyncio.sleep(0.01)
    return {"name": user.title(), "plan": "studio"}


async def main(store: str) -> None:
    async with jarvis.Jarvis.open({}, store=store) as j:
        # A visit. The id of the session belongs in the cookie.
        session = await j.sessions.create(user="ada", data={"takes": 1}, ttl=3600)
        session.data["takes"] += 1
        await j.sessions.save(session)

        # Two concurrent requests: the second save does not overwrite the first.
        stale = await j.sessions.load(session.id)
        session.data["tempo"] = 92
        await j.sessions.save(session)
        if stale is not None:
            try:
                await j.sessions.save(stale)
            except jarvis.ConflictError as conflict:
                assert conflict.current is not None
                print("another request was first:", conflict.current.data)

        # However many callers ask at once, one loads.
        loads = (
            j.cache.get_or_load("profile:ada", lambda: profile_of("ada"), ttl=60, tags=["ada"])
            for _ in range(100)
        )
        profiles = await asyncio.gather(*loads)
        stats = await j.cache.stats()
        print(profiles[0], "loaded", stats["loads"], "time(s)")
        await j.cache.invalidate_tag("ada")

        # Messages reach every process on the bus.
        async with j.events.subscribe(patterns=["project.*.chat"]) as messages:
            await j.events.publish("project.42.chat", {"text": "take two"})
            async for message in messages:
                print(message.topic, message.payload)
                break

        print(await j.sessions.clear("ada"), "session(s) ended")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "memory:"))
