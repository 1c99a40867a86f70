"""Health, operator and supervision, with backends written in Python."""

from __future__ import annotations

import asyncio
import threading
import time
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, AsyncIterator

import jarvis
import pytest
import pytest_asyncio
from conftest import until_it_leads


def service(probe: Any, **options: Any) -> jarvis.Service:
    checks = [jarvis.Check("check", probe, interval=0.05, timeout=options.pop("timeout", 2))]
    return jarvis.Service("coach", checks, **options)


async def observed(probe: Any, **options: Any) -> Any:
    """What a check of this probe says."""
    async with jarvis.Jarvis.open({}, services=[service(probe, **options)]) as j:
        answer = await j.health.check(["coach"])
    return answer["services"][0]["checks"][0]["observation"]


class Sync:
    def probe(self, request: Any) -> str:
        assert request["fresh"] is True and 1_000 < request["timeout_ms"] <= 2_000
        return threading.current_thread().name


class Async:
    def __init__(self) -> None:
        self.loop: Any = None

    async def probe(self, request: Any) -> Any:
        await asyncio.sleep(0.001)
        self.loop = asyncio.get_running_loop()
        return {"verdict": "warn", "kind": "slow", "message": "3 s", "facts": {"n": 1}}


async def test_a_plain_probe_has_a_thread() -> None:
    observation = await observed(Sync())
    assert (observation["verdict"], observation["message"]) == ("pass", "jarvis-callback")


async def test_an_async_probe_has_the_loop() -> None:
    probe = Async()
    observation = await observed(probe)
    assert probe.loop is asyncio.get_running_loop()
    assert (observation["verdict"], observation["kind"]) == ("warn", "slow")
    assert observation["facts"] == [["n", 1]] and observation["latency_ms"] >= 1


async def test_a_probe_is_called_for_nobody() -> None:
    request: ContextVar[str] = ContextVar("request", default="nobody")
    request.set("the first to use this loop")

    async def probe(_: Any) -> str:
        return request.get()

    assert (await observed(probe))["message"] == "nobody"


async def test_events_are_read_again_and_followed_without_a_bus(tmp_path: Path) -> None:
    began = datetime.now(timezone.utc)
    j = jarvis.Jarvis.open({}, state_dir=tmp_path, services=[service(Async())])
    done = asyncio.Event()
    task = asyncio.create_task(j.run(until=done.wait()))
    await until(lambda: j.health.snapshot()["platform"]["state"] == "degraded")
    done.set()
    await asyncio.wait_for(task, 20)
    await j.close()
    down = "redis://127.0.0.1:1"
    async with jarvis.Jarvis.open({}, state_dir=tmp_path, bus=down) as j:
        events = [event async for event in j.operator.events()]
        assert {event.event["type"] for event in events} >= {"service_changed"}
        assert [event.at for event in events] == sorted(event.at for event in events)
        health = [event async for event in j.operator.events(["health"], service="coach")]
        assert health and {event.topic for event in health} == {"health"}
        newest = [event async for event in j.operator.events(limit=1)]
        assert [event.sequence for event in newest] == [events[-1].sequence]
        for since in (began, timedelta(hours=1), began.isoformat()):
            again = [event async for event in j.operator.events(since=since)]
            assert len(again) == len(events), since
        assert [event async for event in j.operator.events(since=datetime.now(timezone.utc))] == []
        with pytest.raises(TypeError, match="a datetime, a timedelta or RFC 3339"):
            await j.operator.events(since=7)  # type: ignore[arg-type]
        with pytest.raises(jarvis.InvalidInputError):
            await j.operator.events(["project.*"])
        async with j.operator.events(follow=True) as followed:
            for event in events:
                assert (await asyncio.wait_for(followed.__anext__(), 20)).sequence == event.sequence
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(followed.__anext__(), 0.3)


