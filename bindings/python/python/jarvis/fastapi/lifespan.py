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

#: The name of the handle in the state of the application and of its requests.
STATE_KEY = "jarvis"

Lifespan = Callable[[FastAPI], AsyncContextManager[Mapping[str, Any]]]

log = logging.getLogger("jarvis.fastapi")

#: The handles that are open in this process.
_open: List[Jarvis] = []

#: Those of them that were to supervise, and failed.
_failed: List[Jarvis] = []


def lifespan(
    open: Callable[[], Jarvis] = Jarvis.open,
    *,
    run: bool = False,
    then: Optional[Callable[[FastAPI], AsyncContextManager[Optional[Mapping[str, Any]]]]] = None,
) -> Lifespan:
    """Opens a :class:`jarvis.Jarvis` when the application starts, and closes it when it stops::

        app = FastAPI(lifespan=lifespan(lambda: Jarvis.open(store="redis://127.0.0.1:6379")))

    Each worker has its own handle. Endpoints get it through :data:`JarvisDep`.

    Args:
        open: Opens the handle; by default with the configuration that the command ``jarvis`` reads.
        run: Supervise, as ``jarvis up`` does. Of several workers and processes with the same state
            directory one acts, and the others watch.
        then: The application's own lifespan. It starts when the handle is open and ends before it is
            closed. The mapping that it yields is added to the state of the requests.
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
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        if supervision_failed(jarvis):
            _failed.remove(jarvis)


async def _run(jarvis: Jarvis) -> None:
    """If it fails, the application goes on; ``/healthz`` and the log tell why it ended."""
    try:
        await jarvis.run()
    except Exception as error:
        log.error("the supervision ended: %s", error, exc_info=error)
        _failed.append(jarvis)


def supervision_failed(jarvis: Jarvis) -> bool:
    """Whether ``lifespan(run=True)`` could not supervise with this handle."""
    return any(one is jarvis for one in _failed)


def jarvis_of(scope: Mapping[str, Any]) -> Jarvis:
    """The handle of the application that answers this request.

    Raises:
        RuntimeError: The application was not started with :func:`lifespan`.
    """
    jarvis: Optional[Jarvis] = (scope.get("state") or {}).get(STATE_KEY)
    if jarvis is None:
        raise RuntimeError(
            "no Jarvis is open: create the application with `FastAPI(lifespan=lifespan())` of "
            "jarvis.fastapi, and use a test client as a context manager"
        )
    return jarvis


def only_jarvis() -> Jarvis:
    """The one handle that :func:`lifespan` opened in this process.

    Raises:
        RuntimeError: There is none, or there are several.
    """
    if len(_open) != 1:
        raise RuntimeError(
            f"{len(_open)} applications of this process have a Jarvis open, not one: pass the "
            "handle as jarvis="
        )
    return _open[0]


async def get_jarvis(connection: HTTPConnection) -> Jarvis:
    """The handle, as a dependency."""
    return jarvis_of(connection.scope)


#: The annotation of an endpoint's parameter: ``jarvis: JarvisDep``.
JarvisDep = Annotated[Jarvis, Depends(get_jarvis)]
