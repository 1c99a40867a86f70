"""Every kind of error, as an exception."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import re
import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

import jarvis
import pytest
from jarvis import errors

ROOT = Path(__file__).resolve().parents[3]

BUILT_IN = {
    "NotFoundError": KeyError,
    "InvalidInputError": ValueError,
    "ConfigInvalidError": ValueError,
    "UnauthorizedError": PermissionError,
    "ForbiddenError": PermissionError,
    "TooLargeError": ValueError,
    "ExhaustedError": OSError,
    "UnavailableError": ConnectionError,
    "OperationTimeoutError": TimeoutError,
    "UnsupportedError": NotImplementedError,
    "InternalError": RuntimeError,
}


@contextmanager
def refusing_loop(state_dir: Path, error: dict[str, Any]) -> Iterator[None]:
    """A loop that answers every request on its control socket with this error."""

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, connection.makefile("rw") as lines:
                hello = {"jarvis": "control", "protocol": 1, "version": "0.1.0", "pid": os.getpid()}
                lines.write(json.dumps(hello) + "\n")
                lines.flush()
                for line in lines:
                    lines.write(json.dumps({"id": json.loads(line)["id"], "err": error}) + "\n")
                    lines.flush()

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(state_dir / "jarvis.sock"))
        os.chmod(state_dir / "jarvis.sock", 0o600)
        server.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def met(code: str, state_dir: Path) -> jarvis.JarvisError:
    """An error of this kind that came out of the core."""
    retry = {
        "ERR_JARVIS_UNAVAILABLE": {"retryable": True},
        "ERR_JARVIS_RATE_LIMITED": {"retryable": True, "retry_after_ms": 1_500},
    }
    error = {
        "kind": code[len("ERR_JARVIS_") :].lower(),
        "code": code,
        "message": "the loop refuses",
        "operation": "loop.refuse",
        "context": [["code", code]],
        "causes": ["the source"],
        **retry.get(code, {}),
    }
    with refusing_loop(state_dir, error), jarvis.sync.Jarvis.open({}, state_dir=state_dir) as j:
        with pytest.raises(jarvis.JarvisError) as caught:
            j.operator.reload()
    return caught.value


def test_every_kind_has_its_class() -> None:
    rows = json.loads((ROOT / "tests/fixtures/parity/errors.json").read_text())["kinds"]
    # The same file is compared with the kinds of the core by tests/tests/parity.rs.
    assert {row["code"] for row in rows} == set(errors._BY_CODE)
    for code, kind in errors._BY_CODE.items():
        assert issubclass(kind, jarvis.JarvisError)
        assert getattr(jarvis, kind.__name__) is kind
        assert kind.__doc__
        if kind.__name__ in BUILT_IN:
            assert issubclass(kind, BUILT_IN[kind.__name__])


@pytest.mark.parametrize("code", sorted(errors._BY_CODE))
def test_an_error_of_the_core_is_raised_as_its_kind(code: str, tmp_path: Path) -> None:
    error = met(code, tmp_path)
    assert type(error) is errors._BY_CODE[code]
    assert error.code == code
    assert error.kind == re.sub("^err_jarvis_", "", code.lower())
    assert error.message == "the loop refuses"
    assert error.operation == "loop.refuse"
    assert error.context == {"code": code}
    assert str(error) == f"the loop refuses (loop.refuse; code: {code})"
    retryable = code in ("ERR_JARVIS_UNAVAILABLE", "ERR_JARVIS_RATE_LIMITED")
    assert error.retryable is retryable
    assert error.retry_after == (1.5 if code == "ERR_JARVIS_RATE_LIMITED" else None)
    assert isinstance(error.__cause__, errors.Cause)
    assert str(error.__cause__) == "the source"


@pytest.mark.parametrize("code", sorted(errors._BY_CODE))
def test_an_error_survives_pickling(code: str, tmp_path: Path) -> None:
    error = met(code, tmp_path)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


def panics() -> list[type[BaseException]]:
    """The exceptions that pyo3 turns back into a Rust panic where our code meets them.

    Each extension that is built with pyo3 has a class of its own with this name.
    """
    with jarvis.sync.Jarvis.open({}) as j, pytest.raises(LookupError):
        # Ours exists once the module has met an exception.
        j.cache.get_or_load("k", raising(LookupError("met")))
    return [kind for kind in BaseException.__subclasses__() if kind.__name__ == "PanicException"]


def raising(error: BaseException) -> Any:
    def function(*_: Any) -> None:
        raise error

    return function


def test_a_panic_is_an_error_of_the_call() -> None:
    caught = []
    with jarvis.sync.Jarvis.open({}, store="memory:") as j:
        for kind in panics():
            try:
                j.cache.get_or_load("k", raising(kind("on purpose")))
            except jarvis.InternalError as error:
                caught.append(str(error))
            except BaseException as error:  # noqa: BLE001, another extension's class is not a panic here
                assert type(error) is kind
        # The handle, its locks and the interpreter's are as before.
        assert j.cache.get_or_load("k", lambda: 7) == 7
    assert len(caught) == 1 and "panicked" in caught[0] and "on purpose" in caught[0], caught


async def test_a_panic_on_the_event_loop_ends_no_other_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda it: noted.append(str(it.exc_value)))
    ended = []
    store = f"sqlite:{tmp_path / 'jarvis.db'}"
    async with jarvis.Jarvis.open({}, store=store, cache="memory:", bus="memory:") as j:
        session = await j.sessions.create(data={"n": 1})
        for kind in panics():
            update = j.sessions.update(session, raising(kind("on purpose")))
            loads = [j.sessions.load(session) for _ in range(20)]
            answers = asyncio.gather(update, *loads, return_exceptions=True)
            first, *others = await asyncio.wait_for(answers, 20)
            ended.append(first)
            assert all(isinstance(other, jarvis.Session) for other in others)
        loaded = await j.sessions.load(session)
        assert loaded is not None and (loaded.version, loaded.data) == (1, {"n": 1})
    ours = [error for error in ended if isinstance(error, jarvis.OperationCancelledError)]
    assert len(ours) == 1 and "did not complete" in str(ours[0]), ended
    assert len(noted) == 1 and "on purpose" in noted[0], noted


def test_ones_own_error_says_what_it_is() -> None:
    error = jarvis.UnavailableError("no answer", retryable=True, retry_after=2)
    assert (error.code, error.kind) == ("ERR_JARVIS_UNAVAILABLE", "unavailable")
    assert (str(error), error.retry_after) == ("no answer", 2)
    assert str(jarvis.NotFoundError("no such thing")) == "no such thing", "not as KeyError says it"


def test_a_configuration_is_refused_with_every_mistake() -> None:
    config = {"sesion": {}, "cache": {"ttl": "soon"}}
    with pytest.raises(jarvis.ConfigInvalidError) as caught:
        jarvis.Jarvis.open(config)
    assert 'did you mean "session"?' in str(caught.value)
    assert "cache.ttl" in str(caught.value.__cause__), "all of them"
    with pytest.raises(jarvis.ConfigInvalidError):
        jarvis.sync.Jarvis.open(store="redsi://here")
    with pytest.raises(jarvis.InvalidInputError, match="unknown mode"):
        jarvis.Jarvis.open({}, mode="sometimes")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        jarvis.Jarvis.open(7)  # type: ignore[arg-type]
    with pytest.raises(jarvis.InvalidInputError):
        jarvis.Jarvis.open({"session": {"ttl": object()}})
    with pytest.raises(jarvis.ConfigInvalidError):
        jarvis.Jarvis.open("/no/such/file.toml")
