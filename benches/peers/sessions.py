"""A peer of the session bench: redis-py with asyncio and hiredis.

    python sessions.py redis-py PORT CALLERS SESSION-JSON

Reads "get SECONDS" or "set SECONDS" a line, runs that many callers for so long, and answers with
the operations a second. Says "ready" first.
"""

import asyncio
import json
import sys
import time

import redis.asyncio


async def run(store, ids, session, operation, seconds):
    async def get(name):
        return json.loads(await store.get(name))

    async def put(name):
        await store.set(name, json.dumps(session), ex=3600)

    call = {"get": get, "set": put}[operation]
    began = time.monotonic()

    async def caller(name):
        done = 0
        while time.monotonic() < began + seconds:
            await call(name)
            done += 1
        return done

    done = sum(await asyncio.gather(*(caller(name) for name in ids)))
    return done / (time.monotonic() - began)


async def main():
    port, callers, session = int(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4])
    ids = [f"redis-py-{number}" for number in range(callers)]
    store = redis.asyncio.Redis(host="127.0.0.1", port=port)
    for name in ids:
        await store.set(name, json.dumps(session), ex=3600)
    assert json.loads(await store.get(ids[0])) == session
    print("ready", flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        operation, seconds = line.split()
        print(await run(store, ids, session, operation, float(seconds)), flush=True)


asyncio.run(main())
