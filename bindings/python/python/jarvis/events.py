"""What happened, and what applications tell each other: :class:`EventBus`."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Deque, Generator, Optional, Sequence

from jarvis._core import Envelope
from jarvis._types import Future, Origin, Overflow

if TYPE_CHECKING:
    from types import TracebackType


__all__ = ["Envelope", "EventBus", "Subscription"]


class EventBus:
    """Carries events to whoever subscribed: ``jarvis.events``.

    JARVIS's own topics are ``health``, ``incident``, ``action``, ``operator`` and ``alert``;
    applications publish messages on topics that they name, such as ``project.42.chat``.
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any) -> None:
        self._core = core

    @property
    def instance(self) -> str:
        """Names this bus in this process; it is in every envelope."""
        return self._core.instance

    async def publish(self, topic: str, payload: Any = None) -> Envelope:
        """Publishes a message and gives back its envelope. Never waits for a subscriber.

        Args:
            topic: Segments of letters, digits, ``-``, ``_`` and ``:``, joined by dots; 1 to 128
                bytes, and none of JARVIS's own.
            payload: Anything that JSON knows, up to 64 KiB of it.

        Raises:
            InvalidInputError: The topic or the payload is none.
            TooLargeError: The payload is over 64 KiB.
            UnavailableError: A shared bus can't be reached. Unless ``retryable``, the message may
                have been published all the same.
        """
        answer = self._core.publish(topic, payload)
        return await answer if type(answer) is Future else answer

    def subscribe(
        self,
        topics: Sequence[str] = (),
        patterns: Sequence[str] = (),
        *,
        origin: Origin = "anywhere",
        overflow: Overflow = "drop_oldest",
        buffer: int = 1024,
    ) -> Subscription:
        """Subscribes.

        It begins with ``async with``, or with ``await``::

            async with bus.subscribe(patterns=["project.*.chat"]) as events:
                async for event in events:
                    print(event.topic, event.payload)

        Args:
            topics: Only these. Without topics and patterns all.
            patterns: Those too that one of these matches; ``*`` stands for characters within a
                segment, ``**`` for any.
            origin: ``"anywhere"``, only what was published ``"here"`` in this process, or only
                ``"elsewhere"``.
            overflow: What happens when this subscriber is too slow: ``"drop_oldest"`` counts what
                it missed in :attr:`Subscription.missed`, ``"close"`` gives it what waits and then
                raises :class:`~jarvis.ExhaustedError`.
            buffer: How many events may wait for it, 1 to 65,536.
        """
        return Subscription(
            lambda: self._core.subscribe(
                [*topics], [*patterns], origin=origin, overflow=overflow, buffer=buffer
            )
        )

    async def flush(self) -> None:
        """Waits until JARVIS's own events that were published before are with the other instances.

        Raises:
            UnavailableError: The server does not take them in time; it goes on trying.
        """
        answer = self._core.flush()
        return await answer if type(answer) is Future else answer


class Subscription:
    """One subscriber's end: an async iterator of envelopes, and an async context manager."""

    __slots__ = ("_begin_core", "_core", "_waiting")

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin_core = begin
        self._core: Any = None
        self._waiting: Deque[Envelope] = deque()

    async def _begin(self) -> Subscription:
        if self._core is None:
            answer = self._begin_core()
            self._core = await answer if type(answer) is Future else answer
        return self

    def __await__(self) -> Generator[Any, None, Subscription]:
        return self._begin().__await__()

    async def __aenter__(self) -> Subscription:
        return await self._begin()

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def __aiter__(self) -> AsyncIterator[Envelope]:
        return self

    async def __anext__(self) -> Envelope:
        """The next event. Cancelling it loses none."""
        while not self._waiting:
            core = (await self._begin())._core
            answer = core.ready()
            if type(answer) is Future:
                await answer
            self._waiting.extend(core.take())
            # Else another task, which iterates too, was quicker.
            if not self._waiting and core.ended:
                raise StopAsyncIteration
        return self._waiting.popleft()

    @property
    def missed(self) -> int:
        """How many events are known to be missing: it was too slow, or the connection was lost."""
        return 0 if self._core is None else self._core.missed

    @property
    def gaps(self) -> int:
        """How often events may be missing, and nobody knows how many."""
        return 0 if self._core is None else self._core.gaps

    def close(self) -> None:
        """Unsubscribes; who iterates gets what waits, then the end. Safe to repeat."""
        if self._core is not None:
            self._core.close()
