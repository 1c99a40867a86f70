"""`@cached`: one computes, all get it, and it looks the same as without."""

from __future__ import annotations

import asyncio
import inspect
import threading
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

import jarvis
import pytest
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from jarvis.fastapi import JarvisDep, SessionDep, cached, lifespan
from kit import Options, application, browser, options, options_of, serve  # noqa: F401
from pydantic import BaseModel, Field
from typing_extensions import Annotated

calls: List[Any] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    calls.clear()


class Song(BaseModel):
    title: str
    bpm: int = Field(alias="beats")


@dataclass
class Point:
    x: int
    y: Optional[int] = None


def songs(options: Options) -> FastAPI:
    app = application(options)

    @app.get("/songs/{song}")
    @cached(ttl=300, tags=["song:{song}", lambda song, **_: "all"], key="song:{song}:{loud}")
    async def song(song: str, loud: bool = False) -> Song:
        calls.append(song)
        if song == "none":
            raise HTTPException(404, "no such song")
        return Song(title=song.upper() if loud else song, beats=120)

    @app.get("/plain/{n}")
    @cached(ttl=300)
    def plain(n: int) -> List[Point]:
        calls.append(threading.current_thread() is threading.main_thread())
        return [Point(n), Point(n, n)]

    @app.get("/dict")
    @cached(ttl=300)
    async def dict_() -> Song:
        calls.append("dict")
        return {"title": "a", "beats": 1}  # type: ignore[return-value]

    @app.get("/bare")
    @cached(ttl=300)
    async def bare():  # type: ignore[no-untyped-def]
        calls.append("bare")
        return {"song": Song(title="a", beats=1), "none": None}

    @app.get("/nothing")
    @cached(ttl=300)
    async def nothing() -> None:
        calls.append("nothing")

    @app.get("/me")
    @cached(ttl=300)
    async def me(request: Request) -> str:
        raise AssertionError

    @app.get("/visitor")
    @cached(ttl=300, key=lambda session: f"visitor:{session.user}")
    async def visitor(session: SessionDep) -> Optional[str]:
        calls.append(session.user)
        return session.user

    @app.get("/response")
    @cached(ttl=300)
    async def response() -> Any:
        return Response("a")

    @app.delete("/songs/{song}")
    async def drop(song: str, jarvis: JarvisDep) -> None:
        await jarvis.cache.invalidate_tag(f"song:{song}")

    @app.post("/login/{user}")
    async def login(user: str, session: SessionDep) -> None:
        session.regenerate(user=user)

    return app


async def test_an_answer_is_computed_once(options: Options) -> None:
    async with serve(songs(options)) as address, browser(address) as one:
        for _ in range(3):
            answer = await one.get("/songs/a")
            assert answer.json() == {"title": "a", "beats": 120}
        assert (await one.get("/songs/a?loud=1")).json()["title"] == "A"
        assert (await one.get("/songs/a%3AFalse")).json()["title"] == "a:False"
        assert (await one.get("/songs/b")).json()["title"] == "b"
        assert calls == ["a", "a", "a:False", "b"]
        await one.delete("/songs/a")
        await one.get("/songs/a")
        await one.get("/songs/b")
        assert calls[4:] == ["a"], "a tag drops what has it, and nothing else"


async def test_what_comes_back_is_what_was_answered(options: Options) -> None:
    async with serve(songs(options)) as address, browser(address) as one:
        expected: Dict[str, Any] = {
            "/plain/3": [{"x": 3, "y": None}, {"x": 3, "y": 3}],
            "/dict": {"title": "a", "beats": 1},
            "/bare": {"song": {"title": "a", "beats": 1}, "none": None},
            "/nothing": None,
        }
        for path, body in expected.items():
            for _ in range(2):
                answer = await one.get(path)
                assert answer.status_code == 200 and answer.json() == body, path
        assert calls == [False, "dict", "bare", "nothing"], "a plain function runs on a thread"


async def test_an_exception_is_the_answer_and_is_not_kept(options: Options) -> None:
    async with serve(songs(options)) as address, browser(address) as one:
        for _ in range(2):
            answer = await one.get("/songs/none")
            assert answer.status_code == 404 and answer.json() == {"detail": "no such song"}
        assert calls == ["none", "none"]


