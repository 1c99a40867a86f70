#!/usr/bin/env python3
"""What the Python package costs, against what it could cost and against its peer.

Five rounds, interleaved; medians with their spread. Ends with 1 when a limit is missed.

    tests/run python                                  # builds and installs the package
    cargo build --release --locked -p jarvis-core-python --features bench
    SERVERS=redis tests/servers start /tmp/s && . /tmp/s/env
    target/python/bin/python benches/peers/python_binding.py [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import json
import os
import statistics
import sys
import threading
import time
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from typing import Any, Awaitable, Callable

import jarvis
import redis.asyncio

ROUNDS = 5
CALLS = 200_000
TASKS = 64
LOADS = 12_800

#: A session of about 500 bytes.
DATA = {"user": "ada", "cart": ["x" * 40] * 8, "theme": "dark", "takes": 12}


def bare_function() -> Callable[..., str]:
    """`_echo`, which takes and returns the same strings: only the feature `bench` builds it."""
    built = Path(__file__).resolve().parents[2] / "target" / "release" / "lib_core.so"
    loader = ExtensionFileLoader("_core", str(built))
    spec = importlib.util.spec_from_loader("_core", loader)
    assert spec is not None
    module: Any = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    echo: Callable[..., str] = module._echo
    return echo


def timed(calls: int, work: Callable[[], object]) -> float:
    """Nanoseconds a call."""
    began = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - began) / calls


async def timed_async(calls: int, work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter_ns()
    await work()
    return (time.perf_counter_ns() - began) / calls


class Rounds:
    """What was measured, and whether it was enough."""

    def __init__(self) -> None:
        self.results: list[dict[str, Any]] = []

    def tell(self, name: str, ours: list[float], other: list[float], limit: float, least: bool) -> None:
        ratios = sorted(a / b for a, b in zip(ours, other))
        median = statistics.median(ratios)
        good = median >= limit if least else median <= limit
        row = {
            "name": name,
            "ratio": round(median, 2),
            "spread": [round(ratios[0], 2), round(ratios[-1], 2)],
            "limit": limit,
            "ours": round(statistics.median(ours), 1),
            "other": round(statistics.median(other), 1),
            "reached": good,
        }
        self.results.append(row)
        sign = ">=" if least else "<="
        print(
            f"{'ok    ' if good else 'MISSED'} {name}: {row['ratio']}"
            f" ({row['spread'][0]} to {row['spread'][1]}), {sign} {limit};"
            f" {row['ours']} against {row['other']}"
        )


def memory_sync(rounds: Rounds) -> None:
    """A hit in memory against a bare bound function that takes and returns the same strings."""
    with jarvis.sync.Jarvis.open({}, store="memory:") as j:
        session = j.sessions.create(data=DATA)
        key, text = session.id, session.json()
        j.cache.set("k", text.encode())
        load, get, echo = j.sessions.load, j.cache.get, bare_function()

        def loads() -> None:
            for _ in range(CALLS):
                load(key)

        def texts() -> None:
            for _ in range(CALLS):
                load(key).json()

        def gets() -> None:
            for _ in range(CALLS):
                get("k", raw=True)

        def values() -> None:
            for _ in range(CALLS):
                get("k")

        def echoes() -> None:
            for _ in range(CALLS):
                echo(key, text)

        # With a keyword, as `get(…, raw=True)`: Python makes a dict for it.
        def named_echoes() -> None:
            for _ in range(CALLS):
                echo("k", value=text)

        def parsed_echoes() -> None:
            for _ in range(CALLS):
                parse(echo("k", text))

        parse = json.loads
        all_work = {"load": loads, "text": texts, "get": gets, "value": values}
        all_work |= {"echo": echoes, "named": named_echoes, "parsed": parsed_echoes}
        measured: dict[str, list[float]] = {name: [] for name in all_work}
        for _ in range(ROUNDS):
            for name, work in all_work.items():
                measured[name].append(timed(CALLS, work))
        echo_times = measured["echo"]
        rounds.tell("memory, session load, blocking (ns)", measured["load"], echo_times, 2.5, False)
        rounds.tell("memory, load and then its JSON, two calls (ns)", measured["text"], echo_times, 3.0, False)
        rounds.tell("memory, cache get, bytes, blocking (ns)", measured["get"], measured["named"], 2.5, False)
        rounds.tell("memory, cache get, JSON, blocking (ns)", measured["value"], measured["parsed"], 2.5, False)


async def memory_async(rounds: Rounds) -> None:
    """The same, awaited; the bare function in a coroutine of its own."""
    async with jarvis.Jarvis.open({}, store="memory:") as j:
        session = await j.sessions.create(data=DATA)
        key, text = session.id, session.json()
        await j.cache.set("k", text.encode())
        load, get, bare = j.sessions.load, j.cache.get, bare_function()

        async def echo(key: str, value: str) -> str:
            return bare(key, value)

        async def named_echo(key: str, *, value: str) -> str:
            return bare(key, value)

        async def loads() -> None:
            for _ in range(CALLS):
                await load(key)

        async def gets() -> None:
            for _ in range(CALLS):
                await get("k", raw=True)

        async def echoes() -> None:
            for _ in range(CALLS):
                await echo(key, text)

        async def named_echoes() -> None:
            for _ in range(CALLS):
                await named_echo("k", value=text)

        all_work = {"load": loads, "get": gets, "echo": echoes, "named": named_echoes}
        measured: dict[str, list[float]] = {name: [] for name in all_work}
        for _ in range(ROUNDS):
            for name, work in all_work.items():
                measured[name].append(await timed_async(CALLS, work))
        rounds.tell("memory, session load, awaited (ns)", measured["load"], measured["echo"], 2.5, False)
        rounds.tell("memory, cache get, bytes, awaited (ns)", measured["get"], measured["named"], 2.5, False)


async def at_once(load: Callable[[], Awaitable[object]]) -> float:
    """Calls a second of 64 tasks."""

    async def work() -> None:
        for _ in range(LOADS // TASKS):
            await load()

    began = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(TASKS)))
    return LOADS / (time.perf_counter() - began)


async def redis_loads(rounds: Rounds, loop: str) -> None:
    """64 tasks load sessions of Redis, data parsed; redis-py GETs as many bytes and parses them."""
    url = os.environ["JARVIS_TEST_REDIS_URL"]
    peer = redis.asyncio.Redis.from_url(url, max_connections=TASKS)
    async with jarvis.Jarvis.open({}, store=url) as j:
        session = await j.sessions.create(data=DATA)
        await peer.set("bench:session", session.json())

        async def ours() -> object:
            found = await j.sessions.load(session.id)
            assert found is not None
            return found.data

        async def theirs() -> object:
            return json.loads(await peer.get("bench:session"))

        await at_once(ours), await at_once(theirs)
        measured: dict[str, list[float]] = {"ours": [], "theirs": []}
        for _ in range(ROUNDS):
            measured["ours"].append(await at_once(ours))
            measured["theirs"].append(await at_once(theirs))
        name = f"Redis, {TASKS} tasks load, {loop}, against redis-py (calls/s)"
        limit = 5.0 if loop == "asyncio" else 1.0
        rounds.tell(name, measured["ours"], measured["theirs"], limit, True)
        await j.sessions.delete(session)
    await peer.aclose()


def two_threads(rounds: Rounds) -> None:
    """Two threads in blocking calls that compute: a walk over many keys, against one thread."""
    with jarvis.sync.Jarvis.open({}, store=os.environ["JARVIS_TEST_REDIS_URL"]) as j:
        made = [j.sessions.create(user="bench", data=DATA) for _ in range(200)]
        ids = [session.id for session in made]

        def work() -> None:
            for _ in range(100):
                j.sessions.load_many(ids)

        def rate(count: int) -> float:
            threads = [threading.Thread(target=work) for _ in range(count)]
            began = time.perf_counter()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return count / (time.perf_counter() - began)

        pairs = [(rate(2), rate(1)) for _ in range(ROUNDS)]
        rounds.tell(
            "blocking calls, two threads against one (rate)",
            [two for two, _ in pairs],
            [one for _, one in pairs],
            1.2,
            True,
        )
        j.sessions.clear("bench")


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--json", help="write the results to this file")
    options = arguments.parse_args()
    rounds = Rounds()
    memory_sync(rounds)
    asyncio.run(memory_async(rounds))
    asyncio.run(redis_loads(rounds, "asyncio"))
    try:
        import uvloop
    except ImportError:
        print("uvloop is not installed")
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(redis_loads(rounds, "uvloop"))
    two_threads(rounds)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rounds.results, file, indent=1)
    return 0 if all(row["reached"] for row in rounds.results) else 1


if __name__ == "__main__":
    sys.exit(main())
