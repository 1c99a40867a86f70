"""The process around it: import, threads, forks, signals, the interpreter's lock and its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest
from conftest import redis_url


def python(code: str, *, timeout: float = 30, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Runs a program of its own, which Ctrl-C reaches also where the tests run in the background."""
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, "REDIS": redis_url()},
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    if check:
        assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done


def test_import_is_quick_and_starts_nothing() -> None:
    done = python(
        """
        import os, sys, time, threading, asyncio, json, inspect, weakref, datetime, ipaddress
        threads = lambda: len(os.listdir("/proc/self/task"))
        # Of the processor's time: others on the machine don't count.
        before, began = threads(), time.process_time()
        import jarvis, jarvis.sync
        took = time.process_time() - began
        j = jarvis.sync.Jarvis.open({}, store="memory:")
        s = j.sessions.create(user="ada")
        assert j.sessions.load(s.id).user == "ada"
        j.cache.set("k", 1)
        assert threads() == before == 1, "memory needs no thread"
        print(took)
        """
    )
    assert float(done.stdout) < 0.05


FORK = """
    import os, signal, sys, jarvis
    store = sys.argv[1] if len(sys.argv) > 1 else {store!r}
    j = jarvis.sync.Jarvis.open({{"cache": {{"namespace": "fork"}}}}, store=store, state_dir={state!r})
    if {before}:
        s = j.sessions.create(user="parent")
        j.cache.set("k", 1)
    children = []
    for n in range(3):
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            s = j.sessions.create(user=f"child-{{n}}", data={{"n": n}})
            assert j.sessions.load(s.id).data == {{"n": n}}
            j.cache.set(f"k{{n}}", n)
            assert j.cache.get(f"k{{n}}") == n
            j.close()
            os._exit(0)
        children.append(child)
    for child in children:
        assert os.waitpid(child, 0)[1] == 0, child
    s = j.sessions.create(user="parent")
    assert j.sessions.load(s.id).user == "parent"
    if store != "memory:":
        assert j.sessions.count("child-0") >= 1
    j.close()
    print("done")
"""


@pytest.mark.parametrize(
    ("backend", "before"),
    [("memory", False), ("memory", True), ("sqlite", False), ("redis", False), ("redis", True)],
)
def test_a_fork_connects_anew(backend: str, before: bool, tmp_path: Any) -> None:
    stores = {"memory": "memory:", "sqlite": f"sqlite:{tmp_path}/j.db", "redis": redis_url()}
    code = FORK.format(store=stores[backend], state=str(tmp_path / "state"), before=before)
    assert python(code).stdout == "done\n"


def test_a_sqlite_file_in_use_at_a_fork_is_refused_in_the_child(tmp_path: Any) -> None:
    done = python(
        f"""
        import os, signal, jarvis
        folder = {str(tmp_path)!r}
        j = jarvis.sync.Jarvis.open({{}}, store=f"sqlite:{{folder}}/j.db", state_dir=folder)
        s = j.sessions.create(user="parent")
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            try:
                j.sessions.load(s.id)
            except jarvis.UnsupportedError as error:
                assert "open it after the fork" in str(error), error
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert j.sessions.load(s.id).user == "parent"
        j.close()
        print("done")
        """
    )
    assert done.stdout == "done\n"


def test_a_child_may_close_the_event_loop_of_its_parent() -> None:
    done = python(
        """
        import asyncio, gc, os, signal, uuid, jarvis
        config = {"cache": {"namespace": uuid.uuid4().hex}}
        j = jarvis.Jarvis.open(config, store=os.environ["REDIS"])
        began = asyncio.Event()
        async def forever():
            began.set()
            await asyncio.Event().wait()
        async def begin():
            tasks = [asyncio.ensure_future(j.cache.get_or_load(f"k{n}", forever)) for n in range(9)]
            await began.wait()
            return tasks
        loop = asyncio.new_event_loop()
        tasks = loop.run_until_complete(begin())
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            loop.close()
            del loop, tasks
            gc.collect()
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks))
        loop.run_until_complete(j.close())
        loop.close()
        print("closed", flush=True)
        """
    )
    assert done.stdout == "closed\n", done


