"""Sessions over HTTP: cookies, logins, logouts, and what is stored."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any, Dict, List, Optional

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from jarvis.fastapi import JarvisDep, Session, SessionDep, session_of
from kit import Options, application, browser, given, id_of, options, options_of, serve  # noqa: F401
from pydantic import BaseModel, Field
from typing_extensions import Annotated


class Cart(BaseModel):
    songs: List[str] = Field(default_factory=list)
    paid: bool = Field(default=False, alias="isPaid")


CartSession = Annotated[Session[Cart], Depends(session_of(Cart))]


def shop(options: Options, **session: Any) -> FastAPI:
    """Everything that may be done with a session."""
    app = application(options, **session)

    @app.get("/nothing")
    async def nothing() -> str:
        return "nothing"

    @app.get("/look")
    async def look(session: SessionDep) -> Dict[str, Any]:
        return {
            "id": session.id,
            "user": session.user,
            "version": session.version,
            "new": session.is_new,
            "data": dict(session),
        }

    @app.post("/put/{key}/{value}")
    async def put(key: str, value: str, session: SessionDep) -> None:
        session[key] = value

    @app.post("/plain/{key}/{value}")
    def plain(key: str, value: str, session: SessionDep) -> None:
        session.setdefault("nested", {"deep": []})["deep"].append({key: value})

    @app.post("/remove/{key}")
    async def remove(key: str, session: SessionDep) -> None:
        del session[key]

    @app.post("/login/{user}")
    async def login(user: str, session: SessionDep) -> Optional[str]:
        session.regenerate(user=user)
        return session.user

    @app.post("/rotate")
    async def rotate(session: SessionDep) -> None:
        session.regenerate()

    @app.post("/logout")
    async def logout(session: SessionDep) -> Dict[str, Any]:
        session.destroy()
        return {"user": session.user, "id": session.id, "new": session.is_new, "data": dict(session)}

    @app.post("/switch/{key}/{value}")
    async def switch(key: str, value: str, session: SessionDep) -> None:
        session.destroy()
        session[key] = value

    @app.post("/remember/{days}")
    async def remember(days: int, session: SessionDep) -> None:
        session.ttl = timedelta(days=days)

    @app.post("/cart/{song}")
    async def cart(song: str, session: CartSession) -> Cart:
        session.data.songs.append(song)
        return session.data

    @app.post("/pay")
    async def pay(session: CartSession) -> None:
        session.data = Cart(songs=[], isPaid=True)

    @app.post("/fail")
    async def fail(session: SessionDep) -> None:
        session["failed"] = True
        raise HTTPException(418)

    @app.get("/sessions/{user}")
    async def count(user: str, jarvis: JarvisDep) -> int:
        return await jarvis.sessions.count(user)

    return app


async def test_a_visitor_without_anything_to_remember_gets_no_cookie(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one:
        for path in ["/nothing", "/look", "/sessions/ada"]:
            answer = await one.get(path)
            assert answer.status_code == 200 and given(answer) is None, path
            assert "cache-control" not in answer.headers
            assert answer.headers.get("vary") == ("Cookie" if path == "/look" else None)
        await one.post("/logout")
        await one.post("/rotate")
        assert not (await one.post("/remember/3")).headers.get("set-cookie")
        assert (await one.post("/cart/a", headers={})).json()["songs"] == ["a"]


async def test_what_is_put_in_is_there_in_the_next_request(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one, browser(address) as other:
        first = await one.post("/put/take/1")
        cookie = given(first)
        assert cookie is not None and len(cookie.value) == 34
        assert (cookie["path"], cookie["samesite"], cookie["httponly"]) == ("/", "Lax", True)
        assert cookie["max-age"] == "3600" and not cookie["secure"] and not cookie["domain"]
        assert first.headers["cache-control"] == "no-store"
        assert first.headers["vary"] == "Cookie"
        seen = (await one.get("/look")).json()
        assert seen == {
            "id": cookie.value, "user": None, "version": 1, "new": False, "data": {"take": "1"},
        }  # fmt: skip
        assert (await other.get("/look")).json()["new"]
        await one.post("/put/mix/2")
        await one.post("/plain/a/b")
        await one.post("/plain/c/d")
        await one.post("/remove/take")
        seen = (await one.get("/look")).json()
        assert seen["data"] == {"mix": "2", "nested": {"deep": [{"a": "b"}, {"c": "d"}]}}
        assert seen["version"] == 5 and seen["id"] == cookie.value


async def test_reading_stores_nothing(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one:
        await one.post("/put/take/1")
        for _ in range(3):
            answer = await one.get("/look")
            assert answer.json()["version"] == 1 and given(answer) is None
        again = await one.post("/put/take/1")
        assert given(again) is None, "the same value is no change"


async def test_a_login_changes_the_id_and_keeps_the_data(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one, browser(address) as thief:
        planted = id_of(await one.post("/put/take/1"))
        thief.cookies.set("jarvis_sid", planted)
        assert (await thief.get("/look")).json()["data"] == {"take": "1"}
        login = await one.post("/login/ada")
        assert login.json() == "ada" and id_of(login) != planted
        seen = (await one.get("/look")).json()
        assert (seen["user"], seen["data"]) == ("ada", {"take": "1"})
        assert (await thief.get("/look")).json()["new"], "the planted id is worth nothing"
        rotated = id_of(await one.post("/rotate"))
        assert rotated not in (planted, id_of(login))
        assert (await one.get("/look")).json()["user"] == "ada"
        assert (await one.get("/sessions/ada")).json() == 1


async def test_a_login_without_a_session_makes_one(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one:
        one.cookies.set("jarvis_sid", "A" * 34)
        fresh = id_of(await one.post("/login/ada"))
        assert fresh != "A" * 34, "an id that was not given is not taken"
        one.cookies.clear()
        one.cookies.set("jarvis_sid", fresh)
        assert (await one.get("/look")).json()["user"] == "ada"


async def test_a_logout_takes_the_cookie_away_and_ends_the_session(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one, browser(address) as copy:
        copy.cookies.set("jarvis_sid", id_of(await one.post("/login/ada")))
        answer = await one.post("/logout")
        assert answer.json() == {"user": None, "id": None, "new": True, "data": {}}
        cookie = given(answer)
        assert cookie is not None and (cookie.value, cookie["max-age"]) == ("", "0")
        assert cookie["path"] == "/" and answer.headers["cache-control"] == "no-store"
        assert not one.cookies
        assert (await copy.get("/look")).json()["new"]
        assert (await one.get("/sessions/ada")).json() == 0


async def test_after_a_logout_another_session_may_begin_at_once(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one:
        before = id_of(await one.post("/login/ada"))
        await one.post("/put/kept/1")
        assert id_of(await one.post("/switch/kept/1")) != before
        seen = (await one.get("/look")).json()
        assert (seen["user"], seen["data"], seen["version"]) == (None, {"kept": "1"}, 1)


async def test_garbage_in_the_cookie_is_no_session(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one:
        for garbage in ["", "x", "x" * 129, "\x7f", '"a', "a=b", "%00", "ü", "../../etc"]:
            cookie = b"jarvis_sid=" + garbage.encode("latin-1")
            answer = await one.get("/look", headers=[(b"cookie", cookie)])
            assert answer.status_code == 200 and answer.json()["new"], garbage
            assert given(answer) is None
        real = id_of(await one.post("/put/a/b"))
        one.cookies.clear()
        for header in [f"other=1; jarvis_sid={real}", f"jarvis_sid={real}; jarvis_sid=x"]:
            answer = await one.get("/look", headers={"cookie": header})
            assert answer.json()["data"] == {"a": "b"}, header


async def test_a_model_is_written_back_field_by_field(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one:
        await one.post("/put/unknown/kept")
        await one.post("/cart/one")
        assert (await one.post("/cart/two")).json()["songs"] == ["one", "two"]
        seen = (await one.get("/look")).json()["data"]
        assert seen == {"unknown": "kept", "songs": ["one", "two"]}, "defaults are not stored"
        await one.post("/pay")
        seen = (await one.get("/look")).json()["data"]
        assert seen == {"unknown": "kept", "songs": [], "isPaid": True}


async def test_how_long_it_lives_can_be_chosen(options: Options) -> None:
    async with serve(shop(options, ttl=timedelta(minutes=10))) as address, browser(address) as one:
        cookie = given(await one.post("/login/ada"))
        assert cookie is not None and cookie["max-age"] == "600"
        cookie = given(await one.post("/remember/30"))
        assert cookie is not None and int(cookie["max-age"]) == 30 * 86_400


async def test_an_answer_of_an_endpoint_that_refuses_is_stored_too(options: Options) -> None:
    async with serve(shop(options)) as address, browser(address) as one:
        answer = await one.post("/fail")
        assert answer.status_code == 418 and given(answer) is not None
        assert (await one.get("/look")).json()["data"] == {"failed": True}


async def test_an_endpoint_that_raises_stores_nothing(tmp_path: Any) -> None:
    app = shop(options_of("memory", tmp_path))

    @app.post("/break/{how}")
    async def break_(how: str, session: SessionDep) -> None:
        session["broken"] = object() if how == "json" else 1
        if how == "raise":
            raise ZeroDivisionError

    async with serve(app) as address, browser(address) as one:
        await one.post("/put/a/b")
        for how in ["raise", "json"]:
            answer = await one.post(f"/break/{how}")
            assert answer.status_code == 500 and given(answer) is None, how
        assert (await one.get("/look")).json()["data"] == {"a": "b"}


async def test_two_requests_at_once_keep_each_others_work(options: Options) -> None:
    app = shop(options)
    here, both = [], asyncio.Event()

    @app.post("/slow/{key}/{value}")
    async def slow(key: str, value: str, session: SessionDep) -> None:
        session[key] = value
        session["last"] = value
        session.pop("gone", None)
        here.append(key)
        if len(here) == 8:
            both.set()
        await both.wait()

    async with serve(app) as address, browser(address) as one:
        await one.post("/put/kept/1")
        await one.post("/put/gone/1")
        answers = await asyncio.gather(*(one.post(f"/slow/key{n}/{n}") for n in range(8)))
        assert {answer.status_code for answer in answers} == {200}
        seen = (await one.get("/look")).json()
        last = seen["data"].pop("last")
        assert last in {str(n) for n in range(8)}
        assert seen["data"] == {"kept": "1", **{f"key{n}": str(n) for n in range(8)}}
        assert seen["version"] == 2 + 8


async def test_a_logout_wins_over_a_request_that_is_under_way(options: Options) -> None:
    app = shop(options)
    began, over = asyncio.Event(), asyncio.Event()

    @app.post("/long")
    async def long(session: SessionDep, tasks: BackgroundTasks) -> bool:
        session["late"] = True
        began.set()
        await over.wait()
        await session.save()
        session["later"] = True
        return session.ended

    async with serve(app) as address, browser(address) as one:
        await one.post("/login/ada")
        late = asyncio.create_task(one.post("/long"))
        await began.wait()
        await one.post("/logout")
        over.set()
        answer = await late
        assert answer.status_code == 200 and answer.json() is True
        assert given(answer) is None
        assert (await one.get("/sessions/ada")).json() == 0
        assert (await one.get("/look")).json()["new"]


@pytest.mark.parametrize("how", ["put", "reload", "new id"])
async def test_a_logout_wins_over_what_was_saved_before_it(options: Options, how: str) -> None:
    app = shop(options)
    began, over = asyncio.Event(), asyncio.Event()

    @app.post("/long")
    async def long(session: SessionDep) -> bool:
        session["before"] = True
        if how == "new id":
            session.regenerate()
        await session.save()
        began.set()
        await over.wait()
        if how == "reload":
            return not await session.reload()
        session["after"] = True
        return True

    @app.post("/clear/{user}")
    async def clear(user: str, jarvis: JarvisDep) -> int:
        return await jarvis.sessions.clear(user)

    async with serve(app) as address, browser(address) as one, browser(address) as two:
        await one.post("/login/ada")
        late = asyncio.create_task(one.post("/long"))
        await began.wait()
        assert (await two.post("/clear/ada")).json() == 1
        over.set()
        answer = await late
        assert answer.status_code == 200 and answer.json() is True
        assert given(answer) is None
        assert (await one.get("/look")).json()["new"]


async def test_a_request_that_is_late_for_a_login_does_not_log_it_out(options: Options) -> None:
    app = shop(options)
    began, over = asyncio.Event(), asyncio.Event()

    @app.post("/long")
    async def long(session: SessionDep) -> None:
        session["late"] = True
        began.set()
        await over.wait()

    async with serve(app) as address, browser(address) as one:
        await one.post("/put/a/b")
        late = asyncio.create_task(one.post("/long"))
        await began.wait()
        await one.post("/login/ada")
        over.set()
        assert given(await late) is None, "it must not take the new cookie away"
        assert (await one.get("/look")).json()["user"] == "ada"


async def test_of_two_logins_at_once_both_are_logged_in(options: Options) -> None:
    app = shop(options)
    here, both = [], asyncio.Event()

    @app.post("/slow-login/{user}")
    async def login(user: str, session: SessionDep) -> None:
        session.regenerate(user=user)
        session["theme"] = user
        here.append(user)
        if len(here) == 2:
            both.set()
        await both.wait()

    async with serve(app) as address, browser(address) as one:
        first = id_of(await one.post("/put/a/b"))
        answers = await asyncio.gather(*(one.post(f"/slow-login/{user}") for user in ("ada", "bob")))
        ids = [id_of(answer) for answer in answers]
        assert len({first, *ids}) == 3
        for id, user in zip(ids, ("ada", "bob")):
            one.cookies.clear()
            one.cookies.set("jarvis_sid", id)
            seen = (await one.get("/look")).json()
            assert (seen["user"], seen["data"]["theme"]) == (user, user)


async def test_what_a_background_task_or_a_stream_changes_is_stored(options: Options) -> None:
    app = shop(options)
    done = asyncio.Event()

    @app.post("/background")
    async def background(session: SessionDep, tasks: BackgroundTasks) -> None:
        session["now"] = 1

        def later() -> None:
            session["then"] = 2

        tasks.add_task(later)

    @app.get("/stream")
    async def stream(session: SessionDep) -> StreamingResponse:
        async def parts() -> Any:
            yield "a"
            session["streamed"] = True
            yield "b"

        return StreamingResponse(parts())

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        if scope["type"] == "http":
            done.set()

    async with serve(noting) as address, browser(address) as one:
        await one.post("/background")
        await done.wait()
        done.clear()
        assert (await one.get("/look")).json()["data"] == {"now": 1, "then": 2}
        await done.wait()
        done.clear()
        assert (await one.get("/stream")).text == "ab"
        await done.wait()
        assert (await one.get("/look")).json()["data"] == {"now": 1, "then": 2, "streamed": True}


async def test_after_a_save_what_one_holds_is_still_the_sessions(options: Options) -> None:
    app = shop(options)

    @app.post("/hold")
    async def hold(session: SessionDep, cart: CartSession) -> None:
        songs, data = session.setdefault("list", []), session.data
        songs.append(1)
        cart.data.songs.append("a")
        await session.save()
        assert session.version == 1
        songs.append(2)
        cart.data.songs.append("b")
        await session.save()
        assert session.data is data and data["list"] is songs and session.version == 2
        songs.append(3)
        cart.data.paid = True

    async with serve(app) as address, browser(address) as one:
        await one.post("/hold")
        seen = (await one.get("/look")).json()
        assert seen["data"] == {"list": [1, 2, 3], "songs": ["a", "b"], "isPaid": True}
        assert seen["version"] == 3


@pytest.mark.parametrize("rolling", [True, False])
async def test_being_used_prolongs_a_session(options: Options, rolling: bool) -> None:
    app = shop(options, rolling=rolling)

    @app.post("/age")
    async def age(jarvis: JarvisDep, session: SessionDep) -> None:
        # As if most of its hour had passed.
        assert session.id is not None
        await jarvis.sessions.extend(session.id, 600)

    async with serve(app) as address, browser(address) as one:
        await one.post("/put/a/b")
        assert given(await one.get("/look")) is None, "a tenth has to pass"
        await one.post("/age")
        cookie = given(await one.get("/look"))
        if rolling:
            assert cookie is not None and int(cookie["max-age"]) > 3590
            assert (await one.get("/look")).json()["version"] == 1
        else:
            assert cookie is None
        assert given(await one.get("/look")) is None
        assert given(await one.post("/put/a/c")) is not None, "a save prolongs either way"


async def test_the_browser_may_forget_it_when_it_closes(tmp_path: Any) -> None:
    app = shop(options_of("memory", tmp_path), persistent=False)
    async with serve(app) as address, browser(address) as one:
        cookie = given(await one.post("/put/a/b"))
        assert cookie is not None and not cookie["max-age"]
        assert given(await one.post("/put/a/c")) is None, "it has it already"
        assert (await one.get("/look")).json()["data"] == {"a": "c"}


async def test_the_cookie_is_as_it_was_asked_for(tmp_path: Any) -> None:
    app = shop(
        options_of("memory", tmp_path),
        cookie_name="coach", path="/put", domain="example.org", same_site="strict",
        https_only=True, http_only=False,
    )  # fmt: skip
    async with serve(app) as address, browser(address) as one:
        cookie = given(await one.post("/put/a/b"), "coach")
        assert cookie is not None
        assert (cookie["path"], cookie["domain"], cookie["samesite"]) == (
            "/put", "example.org", "Strict",
        )  # fmt: skip
        assert cookie["secure"] and not cookie["httponly"]


async def test_over_tls_the_cookie_is_secure(tmp_path: Any) -> None:
    async with serve(shop(options_of("memory", tmp_path))) as address, browser(address) as one:
        cookie = given(await one.post("/put/a/b", headers={"x-forwarded-proto": "https"}))
        assert cookie is not None and cookie["secure"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"cookie_name": "a b"},
        {"cookie_name": ""},
        {"cookie_name": "a;b"},
        {"path": "nowhere"},
        {"path": "/;"},
        {"domain": ""},
        {"domain": "a\nb"},
        {"same_site": "never"},
        {"same_site": "none"},
        {"cookie_name": "__Host-a"},
        {"cookie_name": "__Host-a", "https_only": True, "path": "/a"},
        {"cookie_name": "__Host-a", "https_only": True, "domain": "example.org"},
        {"cookie_name": "__Secure-a"},
    ],
)
def test_a_cookie_that_browsers_would_drop_is_refused(wrong: Dict[str, Any]) -> None:
    from jarvis.fastapi import SessionMiddleware

    async def app(*_: Any) -> None:
        raise AssertionError

    with pytest.raises(ValueError, match=next(iter(wrong))):
        SessionMiddleware(app, **wrong)
    SessionMiddleware(app, cookie_name="__Host-a", https_only=True, same_site="none")


async def test_where_it_came_from_is_noted(options: Options) -> None:
    app = shop(options)

    @app.get("/mine")
    async def mine(jarvis: JarvisDep) -> List[Any]:
        return [s.meta for s in await jarvis.sessions.list("ada")]

    async with serve(app) as address, browser(address) as one:
        await one.post("/login/ada", headers={"user-agent": "x" * 1000})
        assert (await one.get("/mine")).json() == [{"ip": "127.0.0.1", "user_agent": "x" * 512}]


async def test_what_is_known_of_a_session(options: Options) -> None:
    app = shop(options)

    @app.get("/facts")
    async def facts(session: SessionDep) -> None:
        assert session.expires_at is not None and session.ttl == timedelta(hours=1)
        left = session.expires_at - datetime.now(timezone.utc)
        assert timedelta(minutes=59) < left <= timedelta(hours=1)
        assert repr(session) == "<jarvis.fastapi.Session user=ada version=1>"
        assert session.id is not None and session.id not in repr(session)
        with pytest.raises(ValueError):
            session.ttl = 0
        assert await session.reload() and not session.ended

    @app.get("/fresh")
    async def fresh(session: SessionDep) -> None:
        assert (session.id, session.user, session.expires_at, session.ttl) == (None,) * 4
        assert (session.version, session.is_new, session.ended, len(session)) == (0, True, False, 0)
        assert not await session.reload()

    async with serve(app) as address, browser(address) as one:
        assert (await one.get("/fresh")).status_code == 200
        await one.post("/login/ada")
        assert (await one.get("/facts")).status_code == 200
