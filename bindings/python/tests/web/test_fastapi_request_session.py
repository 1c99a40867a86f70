"""`request.session`, as Starlette's own middleware and other session middleware provide it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Dict, List

import jarvis
import pytest
from fastapi import FastAPI, Request, WebSocket
from jarvis.fastapi import SessionDep, SessionMiddleware, lifespan
from kit import (  # noqa: F401
    Options,
    OwnRedis,
    application,
    browser,
    given,
    id_of,
    options,
    options_of,
    own_redis,
    serve,
)
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route


def counters(options: Options, **session: Any) -> FastAPI:
    app = application(options, **session)

    @app.get("/nothing")
    async def nothing() -> str:
        return "nothing"

    @app.post("/async")
    async def count(request: Request) -> int:
        request.session["n"] = request.session.get("n", 0) + 1
        return int(request.session["n"])

    @app.post("/sync")
    def count_in_a_thread(request: Request) -> int:
        request.session["n"] = request.session.get("n", 0) + 1
        return int(request.session["n"])

    @app.post("/both")
    async def both(request: Request, session: SessionDep) -> List[Any]:
        request.session["n"] = request.session.get("n", 0) + 1
        return [session["n"], session.id == request.session.id]

    @app.post("/logout")
    async def logout(request: Request) -> None:
        request.session.clear()
        request.session.destroy()

    return app


@pytest.mark.parametrize("autoload", [True, False])
async def test_it_is_a_dict_that_is_there_in_the_next_request(
    options: Options, autoload: bool, caplog: pytest.LogCaptureFixture
) -> None:
    app = counters(options, autoload=autoload)
    async with serve(app) as address, browser(address) as one:
        first = await one.post("/async")
        assert first.json() == 1 and given(first) is not None
        assert first.headers["vary"] == "Cookie"
        counts = [(await one.post(path)).json() for path in ["/sync", "/async", "/sync", "/async"]]
        assert counts == [2, 3, 4, 5]
        assert (await one.post("/both")).json() == [6, True]
        assert given(await one.get("/nothing")) is None
        await one.post("/logout")
        assert (await one.post("/async")).json() == 1
    told = [r for r in caplog.records if "blocked the event loop" in r.getMessage()]
    waits = not autoload and options["store"] != "memory:"
    assert len(told) == waits, "a blocking use is logged exactly once"
    assert all(r.levelno == logging.WARNING for r in told)


async def test_the_store_is_not_asked_before_it_is_used(own_redis: OwnRedis, tmp_path: Any) -> None:
    app = counters({"config": {}, "store": own_redis.url, "cache": "memory:", "state_dir": tmp_path})
    async with serve(app) as address, browser(address) as one:
        await one.post("/sync")
        own_redis.hang()
        assert (await one.get("/nothing")).json() == "nothing"
        answer = await one.post("/sync")
        assert answer.status_code in (503, 504) and given(answer) is None
        own_redis.go_on()


async def test_it_may_be_loaded_first(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    app = application(options_of("sqlite", tmp_path))

    @app.post("/count")
    async def count(request: Request) -> int:
        assert repr(request.session) == "<jarvis.fastapi.Session not loaded>"
        await request.session.load()
        request.session["n"] = request.session.get("n", 0) + 1
        return int(request.session["n"])

    @app.websocket("/live")
    async def live(socket: WebSocket) -> None:
        await socket.session.load()
        await socket.accept()
        await socket.send_json(socket.session["n"])
        await socket.close()

    async with serve(app) as address, browser(address) as one:
        assert [(await one.post("/count")).json() for _ in range(3)] == [1, 2, 3]
        from websockets.asyncio.client import connect

        cookie = f"jarvis_sid={one.cookies['jarvis_sid']}"
        url = address.replace("http", "ws") + "/live"
        async with connect(url, additional_headers={"cookie": cookie}) as socket:
            assert await socket.recv() == "3"
    assert not [r for r in caplog.records if "blocked" in r.getMessage()]


async def test_it_works_with_starlette_alone(tmp_path: Any) -> None:
    async def count(request: Any) -> JSONResponse:
        request.session["n"] = request.session.get("n", 0) + 1
        return JSONResponse(request.session["n"])

    app = Starlette(
        routes=[Route("/", count, methods=["POST"])],
        middleware=[Middleware(SessionMiddleware)],
        lifespan=lifespan(lambda: jarvis.Jarvis.open(**options_of("memory", tmp_path))),  # type: ignore[arg-type]
    )
    async with serve(app) as address, browser(address) as one:
        assert [(await one.post("/")).json() for _ in range(2)] == [1, 2]


async def test_another_session_middleware_is_named(tmp_path: Any) -> None:
    class Other:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            scope["session"] = {}
            await self.app(scope, receive, send)

    app = application(options_of("memory", tmp_path))
    app.user_middleware.append(Middleware(Other))
    errors: List[str] = []

    @app.get("/look")
    async def look(session: SessionDep) -> Dict[str, Any]:
        raise AssertionError

    @app.middleware("http")
    async def note(request: Request, call_next: Any) -> Any:
        try:
            return await call_next(request)
        except RuntimeError as error:
            errors.append(str(error))
            return JSONResponse("noted")

    async with serve(app) as address, browser(address) as one:
        assert (await one.get("/look")).json() == "noted"
    assert len(errors) == 1 and "another middleware provides the session" in errors[0]


async def test_two_requests_at_once_keep_each_others_work(options: Options) -> None:
    app = counters(options)
    here, both = [], asyncio.Event()

    @app.post("/slow/{key}")
    async def slow(key: str, request: Request) -> None:
        request.session[key] = True
        here.append(key)
        if len(here) == 4:
            both.set()
        await both.wait()

    @app.get("/keys")
    async def keys(request: Request) -> List[str]:
        return sorted(request.session)

    async with serve(app) as address, browser(address) as one:
        id_of(await one.post("/async"))
        await asyncio.gather(*(one.post(f"/slow/key{n}") for n in range(4)))
        assert (await one.get("/keys")).json() == ["key0", "key1", "key2", "key3", "n"]
