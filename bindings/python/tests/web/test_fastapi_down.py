"""What visitors see while the store is down, and what errors look like."""

from __future__ import annotations

import logging
from typing import Any, Dict

import httpx
import jarvis
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from jarvis.fastapi import SessionDep, SessionMiddleware, cached, lifespan
from jarvis import _core
from kit import (  # noqa: F401
    OwnRedis, application, browser, given, id_of, options_of, own_redis, serve,
)  # fmt: skip


def fragile(redis: OwnRedis, folder: Any, *, handlers: bool) -> FastAPI:
    options = {"config": {}, "store": redis.url, "state_dir": folder}
    if handlers:
        app = application(options)
    else:
        app = FastAPI(lifespan=lifespan(lambda: jarvis.Jarvis.open(**options)))
        app.add_middleware(SessionMiddleware)

    @app.get("/nothing")
    async def nothing() -> str:
        return "nothing"

    @app.get("/look")
    async def look(session: SessionDep) -> Dict[str, Any]:
        return dict(session)

    @app.post("/put/{key}/{value}")
    async def put(key: str, value: str, session: SessionDep) -> None:
        session[key] = value

    @app.post("/break/{how}")
    async def break_(how: str, session: SessionDep) -> Any:
        """The store goes down while the endpoint runs."""
        session["lost"] = True
        redis.hang()

        async def endless() -> Any:
            while True:
                yield b"x" * 1000

        return StreamingResponse(endless()) if how == "endless" else "saved"

    @app.post("/logout")
    async def logout(session: SessionDep) -> None:
        session.destroy()
        redis.hang()

    @app.get("/cached")
    @cached(ttl=60)
    async def slow() -> str:
        return "computed"

    return app


#: A server that refuses, and one that hangs.
FAILURES = [(503, "ERR_JARVIS_UNAVAILABLE"), (504, "ERR_JARVIS_TIMEOUT")]


@pytest.mark.parametrize("handlers", [True, False])
async def test_it_fails_closed_and_only_where_it_must(
    own_redis: OwnRedis, tmp_path: Any, handlers: bool
) -> None:
    app = fragile(own_redis, tmp_path, handlers=handlers)
    async with serve(app) as address, browser(address) as one, browser(address) as stranger:
        id = id_of(await one.post("/put/a/1"))
        own_redis.hang()
        for path in ["/look", "/look"]:
            answer = await one.get(path)
            assert (answer.status_code, answer.json()["code"]) in FAILURES
            assert ("retry-after" in answer.headers) == (answer.status_code == 503)
            assert answer.headers["cache-control"] == "no-store"
            assert given(answer) is None, "nobody is logged out by it"
            assert own_redis.url.split("//")[1] not in answer.text
        assert (await stranger.post("/put/b/2")).status_code in (503, 504)
        assert (await one.get("/nothing")).json() == "nothing"
        assert (await stranger.get("/look")).json() == {}, "there is nothing to ask for"
        assert (await one.get("/cached")).json() == "computed"
        own_redis.go_on()
        assert (await _until_up(one)) == {"a": "1"}
        assert one.cookies["jarvis_sid"] == id


async def _until_up(one: Any) -> Any:
    """The client of the core looks by itself whether the server is back."""
    while True:
        answer = await one.get("/look")
        if answer.status_code == 200:
            return answer.json()
        assert answer.status_code in (503, 504)


@pytest.mark.parametrize("handlers", [True, False])
@pytest.mark.parametrize("how", ["late", "endless"])
async def test_an_answer_whose_session_could_not_be_saved_is_not_given(
    own_redis: OwnRedis, tmp_path: Any, how: str, handlers: bool
) -> None:
    app = fragile(own_redis, tmp_path, handlers=handlers)
    async with serve(app) as address, browser(address) as one:
        await one.post("/put/a/1")
        answer = await one.post(f"/break/{how}")
        assert answer.status_code in (503, 504) and "saved" not in answer.text
        assert answer.headers["content-type"] == "application/json"
        own_redis.go_on()
        assert "a" in await _until_up(one)


async def test_a_logout_that_could_not_be_done_is_not_said_to_be(
    own_redis: OwnRedis, tmp_path: Any
) -> None:
    app = fragile(own_redis, tmp_path, handlers=True)
    async with serve(app) as address, browser(address) as one:
        await one.post("/put/a/1")
        answer = await one.post("/logout")
        assert answer.status_code in (503, 504) and given(answer) is None
        own_redis.go_on()


async def test_what_was_done_before_it_failed_is_told(
    own_redis: OwnRedis, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = fragile(own_redis, tmp_path, handlers=True)

    @app.post("/login")
    async def login(session: SessionDep) -> None:
        session.regenerate(user="ada")
        session["lost"] = True

        async def save(_store: Any, _base: Any, _session: Any) -> Any:
            monkeypatch.undo()
            raise jarvis.UnavailableError("it went down in between")

        monkeypatch.setattr(jarvis.SessionStore, "save_merged", save)

    async with serve(app) as address, browser(address) as one:
        before = id_of(await one.post("/put/a/1"))
        answer = await one.post("/login")
        assert answer.status_code == 503 and id_of(answer) != before
        assert (await one.get("/look")).json() == {"a": "1"}, "the old id is gone"


async def test_an_endpoint_may_catch_it(own_redis: OwnRedis, tmp_path: Any) -> None:
    app = fragile(own_redis, tmp_path, handlers=True)

    @app.get("/careful")
    async def careful(session: SessionDep) -> str:
        own_redis.hang()
        session["a"] = 1
        try:
            await session.save()
        except (jarvis.UnavailableError, jarvis.OperationTimeoutError):
            own_redis.go_on()
            del session["a"]
            return "without"
        return "with"

    async with serve(app) as address, browser(address) as one:
        assert (await one.get("/careful")).json() == "without"


async def test_every_kind_of_error_has_its_status(
    tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = application(options_of("memory", tmp_path))
    kinds = {
        kind().kind: kind
        for kind in vars(jarvis).values()
        if isinstance(kind, type) and issubclass(kind, jarvis.JarvisError)
    }
    @app.get("/{kind}")
    async def fail(kind: str, after: float = 0) -> None:
        raise kinds[kind]("server 10.0.0.1 said no", retry_after=after or None)

    async with serve(app) as address, browser(address) as one:
        for kind in kinds:
            status = _core._error_answer(kind)[0]
            caplog.clear()
            answer = await one.get(f"/{kind}")
            assert answer.status_code == status, kind
            assert answer.json()["code"] == f"ERR_JARVIS_{kind.upper()}"
            assert "10.0.0.1" not in answer.text
            told = [r for r in caplog.records if r.name == "jarvis.fastapi"]
            assert len(told) == (status >= 500), kind
            assert all("10.0.0.1" in r.getMessage() and r.levelno == logging.ERROR for r in told)
            assert ("retry-after" in answer.headers) == (status in (429, 503)), kind
        answer = await one.get("/rate_limited", params={"after": 6.2})
        assert answer.headers["retry-after"] == "7"


@pytest.mark.parametrize(
    "middleware, missing",
    [(False, r"add_middleware\(SessionMiddleware\)"), (True, r"lifespan=lifespan\(\)")],
)
async def test_what_is_missing_is_said(middleware: bool, missing: str) -> None:
    app = FastAPI()
    if middleware:
        app.add_middleware(SessionMiddleware)

    @app.get("/look")
    async def look(session: SessionDep) -> None:
        raise AssertionError

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as one:
        with pytest.raises(RuntimeError, match=missing):
            await one.get("/look", headers={"cookie": "jarvis_sid=a"})