def test_a_child_does_not_wait_for_the_loop_of_its_parent(tmp_path: Any) -> None:
    done = python(
        f"""
        import os, threading, time, jarvis
        j = jarvis.sync.Jarvis.open({{}}, state_dir={str(tmp_path)!r})
        running = threading.Thread(target=j.run)
        running.start()
        while not j.health.healthz()["alive"]:
            time.sleep(0.005)
        child = os.fork()
        if child == 0:
            began = time.monotonic()
            j.close()
            # Nor for its threads, at the end.
            print("closed" if time.monotonic() - began < 1 else "late", flush=True)
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        j.close()
        running.join(20)
        print("ended" if not running.is_alive() else "runs", flush=True)
        """
    )
    assert done.stdout == "closed\nended\n", done


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(method: str, tmp_path: Any) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import asyncio, multiprocessing, os, sys
            import jarvis

            j = jarvis.Jarvis.open({}, store=os.environ["REDIS"])

            async def work(n):
                s = await j.sessions.create(data={"n": n})
                return (await j.sessions.load(s.id)).data["n"]

            def main(n):
                return asyncio.run(work(n))

            if __name__ == "__main__":
                assert main(7) == 7
                with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
                    print(pool.map(main, range(4)))
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(program), method],
        capture_output=True,
        text=True,
        timeout=40,
        env={**os.environ, "REDIS": redis_url()},
        check=False,
    )
    assert done.stdout == "[0, 1, 2, 3]\n", done.stderr


def test_ctrl_c_ends_a_blocking_call_at_once() -> None:
    done = python(
        """
        import signal, time, jarvis, os, threading
        j = jarvis.sync.Jarvis.open({})
        events = j.events.subscribe(["app.never"])
        def press():
            time.sleep(0.3)
            os.kill(os.getpid(), signal.SIGINT)
            press.at = time.perf_counter()
        threading.Thread(target=press).start()
        try:
            next(events)
        except KeyboardInterrupt:
            print(time.perf_counter() - press.at)
        """
    )
    assert float(done.stdout) < 0.1


def test_other_threads_go_on_during_a_blocking_call() -> None:
    done = python(
        """
        import threading, time, jarvis
        j = jarvis.sync.Jarvis.open({})
        events = j.events.subscribe(["app.never"])
        done = threading.Event()
        def wait():
            next(events, None)
            done.set()
        threading.Thread(target=wait).start()
        until, turns = time.perf_counter() + 0.3, 0
        while time.perf_counter() < until:
            turns += 1
        assert not done.is_set()
        events.close()
        assert done.wait(5)
        print(turns)
        """
    )
    assert int(done.stdout) > 10_000


def test_no_blocking_call_holds_the_interpreter() -> None:
    """Every method waits for a server that never answers, all at once; the main thread goes on."""
    done = python(
        """
        import inspect, socket, threading, time, jarvis
        silent = socket.create_server(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        session = jarvis.sync.Jarvis.open({}, store="memory:").sessions.create()
        arguments = {
            "sessions": {
                "create": (), "load": ("x",), "load_and_extend": ("x",), "save": (session,),
                "update": ("x", print), "save_merged": (session, session), "delete": ("x",), "extend": ("x",), "regenerate": ("x",),
                "list": ("u",), "clear": ("u",), "count": ("u",), "load_many": (["x"],),
                "save_many": ([session],), "delete_many": (["x"],), "scan_page": (),
            },
            "cache": {
                "get": ("k",), "set": ("k", 1), "delete": ("k",), "exists": ("k",),
                "get_many": (["k"],), "set_many": ({"k": 1},), "increment": ("k",),
                "expire": ("k", 1), "lifetime": ("k",), "invalidate_tag": ("t",),
                "invalidate_pattern": ("k",), "flush": (), "get_or_load": ("k", int), "stats": (),
            },
            "events": {"publish": ("app",), "subscribe": (["app"],), "flush": ()},
        }
        config = {"cache": {"strict": True, "deadline": "1s"}}
        handles, took = [], {}
        def call(method, name, given):
            began = time.perf_counter()
            try:
                method(*given)
            except (jarvis.UnavailableError, jarvis.OperationTimeoutError):
                pass
            took[name] = time.perf_counter() - began
        threads = []
        for part, methods in arguments.items():
            for name, given in methods.items():
                j = jarvis.sync.Jarvis.open(config, store=url)
                handles.append(j)
                target = getattr(j, part)
                public = {n for n in dir(target) if n[0] != "_" and callable(getattr(target, n))}
                assert public == set(methods), (part, public ^ set(methods))
                work = (getattr(target, name), f"{part}.{name}", given)
                threads.append(threading.Thread(target=call, args=work))
        longest, last = 0, time.perf_counter()
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
        waited = [name for name, seconds in took.items() if seconds > 0.1]
        assert len(took) == 33 and len(waited) > 20, took
        print(longest)
        """,
        timeout=60,
    )
    assert float(done.stdout) < 0.5


