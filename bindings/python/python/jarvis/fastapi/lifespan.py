"""Opening and closing the handle with the application: :func:`lifespan`."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, AsyncContextManager, AsyncIterator, Callable, Dict, List, Mapping, Optional

from fastapi import Depends, FastAPI
from starlette.requests import HTTPConnection
from typing_extensions import Annotated

from jarvis.jarvis import Jarvis

#: Under which name the handle is in the state of the application and of its requests.
STATE_KEY = "jarvis"

Lifespan = Callable[[FastAPI], AsyncContextManager[Mapping[str, Any]]]

log = logging.getLogger("jarvis.fastapi")

#: The handles that are open in this process.
_open: List[Jarvis] = []

#: Those of them that are to supervise.
_supervising: List[Jarvis] = []


def lifespan(
    open: Callable[[], Jarvis] = Jarvis.open,
    *,
    run: bool = False,
    then: Optional[Callable[[FastAPI], AsyncContextManager[Optional[Mapping[str, Any]]]]] = None,
) -> Lifespan:
    """Opens a :class:`jarvis.Jarvis` when the application starts, and closes it when it ends::

        app = FastAPI(lifespan=lifespan(lambda: Jarvis.open(store="redis://127.0.0.1:6379")))

    Each worker has its own. Endpoints get it by :data:`JarvisDep`.

    Args:
        open: Makes the handle; when absent, from the configuration that ``jarvis`` itself would
            read.
        run: Supervise, as ``jarvis up`` does. Of several workers and processes with one state
            directory one acts, and the others watch.
        then: The application's own lifespan, which begins when the handle is open and ends before
            it is closed. What it yields is added to the state of the requests.
    """

    @asynccontextmanager
    async def around(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            jarvis = await stack.enter_async_context(open())
            _open.append(jarvis)
            stack.callback(_open.remove, jarvis)
            app.state.jarvis = jarvis
            if run:
                await stack.enter_async_context(_supervision(jarvis))
            state: Dict[str, Any] = {STATE_KEY: jarvis}
            if then is not None:
                more = await stack.enter_async_context(then(app))
                state.update(more or {})
            yield state

    return around


@asynccontextmanager
async def _supervision(jarvis: Jarvis) -> AsyncIterator[None]:
    running = asyncio.get_running_loop().create_task(_run(jarvis))
    _supervising.append(jarvis)
    try:
        yield
    finally:
        _supervising.remove(jarvis)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _run(jarvis: Jarvis) -> None:
    """The application goes on without it: ``/healthz`` says that it ended, and the log why."""
    try:
        await jarvis.run()
    except Exception as error:
        log.error("the supervision ended: %s", error, exc_info=error)


def supervises(jarvis: Jarvis) -> bool:
    """Is this handle to supervise?"""
    return any(one is jarvis for one in _supervising)


def jarvis_of(scope: Mapping[str, Any]) -> Jarvis:
    """The handle of the application that answers this request.

    Raises:
        RuntimeError: It was not started with :func:`lifespan`.
    """
    jarvis: Optional[Jarvis] = (scope.get("state") or {}).get(STATE_KEY)
    if jarvis is None:
        raise RuntimeError(
            "no Jarvis is open: make the application with `FastAPI(lifespan=lifespan())` of "
            "jarvis.fastapi; a test client runs it as a context manager"
        )
    return jarvis


def only_jarvis() -> Jarvis:
    """The one handle that :func:`lifespan` opened in this process.

    Raises:
        RuntimeError: There is none, or there are several.
    """
    if len(_open) != 1:
        raise RuntimeError(
            f"{len(_open)} applications of this process have a Jarvis open, and it takes one to "
            "know which is meant"
        )
    return _open[0]


async def get_jarvis(connection: HTTPConnection) -> Jarvis:
    """The handle, as a dependency."""
    return jarvis_of(connection.scope)


#: What an endpoint says: ``jarvis: JarvisDep``.
JarvisDep = Annotated[Jarvis, Depends(get_jarvis)]
