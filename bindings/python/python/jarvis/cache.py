"""Values with a limited lifetime: :class:`Cache`."""

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

from jarvis._call import Future
from jarvis._types import CacheStats, Seconds

if TYPE_CHECKING:
    from typing import Literal


__all__ = ["Cache"]


class Cache:
    """Keeps values for a limited time, by key: ``jarvis.cache``.

    A value is any JSON value, a Pydantic model, or ``bytes``, which are stored unchanged and read
    with ``raw=True``. Keys have 1 to 512 bytes.

    A lifetime is seconds, a timedelta, or ``math.inf`` for no end. The default is the policy's,
    5 minutes unless configured.

    A cache never blocks an application: when its storage is down, reads miss and writes do nothing,
    and :meth:`stats` counts both, unless ``[cache] strict = true``.
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any) -> None:
        self._core = core

    @overload
    async def get(self, key: str, *, raw: Literal[False] = False) -> Any: ...
    @overload
    async def get(self, key: str, *, raw: Literal[True]) -> Optional[bytes]: ...
    async def get(self, key: str, *, raw: bool = False) -> Any:
        """The value of a key, or None when there is none or it expired.

        Args:
            key: The key.
            raw: Return the stored bytes, whatever they are.

        Raises:
            CorruptError: The stored value is not JSON.
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
        """Stores a value with its lifetime and tags, atomically. Returns whether it was stored.

        Args:
            key: The key.
            value: The value.
            ttl: How long it lives.
            if_absent: Only if there is no value.
            if_present: Only if there is a value.
            tags: Tags by which it can be invalidated; at most 4.

        Raises:
            InvalidInputError: The value can't be written as JSON, or an argument is not valid.
            TooLargeError: The value is over the policy's size.
        """
        answer = self._core.set(
            key, value, ttl=ttl, if_absent=if_absent, if_present=if_present, tags=[*tags]
        )
        return await answer if type(answer) is Future else answer

    async def delete(self, *keys: str) -> int:
        """Deletes keys. Returns how many existed."""
        answer = self._core.delete(*keys)
        return await answer if type(answer) is Future else answer

    async def exists(self, key: str) -> bool:
        """Whether there is a value. Counts neither as a hit nor as a miss."""
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
        """:meth:`get` for many keys, in order, in one round trip to the storage."""
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
        """:meth:`set` for many entries, each on its own. Returns how many were stored."""
        answer = self._core.set_many(
            {**entries}, ttl=ttl, if_absent=if_absent, if_present=if_present, tags=[*tags]
        )
        return await answer if type(answer) is Future else answer

    async def increment(self, key: str, by: int = 1, *, ttl: Optional[Seconds] = None) -> int:
        """Adds to a number, atomically, and returns the sum.

        A missing key starts from 0, and its lifetime begins then. Later additions don't extend it.

        Raises:
            InvalidInputError: The value is not an integer, or the sum is beyond 64 bits.
            UnavailableError: The storage is down, even if the cache is not strict.
        """
        answer = self._core.increment(key, by, ttl=ttl)
        return await answer if type(answer) is Future else answer

    async def expire(self, key: str, ttl: Seconds) -> bool:
        """Gives a key a new lifetime from now on. False when there is no value."""
        answer = self._core.expire(key, ttl)
        return await answer if type(answer) is Future else answer

    async def lifetime(self, key: str) -> Optional[float]:
        """The remaining seconds of a key; ``math.inf`` without an end, None without a value."""
        answer = self._core.lifetime(key)
        return await answer if type(answer) is Future else answer

    async def invalidate_tag(self, tag: str) -> None:
        """Invalidates every entry with this tag, however many there are.

        Raises:
            UnavailableError: The storage is down, even if the cache is not strict.
        """
        answer = self._core.invalidate_tag(tag)
        return await answer if type(answer) is Future else answer

    async def invalidate_pattern(self, pattern: str) -> int:
        r"""Deletes the keys that match a glob. Returns how many.

        ``*``, ``?``, ``[a-z]``; ``\`` makes the next character literal. It reads every key of the
        storage; tags are faster.

        Raises:
            UnavailableError: The storage is down, even if the cache is not strict.
        """
        answer = self._core.invalidate_pattern(pattern)
        return await answer if type(answer) is Future else answer

    async def flush(self) -> None:
        """Invalidates every entry of the namespace."""
        answer = self._core.flush()
        return await answer if type(answer) is Future else answer

    async def stats(self) -> CacheStats:
        """The statistics of this process since the cache was opened."""
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
        """The value of a key, loaded if there is none.

        However many callers ask at once, in this process and in others on the same storage, one
        loads and the others get its value. An exception of the loader is raised to all who waited,
        and nothing is stored.

        Args:
            key: The key.
            loader: Creates the value: a plain function or a coroutine function. It may be called
                again in the background after this call returned. Wherever it runs, it sees the
                context variables of its caller.
            ttl: How long a loaded value lives.
            tags: Tags by which it can be invalidated.
            stale: How long an expired value may still be returned while a new one is loaded, and
                when a load fails. Not at all by default.
            early: Refreshes in the background shortly before a value expires; 1.0 is the usual
                weight of a load's duration, 0 switches it off.
            wait: How long another process may take to load before this one does; 2 s by default.
            raw: Return the stored bytes, whatever they are.
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
