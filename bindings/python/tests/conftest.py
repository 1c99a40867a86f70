"""Shared by the tests: the stores they run on, and both faces of the package."""

from __future__ import annotations

import asyncio
import os
import uuid
from typing import Any, AsyncIterator, Iterator

import jarvis
import pytest
import pytest_asyncio


def redis_url() -> str:
    """The URL of the real server that `tests/servers` started."""
    url = os.environ.get("JARVIS_TEST_REDIS_URL")
    if not url:
        pytest.fail("JARVIS_TEST_REDIS_URL is not set: run `tests/run python`, which starts a server")
    return url


async def until_it_leads(j: jarvis.Jarvis) -> None:
    """The lease takes a moment, and only its holder acts."""
    while "lease" not in (await j.operator.status()).get("operator", {}):
        await asyncio.sleep(0.005)


BACKENDS = ["memory", "sqlite", "redis"]


@pytest.fixture(params=BACKENDS)
def options(request: pytest.FixtureRequest, tmp_path: Any) -> dict[str, Any]:
    """What opens a handle on one of the backends, with a namespace of its own."""
    name = uuid.uuid4().hex
    config: dict[str, Any] = {"cache": {"namespace": name}}
    store = {
        "memory": "memory:",
        "sqlite": f"sqlite:{tmp_path / 'jarvis.db'}",
        "redis": None,
    }[request.param]
    return {
        "config": config,
        "store": store or redis_url(),
        "state_dir": tmp_path / "state",
    }


@pytest_asyncio.fixture
async def j(options: dict[str, Any]) -> AsyncIterator[jarvis.Jarvis]:
    """The awaitable face."""
    async with jarvis.Jarvis.open(**options) as handle:
        yield handle


@pytest.fixture
def js(options: dict[str, Any]) -> Iterator[jarvis.sync.Jarvis]:
    """The blocking face."""
    with jarvis.sync.Jarvis.open(**options) as handle:
        yield handle
