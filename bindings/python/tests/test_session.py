"""Every method of the session store, on every backend, awaited and blocking."""

from __future__ import annotations

import asyncio
import math
import threading
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

import jarvis
import pytest


def name() -> str:
    return f"user-{uuid.uuid4().hex}"


async def test_a_session_is_stored_as_it_was_given(j: jarvis.Jarvis) -> None:
    user = name()
    before = datetime.now(timezone.utc)
    made = await j.sessions.create(
        user, {"cart": [1, "ü", None]}, ttl=90, ip="10.0.0.1", user_agent="test"
    )
    loaded = await j.sessions.load(made.id)
    assert loaded is not None
    assert loaded.id == made.id and len(made.id) == 34
    assert (loaded.user, loaded.version, loaded.ttl) == (user, 1, timedelta(seconds=90))
    assert loaded.data == {"cart": [1, "ü", None]}
    assert loaded.json() == '{"cart":[1,"ü",null]}'
    assert loaded.meta == {"ip": "10.0.0.1", "user_agent": "test"}
    loaded.meta = {"ip": None, "user_agent": "other"}
    await j.sessions.save(loaded)
    assert loaded.meta == {"ip": None, "user_agent": "other"} and loaded.version == 2
    assert loaded.created_at.tzinfo is timezone.utc
    assert abs(loaded.created_at - before) < timedelta(seconds=5)
    assert loaded.expires_at - loaded.updated_at == timedelta(seconds=90)
    assert made.id not in repr(made) and "cart" not in repr(made)
    assert await j.sessions.load("no-such-session") is None


async def test_data_is_a_dict_that_a_save_stores(j: jarvis.Jarvis) -> None:
    session = await j.sessions.create(data={"takes": 1})
    session.data["takes"] += 1
    assert session.data is session.data
    session.user = name()
    session.ttl = timedelta(minutes=7)
    saved = await j.sessions.save(session)
    assert saved is session and session.version == 2
    loaded = await j.sessions.load(session.id)
    assert loaded is not None and loaded.data == {"takes": 2}
    assert (loaded.user, loaded.ttl) == (session.user, timedelta(minutes=7))
    session.data = {"new": True}
    await j.sessions.save(session)
    loaded = await j.sessions.load(session)
    assert loaded is not None and loaded.data == {"new": True} and loaded.version == 3


async def test_the_second_of_two_saves_is_a_conflict(j: jarvis.Jarvis) -> None:
    one = await j.sessions.create(data={"by": "one"})
    two = await j.sessions.load(one.id)
    assert two is not None
    one.data["by"] = "the first"
    await j.sessions.save(one)
    two.data["by"] = "the second"
    with pytest.raises(jarvis.ConflictError) as caught:
        await j.sessions.save(two)
    current = caught.value.current
    assert current is not None
    assert current.data == {"by": "the first"} and current.version == 2
    assert two.data == {"by": "the second"}, "the caller's work is not thrown away"
    await j.sessions.save(two, force=True)
    loaded = await j.sessions.load(one.id)
    assert loaded is not None and loaded.data == {"by": "the second"}


async def test_a_late_save_never_brings_a_session_back(j: jarvis.Jarvis) -> None:
    session = await j.sessions.create()
    assert await j.sessions.delete(session) is True
    assert await j.sessions.delete(session) is False
    for force in (False, True):
        with pytest.raises(jarvis.NotFoundError):
            await j.sessions.save(session, force=force)
    assert await j.sessions.load(session.id) is None


async def test_no_update_is_lost(j: jarvis.Jarvis) -> None:
    session = await j.sessions.create(data={"count": 0})

    def count(session: jarvis.Session) -> None:
        session.data["count"] += 1

    updated = await asyncio.gather(*(j.sessions.update(session.id, count) for _ in range(20)))
    assert sorted(s.data["count"] for s in updated if s) == list(range(1, 21))
    assert await j.sessions.update("nobody", count) is None


async def test_a_change_may_be_awaited_and_is_not_lost(j: jarvis.Jarvis) -> None:
    session = await j.sessions.create(data={"count": 0})
    at_once, most = 0, 0

    async def count(session: jarvis.Session) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        before = session.data["count"]
        await asyncio.sleep(0.001)
        session.data["count"] = before + 1
        at_once -= 1

    def plain(session: jarvis.Session) -> None:
        session.data["count"] += 1

    changes = [count, plain] * 10
    updated = await asyncio.gather(*(j.sessions.update(session.id, change) for change in changes))
    assert sorted(s.data["count"] for s in updated if s) == list(range(1, 21))
    assert most == 1, "they take turns"
    assert await j.sessions.update("nobody", count) is None


async def test_an_update_that_takes_too_long_ends(j: jarvis.Jarvis) -> None:
    session = await j.sessions.create(data={"n": 1})
    began = asyncio.Event()

    async def slow(session: jarvis.Session) -> None:
        session.data["n"] = 2
        began.set()
        await asyncio.sleep(0.3)

    first = asyncio.create_task(j.sessions.update(session.id, slow))
    await began.wait()
    with pytest.raises(jarvis.OperationTimeoutError):
        await j.sessions.update(session.id, slow, deadline=0.05)
    updated = await first
    assert updated is not None and updated.version == 2


