"""The threads on which the core calls functions that no waiting Python thread can call.

They are daemons, and while a function runs all their frames are Python's, so that the interpreter
may end at any time.
"""

from __future__ import annotations

import asyncio
import threading
from contextvars import Context
from inspect import isawaitable
from typing import Any, Awaitable, Callable, Optional


#: Returns a function, its arguments, the context to call it in (or None), and the reply.
Take = Callable[[], "tuple[Callable[..., Any], tuple[Any, ...], Optional[Context], Any]"]


def start(take: Take) -> None:
    """Starts a thread that calls one function after the other."""
    threading.Thread(target=_work, args=(take,), name="jarvis-callback", daemon=True).start()


def run(awaitable: Awaitable[Any]) -> Any:
    """Awaits in a new event loop."""

    async def wait() -> Any:
        return await awaitable

    return asyncio.run(wait())


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    value = function(*arguments)
    return run(value) if isawaitable(value) else value


def _work(take: Take) -> None:
    while True:
        function, arguments, context, reply = take()
        try:
            if context is None:
                value = _call(function, arguments)
            else:
                value = context.run(_call, function, arguments)
        except BaseException as error:  # noqa: BLE001, the caller gets it
            reply.answer(None, error)
        else:
            reply.answer(value)
        del function, arguments, context, reply
        value = None
