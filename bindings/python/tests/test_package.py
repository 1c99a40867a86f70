"""The package as a whole: its names, its documentation, its examples."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jarvis
import pytest
from conftest import redis_url

ROOT = Path(__file__).resolve().parents[3]
ROOMS = ["Cache", "EventBus", "Health", "Operator", "SessionStore"]


def public(kind: Any) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_public_name_is_documented() -> None:
    assert jarvis.__doc__
    for name in jarvis.__all__:
        if name == "__version__":
            continue
        thing = getattr(jarvis, name)
        assert inspect.getdoc(thing), name
        if not inspect.isclass(thing) or issubclass(thing, Exception):
            continue
        for method in public(thing) - public(str):
            assert inspect.getdoc(getattr(thing, method)), f"{name}.{method}"


@pytest.mark.parametrize("room", ROOMS)
def test_both_faces_have_the_same_methods(room: str) -> None:
    awaited, blocking = getattr(jarvis, room), getattr(jarvis.sync, room)
    # What the awaitable face makes of it: an async iterator.
    assert public(awaited) ^ public(blocking) <= {"scan", "scan_page"}
    for name in public(awaited) & public(blocking):
        one, two = getattr(awaited, name), getattr(blocking, name)
        if not inspect.isfunction(one):
            continue
        parameters = [list(inspect.signature(method).parameters) for method in (one, two)]
        assert parameters[0] == parameters[1], f"{room}.{name}"
        assert f"jarvis.{room}.{name}" in (two.__doc__ or ""), f"help({room}.{name}) leads on"


@pytest.mark.parametrize("name", ["sessions", "supervise"])
def test_examples_run(name: str) -> None:
    example = ROOT / "examples" / "python" / f"{name}.py"
    for store in ([], [redis_url()]) if name == "sessions" else ([],):
        done = subprocess.run(
            [sys.executable, "-W", "error", str(example), *store],
            capture_output=True,
            text=True,
            timeout=40,
            env=dict(os.environ),
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "restarted: life 2" in done.stdout or "loaded 1 time(s)" in done.stdout, done.stdout


def test_a_store_of_its_own_overrides_the_common_one(tmp_path: Path) -> None:
    down = "redis://127.0.0.1:1"
    for name, ask in [
        ("sessions", lambda j: j.sessions.create()),
        ("cache", lambda j: j.cache.increment("n")),
        ("bus", lambda j: j.events.publish("app")),
    ]:
        options: dict[str, Any] = {"store": "memory:", "state_dir": tmp_path, name: down}
        with jarvis.sync.Jarvis.open({}, **options) as j:
            assert j.state_dir == str(tmp_path)
            with pytest.raises(jarvis.UnavailableError):
                ask(j)
