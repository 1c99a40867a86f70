"""One visitor's request, or websocket: loads its session when it is asked for, and saves it."""

from __future__ import annotations

import asyncio
import enum
import ipaddress
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Iterator, Mapping, Optional

from jarvis._core import Session as Stored
from jarvis._types import Seconds
from jarvis.errors import ConflictError, InvalidInputError, JarvisError, NotFoundError
from jarvis.fastapi.document import Changes, Document
from jarvis.session import SessionStore

#: Longer names of browsers are cut.
_LONGEST_USER_AGENT = 512

_EMPTY = "{}"


class Told(enum.Enum):
    """What the visitor's cookie has to say."""

    NOTHING = enum.auto()
    #: The id, for as long as the session lives now.
    PROLONGED = enum.auto()
    #: An id that the visitor does not have.
    NEW_ID = enum.auto()
    #: That there is none.
    GONE = enum.auto()


class Wishes:
    """What the endpoint asked for, and was not done yet."""

    __slots__ = ("destroy", "regenerate", "ttl", "user")

    def __init__(self) -> None:
        self.destroy = False
        self.regenerate = False
        self.user: Optional[str] = None
        self.ttl: Optional[timedelta] = None


class Visit:
    """The session of one request.

    Nothing is asked of the store before :meth:`load`, and nothing is stored before :meth:`save`.
    """

    def __init__(
        self,
        scope: Mapping[str, Any],
        store: Callable[[], SessionStore],
        id: Optional[str],
        *,
        ttl: Optional[Seconds],
        rolling: bool,
    ) -> None:
        self._scope = scope
        self._find_store = store
        self._id = id
        self._ttl = ttl
        self._rolling = rolling
        self._lock = asyncio.Lock()
        self.loaded = False
        self.stored: Optional[Stored] = None
        self.document = Document(_EMPTY)
        self.wishes = Wishes()
        self.told = Told.NOTHING
        self.expires_at: Optional[datetime] = None
        #: Was it there, and is it gone without our doing?
        self.ended = False
        #: Is it too late to tell the visitor anything?
        self.answered = False
        #: What made the store refuse.
        self.failure: Optional[JarvisError] = None

    async def load(self) -> None:
        """Asks the store once, however often it is called."""
        async with self._lock:
            if not self.loaded:
                await self._load()
                self.loaded = True

    async def reload(self) -> bool:
        """Takes what is stored now, and drops what was not saved. Is there still a session?"""
        async with self._lock:
            self.wishes = Wishes()
            before = self.stored
            if before is not None:
                self._id = before.id
            await self._load()
            self.loaded = True
            if before is not None and self.stored is None:
                self._end()
            return self.stored is not None

    async def save(self) -> None:
        """Stores what was changed, and does what was asked for."""
        async with self._lock:
            if self.loaded:
                with self._noting_failure():
                    await self._save()

    async def roll(self) -> None:
        """Prolongs a session that was used, once a tenth of its time has passed."""
        async with self._lock:
            stored, before = self.stored, self.expires_at
            if not self._rolling or stored is None or before is None:
                return
            if before - datetime.now(timezone.utc) > stored.ttl * 0.9:
                return
            with self._noting_failure():
                until = await self._store.extend(stored)
            if until is None:
                self._end()
            elif until > before:
                self.expires_at = until
                self._tell_prolonged()

    @property
    def living(self) -> Optional[Stored]:
        """What is stored, unless the endpoint ended it."""
        return None if self.wishes.destroy else self.stored

    def destroy(self) -> None:
        """Ends the session with the next save; what is put in from now on begins another one."""
        self.wishes = Wishes()
        self.wishes.destroy = True
        self.document.forget(_EMPTY)

    @property
    def _store(self) -> SessionStore:
        return self._find_store()

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        try:
            yield
        except JarvisError as error:
            self.failure = error
            raise

    async def _load(self) -> None:
        self.stored = None
        if self._id is not None:
            with self._noting_failure():
                self.stored = await self._find(self._id)
        self._follow()
        self.document.forget(_EMPTY if self.stored is None else self.stored.json())

    async def _find(self, id: str) -> Optional[Stored]:
        try:
            return await self._store.load(id)
        except InvalidInputError:
            # What a visitor brings need not be an id.
            return None

    def _follow(self) -> None:
        self.expires_at = None if self.stored is None else self.stored.expires_at

    async def _save(self) -> None:
        wishes, changes = self.wishes, self.document.changes()
        if not (changes or wishes.destroy or wishes.regenerate or wishes.ttl is not None):
            return
        if wishes.destroy:
            await self._destroy()
        if self.stored is None:
            # A session that nobody put anything into is not worth a cookie, and one that a logout
            # ended is not begun again by a request that came before.
            if wishes.user is not None or (changes and not self.ended):
                await self._create(changes)
        elif wishes.regenerate:
            await self._regenerate(changes)
        elif changes or wishes.ttl is not None:
            await self._write(changes)
        self.wishes = Wishes()
        self._follow()
        self.document.stored(_EMPTY if self.stored is None else self.stored.json())

    async def _destroy(self) -> None:
        if self.stored is not None:
            await self._store.delete(self.stored)
            self.stored = None
        self._id = None
        self.ended = False
        self.told = Told.GONE
        self.wishes.destroy = False

    async def _create(self, changes: Changes) -> None:
        self._may_still_tell()
        agent = dict(self._scope["headers"]).get(b"user-agent", b"").decode("latin-1")
        self.stored = await self._store.create(
            self.wishes.user,
            dict(changes.put),
            ttl=self._ttl if self.wishes.ttl is None else self.wishes.ttl,
            ip=_address(self._scope),
            user_agent=agent[:_LONGEST_USER_AGENT] or None,
        )
        self.told = Told.NEW_ID
        self.ended = False

    async def _regenerate(self, changes: Changes) -> None:
        self._may_still_tell()
        assert self.stored is not None
        self.stored = await self._store.regenerate(self.stored, self.wishes.user)
        if self.stored is not None:
            self.told = Told.NEW_ID
            if changes or self.wishes.ttl is not None:
                await self._write(changes)
        elif self.wishes.user is not None:
            # It ended meanwhile, and a login begins another.
            await self._create(changes)
        else:
            self._end()

    async def _write(self, changes: Changes) -> None:
        """Saves on top of whatever is stored by now; a session that ended stays ended."""
        ttl = self.wishes.ttl

        def change(stored: Stored) -> None:
            changes.apply(stored.data)
            if ttl is not None:
                stored.ttl = ttl

        stored = self.stored
        assert stored is not None
        try:
            change(stored)
            self.stored = await self._store.save(stored)
        except ConflictError:
            self.stored = await self._store.update(stored, change)
        except NotFoundError:
            self.stored = None
        if self.stored is None:
            self._end()
        else:
            self._tell_prolonged()

    def _end(self) -> None:
        """It is gone without our doing."""
        self.stored = None
        self.expires_at = None
        self.ended = True
        if self.told is not Told.GONE:
            self.told = Told.NOTHING

    def _tell_prolonged(self) -> None:
        if self.told is Told.NOTHING:
            self.told = Told.PROLONGED

    def _may_still_tell(self) -> None:
        if self.answered:
            raise RuntimeError(
                "the response has begun: the visitor can't be told the id of a session any more; "
                "change it before, or call `await session.save()` before"
            )


def _address(scope: Mapping[str, Any]) -> Optional[str]:
    client = scope.get("client")
    if client is None:
        return None
    try:
        return str(ipaddress.ip_address(client[0]))
    except ValueError:
        # A Unix socket, or a test's client.
        return None
