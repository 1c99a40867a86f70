"""Request statistics on the bus."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any, Dict, List

import jarvis
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from jarvis.fastapi import SessionDep, TrackingMiddleware
from kit import Options, application, browser, options, options_of, serve  # noqa: F401


def tracked(options: Options, **tracking: Any) -> FastAPI:
    app = application(options)
    app.add_middleware(TrackingMiddleware, service="coach", **tracking)

    @app.get("/songs/{song}")
    async def song(song: str, session: SessionDep) -> str:
        if song == "broken":
            raise ZeroDivisionError
        return song

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"a", b"b"]))

    return app


def with_bus(options: Options) -> Options:
    """A file carries no events."""
    return {**options, "bus": "memory:"} if options["store"].startswith("sqlite") else options


def routes(envelopes: List[Any]) -> Dict[str, Any]:
    """By route, what all events together say."""
    found: Dict[str, Any] = {}
    for envelope in envelopes:
        assert envelope.topic == "requests.coach"
        payload = envelope.payload
        assert payload["service"] == "coach" and payload["since"] < payload["until"]
        for route in payload["routes"]:
            found[f"{route['method']} {route['route']}"] = route
    return found


async def test_the_end_tells_what_was_not_told_yet(options: Options) -> None:
    bus = with_bus(options)
    app = tracked(bus, every=3600)
    async with AsyncExitStack() as stack:
        async with serve(app) as address, browser(address) as one:
            # In memory there is one bus a handle; of a server it is another process that listens.
            listener = app.state.jarvis
            if bus["store"].startswith("redis"):
                listener = await stack.enter_async_context(jarvis.Jarvis.open(**bus))
            messages = await stack.enter_async_context(listener.events.subscribe(patterns=["requests.*"]))
            for song in ["a", "b", "broken"]:
                await one.get(f"/songs/{song}")
            await one.get("/stream")
            await one.get("/nowhere/in/particular")
            await one.request("BREW", "/songs/a")
        told = routes([await messages.__anext__()])
    assert set(told) == {
        "GET /songs/{song}", "GET /stream", "GET (unmatched)", "OTHER /songs/{song}",
    }  # fmt: skip
    song = told["GET /songs/{song}"]
    assert (song["count"], song["errors"], song["statuses"]) == (3, 1, {"200": 2, "500": 1})
    assert 0 < song["p50_ms"] <= song["p99_ms"] <= song["max_ms"]
    assert told["GET (unmatched)"]["statuses"] == {"404": 1}
    assert told["OTHER /songs/{song}"]["statuses"] == {"405": 1}


async def test_it_tells_in_time_and_only_when_there_is_something(options: Options) -> None:
    app = tracked(with_bus(options), every=0.01)
    async with serve(app) as address, browser(address) as one:
        async with app.state.jarvis.events.subscribe(topics=["requests.coach"]) as messages:
            for n in range(3):
                await one.get(f"/songs/{n}")
                envelope = await messages.__anext__()
                assert routes([envelope])["GET /songs/{song}"]["count"] == 1


async def test_a_bus_that_is_down_is_in_nobodys_way(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = tracked({"config": {}, "store": "memory:", "bus": "redis://127.0.0.1:1", "state_dir": tmp_path})
    async with serve(app) as address, browser(address) as one:
        assert (await one.get("/songs/a")).status_code == 200
    assert any("could not be published" in r.getMessage() for r in caplog.records)


async def test_many_routes_are_told_in_several_events(tmp_path: Any) -> None:
    app = tracked(options_of("memory", tmp_path), every=3600)
    for n in range(450):
        app.add_api_route(f"/{'long' * 20}/{n}", lambda: 1)
    async with serve(app) as address, browser(address) as one:
        messages = await app.state.jarvis.events.subscribe(topics=["requests.coach"])
        for n in range(450):
            await one.get(f"/{'long' * 20}/{n}")
    told = [await messages.__anext__()]
    while len(routes(told)) < 450:
        told.append(await asyncio.wait_for(messages.__anext__(), 10))
    assert len(told) > 1


def test_a_service_that_is_no_topic_is_refused() -> None:
    for service in ["", "a b", "a.b", "*", "x" * 65]:
        with pytest.raises(ValueError, match="service"):
            TrackingMiddleware(FastAPI(), service=service)

