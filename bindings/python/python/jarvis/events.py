"""Events, and messages between the instances of an application: :class:`EventBus`."""

from __future__ import annotations

from typing import Any, Sequence

from jarvis._call import settled
from jarvis._core import Envelope
from jarvis._types import Origin, Overflow
from jarvis.stream import Subscription

__all__ = ["Envelope", "EventBus", "Subscription"]


class EventBus:
    """Carries events to subscribers: ``jarvis.events``.

    JARVIS's own topics are ``health``, ``incident``, ``action``, ``operator`` and ``alert``.
    Applications publish messages on topics that they name, such as ``project.42.chat``.
    """

    __slots__ = ("_core",)

    def __init__(self, core: Any) -> None:
        self._core = core

    @property
    def instance(self) -> str:
        """Identifies this bus in this process. It is part of every envelope."""
        return self._core.instance

    async def publish(self, topic: str, payload: Any = None) -> Envelope:
        """Publishes a message and returns its envelope. Never waits for a subscriber.

        Args:
            topic: Segments of letters, digits, ``-``, ``_`` and ``:``, joined by dots; 1 to 128
                bytes, and not one of JARVIS's own topics.
            payload: Any JSON value of up to 64 KiB.

        Raises:
            InvalidInputError: The topic or the payload is not valid.
            TooLargeError: The payload is over 64 KiB.
            UnavailableError: A shared bus can't be reached. Unless ``retryable``, the message may
                have been published nevertheless.
        """
        return await settled(self._core.publish(topic, payload))

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

        The subscription begins with ``async with``, or with ``await``::

            async with bus.subscribe(patterns=["project.*.chat"]) as events:
                async for event in events:
                    print(event.topic, event.payload)

        Args:
            topics: Only these topics. Without topics and patterns: all.
            patterns: Also topics that match one of these; ``*`` matches any characters within a
                segment, ``**`` matches any characters.
            origin: ``"anywhere"``, only events published ``"here"`` in this process, or only those
                published ``"elsewhere"``.
            overflow: What happens when this subscriber is too slow: ``"drop_oldest"`` counts the
                lost events in :attr:`Subscription.missed`; ``"close"`` delivers the buffered
                events and then raises :class:`~jarvis.ExhaustedError`.
            buffer: How many events are buffered, 1 to 65,536.
        """
        return Subscription(
            lambda: self._core.subscribe(
                [*topics], [*patterns], origin=origin, overflow=overflow, buffer=buffer
            )
        )

    async def flush(self) -> None:
        """Waits until JARVIS's own events that were published before have reached the server.

        Raises:
            UnavailableError: The server does not accept them in time. Delivery goes on.
        """
        await settled(self._core.flush())