async def test_a_merged_save_keeps_the_work_of_others(j: jarvis.Jarvis) -> None:
    session = await j.sessions.create(data={"mine": {"a": 1, "b": 2}, "both": 1, "gone": 1}, ttl=60)
    base = session.copy()
    other = await j.sessions.load(session.id)
    assert other is not None
    other.data = {"both": 2, "mine": {"b": 2, "a": 1}, "theirs": True, "gone": 1}
    await j.sessions.save(other)
    session.data["both"] = 3
    session.data["mine"] = {"b": 2, "a": 1}
    del session.data["gone"]
    session.ttl = timedelta(seconds=90)
    assert base.data["both"] == 1, "a copy is not touched"
    merged = await j.sessions.save_merged(base, session)
    assert merged is session and session.version == 3
    assert session.data == {"mine": {"a": 1, "b": 2}, "both": 3, "theirs": True}
    loaded = await j.sessions.load(session.id)
    assert loaded is not None and loaded.data == session.data
    assert loaded.ttl == timedelta(seconds=90)
    base = session.copy()
    session.data["both"] = 4
    assert await j.sessions.save_merged(base, session) is session and session.version == 4
    await j.sessions.delete(session)
    assert await j.sessions.save_merged(base, session) is None


async def test_what_a_change_raises_is_raised_and_nothing_is_saved(j: jarvis.Jarvis) -> None:
    session = await j.sessions.create(data={"n": 1})
    mine = LookupError("mine")

    def fail(session: jarvis.Session) -> None:
        session.data["n"] = 2
        raise mine

    with pytest.raises(LookupError) as caught:
        await j.sessions.update(session.id, fail)
    assert caught.value is mine

    async def fail_later(session: jarvis.Session) -> None:
        session.data["n"] = 3
        await asyncio.sleep(0)
        raise mine

    with pytest.raises(LookupError) as caught:
        await j.sessions.update(session.id, fail_later)
    assert caught.value is mine
    loaded = await j.sessions.load(session.id)
    assert loaded is not None and loaded.data == {"n": 1} and loaded.version == 1


async def test_a_session_is_prolonged(j: jarvis.Jarvis) -> None:
    session = await j.sessions.create(ttl=60)
    until = await j.sessions.extend(session, ttl=timedelta(hours=1))
    assert until is not None and until - session.updated_at > timedelta(minutes=59)
    loaded = await j.sessions.load(session.id)
    assert loaded is not None and loaded.expires_at == until and loaded.version == 1
    again = await j.sessions.load_and_extend(session.id, 7200)
    assert again is not None and again.expires_at > until + timedelta(minutes=50)
    assert await j.sessions.load_and_extend("nobody") is None
    assert await j.sessions.extend("nobody") is None


async def test_a_login_moves_the_session(j: jarvis.Jarvis) -> None:
    user = name()
    session = await j.sessions.create(data={"cart": [1]})
    moved = await j.sessions.regenerate(session.id, user)
    assert moved is not None and moved.id != session.id
    assert moved.user == user and moved.data == {"cart": [1]}
    assert await j.sessions.load(session.id) is None
    assert await j.sessions.regenerate(session.id) is None


async def test_the_sessions_of_a_user(j: jarvis.Jarvis) -> None:
    user = name()
    made = [await j.sessions.create(user, ip="10.0.0.9") for _ in range(3)]
    listed = await j.sessions.list(user)
    assert [s.version for s in listed] == [1, 1, 1]
    assert {s.user for s in listed} == {user} and listed[0].meta["ip"] == "10.0.0.9"
    assert listed[0].created_at <= listed[2].created_at
    assert await j.sessions.count(user) == 3
    handle = listed[0].handle
    assert jarvis.SessionHandle(str(handle)) == handle and hash(handle) == hash(listed[0].handle)
    assert await j.sessions.extend(handle, 1000) is not None
    assert await j.sessions.delete(handle) is True
    assert await j.sessions.clear(user, except_=listed[2]) == 1
    assert await j.sessions.load_many(made) != [None] * 3
    assert await j.sessions.clear(user) == 1
    assert await j.sessions.list(user) == []


async def test_many_at_once(j: jarvis.Jarvis) -> None:
    made = [await j.sessions.create(data={"n": n}) for n in range(3)]
    found = await j.sessions.load_many([made[0].id, "nobody", made[2]])
    assert [s and s.data["n"] for s in found] == [0, None, 2]
    await j.sessions.delete(made[1])
    for session in made:
        session.data["n"] += 10
    outcomes = await j.sessions.save_many(made)
    assert outcomes[0] is made[0] and made[0].version == 2
    assert isinstance(outcomes[1], jarvis.NotFoundError)
    again = await j.sessions.load_many(made)
    assert [s and s.data["n"] for s in again] == [10, None, 12]
    assert await j.sessions.delete_many([made[0], made[0].id, made[2]]) == 2


