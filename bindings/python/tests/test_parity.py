"""Plays the cases that Rust, Python and JavaScript answer alike: tests/fixtures/parity/README.md."""

from __future__ import annotations

import asyncio
import builtins
import inspect
import json
import re
import uuid
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, AsyncIterator, Optional

import jarvis
import pytest
from conftest import redis_url, until_it_leads
from jarvis import errors
from parity_web import Web

ROOT = Path(__file__).resolve().parents[3]
FIXTURES = ROOT / "tests" / "fixtures" / "parity"
TYPES: dict[str, Any] = {"string": str, "number": (int, float), "time": datetime, "object": object}


def cases() -> list[Any]:
    found = []
    for path in sorted(FIXTURES.glob("*.json")):
        file = json.loads(path.read_text())
        for backend in file.get("on", [None]) if "cases" in file else []:
            for case in file["cases"]:
                config = case.get("config", file.get("config", {}))
                name = "-".join(filter(None, [path.stem, backend, case["name"]]))
                found.append(pytest.param(backend, config, case, id=name))
    assert found, "there are no cases"
    return found


class Player:
    """Plays the steps of one case."""

    def __init__(self, backend: Optional[str], folder: Path) -> None:
        urls = {"memory": "memory:", "sqlite": f"sqlite:{folder / 'own.db'}"}
        self.url = redis_url() if backend == "redis" else urls.get(backend or "memory")
        self.folder = folder
        self.unique = uuid.uuid4().hex
        self.names: dict[str, Any] = {}
        self.web = Web(folder)

    def open(self, config: Any) -> jarvis.Jarvis:
        return jarvis.Jarvis.open(self.value(config), state_dir=self.folder)

    def value(self, written: Any) -> Any:
        """What is written, with names, functions and repetitions filled in."""
        if isinstance(written, str):
            if written == "$url":
                return self.url
            if written.startswith("$") and not written.startswith("$unique"):
                return self.named(written[1:])
            return written.replace("$unique", self.unique)
        if isinstance(written, list):
            return [self.value(item) for item in written]
        if not isinstance(written, dict):
            return written
        if "$assign" in written:
            members = self.value(written["$assign"])
            return lambda session: session.data.update(members)
        if "$assign_async" in written:
            members = self.value(written["$assign_async"])

            async def assign(session: jarvis.Session) -> None:
                await asyncio.sleep(0)
                session.data.update(members)

            return assign
        if "$return" in written:
            answer = self.value(written["$return"])
            return lambda: answer
        if "$fail" in written:

            def fail(*_: Any) -> None:
                raise RuntimeError(written["$fail"])

            return fail
        if "$repeat" in written:
            text, times = written["$repeat"]
            return text * times
        return {self.value(name): self.value(item) for name, item in written.items()}

    def named(self, text: str) -> Any:
        name, *members = text.split(".")
        found = self.names[name]
        for member_name in members:
            found = member(found, member_name)
        return found

    def options(self, written: dict[str, Any]) -> dict[str, Any]:
        options = {}
        for name, item in written.items():
            value = self.value(item)
            if name.endswith("_ms"):
                name, value = name[:-3], timedelta(milliseconds=value)
            options["except_" if name == "except" else name] = value
        return options

    async def step(self, j: jarvis.Jarvis, step: dict[str, Any]) -> Any:
        if "open" in step:
            return await self.open(step["open"]).close()
        if "set" in step:
            self.names[step["set"]].data = self.value(step["data"])
            return None
        if "next" in step:
            try:
                return await asyncio.wait_for(self.names[step["next"]].__anext__(), 10)
            except StopAsyncIteration:
                return None
        if "collect" in step:
            return [item async for item in self.names[step["collect"]]]
        part, method = step["call"].split(".")
        target = self.web if part == "web" else getattr(j, part)
        answer = None
        for _ in range(step.get("times", 1)):
            arguments = [self.value(argument) for argument in step.get("args", [])]
            options = self.options(step.get("options", {}))
            answer = getattr(target, method)(*arguments, **options)
            # In every language, the log tells an error with its first item.
            if inspect.isawaitable(answer) and step["call"] != "operator.events":
                answer = await answer
        return answer

    async def play_all(self, j: jarvis.Jarvis, steps: list[dict[str, Any]]) -> None:
        for step in steps:
            await self.play(j, step)

    async def play(self, j: jarvis.Jarvis, step: dict[str, Any]) -> None:
        if "error" in step:
            with pytest.raises(jarvis.JarvisError) as caught:
                await self.step(j, step)
            return self.expect(caught.value, step["error"], "error")
        answer = await self.step(j, step)
        if "as" in step:
            self.names[step["as"]] = answer
        if "answer" in step:
            self.expect(answer, step["answer"], "answer")
        return None

    def expect(self, actual: Any, written: Any, where: str) -> None:
        if isinstance(written, list):
            assert len(actual) == len(written), where
            for at, item in enumerate(written):
                self.expect(actual[at], item, f"{where}[{at}]")
        elif not isinstance(written, dict):
            assert actual == self.value(written), where
        elif "$type" in written:
            assert isinstance(actual, TYPES[written["$type"]]), (where, actual)
        elif "$length" in written:
            assert len(actual) == written["$length"], where
        else:
            for name, item in written.items():
                found = member(actual, name)
                if name.endswith("_ms") and isinstance(found, timedelta):
                    found = found / timedelta(milliseconds=1)
                self.expect(found, item, f"{where}.{name}")


def member(found: Any, name: str) -> Any:
    if isinstance(found, dict):
        return found.get(name)
    if name.endswith("_ms") and not hasattr(found, name):
        name = name[:-3]
    return getattr(found, name)


async def is_settled(j: jarvis.Jarvis) -> bool:
    status = await j.operator.status()
    services = status["operator"]["services"]
    # Before its process was started, a service is steady and has no instance.
    started = all("instance" in service for service in services if service["restartable"])
    steady = all(service["lifecycle"]["phase"] == "steady" for service in services)
    return started and steady and not status["platform"]["unknown"]


@asynccontextmanager
async def running(j: jarvis.Jarvis) -> AsyncIterator[None]:
    """Supervises meanwhile, from when every service is known and no action is under way."""
    done = asyncio.Event()
    loop = asyncio.create_task(j.run(until=done.wait()))
    await until_it_leads(j)
    while not await is_settled(j):
        await asyncio.sleep(0.01)
    yield
    done.set()
    await loop


@pytest.mark.parametrize("backend, config, case", cases())
async def test_case(backend: Optional[str], config: Any, case: Any, tmp_path: Path) -> None:
    player = Player(backend, tmp_path)
    async with player.open(config) as j:
        if not case.get("run"):
            return await player.play_all(j, case["steps"])
        async with running(j):
            await player.play_all(j, case["steps"])


def test_every_kind_of_error_is_the_same() -> None:
    kinds = json.loads((FIXTURES / "errors.json").read_text())["kinds"]
    assert len(kinds) == len(errors._BY_CODE)
    for row in kinds:
        kind = getattr(jarvis, row["python"])
        error = kind("x")
        assert (error.code, error.kind) == (row["code"], row["kind"])
        if row["python_base"]:
            assert isinstance(error, getattr(builtins, row["python_base"]))


def test_there_is_one_version() -> None:
    cargo = (ROOT / "Cargo.toml").read_text()
    version = re.search(r'\[workspace\.package\]\nversion = "([^"]+)"', cargo)
    assert version is not None and jarvis.__version__ == version[1]