async def test_a_watch_yields_each_change_of_a_state(tmp_path: Path) -> None:
    well = True

    def probe(_: Any) -> bool:
        return well

    services = [service(probe), jarvis.Service("other", [jarvis.Check("check", lambda _: True)])]
    async with jarvis.Jarvis.open({}, state_dir=tmp_path, services=services) as j:
        with pytest.raises(jarvis.NotFoundError, match='did you mean "coach"'):
            j.health.watch(["coahc"])
        task = asyncio.create_task(j.run())
        await until_it_leads(j)
        async with j.health.watch(["coach"]) as changes:
            states = []
            async for change in changes:
                assert change["service"] == "coach" and change["watched"]
                if change["state"] not in states[-1:]:
                    states.append(change["state"])
                if change["state"] == "healthy" and well:
                    well = False
                elif change["state"] == "down":
                    assert change["cause"] is not None and change["cause"]["check"] == "check"
                    break
        assert states[-2:] == ["healthy", "down"], states
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def raising(error: BaseException) -> Any:
    def probe(request: Any) -> None:
        raise error

    return probe


@pytest.mark.parametrize(
    "probe, verdict, kind",
    [
        (lambda request: None, "pass", None),
        (lambda request: True, "pass", None),
        (lambda request: False, "fail", "check"),
        (lambda request: {"verdict": "fail", "message": "no disk"}, "fail", "check"),
        (lambda request: 7, "unknown", "internal"),
        (lambda request: object(), "unknown", "internal"),
        (lambda request: {"verdict": "great"}, "unknown", "internal"),
        (raising(ConnectionRefusedError("no")), "fail", "refused"),
        (raising(TimeoutError("late")), "fail", "timeout"),
        (raising(jarvis.UnauthorizedError("who?")), "fail", "auth"),
        (raising(ValueError("a bug")), "unknown", "internal"),
        (raising(SystemExit(3)), "unknown", "internal"),
    ],
)
async def test_what_a_probe_answers(probe: Any, verdict: str, kind: Any) -> None:
    observation = await observed(probe)
    assert (observation["verdict"], observation.get("kind")) == (verdict, kind), observation


async def test_a_probe_that_hangs_is_left_behind_and_not_called_again() -> None:
    calls, go_on = [], threading.Event()

    def probe(request: Any) -> None:
        calls.append(1)
        go_on.wait(20)

    async with jarvis.Jarvis.open({}, services=[service(probe, timeout=0.1)]) as j:
        began = time.perf_counter()
        first = await j.health.check()
        assert time.perf_counter() - began < 2
        assert first["services"][0]["state"] == "down"
        assert j.left_behind == 1
        again = (await j.health.check())["services"][0]["checks"][0]["observation"]
        assert "still hangs" in again["message"] and len(calls) == 1
        go_on.set()
        while j.left_behind:
            await asyncio.sleep(0.001)
        assert (await j.health.check())["services"][0]["state"] == "healthy"


async def test_an_async_probe_that_is_late_is_cancelled() -> None:
    cancelled = asyncio.Event()

    async def probe(request: Any) -> None:
        try:
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with jarvis.Jarvis.open({}, services=[service(probe, timeout=0.1)]) as j:
        assert (await j.health.check())["services"][0]["state"] == "down"
        await asyncio.wait_for(cancelled.wait(), 5)
        while j.left_behind:
            await asyncio.sleep(0.001)


def test_the_blocking_face_probes_too() -> None:
    names: list[str] = []

    async def awaited(request: Any) -> str:
        await asyncio.sleep(0)
        names.append(threading.current_thread().name)
        return "awaited"

    services = [
        jarvis.Service("one", [jarvis.Check("a", Sync(), timeout=2)]),
        jarvis.Service("two", [jarvis.Check("b", awaited)], critical=False),
    ]
    with jarvis.sync.Jarvis.open({}, services=services) as j:
        answer = j.health.check()
        assert answer["platform"]["healthy"] == 2
        assert answer["services"][1]["checks"][0]["observation"]["message"] == "awaited"
        assert names == ["jarvis-callback"]
        with pytest.raises(jarvis.NotFoundError, match='did you mean "one"'):
            j.health.check(["oone"])
        assert j.health.snapshot()["platform"]["unknown"] == 2
        assert j.health.healthz()["alive"] is False
        assert "jarvis" in j.health.metrics()


