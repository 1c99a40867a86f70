"""The bus: within the process, and over Redis."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from typing import Any

import jarvis
import pytest


async def test_messages_arrive_in_order(j: jarvis.Jarvis) -> None:
    topic = f"project.{uuid.uuid4().hex}.chat"
    async with j.events.subscribe(patterns=["project.*.chat"]) as one, j.events.subscribe([topic]) as two:
        sent = [await j.events.publish(topic, {"n": n}) for n in range(10)]
        assert sent[0].instance == j.events.instance
        for events in (one, two):
            got = [e async for e, _ in zip_async(events, range(10))]
            assert [e.payload for e in got] == [{"n": n} for n in range(10)]
            assert (got[0].topic, got[0].sequence) == (topic, sent[0].sequence)
            assert got[0].event == {"type": "message", "topic": topic, "payload": {"n": 0}}
            assert got[0].at == sent[0].at and got[0].at.tzinfo is not None
            assert got[0].stream == sent[0].stream
    assert one.missed == 0 == one.gaps
    with pytest.raises(StopAsyncIteration):
        await one.__anext__()


async def zip_async(events: Any, numbers: Any) -> Any:
    for number in numbers:
        yield await events.__anext__(), number


async def test_tasks_may_share_a_subscription(j: jarvis.Jarvis) -> None:
    topic, got = f"app.{uuid.uuid4().hex}", []
    events = await j.events.subscribe([topic])

    async def consume() -> None:
        async for event in events:
            got.append(event.payload)
            await asyncio.sleep(0)

    consumers = [asyncio.ensure_future(consume()) for _ in range(4)]
    for n in range(200):
        await j.events.publish(topic, n)
        await asyncio.sleep(0)
    while len(got) < 200:
        assert not any(it.done() for it in consumers), "they go on"
        await asyncio.sleep(0.001)
    events.close()
    await asyncio.wait_for(asyncio.gather(*consumers), 20)
    assert sorted(got) == list(range(200))


def test_threads_may_share_a_subscription(js: jarvis.sync.Jarvis) -> None:
    topic, got = f"app.{uuid.uuid4().hex}", []
    events = js.events.subscribe([topic])
    consumers = [
        threading.Thread(target=lambda: got.extend(event.payload for event in events))
        for _ in range(4)
    ]
    for consumer in consumers:
        consumer.start()
    for n in range(200):
        js.events.publish(topic, n)
        time.sleep(0.0002)
    while len(got) < 200:
        assert all(it.is_alive() for it in consumers), "they go on"
        time.sleep(0.001)
    events.close()
    for consumer in consumers:
        consumer.join(20)
        assert not consumer.is_alive()
    assert sorted(got) == list(range(200))


async def test_a_cancelled_wait_loses_nothing(j: jarvis.Jarvis) -> None:
    topic = f"app.{uuid.uuid4().hex}"
    events = await j.events.subscribe([topic])
    for n in range(20):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(events.__anext__(), 0.002)
        waiting = asyncio.ensure_future(events.__anext__())
        await asyncio.sleep(0)
        await j.events.publish(topic, n)
        waiting.cancel()
        got = await asyncio.gather(waiting, return_exceptions=True)
        event = got[0] if isinstance(got[0], jarvis.Envelope) else await asyncio.wait_for(anext_(events), 5)
        assert event.payload == n
    events.close()
    events.close()


async def anext_(events: jarvis.Subscription) -> jarvis.Envelope:
    return await events.__anext__()


async def test_a_slow_subscriber_is_told(j: jarvis.Jarvis) -> None:
    topic = f"app.{uuid.uuid4().hex}"
    slow = await j.events.subscribe([topic], buffer=2)
    closed = await j.events.subscribe([topic], buffer=2, overflow="close")
    for n in range(5):
        await j.events.publish(topic, n)
    got = [(await asyncio.wait_for(anext_(slow), 5)).payload for _ in range(2)]
    assert (got, slow.missed) == ([3, 4], 3)
    got = [(await asyncio.wait_for(anext_(closed), 5)).payload for _ in range(2)]
    assert got == [0, 1]
    with pytest.raises(jarvis.ExhaustedError):
        await asyncio.wait_for(anext_(closed), 5)
    with pytest.raises(StopAsyncIteration):
        await closed.__anext__()


async def test_bad_arguments_are_refused(j: jarvis.Jarvis) -> None:
    for topic in ("", "health", "jarvis.x", "a b", "x" * 200):
        with pytest.raises(jarvis.InvalidInputError):
            await j.events.publish(topic)
    with pytest.raises(jarvis.TooLargeError):
        await j.events.publish("app", "x" * 70_000)
    with pytest.raises(jarvis.InvalidInputError):
        await j.events.subscribe(["a b"])
    with pytest.raises(jarvis.InvalidInputError):
        await j.events.subscribe(origin="moon")  # type: ignore[arg-type]
    with pytest.raises(jarvis.InvalidInputError):
        await j.events.subscribe(overflow="explode")  # type: ignore[arg-type]
    await j.events.flush()


async def test_closing_ends_who_waits(j: jarvis.Jarvis) -> None:
    events = await j.events.subscribe(["app.nothing"])
    waiting = asyncio.ensure_future(anext_(events))
    await asyncio.sleep(0.01)
    events.close()
    with pytest.raises((StopAsyncIteration, RuntimeError)):
        await asyncio.wait_for(waiting, 5)


def test_the_blocking_face_iterates(js: jarvis.sync.Jarvis) -> None:
    topic = f"app.{uuid.uuid4().hex}"
    with js.events.subscribe([topic]) as events:
        thread = threading.Thread(
            target=lambda: [js.events.publish(topic, n) for n in range(5)]
        )
        thread.start()
        got = [event.payload for _, event in zip(range(5), events)]
        thread.join()
        assert got == list(range(5))
        assert events.missed == 0 == events.gaps
    assert list(events) == []
    js.events.flush()
