"""The threads on which the core calls functions of the blocking face in the background.

They are daemons, and while a function runs their frames are all Python's: the interpreter may end
them wherever they are.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import Context
from inspect import isawaitable
from typing import Any, Awaitable, Callable, Optional


#: Gives a function, its arguments, the context to call it in if there is one, and whom to tell.
Take = Callable[[], "tuple[Callable[..., Any], tuple[Any, ...], Optional[Context], Any]"]


def start(take: Take) -> None:
    """Starts a thread that calls what it takes, one after the other."""
    threading.Thread(target=_work, args=(take,), name="jarvis-callback", daemon=True).start()


def run(awaitable: Awaitable[Any]) -> Any:
    """Awaits in a loop of its own."""

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    value = function(*arguments)
    return run(value) if isawaitable(value) else value


def _work(take: Take) -> None:
    while True:
        function, arguments, context, told = take()
        try:
            if context is None:
                value = _call(function, arguments)
            else:
                value = context.run(_call, function, arguments)
        except BaseException as error:  # noqa: BLE001, it is told to whoever asked
            told.answer(None, error)
        else:
            told.answer(value)
        del function, arguments, context, told
        value = None