async def test_probes_by_name_are_made_from_their_sections() -> None:
    made: list[Any] = []

    class Ping:
        def __init__(self, settings: dict[str, Any]) -> None:
            made.append(settings)

        def probe(self, request: Any) -> str:
            return "pong"

    config = {"service": {"api": {"check": [{"type": "ping", "host": "h", "port": 7}]}}}
    async with jarvis.Jarvis.open(config, probes={"ping": Ping}) as j:
        answer = await j.health.check()
        assert answer["services"][0]["checks"][0]["observation"]["message"] == "pong"
    assert made[0]["host"] == "h" and made[0]["port"] == 7

    def refuse(settings: dict[str, Any]) -> Any:
        raise ValueError("the host is missing")

    for factory in (refuse, lambda settings: object()):
        with pytest.raises((jarvis.ConfigInvalidError, ValueError)):
            jarvis.Jarvis.open(config, probes={"ping": factory})
    with pytest.raises(jarvis.ConfigInvalidError):
        jarvis.Jarvis.open(config)


class Coach:
    """Breaks when it is told, and is mended by a restart."""

    def __init__(self) -> None:
        self.life = 1
        self.well = True
        self.requests: list[Any] = []

    async def probe(self, request: Any) -> Any:
        return True if self.well else {"verdict": "fail", "kind": "exited"}

    def observe(self) -> Any:
        return {"state": "running" if self.well else "exited", "instance": f"life-{self.life}"}

    def restart(self, request: Any) -> str:
        self.requests.append(request)
        self.life += 1
        self.well = True
        return "loaded again"

    def stop(self, request: Any) -> None:
        self.well = False

    async def release(self, leaving: Any) -> None:
        self.left = leaving["why"]


class Pager:
    def __init__(self) -> None:
        self.alerts: list[Any] = []
        self.fail_once = True

    async def deliver(self, alert: Any) -> None:
        if self.fail_once:
            self.fail_once = False
            raise ConnectionError("the pager is down")
        self.alerts.append(alert)


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[tuple[jarvis.Jarvis, Coach, Pager]]:
    coach, pager = Coach(), Pager()
    restart = {"stabilize": "100ms", "cooldown": "10ms"}
    j = jarvis.Jarvis.open(
        {},
        state_dir=tmp_path,
        services=[service(coach, restarter=coach, critical=True, restart=restart)],
        sinks={"pager": jarvis.Sink(pager, group_wait="0s")},
    )
    async with j:
        task = asyncio.create_task(j.run())
        await until_it_leads(j)
        yield j, coach, pager
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def until(condition: Any) -> None:
    end = time.perf_counter() + 20
    while not condition():
        assert time.perf_counter() < end, "it did not come to pass"
        await asyncio.sleep(0.01)


async def test_what_breaks_is_mended_and_told(running: Any) -> None:
    j, coach, pager = running
    async with j.events.subscribe(["action"]) as events, j.health.watch() as seen:
        await until(lambda: j.health.snapshot()["platform"]["state"] == "healthy")
        coach.well = False
        kinds = []
        while "verify_passed" not in kinds:
            event = await asyncio.wait_for(events.__anext__(), 20)
            kinds.append(event.event["type"])
        assert coach.life == 2 and len(coach.requests) == 1
        assert coach.requests[0]["intent"] and coach.requests[0]["timeout_ms"] > 0
        watched = await asyncio.wait_for(seen.__anext__(), 20)
        assert watched["service"] == "coach"
    await until(lambda: pager.alerts)
    assert pager.alerts[0]["service"] == "coach"
    status = await j.health.status()
    assert status["source"] == {"type": "live"}
    assert status["operator"]["services"][0]["service"] == "coach"
    uptime = await j.health.uptime(["coach"], window=3600)
    assert uptime["services"][0]["service"] == "coach"


