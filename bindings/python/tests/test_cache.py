"""Every method of the cache, in memory and on Redis, awaited and blocking."""

from __future__ import annotations

import asyncio
import math
import threading
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import jarvis
import pytest


async def test_values_are_json_and_bytes_are_bytes(j: jarvis.Jarvis) -> None:
    value: Any
    for value in ({"a": [1, 2.5, None, True]}, "text ü", 7, None, [], False):
        assert await j.cache.set("k", value) is True
        assert await j.cache.get("k") == value
    assert await j.cache.set("b", b"\x00\xff") is True
    assert await j.cache.get("b", raw=True) == b"\x00\xff"
    await j.cache.set("b", bytearray(b"abc"))
    assert await j.cache.get("b", raw=True) == b"abc"
    with pytest.raises(jarvis.CorruptError) as caught:
        await j.cache.get("b")
    assert isinstance(caught.value.__cause__, ValueError)
    await j.cache.set("b", b"\xff")
    with pytest.raises(jarvis.CorruptError):
        await j.cache.get("b")
    assert await j.cache.get("nothing") is None
    assert await j.cache.get("nothing", raw=True) is None


async def test_conditions_and_lifetimes(j: jarvis.Jarvis) -> None:
    assert await j.cache.set("k", 1, if_present=True) is False
    assert await j.cache.set("k", 1, if_absent=True, ttl=timedelta(seconds=50)) is True
    assert await j.cache.set("k", 2, if_absent=True) is False
    lifetime = await j.cache.lifetime("k")
    assert lifetime is not None and 40 < lifetime <= 50
    assert await j.cache.expire("k", math.inf) is True
    assert await j.cache.lifetime("k") == math.inf
    assert await j.cache.expire("nothing", 5) is False
    assert await j.cache.lifetime("nothing") is None
    await j.cache.set("short", 1, ttl=0.02)
    await asyncio.sleep(0.05)
    assert await j.cache.get("short") is None
    for ttl in (0, -1, math.nan):
        with pytest.raises(jarvis.InvalidInputError):
            await j.cache.set("k", 1, ttl=ttl)
    with pytest.raises(jarvis.InvalidInputError):
        await j.cache.set("k", 1, if_absent=True, if_present=True)
    with pytest.raises(jarvis.InvalidInputError):
        await j.cache.set("k", 1, tags=list("abcde"))
    with pytest.raises(jarvis.InvalidInputError):
        await j.cache.set("k", object())
    with pytest.raises(jarvis.TooLargeError):
        await j.cache.set("k", "x" * (2 << 20))
    with pytest.raises(TypeError):
        await j.cache.get(7)  # type: ignore[call-overload]


async def test_many_at_once(j: jarvis.Jarvis) -> None:
    assert await j.cache.set_many({"a": 1, "b": b"raw", "c": [3]}, ttl=60) == 3
    assert await j.cache.get_many(["c", "x", "a"]) == [[3], None, 1]
    assert await j.cache.get_many(["b", "a"], raw=True) == [b"raw", b"1"]
    assert await j.cache.exists("a") is True
    assert await j.cache.delete("a", "a", "x") == 1
    assert await j.cache.exists("a") is False


async def test_numbers(j: jarvis.Jarvis) -> None:
    sums = await asyncio.gather(*(j.cache.increment("n", ttl=60) for _ in range(50)))
    assert sorted(sums) == list(range(1, 51))
    assert await j.cache.increment("n", -10) == 40
    assert await j.cache.get("n") == 40
    await j.cache.set("text", "x")
    with pytest.raises(jarvis.InvalidInputError):
        await j.cache.increment("text")


async def test_invalidation(j: jarvis.Jarvis) -> None:
    await j.cache.set("a", 1, tags=["t"])
    await j.cache.set("b", 2)
    await j.cache.invalidate_tag("t")
    assert await j.cache.get_many(["a", "b"]) == [None, 2]
    with pytest.raises(jarvis.InvalidInputError):
        await j.cache.invalidate_pattern("[")
    assert await j.cache.invalidate_pattern("b*") == 1
    await j.cache.set("c", 3)
    await j.cache.flush()
    assert await j.cache.get("c") is None
    stats = await j.cache.stats()
    assert stats["hits"] >= 1 and stats["misses"] >= 2 and stats["errors"] == 0


async def test_one_loads_for_all(j: jarvis.Jarvis) -> None:
    calls = []
    gate = asyncio.Event()

    async def load() -> dict[str, int]:
        calls.append(1)
        await gate.wait()
        return {"n": 1}

    waiting = [asyncio.create_task(j.cache.get_or_load("k", load)) for _ in range(20)]
    while not calls:
        await asyncio.sleep(0.001)
    gate.set()
    assert await asyncio.gather(*waiting) == [{"n": 1}] * 20
    assert len(calls) == 1
    assert await j.cache.get_or_load("k", lambda: 1 / 0) == {"n": 1}
    assert await j.cache.get_or_load("plain", lambda: [7], ttl=60, tags=["t"]) == [7]
    assert await j.cache.get_or_load("raw", lambda: b"\xff", raw=True) == b"\xff"


async def test_what_a_loader_raises_is_raised(j: jarvis.Jarvis) -> None:
    async def load() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await j.cache.get_or_load("k", load)
    with pytest.raises(ZeroDivisionError):
        await j.cache.get_or_load("k", lambda: 1 / 0)
    with pytest.raises(jarvis.InvalidInputError):
        await j.cache.get_or_load("k", lambda: object())
    assert await j.cache.get("k") is None


