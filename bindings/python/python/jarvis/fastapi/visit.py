"""The session of one request or websocket: loaded when it is used, saved if it changed."""

from __future__ import annotations

import asyncio
import enum
import ipaddress
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, Iterator, Mapping, Optional

from jarvis._core import Session as Stored
from jarvis._types import Seconds
from jarvis.errors import InvalidInputError, JarvisError
from jarvis.fastapi.document import Document
from jarvis.session import SessionStore

#: Longer ``User-Agent`` headers are cut.
_MAX_USER_AGENT = 512

_EMPTY = "{}"


class CookieChange(enum.Enum):
    """What the response does to the visitor's cookie."""

    NONE = enum.auto()
    #: It is sent again, since the session was extended.
    EXTENDED = enum.auto()
    #: It is sent with an id that the visitor does not have.
    NEW_ID = enum.auto()
    #: It is removed.
    REMOVED = enum.auto()


class Pending:
    """What the endpoint asked for and has not been done."""

    __slots__ = ("destroy", "regenerate", "ttl", "user")

    def __init__(self) -> None:
        self.destroy = False
        self.regenerate = False
        self.user: Optional[str] = None
        self.ttl: Optional[timedelta] = None

    def __bool__(self) -> bool:
        return self.destroy or self.regenerate or self.ttl is not None