async def test_however_many_ask_at_once_one_computes(options: Options) -> None:
    app = application(options)
    began, go_on = asyncio.Event(), asyncio.Event()

    @app.get("/slow/{n}")
    @cached(ttl=300)
    async def slow(n: int) -> int:
        calls.append(n)
        began.set()
        await go_on.wait()
        if n < 0:
            raise HTTPException(409)
        return n

    async with serve(app) as address, browser(address) as one:
        for n, status in [(1, 200), (-1, 409)]:
            began.clear()
            go_on.clear()
            asked = [asyncio.create_task(one.get(f"/slow/{n}")) for _ in range(20)]
            await began.wait()
            go_on.set()
            answers = await asyncio.gather(*asked)
            assert {answer.status_code for answer in answers} == {status}
        assert calls.count(1) == 1, "those who came late got it from the cache"


async def test_what_depends_on_the_visitor_needs_a_key(
    tmp_path: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    async with serve(songs(options_of("memory", tmp_path))) as address, browser(address) as one:
        assert (await one.get("/me")).status_code == 500
        assert "a Request, can't be part of a key" in capfd.readouterr().err
        for user in ["ada", "bob", "ada"]:
            await one.post(f"/login/{user}")
            assert (await one.get("/visitor")).json() == user
        assert calls == ["ada", "bob"]
        assert (await one.get("/response")).status_code == 500


async def test_the_signature_is_kept(tmp_path: Any) -> None:
    @cached(ttl=1)
    async def one(song: str, *, loud: Annotated[bool, Depends(lambda: True)] = False) -> Song:
        """Says it."""
        raise AssertionError

    assert inspect.iscoroutinefunction(one) and one.__name__ == "one" and one.__doc__ == "Says it."
    parameters = inspect.signature(one).parameters
    assert [*parameters] == ["song", "loud"] and parameters["song"].annotation is str
    assert inspect.signature(one).return_annotation is Song

    @cached(ttl=1)
    def two(a: int = 1) -> int:
        return a

    assert inspect.iscoroutinefunction(two)


async def test_mistakes_are_told_at_once() -> None:
    with pytest.raises(TypeError, match="'sogn'"):

        @cached(key="song:{sogn}")
        async def one(song: str) -> str:
            return song

    with pytest.raises(TypeError, match="'a.b'"):

        @cached(tags=["{a.b}"])
        async def two(song: str) -> str:
            return song


async def test_outside_of_requests_it_takes_the_handle_that_is_open(tmp_path: Any) -> None:
    @cached(ttl=60)
    async def double(n: int) -> int:
        calls.append(n)
        return 2 * n

    with pytest.raises(RuntimeError, match="0 applications"):
        await double(1)
    open = lifespan(lambda: jarvis.Jarvis.open(**options_of("memory", tmp_path)))
    async with open(FastAPI()):
        assert [await double(2), await double(n=2)] == [4, 4]
        async with open(FastAPI()):
            with pytest.raises(RuntimeError, match="2 applications"):
                await double(3)
        assert await double(2) == 4
    assert calls == [2]


async def test_a_handle_can_be_named(tmp_path: Any) -> None:
    async with jarvis.Jarvis.open(**options_of("memory", tmp_path)) as j:

        @cached(ttl=60, jarvis=j)
        async def double(n: int) -> int:
            calls.append(n)
            return 2 * n

        assert [await double(2), await double(2)] == [4, 4]
        assert calls == [2]
        with pytest.raises(TypeError, match="argument 'n'"):
            await double(object())  # type: ignore[arg-type]

        @cached(ttl=60, jarvis=j)
        async def odd(n: int) -> object:
            return object()

        with pytest.raises(TypeError, match="can't be written as JSON"):
            await odd(1)

        @cached(ttl=60, jarvis=j)
        async def long(text: str) -> str:
            calls.append(len(text))
            return text

        for text in ["x" * 5000, "x" * 4999 + "y", "x" * 5000]:
            assert await long(text) == text
        assert calls[1:] == [5000, 5000], "long keys are hashed, and differ"