async def test_a_function_may_raise_stop_iteration(j: jarvis.Jarvis) -> None:
    def none_left(*_: Any) -> Any:
        return next(iter(()))

    with pytest.raises(RuntimeError, match="raised StopIteration"):
        await asyncio.wait_for(j.cache.get_or_load("k", none_left), 20)
    made = await j.sessions.create()
    with pytest.raises(RuntimeError, match="raised StopIteration"):
        await asyncio.wait_for(j.sessions.update(made.id, none_left), 20)
    assert await j.cache.get_or_load("k", lambda: 1) == 1


REQUEST: ContextVar[str] = ContextVar("REQUEST", default="nobody")


async def loaded_for() -> str:
    await asyncio.sleep(0)
    return REQUEST.get()


async def test_a_function_sees_the_context_of_whoever_gave_it(j: jarvis.Jarvis) -> None:
    made = await j.sessions.create()

    async def request(name: str) -> None:
        REQUEST.set(name)
        assert await j.cache.get_or_load(f"{name}:awaited", loaded_for) == name
        assert await j.cache.get_or_load(f"{name}:plain", REQUEST.get) == name
        await j.cache.get_or_load(f"{name}:refreshed", lambda: "first", ttl=0.02, stale=60)
        await asyncio.sleep(0.05)
        await j.cache.get_or_load(f"{name}:refreshed", loaded_for, ttl=60, stale=60)

        def change(session: Any) -> None:
            session.data[name] = REQUEST.get()

        await j.sessions.update(made.id, change)

    names = [f"request-{n}" for n in range(5)]
    await asyncio.gather(*map(request, names))
    stored = await j.sessions.load(made.id)
    assert stored is not None and stored.data == {name: name for name in names}
    for name in names:
        while (value := await j.cache.get(f"{name}:refreshed")) in (None, "first"):
            await asyncio.sleep(0.001)
        assert value == name
    assert REQUEST.get() == "nobody"


def test_a_function_of_a_daemon_thread_sees_its_context(js: jarvis.sync.Jarvis) -> None:
    seen = []

    def request() -> None:
        REQUEST.set("daemon")
        seen.append(js.cache.get_or_load("plain", REQUEST.get))
        seen.append(js.cache.get_or_load("awaited", loaded_for))

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(20)
    assert seen == ["daemon", "daemon"]


async def test_a_stale_value_is_given_while_a_new_one_is_loaded(j: jarvis.Jarvis) -> None:
    loads = iter(range(10))
    loaded = asyncio.Event()

    async def load() -> int:
        n = next(loads)
        if n:
            loaded.set()
        return n

    assert await j.cache.get_or_load("k", load, ttl=0.02, stale=60) == 0
    await asyncio.sleep(0.05)
    assert await j.cache.get_or_load("k", load, ttl=60, stale=60) == 0
    await asyncio.wait_for(loaded.wait(), 5)
    while await j.cache.get("k") != 1:
        await asyncio.sleep(0.001)


async def test_a_cancelled_load_is_cancelled_and_handed_over(j: jarvis.Jarvis) -> None:
    began, cancelled = asyncio.Event(), asyncio.Event()

    async def forever() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(j.cache.get_or_load("k", forever))
    await asyncio.wait_for(began.wait(), 5)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 5)
    assert await j.cache.get_or_load("k", lambda: 2) == 2


def test_the_blocking_face_has_the_same_methods(js: jarvis.sync.Jarvis) -> None:
    assert js.cache.set("k", {"a": 1}, ttl=60, tags=["t"]) is True
    assert js.cache.get("k") == {"a": 1}
    assert js.cache.get("k", raw=True) == b'{"a":1}'
    assert js.cache.set_many({"x": 1, "y": 2}) == 2
    assert js.cache.get_many(["x", "z"]) == [1, None]
    assert js.cache.increment("n", 5) == 5
    assert js.cache.expire("n", 60) is True
    assert (js.cache.lifetime("n") or 0) > 50
    assert js.cache.exists("n") is True
    js.cache.invalidate_tag("t")
    assert js.cache.get("k") is None
    assert js.cache.invalidate_pattern("x") == 1
    assert js.cache.delete("y") == 1
    assert js.cache.get_or_load("l", lambda: [1]) == [1]

    async def load() -> int:
        return 3

    assert js.cache.get_or_load("m", load) == 3
    with pytest.raises(ZeroDivisionError):
        js.cache.get_or_load("o", lambda: 1 / 0)
    js.cache.flush()
    assert js.cache.stats()["loads"] == 2


def test_a_blocking_handle_refreshes_on_a_thread_of_its_own(js: jarvis.sync.Jarvis) -> None:
    threads: list[str] = []
    refreshed = threading.Event()

    def load() -> int:
        threads.append(threading.current_thread().name)
        if len(threads) > 1:
            refreshed.set()
        return len(threads)

    assert js.cache.get_or_load("k", load, ttl=0.02, stale=60) == 1
    threading.Event().wait(0.05)
    assert js.cache.get_or_load("k", load, ttl=60, stale=60) == 1
    assert refreshed.wait(5)
    assert threads[0] == threading.main_thread().name and threads[1] == "jarvis-callback"