@pytest.mark.parametrize("after", [0.0, 0.05])
@pytest.mark.parametrize(
    "leave", ["", "sys.exit(0)", "raise SystemExit(0)", "signal.raise_signal(signal.SIGINT)"]
)
def test_the_interpreter_ends_with_calls_in_flight(leave: str, after: float) -> None:
    done = python(
        f"""
        import asyncio, os, signal, sys, threading, time, jarvis
        blocking = jarvis.sync.Jarvis.open({{}}, store=os.environ["REDIS"])
        events = blocking.events.subscribe(["app.never"])
        threading.Thread(target=lambda: next(events, None), daemon=True).start()
        def busy():
            while True:
                blocking.sessions.load("nobody")
        for _ in range(3):
            threading.Thread(target=busy, daemon=True).start()
        def load():
            time.sleep(60)
        threading.Thread(
            target=lambda: blocking.cache.get_or_load("never", load), daemon=True
        ).start()
        j = jarvis.Jarvis.open({{}}, store=os.environ["REDIS"])
        async def main():
            tasks = [asyncio.ensure_future(j.sessions.load("x")) for _ in range(100)]
            await asyncio.sleep({after})
            return tasks
        loop = asyncio.new_event_loop()
        tasks = loop.run_until_complete(main())
        kept = (loop, tasks)
        print("leaving", flush=True)
        {leave or "pass"}
        """,
        check=False,
    )
    assert done.stdout == "leaving\n", done.stderr
    expected = -2 if "SIGINT" in leave else 0
    if "SIGINT" in leave:
        assert done.returncode in (-2, 130, 1), (done.returncode, done.stderr)
    else:
        assert done.returncode == expected, (done.returncode, done.stderr)


def test_memory_does_not_grow() -> None:
    calls = int(os.environ.get("JARVIS_TEST_CALLS", "100000"))
    done = python(
        f"""
        import asyncio, os, jarvis
        def rss():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * 4096
        async def main():
            async with jarvis.Jarvis.open({{}}, store="memory:") as m, jarvis.Jarvis.open(
                {{}}, store=os.environ["REDIS"]
            ) as r:
                made = await m.sessions.create(data={{"x": "y" * 400}})
                far = await r.sessions.create(data={{"x": "y" * 400}})
                async def near(n):
                    for _ in range(n):
                        (await m.sessions.load(made.id)).data
                        await m.cache.set("k", [1, 2, 3])
                        await m.cache.get("k")
                        try:
                            await m.sessions.load("")
                        except jarvis.InvalidInputError:
                            pass
                async def away(n):
                    for _ in range(n // 50):
                        await asyncio.gather(*(r.sessions.load(far.id) for _ in range(50)))
                async def some(n):
                    await near(n // 8)
                    await away(n // 2)
                await some({calls} // 5)
                before = rss()
                await some({calls})
                print(rss() - before)
        asyncio.run(main())
        """,
        timeout=600,
    )
    assert int(done.stdout) < 4 << 20
