"""`/health`, `/healthz` and `/metrics`, with the services of the handle."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any, AsyncIterator, Dict, List, Sequence

import pytest
from fastapi import FastAPI, Request
from jarvis import Check, Jarvis, Service
from jarvis.fastapi import TrackingMiddleware, health_router, lifespan
from kit import Options, browser, options_of, serve


class Database:
    """A probe that says what the test wants, and counts."""

    def __init__(self) -> None:
        self.verdict: Any = True
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def probe(self, _request: Any) -> Any:
        self.asked += 1
        await self.go_on.wait()
        return self.verdict


@pytest.fixture
def memory(tmp_path: Any) -> Options:
    return options_of("memory", tmp_path)


def app_with(
    memory: Options,
    known: List[Service],
    *,
    run: bool = False,
    only: Sequence[str] = (),
    **router: Any,
) -> FastAPI:
    app = FastAPI(lifespan=lifespan(lambda: Jarvis.open(**memory, services=known), run=run))
    app.include_router(health_router(services=only, **router))
    return app


async def test_without_services_it_is_well_as_long_as_it_answers(memory: Options) -> None:
    async with serve(app_with(memory, [])) as address, browser(address) as one:
        answer = await one.get("/health")
        assert answer.status_code == 200
        assert answer.json()["services"] == []
        assert answer.headers["cache-control"] == "no-store"
        answer = await one.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"alive": True})
        assert (await one.get("/metrics")).status_code == 404


@pytest.mark.parametrize(
    "verdict, critical, status, code",
    [
        (True, True, "healthy", 200),
        ({"verdict": "warn", "message": "slow"}, True, "degraded", 200),
        (False, False, "degraded", 200),
        (False, True, "down", 503),
        ({"verdict": "unknown", "message": "who knows"}, True, "unknown", 503),
    ],
)
async def test_it_is_as_well_as_its_services(
    memory: Options, verdict: Any, critical: bool, status: str, code: int
) -> None:
    database, other = Database(), Database()
    database.verdict = verdict
    if status == "unknown":
        other.verdict = verdict
    services = [
        Service("database", [Check("ping", database)], critical=critical),
        Service("other", [Check("ping", other)]),
    ]
    async with serve(app_with(memory, services, max_age=0)) as address, browser(address) as one:
        answer = await one.get("/health")
        body = answer.json()
        assert (body["state"], answer.status_code) == (status, code)
        assert [one["service"] for one in body["services"]] == ["database", "other"]
        assert set(body["services"][0]) == {"service", "state"}, "messages may name hosts"
        assert sum(body[state] for state in ("healthy", "degraded", "down", "unknown")) == 2
        assert (await one.get("/healthz")).status_code == 200, "a restart would not mend it"


async def test_a_choice_of_services(memory: Options) -> None:
    database, other = Database(), Database()
    services = [
        Service("database", [Check("ping", database)], critical=True),
        Service("other", [Check("ping", other)]),
    ]
    app = app_with(memory, services, only=["other"])
    async with serve(app) as address, browser(address) as one:
        body = (await one.get("/health")).json()
        assert body["services"] == [{"service": "other", "state": "healthy"}]
        assert (database.asked, other.asked) == (0, 1)


async def test_however_many_ask_it_probes_once(memory: Options) -> None:
    database = Database()
    services = [Service("database", [Check("ping", database)], critical=True)]
    app = app_with(memory, services, max_age=3600)
    async with serve(app) as address, browser(address) as one:
        database.go_on.clear()
        asked = [asyncio.create_task(one.get("/health")) for _ in range(10)]
        while not database.asked:
            await asyncio.sleep(0)
        database.go_on.set()
        assert {(await answer).status_code for answer in asked} == {200}
        database.verdict = False
        assert (await one.get("/health")).status_code == 200, "it holds for an hour"
        assert database.asked == 1


async def test_an_unknown_service_is_told_and_asked_for_again(memory: Options) -> None:
    app = app_with(memory, [], only=["nonesuch"], max_age=3600)
    async with serve(app) as address, browser(address) as one:
        for _ in range(2):
            assert (await one.get("/health")).status_code == 500


async def test_where_it_supervises_it_tells_what_it_knows(memory: Options) -> None:
    database = Database()
    services = [Service("database", [Check("ping", database, interval=60)], critical=True)]
    app = app_with(memory, services, run=True)
    async with serve(app) as address, browser(address) as one:
        await running(app.state.jarvis)
        answer = await one.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"alive": True})
        while (await one.get("/health")).json()["state"] != "healthy":
            pass
        assert database.asked == 1, "it tells what it knows, and does not probe"


async def test_a_supervision_that_could_not_begin_is_not_alive(memory: Options) -> None:
    database = Database()
    services = [Service("database", [Check("ping", database, interval=60)], critical=True)]
    handle = Jarvis.open(**memory, services=services)
    before = asyncio.create_task(handle.run())
    await running(handle)
    before.cancel()
    await asyncio.wait([before])
    # A handle supervises once.
    app = FastAPI(lifespan=lifespan(lambda: handle, run=True))
    app.include_router(health_router())
    async with serve(app) as address, browser(address) as one:
        answer = await one.get("/healthz")
        assert answer.status_code == 503
        assert answer.json() == {"alive": False, "reason": "the supervision failed; see the log"}
        asked = database.asked
        assert (await one.get("/health")).status_code == 200 and database.asked == asked + 1


async def running(jarvis: Jarvis) -> None:
    while not jarvis.health.healthz()["loop_stats"]["running"]:
        await asyncio.sleep(0)


async def test_a_supervision_that_can_not_begin_is_told_and_the_rest_goes_on(
    memory: Options, caplog: pytest.LogCaptureFixture
) -> None:
    others: List[asyncio.Task[None]] = []

    def supervised_already() -> Jarvis:
        handle = Jarvis.open(**memory)
        others.append(asyncio.get_running_loop().create_task(handle.run()))
        return handle

    app = FastAPI(lifespan=lifespan(supervised_already, run=True))
    app.include_router(health_router())
    async with serve(app) as address, browser(address) as one:
        assert (await one.get("/health")).status_code == 200
    await asyncio.gather(*others)
    told = [r.getMessage() for r in caplog.records if r.name == "jarvis.fastapi"]
    assert len(told) == 1 and told[0].startswith("the supervision ended: ")


async def test_the_apps_own_lifespan_runs_inside(memory: Options) -> None:
    order: List[str] = []

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[Dict[str, Any]]:
        jarvis = app.state.jarvis
        await jarvis.cache.set("warm", 1)
        order.append("begun")
        yield {"own": "state"}
        assert await jarvis.cache.get("warm") == 1
        order.append("ended")

    app = FastAPI(lifespan=lifespan(lambda: Jarvis.open(**memory), then=own))

    @app.get("/state")
    async def state(request: Request) -> List[Any]:
        assert request.state.jarvis is app.state.jarvis
        return [request.state.own]

    async with serve(app) as address, browser(address) as one:
        assert (await one.get("/state")).json() == ["state"]
    assert order == ["begun", "ended"]


async def test_metrics_are_openmetrics(memory: Options) -> None:
    app = app_with(memory, [], metrics=True)
    app.add_middleware(TrackingMiddleware, service="coach")
    async with serve(app) as address, browser(address) as one:
        for _ in range(3):
            await one.get("/health")
        answer = await one.get("/metrics")
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        text = answer.text
        assert text.count("# EOF") == 1 and text.endswith("# EOF\n")
        assert "jarvis_" in text, "what the core counts"
        name = "http_server_request_duration_seconds"
        labels = 'http_request_method="GET",http_route="/health",http_response_status_code="200"'
        assert f"{name}_count{{{labels}}} 3" in text
        assert f'{name}_bucket{{{labels},le="+Inf"}} 3' in text
        assert f'{name}_bucket{{{labels},le="10.0"}} 3' in text
        assert "http_server_active_requests 1\n" in text
        families = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
        assert len(families) == len(set(families))