class Visit:
    """The session of one request.

    The store is not asked before :meth:`load`, and nothing is stored before :meth:`save`.
    """

    def __init__(
        self,
        scope: Mapping[str, Any],
        store: Callable[[], SessionStore],
        id: Optional[str],
        *,
        ttl: Optional[Seconds],
        rolling: bool,
        on_blocked: Callable[[], None],
    ) -> None:
        self._scope = scope
        self._find_store = store
        self._id = id
        self._ttl = ttl
        self._rolling = rolling
        self._on_blocked = on_blocked
        self._lock = asyncio.Lock()
        self.loaded = False
        self.stored: Optional[Stored] = None
        self.document = Document(_EMPTY)
        self.pending = Pending()
        self.cookie = CookieChange.NONE
        self.expires_at: Optional[datetime] = None
        #: Whether a logout or its expiry ended it during this request.
        self.ended = False
        #: Whether the response has begun, so that the cookie can't change any more.
        self.answered = False
        #: The error with which the store refused.
        self.failure: Optional[JarvisError] = None

    async def load(self) -> None:
        """Asks the store once, however often it is called."""
        async with self._lock:
            if not self.loaded:
                self._take(await self._find())
                self.loaded = True

    def load_now(self) -> None:
        """As :meth:`load`, for code that can't await: it blocks.

        On the event loop's thread, every other request waits meanwhile. Memory never blocks.
        """
        if not self.loaded:
            self._take(self._find_now())
            self.loaded = True

    async def reload(self) -> bool:
        """Takes what is stored now, and drops unsaved changes. Whether there still is a session."""
        async with self._lock:
            self.pending = Pending()
            before = self.stored
            if before is not None:
                self._id = before.id
            self._take(await self._find())
            self.loaded = True
            if before is not None and self.stored is None:
                self._end()
            return self.stored is not None

    async def save(self) -> None:
        """Stores changes, and does what the endpoint asked for."""
        async with self._lock:
            if self.loaded:
                with self._noting_failure():
                    await self._save()

    async def roll(self) -> None:
        """Extends a session that was used, once a tenth of its time has passed."""
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
                self._extended()

    @property
    def has_id(self) -> bool:
        """Whether the visitor sent an id."""
        return self._id is not None

    @property
    def living(self) -> Optional[Stored]:
        """What is stored, unless the endpoint ended it."""
        return None if self.pending.destroy else self.stored

    def destroy(self) -> None:
        """Ends the session with the next save. What is put in from now on begins another one."""
        self.pending = Pending()
        self.pending.destroy = True
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

    async def _find(self) -> Optional[Stored]:
        if self._id is None:
            return None
        with self._noting_failure():
            try:
                return await self._store.load(self._id)
            except InvalidInputError:
                # A visitor can send anything as an id.
                return None

    def _find_now(self) -> Optional[Stored]:
        if self._id is None:
            return None
        store = self._store._core
        if not store._in_memory and _is_on_a_loop():
            self._on_blocked()
        with self._noting_failure():
            try:
                return store._blocking.load(self._id)
            except InvalidInputError:
                return None

    def _take(self, found: Optional[Stored]) -> None:
        self.stored = found
        self._follow()
        self.document.forget(_EMPTY if found is None else found.json())

    def _follow(self) -> None:
        self.expires_at = None if self.stored is None else self.stored.expires_at

    async def _save(self) -> None:
        pending, changed = self.pending, self.document.is_changed()
        if not (changed or pending):
            return
        if pending.destroy:
            await self._destroy()
        if self.stored is None:
            # An empty session is not worth a cookie. One that a logout ended is not begun again by a
            # request that came before the logout.
            if pending.user is not None or (changed and not self.ended):
                await self._create()
        elif pending.regenerate:
            await self._regenerate(changed)
        elif changed or pending.ttl is not None:
            await self._write()
        self.pending = Pending()
        self._follow()
        self.document.stored(_EMPTY if self.stored is None else self.stored.json())

    async def _destroy(self) -> None:
        if self.stored is not None:
            await self._store.delete(self.stored)
            self.stored = None
        self._id = None
        self.ended = False
        self.cookie = CookieChange.REMOVED
        self.pending.destroy = False

    async def _create(self) -> None:
        self._check_cookie_can_change()
        agent = dict(self._scope["headers"]).get(b"user-agent", b"").decode("latin-1")
        self.stored = await self._store.create(
            self.pending.user,
            self.document.on(_EMPTY),
            ttl=self._ttl if self.pending.ttl is None else self.pending.ttl,
            ip=_address(self._scope),
            user_agent=agent[:_MAX_USER_AGENT] or None,
        )
        self.cookie = CookieChange.NEW_ID
        self.ended = False

    async def _regenerate(self, changed: bool) -> None:
        self._check_cookie_can_change()
        assert self.stored is not None
        self.stored = await self._store.regenerate(self.stored, self.pending.user)
        if self.stored is not None:
            self.cookie = CookieChange.NEW_ID
            if changed or self.pending.ttl is not None:
                await self._write()
        elif self.pending.user is not None:
            # It ended meanwhile, and a login begins another one.
            await self._create()
        else:
            self._end()

    async def _write(self) -> None:
        """Saves on top of what is stored by now. A session that ended stays ended."""
        assert self.stored is not None
        mine = self.stored.copy()
        mine.data = self.document.on(self.stored.json())
        if self.pending.ttl is not None:
            mine.ttl = self.pending.ttl
        self.stored = await self._store.save_merged(self.stored, mine)
        if self.stored is None:
            self._end()
        else:
            self._extended()

    def _end(self) -> None:
        """Another request ended it, or it expired."""
        self.stored = None
        self.expires_at = None
        self.ended = True
        if self.cookie is not CookieChange.REMOVED:
            self.cookie = CookieChange.NONE

    def _extended(self) -> None:
        if self.cookie is CookieChange.NONE:
            self.cookie = CookieChange.EXTENDED

    def _check_cookie_can_change(self) -> None:
        if self.answered:
            raise RuntimeError(
                "the response has begun, so the visitor can't get a new session id any more; change "
                "the session before, or call `await session.save()` before"
            )


def _is_on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # A worker thread, which may block.
        return False
    return True


def _address(scope: Mapping[str, Any]) -> Optional[str]:
    client = scope.get("client")
    if client is None:
        return None
    try:
        return str(ipaddress.ip_address(client[0]))
    except ValueError:
        # A Unix socket, or a test client.
        return None