async def test_a_person_acts_by_hand(running: Any) -> None:
    j, coach, pager = running
    await until(lambda: j.health.snapshot()["platform"]["state"] == "healthy")
    answer = await j.operator.restart("coach", by="ada")
    assert coach.life == 2 and answer["intent"]
    window = await j.operator.maintain(["coach"], 60, reason="strings")
    number = window["maintenance"]["window"]
    assert (await j.operator.end_maintenance(number))["message"]
    await j.operator.pause("hands off", lasting=60)
    held = await j.operator.status()
    assert held["operator"]["acting"] is False
    assert (await j.operator.resume())["message"]
    assert (await j.operator.reset("coach"))["message"]
    assert (await j.operator.test_alert("pager"))[0]["sink"] == "pager"
    with pytest.raises(jarvis.ConflictError, match="no method `start`"):
        await j.operator.start("coach")
    with pytest.raises(jarvis.NotFoundError):
        await j.operator.restart("bass")
    assert isinstance(await j.operator.reload(), list)
    while coach.well:
        try:
            await j.operator.stop("coach")
        except jarvis.ConflictError as conflict:
            assert "being acted on" in str(conflict), conflict
            await asyncio.sleep(0.01)


async def test_supervision_ends_when_it_is_told(tmp_path: Path) -> None:
    coach = Coach()
    j = jarvis.Jarvis.open({}, state_dir=tmp_path, services=[service(coach, restarter=coach)])
    done = asyncio.Event()
    task = asyncio.create_task(j.run(until=done.wait()))
    await until(lambda: j.health.healthz()["alive"])
    await until_it_leads(j)
    with pytest.raises(jarvis.ConflictError):
        await j.run()
    done.set()
    await asyncio.wait_for(task, 20)
    assert coach.left == "terminated"
    await j.close()
    await j.close()


def test_a_blocking_handle_reads_and_watches_too(tmp_path: Path) -> None:
    services = [jarvis.Service("one", [jarvis.Check("check", lambda _: True, interval=0.05)])]
    with jarvis.sync.Jarvis.open({}, state_dir=tmp_path, services=services) as j:
        with pytest.raises(jarvis.NotFoundError):
            next(iter(j.operator.events()))
        thread = threading.Thread(target=j.run)
        thread.start()
        with j.health.watch() as changes:
            assert next(change for change in changes if change["state"] == "healthy")
        j.close()
        thread.join(20)
    with jarvis.sync.Jarvis.open({}, state_dir=tmp_path) as j, j.operator.events() as events:
        assert "service_changed" in [event.event["type"] for event in events]


def test_a_blocking_loop_ends_when_it_is_closed(tmp_path: Path) -> None:
    j = jarvis.sync.Jarvis.open({}, state_dir=tmp_path)
    thread = threading.Thread(target=j.run)
    thread.start()
    while not j.health.healthz()["alive"]:
        time.sleep(0.005)
    assert j.health.status()["source"] == {"type": "live"}
    j.close()
    thread.join(20)
    assert not thread.is_alive()


def test_without_a_loop_there_is_nobody_to_ask(tmp_path: Path) -> None:
    with jarvis.sync.Jarvis.open({}, state_dir=tmp_path) as j:
        assert j.health.status()["source"] == {"type": "nothing"}
        with pytest.raises(jarvis.UnavailableError):
            j.operator.pause()
        with pytest.raises(jarvis.NotFoundError):
            j.health.uptime()
        with pytest.raises(jarvis.NotFoundError):
            j.operator.test_alert()
