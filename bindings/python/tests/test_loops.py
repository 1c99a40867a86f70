"""Event loops: cancellation, many loops, uvloop, and calls from where there is none."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from typing import Any, Callable

import jarvis
import pytest
from conftest import redis_url

try:
    import uvloop
except ImportError:  # a Python it has no wheel for
    uvloop = None  # type: ignore[assignment]

LOOPS = [pytest.param(asyncio.new_event_loop, id="asyncio")]
if uvloop is not None:
    LOOPS.append(pytest.param(uvloop.new_event_loop, id="uvloop"))


def run(new_loop: Callable[[], asyncio.AbstractEventLoop], main: Any) -> Any:
    loop = new_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()


@pytest.mark.parametrize("new_loop", LOOPS)
def test_many_calls_at_once(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        async with jarvis.Jarvis.open({}, store=redis_url()) as j:
            made = await asyncio.gather(*(j.sessions.create(data={"n": n}) for n in range(200)))
            found = await asyncio.gather(*(j.sessions.load(s.id) for s in made))
            assert [s and s.data["n"] for s in found] == list(range(200))
            gone = await asyncio.gather(*(j.sessions.delete(s) for s in made))
            assert all(gone)

    run(new_loop, main())


@pytest.mark.parametrize("new_loop", LOOPS)
def test_one_handle_serves_many_loops_one_after_the_other(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    j = jarvis.Jarvis.open({}, store=redis_url())

    async def once() -> str:
        return (await j.sessions.create()).id

    ids = [run(new_loop, once()) for _ in range(5)]
    assert len(set(ids)) == 5

    async def close() -> None:
        await j.sessions.delete_many(ids)
        await j.close()
        await j.close()
        with pytest.raises(jarvis.OperationCancelledError):
            await j.sessions.load("x")

    run(new_loop, close())


async def test_cancelling_a_task_cancels_the_call() -> None:
    async with jarvis.Jarvis.open({}) as j:
        events = await j.events.subscribe(["app.never"])
        waiting = asyncio.ensure_future(events.__anext__())
        await asyncio.sleep(0.01)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        # The call is over on the other side too: its place is free.
        await j.events.publish("app.never", 1)
        event = await asyncio.wait_for(events.__anext__(), 5)
        assert event.payload == 1


def test_a_loop_that_is_gone_takes_its_calls_with_it() -> None:
    j = jarvis.Jarvis.open({})
    loop = asyncio.new_event_loop()

    async def leave() -> None:
        events = await j.events.subscribe(["app.never"])
        task = asyncio.ensure_future(events.__anext__())
        await asyncio.sleep(0.01)
        task.cancel()

    loop.run_until_complete(leave())
    loop.close()
    watched = weakref.ref(loop)
    del loop
    # A thread of the runtime lets go of the call, once it has its turn.
    end = time.monotonic() + 20
    while watched() is not None:
        assert time.monotonic() < end, "something of ours keeps a loop"
        time.sleep(0.001)
        j.health.snapshot()
        gc.collect()


@pytest.mark.parametrize("linger", [0.0, 0.05])
@pytest.mark.parametrize("new_loop", LOOPS)
def test_what_a_closed_loop_was_to_load_is_loaded_by_another(
    new_loop: Callable[[], asyncio.AbstractEventLoop], linger: float
) -> None:
    j = jarvis.Jarvis.open({}, store="memory:")

    async def forever() -> int:
        await asyncio.Event().wait()
        return 0

    async def begin() -> None:
        assert await j.cache.get_or_load("k", lambda: 1, ttl=0.02, stale=60) == 1
        await asyncio.sleep(0.05)
        # It is refreshed in the background, and the loop ends before that.
        assert await j.cache.get_or_load("k", forever, ttl=60, stale=60) == 1
        await asyncio.sleep(linger)

    async def again() -> None:
        while await j.cache.get_or_load("k", lambda: 2, ttl=60, stale=60) != 2:
            await asyncio.sleep(0.001)
        await j.close()

    run(new_loop, begin())
    run(new_loop, asyncio.wait_for(again(), 20))


def test_memory_needs_no_loop_and_a_server_says_that_it_does() -> None:
    j = jarvis.Jarvis.open({}, store="memory:")
    coroutine = j.sessions.create(user="ada")
    with pytest.raises(StopIteration) as ready:
        coroutine.send(None)
    assert ready.value.value.user == "ada", "ready at once"
    j = jarvis.Jarvis.open({}, store=redis_url())
    coroutine = j.sessions.create()
    with pytest.raises(RuntimeError, match="no running event loop"):
        coroutine.send(None)


async def test_real_coroutines() -> None:
    assert asyncio.iscoroutinefunction(jarvis.SessionStore.load)
    async with jarvis.Jarvis.open({}, store="memory:") as j:
        assert await asyncio.create_task(j.sessions.load("nobody")) is None
        assert await asyncio.wait_for(j.cache.get("nothing"), 1) is None
