"""What may be forgotten: :class:`Cache`."""

from __future__ import annotations

from typing import (
    TYPE_CHECKING,
    Any,
    Awaitable,
    Callable,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Union,
    overload,
)

from jarvis._types import CacheStats, Future, Seconds

if TYPE_CHECKING:
    from typing import Literal


__all__ = ["Cache"]


class Cache:
    """Keeps values for a while, by key: ``jarvis.cache``.

    A value is anything that JSON knows, a Pydantic model, or ``bytes``, which are kept as they are
    and read with ``raw=True``. Keys have 1 to 512 bytes.

    A lifetime is seconds, a timedelta, or ``math.inf`` for no end; the policy's (5 minutes unless
    configured) when absent.

    A cache is in the way of no one: when its storage is down, reads miss and writes do nothing, and
    both are counted in :meth:`stats`, unless ``[cache] strict = true``.
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any) -> None:
        self._core = core

    @overload
    async def get(self, key: str, *, raw: Literal[False] = False) -> Any: ...
    @overload
    async def get(self, key: str, *, raw: Literal[True]) -> Optional[bytes]: ...
    async def get(self, key: str, *, raw: bool = False) -> Any:
        """The value of a key, or None when there is none or it ran out.

        Args:
            key: Which.
            raw: Give the stored bytes, whatever they are.

        Raises:
            CorruptError: It is no JSON.
        """
        answer = self._core.get(key, raw)
        return await answer if type(answer) is Future else answer

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl: Optional[Seconds] = None,
        if_absent: bool = False,
        if_present: bool = False,
        tags: Sequence[str] = (),
    ) -> bool:
        """Stores a value, with its lifetime and tags as a whole, and says whether it did.

        Args:
            key: Which.
            value: What.
            ttl: How long it lives.
            if_absent: Only when there is none.
            if_present: Only when there is one.
            tags: What it can be invalidated by; at most 4.

        Raises:
            InvalidInputError: The value has no form in JSON, or an argument is wrong.
            TooLargeError: The value is over the policy's size.
        """
        answer = self._core.set(
            key, value, ttl=ttl, if_absent=if_absent, if_present=if_present, tags=[*tags]
        )
        return await answer if type(answer) is Future else answer

    async def delete(self, *keys: str) -> int:
        """Removes keys, and says how many there were."""
        answer = self._core.delete(*keys)
        return await answer if type(answer) is Future else answer

    async def exists(self, key: str) -> bool:
        """Is there a value? Counts neither as a hit nor as a miss."""
        answer = self._core.exists(key)
        return await answer if type(answer) is Future else answer

    @overload
    async def get_many(
        self, keys: Iterable[str], *, raw: Literal[False] = False
    ) -> List[Any]: ...
    @overload
    async def get_many(
        self, keys: Iterable[str], *, raw: Literal[True]
    ) -> List[Optional[bytes]]: ...
    async def get_many(self, keys: Iterable[str], *, raw: bool = False) -> List[Any]:
        """:meth:`get` for many keys, answered in their order, in one trip to the storage."""
        answer = self._core.get_many([*keys], raw=raw)
        return await answer if type(answer) is Future else answer

    async def set_many(
        self,
        entries: Mapping[str, Any],
        *,
        ttl: Optional[Seconds] = None,
        if_absent: bool = False,
        if_present: bool = False,
        tags: Sequence[str] = (),
    ) -> int:
        """:meth:`set` for many, each for itself; how many were stored."""
        answer = self._core.set_many(
            {**entries}, ttl=ttl, if_absent=if_absent, if_present=if_present, tags=[*tags]
        )
        return await answer if type(answer) is Future else answer

    async def increment(self, key: str, by: int = 1, *, ttl: Optional[Seconds] = None) -> int:
        """Adds to a number, atomically, and gives the sum.

        A key that is not there starts from 0, and its lifetime begins then; later additions don't
        prolong it.

        Raises:
            InvalidInputError: The value is no whole number, or the sum is beyond 64 bits.
            UnavailableError: The storage is down; also when the cache is not strict.
        """
        answer = self._core.increment(key, by, ttl=ttl)
        return await answer if type(answer) is Future else answer

    async def expire(self, key: str, ttl: Seconds) -> bool:
        """Gives a key a new lifetime, from now. False when there is no value."""
        answer = self._core.expire(key, ttl)
        return await answer if type(answer) is Future else answer

    async def lifetime(self, key: str) -> Optional[float]:
        """How many seconds a key will still live; ``math.inf`` without an end, None without a value."""
        answer = self._core.lifetime(key)
        return await answer if type(answer) is Future else answer

    async def invalidate_tag(self, tag: str) -> None:
        """Makes every entry with this tag miss from now on, however many there are.

        Raises:
            UnavailableError: The storage is down; also when the cache is not strict.
        """
        answer = self._core.invalidate_tag(tag)
        return await answer if type(answer) is Future else answer

    async def invalidate_pattern(self, pattern: str) -> int:
        r"""Removes the keys that match a glob, and says how many.

        ``*``, ``?``, ``[a-z]``; ``\`` takes the next character literally. Looks at every key of
        the storage; tags are the fast way.

        Raises:
            UnavailableError: The storage is down; also when the cache is not strict.
        """
        answer = self._core.invalidate_pattern(pattern)
        return await answer if type(answer) is Future else answer

    async def flush(self) -> None:
        """Makes every entry of the namespace miss."""
        answer = self._core.flush()
        return await answer if type(answer) is Future else answer

    async def stats(self) -> CacheStats:
        """What this process's cache has seen since it was opened."""
        answer = self._core.stats()
        return await answer if type(answer) is Future else answer

    @overload
    async def get_or_load(
        self,
        key: str,
        loader: Callable[[], Union[Any, Awaitable[Any]]],
        *,
        ttl: Optional[Seconds] = None,
        tags: Sequence[str] = (),
        stale: Optional[Seconds] = None,
        early: float = 0.0,
        wait: Optional[Seconds] = None,
        raw: Literal[False] = False,
    ) -> Any: ...
    @overload
    async def get_or_load(
        self,
        key: str,
        loader: Callable[[], Union[Any, Awaitable[Any]]],
        *,
        ttl: Optional[Seconds] = None,
        tags: Sequence[str] = (),
        stale: Optional[Seconds] = None,
        early: float = 0.0,
        wait: Optional[Seconds] = None,
        raw: Literal[True],
    ) -> bytes: ...
    async def get_or_load(
        self,
        key: str,
        loader: Callable[[], Union[Any, Awaitable[Any]]],
        *,
        ttl: Optional[Seconds] = None,
        tags: Sequence[str] = (),
        stale: Optional[Seconds] = None,
        early: float = 0.0,
        wait: Optional[Seconds] = None,
        raw: bool = False,
    ) -> Any:
        """The value of a key, loaded when there is none.

        However many ask at once, in this process and in others on the same storage, one loads and
        the others get what it loaded. What the loader raises is raised to all who waited, and
        nothing is stored.

        Args:
            key: Which.
            loader: Makes the value: a plain function, or a coroutine function. It may be called
                again in the background, after this call returned. Wherever it runs, it sees the
                context variables of whoever gave it.
            ttl: How long a loaded value lives.
            tags: What it can be invalidated by.
            stale: How long after it ran out a value may still be given while a new one is loaded,
                and when a load fails. Not at all when absent.
            early: Refreshes in the background shortly before a value runs out; 1.0 is the usual
                weight of a load's duration, 0 switches it off.
            wait: How long another process may take to load before this one does; 2 s when absent.
            raw: Give the stored bytes, whatever they are.
        """
        answer = self._core.get_or_load(
            key,
            loader,
            ttl=ttl,
            tags=[*tags],
            stale=stale,
            early=early,
            wait=wait,
            raw=raw,
        )
        return await answer if type(answer) is Future else answer
