"""Sessions, cached answers, tracking and health for FastAPI: ``pip install jarvis-core[fastapi]``.

::

    from fastapi import FastAPI
    from jarvis.fastapi import SessionDep, SessionMiddleware, add_error_handlers, lifespan

    app = FastAPI(lifespan=lifespan())
    app.add_middleware(SessionMiddleware)
    add_error_handlers(app)


    @app.post("/login")
    async def login(name: str, session: SessionDep) -> None:
        session.regenerate(user=name)


    @app.get("/takes")
    def takes(session: SessionDep) -> int:
        session["takes"] = session.get("takes", 0) + 1
        return session["takes"]
"""

from __future__ import annotations

try:
    import fastapi as _fastapi  # noqa: F401
except ImportError as error:
    raise ImportError(
        "jarvis.fastapi needs FastAPI: pip install 'jarvis-core[fastapi]'", name="fastapi"
    ) from error

from jarvis.fastapi.caching import cached
from jarvis.fastapi.errors import add_error_handlers
from jarvis.fastapi.health import health_router
from jarvis.fastapi.lifespan import JarvisDep, get_jarvis, lifespan
from jarvis.fastapi.middleware import SessionMiddleware
from jarvis.fastapi.session import Session, SessionDep, get_session, session_of
from jarvis.fastapi.tracking import TrackingMiddleware

__all__ = [
    "JarvisDep",
    "Session",
    "SessionDep",
    "SessionMiddleware",
    "TrackingMiddleware",
    "add_error_handlers",
    "cached",
    "get_jarvis",
    "get_session",
    "health_router",
    "lifespan",
    "session_of",
]
