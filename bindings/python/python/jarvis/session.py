"""Sessions of visitors: :class:`SessionStore`."""

from __future__ import annotations

from datetime import datetime
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    List,
    Optional,
    Union,
)

from jarvis._core import Session, SessionSummary
from jarvis._call import Future
from jarvis._types import Data, IPAddress, Seconds, SessionHandle, SessionMeta

if TYPE_CHECKING:
    from jarvis.errors import JarvisError

__all__ = ["Session", "SessionHandle", "SessionMeta", "SessionStore", "SessionSummary"]


class SessionStore:
    """Stores sessions: ``jarvis.sessions``.

    Each save is a compare-and-swap on the version: concurrent requests can't overwrite each other,
    and a request that outlives a logout can't bring the session back. A session is given by its id
    or as a :class:`Session`; :meth:`delete`, :meth:`extend` and :meth:`clear` also accept the handle
    or the summary of a listing.

    It fails closed: when the storage can't be reached, every method raises
    :class:`~jarvis.UnavailableError` or :class:`~jarvis.OperationTimeoutError`.
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any) -> None:
        self._core = core

    async def create(
        self,
        user: Optional[str] = None,
        data: Optional[Data] = None,
        *,
        id: Optional[str] = None,
        ttl: Optional[Seconds] = None,
        ip: Optional[IPAddress] = None,
        user_agent: Optional[str] = None,
    ) -> Session:
        """Creates a session, with version 1.

        Args:
            user: The user it belongs to.
            data: A dict or a Pydantic model; ``{}`` by default.
            id: An id that a framework generated, 1 to 128 bytes. By default a fresh id that can't
                be guessed.
            ttl: How long it lives, in seconds or as a timedelta; the policy's by default.
            ip: The visitor's address.
            user_agent: The ``User-Agent`` of the browser.

        Raises:
            ConflictError: The id is taken. The existing session stays unchanged.
            TooLargeError: The data is over the policy's size.
            InvalidInputError: The data is not a JSON object, or the ttl is not valid.
        """
        answer = self._core.create(user, data, id=id, ttl=ttl, ip=ip, user_agent=user_agent)
        return await answer if type(answer) is Future else answer

    async def load(self, id: Union[str, Session]) -> Optional[Session]:
        """The session of this id, or None when there is none or it expired.

        Does not extend its life, unless the policy is ``rolling``.
        """
        answer = self._core.load(id)
        return await answer if type(answer) is Future else answer

    async def load_and_extend(
        self, id: Union[str, Session], ttl: Optional[Seconds] = None
    ) -> Optional[Session]:
        """:meth:`load` and :meth:`extend` in one round trip, for the start of a request.

        The session's ``expires_at`` is the one after the extension.
        """
        answer = self._core.load_and_extend(id, ttl)
        return await answer if type(answer) is Future else answer

    async def save(self, session: Session, *, force: bool = False) -> Session:
        """Stores a session if it has not changed since it was loaded, and extends it by its ttl.

        Returns the same object, with its new version and times.

        Args:
            session: The changed session.
            force: Ignore the version: the last writer wins. The session must still exist.

        Raises:
            ConflictError: Another request saved first; ``current`` is the stored session.
            NotFoundError: It expired or was deleted. A late save never brings it back.
            TooLargeError: The data is over the policy's size.
        """
        answer = self._core.save(session, force=force)
        return await answer if type(answer) is Future else answer

    async def save_merged(self, base: Session, session: Session) -> Optional[Session]:
        """Stores a session, and merges it if another request saved first.

        On a conflict, every top-level key of the data that differs between ``base`` and ``session``
        is put on top of the stored session; so are user, ttl and meta, where they differ. That is
        repeated until no other request interferes::

            base = session.copy()
            session.data["tempo"] = 92
            await sessions.save_merged(base, session)

        Returns the same object as it is stored now, with the keys of other requests; None when the
        session expired or was deleted.

        Args:
            base: The session as it was loaded or last saved.
            session: The changed session.

        Raises:
            OperationTimeoutError: Other requests kept changing the session for 5 s.
            TooLargeError: The data is over the policy's size.
        """
        answer = self._core.save_merged(base, session)
        return await answer if type(answer) is Future else answer

    async def update(
        self,
        id: Union[str, Session],
        change: Callable[[Session], Union[object, Awaitable[object]]],
        *,
        deadline: Optional[Seconds] = None,
    ) -> Optional[Session]:
        """Loads, changes and saves a session, and repeats that until no other request interferes.

        Updates of one session in one process wait for each other instead of colliding.

        Args:
            id: The session.
            change: A plain function or a coroutine function that changes the session it is given.
                It may be called more than once, each time with the session that is stored by then.
                An exception ends the update, and nothing is saved. A plain function must not block.
            deadline: How long to try; 5 s by default.

        Returns:
            The session as it is stored now; None when there is none.

        Raises:
            OperationTimeoutError: The deadline passed first. Nothing of it is stored.
        """
        answer = self._core.update(id, change, deadline=deadline)
        return await answer if type(answer) is Future else answer

    async def delete(self, session: Union[str, Session, SessionHandle, SessionSummary]) -> bool:
        """Deletes a session, for a logout. False when there was none."""
        answer = self._core.delete(session)
        return await answer if type(answer) is Future else answer

    async def extend(
        self,
        session: Union[str, Session, SessionHandle, SessionSummary],
        ttl: Optional[Seconds] = None,
    ) -> Optional[datetime]:
        """Extends the life of a session to ``ttl`` (by default its own) from now on.

        Returns when it expires, or None when there is none. Keeps the version, so a concurrent
        save does not conflict.
        """
        answer = self._core.extend(session, ttl)
        return await answer if type(answer) is Future else answer

    async def regenerate(
        self, id: Union[str, Session], user: Optional[str] = None
    ) -> Optional[Session]:
        """Moves a session to a fresh id, for a login or any other change of rights.

        The old id is gone when it returns. Of two concurrent calls one gets None.

        Args:
            id: The session.
            user: The user it belongs to from now on; unchanged by default.
        """
        answer = self._core.regenerate(id, user)
        return await answer if type(answer) is Future else answer

    async def list(self, user: str) -> List[SessionSummary]:
        """The live sessions of a user, oldest first."""
        answer = self._core.list(user)
        return await answer if type(answer) is Future else answer

    async def clear(
        self,
        user: str,
        except_: Optional[Union[str, Session, SessionHandle, SessionSummary]] = None,
    ) -> int:
        """Deletes the sessions of a user, all or all but one. Returns how many."""
        answer = self._core.clear(user, except_)
        return await answer if type(answer) is Future else answer

    async def count(self, user: Optional[str] = None) -> int:
        """Counts the live sessions of a user (exact), or all (may include some that just expired)."""
        answer = self._core.count(user)
        return await answer if type(answer) is Future else answer

    async def load_many(self, ids: Iterable[Union[str, Session]]) -> List[Optional[Session]]:
        """:meth:`load` for many ids, in order."""
        answer = self._core.load_many([*ids])
        return await answer if type(answer) is Future else answer

    async def save_many(
        self, sessions: Iterable[Session], *, force: bool = False
    ) -> List[Union[Session, JarvisError]]:
        """:meth:`save` for many sessions, each on its own: the session or its error, in order."""
        answer = self._core.save_many([*sessions], force=force)
        return await answer if type(answer) is Future else answer

    async def delete_many(
        self, sessions: Iterable[Union[str, Session, SessionHandle, SessionSummary]]
    ) -> int:
        """:meth:`delete` for many sessions. Returns how many existed."""
        answer = self._core.delete_many([*sessions])
        return await answer if type(answer) is Future else answer

    async def scan(self, page_size: int = 256) -> AsyncIterator[SessionSummary]:
        """Every live session, in no particular order.

        A session that lives during the whole scan is returned at least once.

        Args:
            page_size: How many sessions are read at once.
        """
        cursor: Optional[str] = None
        while True:
            answer: Any = self._core.scan_page(cursor, page_size)
            page, cursor = await answer if type(answer) is Future else answer
            for summary in page:
                yield summary
            if cursor is None:
                return
