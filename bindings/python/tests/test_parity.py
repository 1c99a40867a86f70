"""Plays the cases that Rust, Python and JavaScript answer alike: tests/fixtures/parity/README.md."""

from __future__ import annotations

import builtins
import json
import re
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Optional

import jarvis
import pytest
from conftest import redis_url
from jarvis import errors

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
                found.append(pytest.param(backend, config, case["steps"], id=name))
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
            return await self.names[step["next"]].__anext__()
        part, method = step["call"].split(".")
        arguments = [self.value(argument) for argument in step.get("args", [])]
        options = self.options(step.get("options", {}))
        return await getattr(getattr(j, part), method)(*arguments, **options)

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


@pytest.mark.parametrize("backend, config, steps", cases())
async def test_case(backend: Optional[str], config: Any, steps: Any, tmp_path: Path) -> None:
    player = Player(backend, tmp_path)
    async with player.open(config) as j:
        for step in steps:
            await player.play(j, step)


def test_every_kind_of_error_is_the_same() -> None:
    kinds = json.loads((FIXTURES / "errors.json").read_text())["kinds"]
    assert len(kinds) == len(errors._BY_CODE)
    for row in kinds:
        kind = getattr(jarvis, row["python"])
        error = kind("x")
        assert (error.code, error.kind) == (row["code"], row["kind"])
        if row["python_base"]:
            assert isinstance(error, getattr(builtins, row["python_base"]))
        with pytest.raises(kind) as caught:
            jarvis._core._fail(row["code"])
        assert caught.value.retryable is row["retryable"]


def test_there_is_one_version() -> None:
    cargo = (ROOT / "Cargo.toml").read_text()
    version = re.search(r'\[workspace\.package\]\nversion = "([^"]+)"', cargo)
    assert version is not None and jarvis.__version__ == version[1]
