"""What the tests of `jarvis.fastapi` share: applications behind uvicorn, and browsers.

Server, client and test run on one event loop, so that a test says with events which goes when.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import uuid
from contextlib import asynccontextmanager
from http.cookies import Morsel, SimpleCookie
from typing import Any, AsyncIterator, Callable, Dict, Iterator, List, Optional

import httpx
import pytest
import uvicorn
from conftest import redis_url
from fastapi import FastAPI
from jarvis import Jarvis
from jarvis.fastapi import SessionMiddleware, add_error_handlers, lifespan


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: Optional[List[socket.socket]] = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@asynccontextmanager
async def serve(app: Any) -> AsyncIterator[str]:
    """The address of an application behind a real server, started and ended by its lifespan."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = _Server(uvicorn.Config(app, log_level="error", lifespan="on", ws="websockets-sansio"))
    running = asyncio.create_task(server.serve([listener]))
    ready = asyncio.create_task(server.ready.wait())
    await asyncio.wait([running, ready], return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        ready.cancel()
        await running
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


@asynccontextmanager
async def browser(address: str, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """One that keeps cookies."""
    async with httpx.AsyncClient(base_url=address, timeout=30, verify=False, **options) as client:
        yield client


def given(response: httpx.Response, name: str = "jarvis_sid") -> Optional[Morsel[str]]:
    """The session's cookie in a response, with its attributes."""
    cookies = [SimpleCookie(text) for text in response.headers.get_list("set-cookie")]
    found = [cookie[name] for cookie in cookies if name in cookie]
    assert len(found) <= 1, "a cookie is set once"
    return found[0] if found else None


def id_of(response: httpx.Response) -> str:
    cookie = given(response)
    assert cookie is not None and cookie.value
    return cookie.value


Options = Dict[str, Any]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def options(request: pytest.FixtureRequest, tmp_path: Any) -> Options:
    return options_of(request.param, tmp_path)


def options_of(backend: str, tmp_path: Any) -> Options:
    """What opens a handle on a backend, with a namespace of its own."""
    stores: Dict[str, Callable[[], str]] = {
        "memory": lambda: "memory:",
        "sqlite": lambda: f"sqlite:{tmp_path / 'jarvis.db'}",
        "redis": _empty_redis,
    }
    return {
        "config": {"cache": {"namespace": uuid.uuid4().hex}},
        "store": stores[backend](),
        "state_dir": tmp_path / "state",
    }


def _empty_redis() -> str:
    """A database of the real server that only these tests use, emptied."""
    url, number = redis_url(), 9
    host, port = url.partition("//")[2].split("/")[0].rsplit(":", 1)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"SELECT {number}\r\nFLUSHDB\r\n".encode())
        replies = b""
        while replies.count(b"\r\n") < 2:
            replies += connection.recv(100)
    assert replies == b"+OK\r\n+OK\r\n", replies
    return f"{url}/{number}"


def application(options: Options, **session: Any) -> FastAPI:
    """One with sessions and error handlers."""
    app = FastAPI(lifespan=lifespan(lambda: Jarvis.open(**options)))
    app.add_middleware(SessionMiddleware, **session)
    add_error_handlers(app)
    return app


class OwnRedis:
    """A server that a test may stop."""

    def __init__(self, folder: Any) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{port}"
        command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        self._process = subprocess.Popen([*command, "--dir", str(folder)], stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if b"Ready to accept connections" in line:
                return
        raise RuntimeError("redis-server did not start")

    def hang(self) -> None:
        os.kill(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._process.pid, signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def own_redis(tmp_path: Any) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    try:
        yield server
    finally:
        server.end()
