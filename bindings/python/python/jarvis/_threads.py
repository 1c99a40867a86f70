"""The threads on which the core calls functions of the blocking face in the background.

They are daemons, and while a function runs their frames are all Python's: the interpreter may end
them wherever they are.
"""

from __future__ import annotations

import asyncio
import threading
from inspect import isawaitable
from typing import Any, Awaitable, Callable


def start(take: Callable[[], tuple[Callable[..., Any], tuple[Any, ...], Any]]) -> None:
    """Starts a thread that calls what it takes, one after the other."""
    threading.Thread(target=_work, args=(take,), name="jarvis-callback", daemon=True).start()


def run(awaitable: Awaitable[Any]) -> Any:
    """Awaits in a loop of its own."""

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


def _work(take: Callable[[], tuple[Callable[..., Any], tuple[Any, ...], Any]]) -> None:
    while True:
        function, arguments, told = take()
        try:
            value = function(*arguments)
            if isawaitable(value):
                value = run(value)
        except BaseException as error:  # noqa: BLE001, it is told to whoever asked
            told.answer(None, error)
        else:
            told.answer(value)
        del function, arguments, told
        value = None
