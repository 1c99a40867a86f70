"""What is remembered of a visitor between requests: :class:`SessionStore`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Iterable, List, Optional, Union

from jarvis._core import Session, SessionSummary
from jarvis._types import Data, Future, IPAddress, Seconds, SessionHandle, SessionMeta

if TYPE_CHECKING:
    from jarvis.errors import JarvisError

__all__ = ["Session", "SessionHandle", "SessionMeta", "SessionStore", "SessionSummary"]


class SessionStore:
    """Keeps sessions: ``jarvis.sessions``.

    Every save names the version that it changes, so that two requests at once can't lose each
    other's work, and a request that outlives a logout can't bring the session back. Where a
    session is expected, its id, the :class:`Session`, or, for :meth:`delete` and :meth:`extend`,
    the handle or summary of a listing will do.

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
        """Makes a session, with version 1.

        Args:
            user: Whose it is.
            data: What it holds: a dict or a Pydantic model; ``{}`` when absent.
            id: An id that a framework made, 1 to 128 bytes. Without one it gets a fresh one that
                can't be guessed.
            ttl: How long it lives, in seconds or as a timedelta; the policy's when absent.
            ip: The visitor's address.
            user_agent: The browser, as it calls itself.

        Raises:
            ConflictError: The id is taken; what is there stays as it is.
            TooLargeError: The data is over the policy's size.
            InvalidInputError: The data is no JSON object, or the ttl is none.
        """
        answer = self._core.create(user, data, id=id, ttl=ttl, ip=ip, user_agent=user_agent)
        return await answer if type(answer) is Future else answer

    async def load(self, id: Union[str, Session]) -> Optional[Session]:
        """The session of this id, or None when there is none or it expired.

        Does not prolong it, unless the policy is ``rolling``.
        """
        answer = self._core.load(id)
        return await answer if type(answer) is Future else answer

    async def load_and_extend(
        self, id: Union[str, Session], ttl: Optional[Seconds] = None
    ) -> Optional[Session]:
        """:meth:`load` and :meth:`extend` at once: what the begin of a request asks for.

        A server is waited for once. The session's ``expires_at`` is that after the extension.
        """
        answer = self._core.load_and_extend(id, ttl)
        return await answer if type(answer) is Future else answer

    async def save(self, session: Session, *, force: bool = False) -> Session:
        """Stores a session if nobody changed it since it was loaded, and prolongs it by its ttl.

        Gives the same object back, with its new version and times.

        Args:
            session: As it is to be. Version 0 creates.
            force: Ignore the version: the last writer wins. It must still exist.

        Raises:
            ConflictError: Somebody saved first; ``current`` is what is stored now.
            NotFoundError: It expired or was deleted. A late save never brings it back.
            TooLargeError: The data is over the policy's size.
        """
        answer = self._core.save(session, force=force)
        return await answer if type(answer) is Future else answer

    async def update(
        self,
        id: Union[str, Session],
        change: Callable[[Session], object],
        *,
        deadline: Optional[Seconds] = None,
    ) -> Optional[Session]:
        """Loads, changes and saves, again and again until nobody came in between.

        Args:
            id: Which.
            change: A plain function that changes the session it is given. May be called more than
                once, each time with what is stored by then. What it raises ends the update, and
                nothing is saved. It must not block.
            deadline: How long to try, 5 s when absent.

        Returns:
            The session as it is stored now; None when there is none.

        Raises:
            OperationTimeoutError: The deadline passed first; nothing of it is stored.
        """
        answer = self._core.update(id, change, deadline=deadline)
        return await answer if type(answer) is Future else answer

    async def delete(self, session: Union[str, Session, SessionHandle, SessionSummary]) -> bool:
        """Removes a session, a logout. False when there was none."""
        answer = self._core.delete(session)
        return await answer if type(answer) is Future else answer

    async def extend(
        self,
        session: Union[str, Session, SessionHandle, SessionSummary],
        ttl: Optional[Seconds] = None,
    ) -> Optional[datetime]:
        """Lets a session live for ``ttl`` (else its own) from now, and says until when.

        None when there is none. Keeps the version: a save under way is not disturbed.
        """
        answer = self._core.extend(session, ttl)
        return await answer if type(answer) is Future else answer

    async def regenerate(
        self, id: Union[str, Session], user: Optional[str] = None
    ) -> Optional[Session]:
        """Moves a session to a fresh id, for a login or any other change of rights.

        The old id is gone when it returns. Of two at once one gets None.

        Args:
            id: Which.
            user: Whose it is from now on; as before when absent.
        """
        answer = self._core.regenerate(id, user)
        return await answer if type(answer) is Future else answer

    async def list(self, user: str) -> List[SessionSummary]:
        """The living sessions of a user, oldest first."""
        answer = self._core.list(user)
        return await answer if type(answer) is Future else answer

    async def clear(
        self,
        user: str,
        except_: Optional[Union[str, Session, SessionHandle, SessionSummary]] = None,
    ) -> int:
        """Removes the sessions of a user, all or all but one, and says how many."""
        answer = self._core.clear(user, except_)
        return await answer if type(answer) is Future else answer

    async def count(self, user: Optional[str] = None) -> int:
        """How many sessions live, of a user (exact) or of all (may count a minute's expired)."""
        answer = self._core.count(user)
        return await answer if type(answer) is Future else answer

    async def load_many(self, ids: Iterable[Union[str, Session]]) -> List[Optional[Session]]:
        """:meth:`load` for many ids, answered in their order."""
        answer = self._core.load_many([*ids])
        return await answer if type(answer) is Future else answer

    async def save_many(
        self, sessions: Iterable[Session], *, force: bool = False
    ) -> List[Union[Session, JarvisError]]:
        """:meth:`save` for many, each for itself: the session, or the error it met, in order."""
        answer = self._core.save_many([*sessions], force=force)
        return await answer if type(answer) is Future else answer

    async def delete_many(
        self, sessions: Iterable[Union[str, Session, SessionHandle, SessionSummary]]
    ) -> int:
        """:meth:`delete` for many; how many there were."""
        answer = self._core.delete_many([*sessions])
        return await answer if type(answer) is Future else answer

    async def scan(self, page_size: int = 256) -> AsyncIterator[SessionSummary]:
        """Every living session, in no order.

        What lives from the first to the last is given at least once.
        """
        cursor: Optional[str] = None
        while True:
            answer: Any = self._core.scan_page(cursor, page_size)
            page, cursor = await answer if type(answer) is Future else answer
            for summary in page:
                yield summary
            if cursor is None:
                return