async def test_all_sessions_are_walked(j: jarvis.Jarvis) -> None:
    user = name()
    for _ in range(7):
        await j.sessions.create(user)
    handles = {s.handle async for s in j.sessions.scan(page_size=3) if s.user == user}
    assert len(handles) == 7
    assert await j.sessions.count() >= 7


async def test_bad_arguments_are_refused_by_name(j: jarvis.Jarvis) -> None:
    session = await j.sessions.create()
    for ttl in (0, -1, math.nan, math.inf, 1e12):
        with pytest.raises(jarvis.InvalidInputError):
            await j.sessions.create(ttl=ttl)
    data: Any
    for data in ([], "text", 1, {"n": math.nan}, {"o": object()}, {1: {2: {3, 4}}}):
        with pytest.raises(jarvis.InvalidInputError):
            await j.sessions.create(data=data)
    with pytest.raises(jarvis.InvalidInputError):
        await j.sessions.load("")
    with pytest.raises(jarvis.InvalidInputError):
        await j.sessions.load("\n")
    with pytest.raises(jarvis.InvalidInputError):
        await j.sessions.create(ip="somewhere")
    with pytest.raises(jarvis.InvalidInputError):
        await j.sessions.delete(jarvis.SessionHandle("?"))
    with pytest.raises(TypeError):
        await j.sessions.load(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        await j.sessions.create(ttl=True, data=None, nonsense=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="seconds or a timedelta"):
        session.ttl = "60"  # type: ignore[assignment]
    nested: Any = {}
    for _ in range(100_000):
        nested = {"n": nested}
    with pytest.raises(jarvis.InvalidInputError):
        await j.sessions.create(data=nested)
    with pytest.raises(jarvis.TooLargeError):
        await j.sessions.create(data={"much": "x" * 5_000_000})
    taken = await j.sessions.create(id="taken-" + name())
    with pytest.raises(jarvis.ConflictError):
        await j.sessions.create(id=taken.id)


async def test_a_pydantic_model_is_data(j: jarvis.Jarvis) -> None:
    pydantic = pytest.importorskip("pydantic")

    class Cart(pydantic.BaseModel):  # type: ignore[name-defined, misc]
        items: list[str] = []
        until: datetime

    until = datetime(2030, 1, 1, tzinfo=timezone.utc)
    session = await j.sessions.create(data=Cart(items=["a"], until=until))
    loaded = await j.sessions.load(session.id)
    assert loaded is not None
    cart = loaded.model(Cart)
    assert cart == Cart(items=["a"], until=until)
    cart.items.append("b")
    loaded.data = cart
    data: Any = loaded.data
    assert data["items"] == ["a", "b"]
    assert loaded.model(Cart).items == ["a", "b"]
    await j.sessions.save(loaded)
    with pytest.raises(pydantic.ValidationError):
        session.model(type("Other", (pydantic.BaseModel,), {"__annotations__": {"x": int}}))


def test_the_blocking_face_has_the_same_methods(js: jarvis.sync.Jarvis) -> None:
    user = name()
    session = js.sessions.create(user, {"n": 1})
    session.data["n"] = 2
    assert js.sessions.save(session).version == 2
    stale = js.sessions.load(session.id)
    assert stale is not None

    def change(session: jarvis.Session) -> None:
        session.data["n"] += 1

    updated = js.sessions.update(session.id, change)
    assert updated is not None and updated.data == {"n": 3}
    with pytest.raises(jarvis.ConflictError):
        js.sessions.save(stale)

    async def later(session: jarvis.Session) -> None:
        await asyncio.sleep(0)
        session.data["n"] += 1

    updated = js.sessions.update(session.id, later)
    assert updated is not None and updated.data == {"n": 4}
    merged = js.sessions.save_merged(stale.copy(), stale)
    assert merged is stale and stale.data == {"n": 4}
    assert js.sessions.extend(session, 100) is not None
    moved = js.sessions.regenerate(session.id)
    assert moved is not None
    assert len(js.sessions.list(user)) == 1 == js.sessions.count(user)
    assert js.sessions.load_many([moved.id, "nobody"])[1] is None
    assert js.sessions.save_many([moved])[0] is moved
    page, _ = js.sessions.scan_page(None, 1000)
    assert user in {s.user for s in page}
    assert js.sessions.delete_many([moved]) == 1
    assert js.sessions.delete(moved) is False
    assert js.sessions.clear(user) == 0


def test_what_a_blocking_change_calls_may_call_the_store(js: jarvis.sync.Jarvis) -> None:
    session, other = js.sessions.create(), js.sessions.create(data={"n": 1})

    def copy(session: jarvis.Session) -> None:
        found = js.sessions.load(other.id)
        assert found is not None
        session.data = found.data

    updated = js.sessions.update(session.id, copy)
    assert updated is not None and updated.data == {"n": 1}


def test_threads_share_a_blocking_handle(js: jarvis.sync.Jarvis) -> None:
    session = js.sessions.create(data={"count": 0})

    def count(session: jarvis.Session) -> None:
        session.data["count"] += 1

    def work() -> None:
        for _ in range(10):
            js.sessions.update(session.id, count)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    loaded = js.sessions.load(session.id)
    assert loaded is not None and loaded.data == {"count": 40}
