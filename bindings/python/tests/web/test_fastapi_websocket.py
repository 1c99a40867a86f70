"""Sessions over websockets, which outlive requests."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from typing import Any, AsyncIterator, Dict, Optional

import pytest
import websockets
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from jarvis.fastapi import JarvisDep, SessionDep
from kit import (  # noqa: F401
    Options, OwnRedis, application, browser, given, id_of, options, own_redis, serve,
)  # fmt: skip


def studio(options: Options, **session: Any) -> FastAPI:
    """One websocket that does what it is told, and says what is in the session."""
    app = application(options, **session)

    @app.websocket("/ws")
    async def ws(socket: WebSocket, session: SessionDep, jarvis: JarvisDep) -> None:
        session["connected"] = True
        await socket.accept(headers=[(b"x-own", b"1")])
        try:
            while True:
                what, *rest = (await socket.receive_text()).split()
                if what == "put":
                    session[rest[0]] = rest[1]
                elif what == "save":
                    await session.save()
                elif what == "reload":
                    await session.reload()
                elif what == "login":
                    session.regenerate(user=rest[0])
                elif what == "logout":
                    session.destroy()
                elif what == "age":
                    # As if most of its hour had passed.
                    assert session.id is not None
                    await jarvis.sessions.extend(session.id, 600)
                    await session.reload()
                elif what == "left":
                    assert session.expires_at is not None
                    await socket.send_json(session.expires_at.timestamp() - time.time())
                    continue
                elif what == "raise":
                    raise ZeroDivisionError
                await socket.send_json(
                    {"data": dict(session), "ended": session.ended, "user": session.user}
                )
        except WebSocketDisconnect:
            # As many do; the session is saved either way.
            if session.get("careless"):
                raise

    @app.websocket("/plain")
    async def plain(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text("hello")

    @app.get("/look")
    async def look(session: SessionDep) -> Dict[str, Any]:
        return dict(session)

    @app.post("/put/{key}/{value}")
    async def put(key: str, value: str, session: SessionDep) -> None:
        session[key] = value

    @app.post("/logout")
    async def logout(session: SessionDep) -> None:
        session.destroy()

    return app


@asynccontextmanager
async def told(app: FastAPI) -> AsyncIterator[tuple[str, "asyncio.Queue[str]"]]:
    """The address, and when a websocket is through with its application."""
    ended: asyncio.Queue[str] = asyncio.Queue()

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        try:
            await app(scope, receive, send)
        finally:
            if scope["type"] == "websocket":
                ended.put_nowait(scope["path"])

    async with serve(noting) as address:
        yield address, ended


def connect(address: str, id: Optional[str] = None, path: str = "/ws") -> Any:
    headers = {} if id is None else {"cookie": f"jarvis_sid={id}"}
    return websockets.connect(
        address.replace("http", "ws") + path, additional_headers=headers, proxy=None
    )


async def ask(socket: Any, text: str) -> Any:
    await socket.send(text)
    return json.loads(await socket.recv())


async def test_a_websocket_has_the_session_and_may_begin_one(options: Options) -> None:
    async with told(studio(options)) as (address, ended), browser(address) as one:
        async with connect(address) as socket:
            cookie = socket.response.headers["set-cookie"]
            assert cookie.startswith("jarvis_sid=") and "HttpOnly" in cookie
            assert socket.response.headers["x-own"] == "1"
            id = cookie.split("=")[1].split(";")[0]
            one.cookies.set("jarvis_sid", id)
            assert (await one.get("/look")).json() == {"connected": True}
            await ask(socket, "put take 1")
            assert "take" not in (await one.get("/look")).json(), "not before it is saved"
            await ask(socket, "save")
            assert (await one.get("/look")).json() == {"connected": True, "take": "1"}
            await ask(socket, "put mix 2")
        await ended.get()
        assert (await one.get("/look")).json()["mix"] == "2", "its end saves"
        async with connect(address, id) as socket:
            assert "set-cookie" not in socket.response.headers
            assert (await ask(socket, "look"))["data"]["mix"] == "2"
            await ask(socket, "put careless yes")
            await ask(socket, "put last 3")
        await ended.get()
        assert (await one.get("/look")).json()["last"] == "3", "also by an exception"


async def test_websocket_and_requests_keep_each_others_work(options: Options) -> None:
    async with told(studio(options)) as (address, ended), browser(address) as one:
        id = id_of(await one.post("/put/a/1"))
        async with connect(address, id) as socket:
            await one.post("/put/b/2")
            assert "b" not in (await ask(socket, "put c 3"))["data"]
            merged = {"a": "1", "b": "2", "c": "3", "connected": True}
            assert (await ask(socket, "save"))["data"] == merged
            await one.post("/put/a/4")
            await ask(socket, "put dropped 5")
            assert (await ask(socket, "reload"))["data"] == {**merged, "a": "4"}
        await ended.get()
        assert (await one.get("/look")).json() == {**merged, "a": "4"}


async def test_a_logout_ends_a_websockets_session_too(options: Options) -> None:
    async with told(studio(options)) as (address, ended), browser(address) as one:
        id = id_of(await one.post("/put/a/1"))
        async with connect(address, id) as socket:
            await one.post("/logout")
            await ask(socket, "put late 1")
            answer = await ask(socket, "save")
            assert answer == {"data": {}, "ended": True, "user": None}
            await ask(socket, "put later 2")
        await ended.get()
        one.cookies.set("jarvis_sid", id)
        assert (await one.get("/look")).json() == {}

        id = id_of(await one.post("/put/a/1"))
        async with connect(address, id) as socket:
            await one.post("/logout")
            assert (await ask(socket, "reload"))["ended"]


async def test_a_websocket_may_log_out_but_not_log_in(options: Options) -> None:
    async with told(studio(options)) as (address, ended), browser(address) as one:
        id = id_of(await one.post("/put/a/1"))
        async with connect(address, id) as socket:
            await ask(socket, "login eve")
            await socket.send("save")
            with pytest.raises(websockets.ConnectionClosedError):
                await socket.recv()
        await ended.get()
        assert (await one.get("/look")).json()["a"] == "1", "it is as it was"
        async with connect(address, id) as socket:
            await ask(socket, "logout")
            await ask(socket, "save")
        await ended.get()
        assert (await one.get("/look")).json() == {}


async def test_a_websocket_can_keep_its_session_alive(options: Options) -> None:
    async with told(studio(options)) as (address, ended), browser(address) as one:
        id = id_of(await one.post("/put/a/1"))
        async with connect(address, id) as socket:
            await ask(socket, "age")
            assert await ask(socket, "left") <= 600
            await ask(socket, "save")
            assert await ask(socket, "left") > 3000
        await ended.get()


async def test_a_websocket_that_raises_stores_nothing_more(options: Options) -> None:
    async with told(studio(options)) as (address, ended), browser(address) as one:
        id = id_of(await one.post("/put/a/1"))
        async with connect(address, id) as socket:
            await ask(socket, "put b 2")
            await socket.send("raise")
            with pytest.raises(websockets.ConnectionClosedError):
                await socket.recv()
        await ended.get()
        assert "b" not in (await one.get("/look")).json()


async def test_without_its_store_a_websocket_is_refused(own_redis: OwnRedis, tmp_path: Any) -> None:
    options = {"config": {}, "store": own_redis.url, "state_dir": tmp_path}
    async with told(studio(options)) as (address, ended), browser(address) as one:
        id = id_of(await one.post("/put/a/1"))
        async with connect(address, id) as socket:
            await ask(socket, "put b 2")
            own_redis.hang()
            with pytest.raises(websockets.InvalidStatus) as refused:
                await connect(address, id)
            assert refused.value.response.status_code in (503, 504)
            async with connect(address, id, "/plain") as other:
                assert await other.recv() == "hello", "it needs no session"
            await socket.send("save")
            with pytest.raises(websockets.ConnectionClosedError) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1013
        own_redis.go_on()
