"""The session of a request: :class:`Session`, and the dependencies that provide it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import (
    Any,
    Awaitable,
    Callable,
    Dict,
    Generic,
    Iterator,
    Mapping,
    MutableMapping,
    Optional,
    Type,
    cast,
)

from fastapi import Depends
from pydantic import BaseModel
from starlette.requests import HTTPConnection
from typing_extensions import Annotated, TypeVar

from jarvis._types import Seconds
from jarvis.fastapi.visit import Visit

#: Where ASGI applications expect the session: ``request.session``.
SCOPE_KEY = "session"

M = TypeVar("M", bound=BaseModel)
D = TypeVar("D", default=Dict[str, Any])


class Session(MutableMapping[str, Any], Generic[D]):
    """The data that an application keeps for a visitor between requests: a dict with an id.

    Change it like a dict, nested values too. It is stored when the response begins, and only if it
    changed. Changes by a background task or a stream are stored when that ends. A request that
    raises an exception stores nothing.

    Concurrent requests of one visitor don't overwrite each other: the top-level keys that this
    request changed are put on top of what is stored by then. Of two requests that change the same
    key, such as a counter, the last one wins; keep such data in a database. A session that a logout
    ended during the request stays ended.

    A session is created when the first key is put into it, or when :meth:`regenerate` names a user.
    Until then there is no cookie.
    """

    __slots__ = ("_kind", "_request")

    def __init__(self, visit: Visit, kind: Optional[Type[Any]] = None) -> None:
        self._request = visit
        self._kind = kind

    @property
    def _visit(self) -> Visit:
        # Dependencies have loaded it; `request.session` may be used without one.
        if not self._request.loaded:
            self._request.load_now()
        return self._request

    async def load(self) -> None:
        """Loads the session if it is not loaded yet.

        :data:`SessionDep` and ``SessionMiddleware(autoload=True)`` do this. Otherwise the first use
        of ``request.session`` loads it and blocks meanwhile; in a coroutine, await this before.

        Raises:
            UnavailableError: The store is down. The visitor gets 503 unless it is caught.
        """
        await self._request.load()

    @property
    def id(self) -> Optional[str]:
        """The visitor's secret, or None without a session. Never log it."""
        stored = self._visit.living
        return None if stored is None else stored.id

    @property
    def user(self) -> Optional[str]:
        """The user it belongs to, or None before a login."""
        visit = self._visit
        if visit.pending.user is not None:
            return visit.pending.user
        return None if visit.living is None else visit.living.user

    @property
    def version(self) -> int:
        """Grows with every save; 0 if it was never stored."""
        stored = self._visit.living
        return 0 if stored is None else stored.version

    @property
    def is_new(self) -> bool:
        """Whether there is no session yet, and so no cookie."""
        return self._visit.living is None

    @property
    def ended(self) -> bool:
        """Whether a logout or its expiry ended it during this request. Then nothing is stored."""
        return self._visit.ended

    @property
    def expires_at(self) -> Optional[datetime]:
        """When it expires, in UTC, if it is not used before."""
        visit = self._visit
        return None if visit.living is None else visit.expires_at

    @property
    def ttl(self) -> Optional[timedelta]:
        """How long it lives after its last use, or None if it is new and has the default."""
        visit = self._visit
        if visit.pending.ttl is not None:
            return visit.pending.ttl
        return None if visit.living is None else visit.living.ttl

    @ttl.setter
    def ttl(self, ttl: Seconds) -> None:
        """Seconds or a timedelta: what "remember me" sets."""
        span = ttl if isinstance(ttl, timedelta) else timedelta(seconds=ttl)
        if span <= timedelta(0):
            raise ValueError(f"the ttl of a session must be positive, not {ttl}")
        self._visit.pending.ttl = span

    @property
    def data(self) -> D:
        """The model of :func:`session_of`, or the dict itself."""
        document = self._visit.document
        return cast(D, document.data if self._kind is None else document.view(self._kind))

    @data.setter
    def data(self, data: D) -> None:
        if self._kind is None:
            self._visit.document.replace(cast(Mapping[str, Any], data))
        else:
            self._visit.document.put_view(self._kind, data)

    def regenerate(self, user: Optional[str] = None) -> None:
        """Gives it a fresh id with the response. Every change of rights needs that, such as a login.

        The old id is worthless then, so nobody can plant one before the login (session fixation).
        The data moves along.

        Args:
            user: Who logged in; unchanged by default.
        """
        pending = self._visit.pending
        pending.regenerate = True
        if user is not None:
            pending.user = user

    def destroy(self) -> None:
        """Ends it with the response, for a logout, and removes the cookie.

        What is put in afterwards begins another session.
        """
        self._visit.destroy()

    async def save(self) -> None:
        """Stores changes now instead of when the response begins.

        For websockets, which last, and before a call to a service that reads the session. It also
        extends the session if that is due.

        Raises:
            UnavailableError: The store is down. The visitor gets 503 unless it is caught.
        """
        await self._request.save()
        await self._request.roll()

    async def reload(self) -> bool:
        """Takes what is stored now and drops unsaved changes. False if it ended meanwhile."""
        return await self._request.reload()

    def __getitem__(self, key: str) -> Any:
        return self._visit.document.data[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._visit.document.data[key] = value

    def __delitem__(self, key: str) -> None:
        del self._visit.document.data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._visit.document.data)

    def __len__(self) -> int:
        return len(self._visit.document.data)

    def __repr__(self) -> str:
        """Leaves out the id and the data, which are private to the visitor. Loads nothing."""
        if not self._request.loaded:
            return "<jarvis.fastapi.Session not loaded>"
        return f"<jarvis.fastapi.Session user={self.user} version={self.version}>"


async def _loaded(connection: HTTPConnection) -> Visit:
    session = connection.scope.get(SCOPE_KEY)
    if not isinstance(session, Session):
        found = "there is no session" if session is None else "another middleware provides the session"
        raise RuntimeError(
            f"{found}: add `app.add_middleware(SessionMiddleware)` of jarvis.fastapi, and no other "
            "session middleware"
        )
    await session.load()
    return session._request


async def get_session(connection: HTTPConnection) -> Session:
    """The session of this request or websocket, as a dependency.

    The store is asked once in a request, and never for an endpoint that does not use the session.

    Raises:
        UnavailableError: The store is down. :class:`SessionMiddleware` answers 503.
    """
    return Session(await _loaded(connection))


#: The annotation of an endpoint's parameter: ``session: SessionDep``.
SessionDep = Annotated[Session, Depends(get_session)]


def session_of(model: Type[M]) -> Callable[[HTTPConnection], Awaitable[Session[M]]]:
    """The session with its data as a Pydantic model, as a dependency::

        CartSession = Annotated[Session[Cart], Depends(session_of(Cart))]

        async def add(session: CartSession) -> None:
            session.data.songs.append("one")

    Only changed fields are written back; keys that the model doesn't know are kept. Give each field a
    default: a new session is the model of ``{}``.
    """

    async def get(connection: HTTPConnection) -> Session[M]:
        return Session(await _loaded(connection), model)

    return get
