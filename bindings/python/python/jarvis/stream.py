"""Items that arrive over time: :class:`Stream` and :class:`Subscription`."""

from __future__ import annotations

from collections import deque
from typing import (
    TYPE_CHECKING,
    Any,
    AsyncIterator,
    Callable,
    Deque,
    Generator,
    Generic,
    Optional,
    TypeVar,
)

from jarvis._call import Future, settled
from jarvis._core import Envelope

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

__all__ = ["Stream", "Subscription"]

T = TypeVar("T")


class Stream(Generic[T]):
    """Items that arrive over time: an async iterator, and an async context manager.

    It begins with ``async with``, with ``await``, or with the first item.
    """

    __slots__ = ("_begin_core", "_core", "_waiting")

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin_core = begin
        self._core: Any = None
        self._waiting: Deque[T] = deque()

    async def _begin(self) -> Self:
        if self._core is None:
            self._core = await settled(self._begin_core())
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        return self._begin().__await__()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        """The next item. Cancelling it loses none."""
        while not self._waiting:
            core = (await self._begin())._core
            answer = core.ready()
            if type(answer) is Future:
                await answer
            self._waiting.extend(core.take())
            # Without an item, another task that iterates too has taken it.
            if not self._waiting and core.ended:
                raise StopAsyncIteration
        return self._waiting.popleft()

    def close(self) -> None:
        """Ends the stream. Whoever iterates gets the items that have arrived, then the end.

        Safe to repeat.
        """
        if self._core is not None:
            self._core.close()


class Subscription(Stream[Envelope]):
    """Events that arrive over time."""

    __slots__ = ()

    @property
    def missed(self) -> int:
        """How many events are known to be missing.

        The subscriber was too slow, or the connection was lost.
        """
        return 0 if self._core is None else self._core.missed

    @property
    def gaps(self) -> int:
        """How often an unknown number of events may be missing."""
        return 0 if self._core is None else self._core.gaps
