"""The session of a request: :class:`Session`, and the dependencies that give it."""

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

#: Where the middleware leaves the visit for the dependencies.
SCOPE_KEY = "jarvis.session"

M = TypeVar("M", bound=BaseModel)
D = TypeVar("D", default=Dict[str, Any])


class Session(MutableMapping[str, Any], Generic[D]):
    """What is remembered of a visitor between requests: a dict with an id.

    Change it like a dict, nested values too. It is stored when the response begins, and only if it
    was changed; what a background task or a stream changes later is stored when that ends. A
    request that raises stores nothing.

    Two requests of one visitor at once don't lose each other's work: the top-level keys that this
    one changed are put into whatever is stored by then. For a value that depends on what was there,
    such as a counter, that is one key, and the last request wins; keep such things in a database.
    A session that a logout ended while the request ran stays ended.

    A session is made when the first key is put into it, or :meth:`regenerate` names a user; until
    then there is no cookie.
    """

    __slots__ = ("_kind", "_visit")

    def __init__(self, visit: Visit, kind: Optional[Type[Any]] = None) -> None:
        self._visit = visit
        self._kind = kind

    @property
    def id(self) -> Optional[str]:
        """The visitor's secret, or None as long as there is no session. Never log it."""
        stored = self._visit.living
        return None if stored is None else stored.id

    @property
    def user(self) -> Optional[str]:
        """Whose it is, or None as long as nobody logged in."""
        visit = self._visit
        if visit.wishes.user is not None:
            return visit.wishes.user
        return None if visit.living is None else visit.living.user

    @property
    def version(self) -> int:
        """Grows with every save; 0 for one that was never stored."""
        stored = self._visit.living
        return 0 if stored is None else stored.version

    @property
    def is_new(self) -> bool:
        """Is there no session yet? Then there is no cookie either."""
        return self._visit.living is None

    @property
    def ended(self) -> bool:
        """Did a logout or its expiry end it while this request ran? Then nothing is stored."""
        return self._visit.ended

    @property
    def expires_at(self) -> Optional[datetime]:
        """From when on it is gone, in UTC, unless it is used before."""
        return None if self._visit.living is None else self._visit.expires_at

    @property
    def ttl(self) -> Optional[timedelta]:
        """How long it lives after its last use, or None when it is new and has the usual one."""
        visit = self._visit
        if visit.wishes.ttl is not None:
            return visit.wishes.ttl
        return None if visit.living is None else visit.living.ttl

    @ttl.setter
    def ttl(self, ttl: Seconds) -> None:
        """Seconds or a timedelta: what "remember me" sets."""
        span = ttl if isinstance(ttl, timedelta) else timedelta(seconds=ttl)
        if span <= timedelta(0):
            raise ValueError(f"a session can't live for {ttl}")
        self._visit.wishes.ttl = span

    @property
    def data(self) -> D:
        """What it holds: the model of :func:`session_of`, else the dict itself."""
        document = self._visit.document
        return cast(D, document.data if self._kind is None else document.view(self._kind))

    @data.setter
    def data(self, data: D) -> None:
        if self._kind is None:
            self._visit.document.replace(cast(Mapping[str, Any], data))
        else:
            self._visit.document.put_view(self._kind, data)

    def regenerate(self, user: Optional[str] = None) -> None:
        """Gives it a fresh id with the response, as every change of rights needs it: a login.

        The old id is worth nothing then, so that nobody can plant one before the login (session
        fixation). The data moves along.

        Args:
            user: Who logged in; as before when absent.
        """
        self._visit.wishes.regenerate = True
        if user is not None:
            self._visit.wishes.user = user

    def destroy(self) -> None:
        """Ends it with the response, a logout, and takes the cookie away.

        What is put in afterwards begins another one.
        """
        self._visit.destroy()

    async def save(self) -> None:
        """Stores what was changed now, instead of when the response begins.

        For websockets, which last, and before a call to somebody who reads the session. Prolongs
        it too when that is due.

        Raises:
            UnavailableError: The store is down; the visitor gets 503 unless it is caught.
        """
        await self._visit.save()
        await self._visit.roll()

    async def reload(self) -> bool:
        """Takes what is stored now and drops what was not saved. False when it ended meanwhile."""
        return await self._visit.reload()

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
        """Without the id and the data, which are the visitor's."""
        return f"<jarvis.fastapi.Session user={self.user} version={self.version}>"


async def _loaded(connection: HTTPConnection) -> Visit:
    visit: Optional[Visit] = connection.scope.get(SCOPE_KEY)
    if visit is None:
        raise RuntimeError(
            "there is no session: add `app.add_middleware(SessionMiddleware)` of jarvis.fastapi"
        )
    await visit.load()
    return visit


async def get_session(connection: HTTPConnection) -> Session:
    """The session of this request or websocket, as a dependency.

    The store is asked at the first use in a request, with one call, and never for an endpoint that
    does not use the session.

    Raises:
        UnavailableError: The store is down. :class:`SessionMiddleware` answers 503.
    """
    return Session(await _loaded(connection))


#: What an endpoint says: ``session: SessionDep``.
SessionDep = Annotated[Session, Depends(get_session)]


def session_of(model: Type[M]) -> Callable[[HTTPConnection], Awaitable[Session[M]]]:
    """The session with its data as a Pydantic model, as a dependency::

        CartSession = Annotated[Session[Cart], Depends(session_of(Cart))]

        async def add(session: CartSession) -> None:
            session.data.songs.append("one")

    Only the fields that were changed are written back; keys that the model doesn't know stay. Give
    each field a default: a new session is the model of ``{}``.
    """

    async def get(connection: HTTPConnection) -> Session[M]:
        return Session(await _loaded(connection), model)

    return get
