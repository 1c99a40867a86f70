"""Under the servers that people run: uvicorn with reload, gunicorn with preload."""

from __future__ import annotations

import http.client
import itertools
import os
import queue
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager, suppress
from typing import IO, Any, Dict, Iterator, List, Optional, Set, Tuple

import pytest
from kit import options_of

APP = """
import os
from fastapi import FastAPI
from jarvis import Jarvis
from jarvis.fastapi import SessionDep, SessionMiddleware, cached, lifespan

STORE, STATE = os.environ["STORE"], os.environ["STATE"]


def open() -> Jarvis:
    return Jarvis.open({"cache": {"namespace": "process"}}, store=STORE, state_dir=STATE)


EARLY


app = FastAPI(lifespan=lifespan(open))
app.add_middleware(SessionMiddleware)


@app.post("/count")
async def count(session: SessionDep) -> list[int]:
    session["n"] = session.get("n", 0) + 1
    return [session["n"], os.getpid()]


@app.get("/cached")
@cached(ttl=60)
async def computed() -> int:
    return 1


print("VERSION ready", flush=True)
"""

#: In the parent, before the fork: a runtime, connections and threads that the workers inherit.
EARLY = """
import jarvis
early = jarvis.sync.Jarvis.open({"cache": {"namespace": "process"}}, store=STORE, state_dir=STATE)
early.sessions.create(user="parent")
early.cache.set("k", 1)
"""


def write(folder: Any, version: str, early: str = "") -> None:
    text = textwrap.dedent(APP).replace("EARLY", early).replace("VERSION", version)
    (folder / "new").write_text(text)
    (folder / "new").replace(folder / "application.py")


class Output:
    """What a server prints, line by line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.lines: List[str] = []
        self._queue: "queue.SimpleQueue[str]" = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=[process.stdout])
        self._reader.start()

    def _read(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                self._queue.put(line)
        self._queue.put("")

    def wait_for(self, text: str, times: int = 1, within: Optional[float] = None) -> bool:
        """Whether it came; without `within` it has to, before the server ends."""
        end = None if within is None else time.monotonic() + within
        while times:
            try:
                left = None if end is None else max(0.0, end - time.monotonic())
                line = self._queue.get(timeout=left)
            except queue.Empty:
                return False
            assert line, "the server ended:\n" + "".join(self.lines)
            self.lines.append(line)
            times -= text in line
        return True

    def rest(self) -> str:
        """All of it, once the server has ended."""
        self._reader.join(20)
        assert not self._reader.is_alive(), "a process of the server lives on"
        while not self._queue.empty():
            self.lines.append(self._queue.get())
        return "".join(self.lines)


@contextmanager
def server(
    folder: Any, command: List[str], store: str
) -> Iterator[Tuple["subprocess.Popen[str]", Output, int]]:
    """A server on a socket that is open already, so that nothing has to be waited for twice."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    os.set_inheritable(listener.fileno(), True)
    process = subprocess.Popen(
        [sys.executable, "-m", *(part.format(fd=listener.fileno()) for part in command)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=[listener.fileno()],
        env={**os.environ, "STORE": store, "STATE": str(folder / "state"), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )
    output = Output(process)
    hung = threading.Timer(40, os.killpg, [process.pid, signal.SIGKILL])
    hung.start()
    try:
        yield process, output, listener.getsockname()[1]
        process.terminate()
        process.wait(20)
        assert process.returncode in (0, -signal.SIGTERM), (process.returncode, output.rest())
        assert "Traceback" not in output.rest(), output.rest()
    finally:
        hung.cancel()
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output.rest()
        listener.close()


def ask(port: int, method: str, path: str, cookie: Optional[str]) -> Tuple[Any, Optional[str]]:
    """The answer and the cookie, on a connection of its own, so that any worker may take it."""
    import json

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(method, path, headers={"cookie": cookie} if cookie else {})
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    assert answer.status == 200, body
    return json.loads(body), (answer.getheader("set-cookie") or cookie or "").split(";")[0]


# A SQLite file that the master has in use is refused in the workers: `test_process.py`.
@pytest.mark.parametrize(
    ("backend", "used"), [("sqlite", False), ("redis", False), ("redis", True)]
)
def test_gunicorn_with_preload_and_two_workers(backend: str, used: bool, tmp_path: Any) -> None:
    write(tmp_path, "first", EARLY if used else "")
    command = [
        "gunicorn", "--preload", "--workers", "2", "--worker-class", "uvicorn_worker.UvicornWorker",
        "--bind", "fd://{fd}", "--timeout", "20", "--graceful-timeout", "10", "application:app",
    ]  # fmt: skip
    store = options_of(backend, tmp_path)["store"]
    with server(tmp_path, command, store) as (_process, output, port):
        output.wait_for("Application startup complete", 2)
        cookie, n = None, 0
        workers: Set[int] = set()
        while len(workers) < 2 or n < 20:
            (count, pid), cookie = ask(port, "POST", "/count", cookie)
            n += 1
            assert count == n, "both workers see one session"
            workers.add(pid)
        assert ask(port, "GET", "/cached", None)[0] == 1


def test_uvicorn_with_reload(tmp_path: Any) -> None:
    write(tmp_path, "first")
    command = ["uvicorn", "--reload", "--fd", "{fd}", "application:app"]
    store = options_of("redis", tmp_path)["store"]
    with server(tmp_path, command, store) as (_process, output, port):
        output.wait_for("Application startup complete")
        (count, before), cookie = ask(port, "POST", "/count", None)
        assert count == 1
        # A change that it makes before its first look at the file, uvicorn never sees.
        for n in itertools.count(2):
            write(tmp_path, f"version {n}")
            if output.wait_for(f"version {n} ready", within=n):
                break
        output.wait_for("Application startup complete")
        (count, after), cookie = ask(port, "POST", "/count", cookie)
        assert count == 2 and after != before, "another process, the same session"


def test_uvicorn_with_two_workers(tmp_path: Any) -> None:
    write(tmp_path, "first")
    command = ["uvicorn", "--workers", "2", "--fd", "{fd}", "application:app"]
    store = options_of("sqlite", tmp_path)["store"]
    with server(tmp_path, command, store) as (_process, output, port):
        output.wait_for("Application startup complete", 2)
        cookie, seen = None, []
        for n in range(1, 11):
            (count, pid), cookie = ask(port, "POST", "/count", cookie)
            seen.append(pid)
            assert count == n


def test_without_fastapi_it_says_what_to_install(tmp_path: Any) -> None:
    (tmp_path / "fastapi").mkdir()
    (tmp_path / "fastapi" / "__init__.py").write_text("raise ImportError('not installed')")
    code = f"""
        import sys
        import jarvis
        assert not any(name.startswith(("jarvis.fastapi", "starlette")) for name in sys.modules)
        sys.path.insert(0, {str(tmp_path)!r})
        try:
            import jarvis.fastapi
        except ImportError as error:
            assert "pip install 'jarvis-core[fastapi]'" in str(error), error
        else:
            raise AssertionError
    """
    environment: Dict[str, str] = {**os.environ}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, env=environment)
