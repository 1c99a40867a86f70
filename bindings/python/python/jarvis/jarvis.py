"""The handle: :class:`Jarvis`."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Awaitable, Dict, Iterable, Mapping, Optional, Union

from jarvis._call import settled
from jarvis._open import open_core
from jarvis._types import Factory, Mode
from jarvis.cache import Cache
from jarvis.errors import JarvisError
from jarvis.events import EventBus
from jarvis.health import Health
from jarvis.operator import Operator
from jarvis.service import AlertSink, Service, Sink
from jarvis.session import SessionStore

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Jarvis"]


class Jarvis:
    """A handle on everything that a configuration describes.

    Opening it starts nothing and connects to nothing. Each part opens at its first use::

        async with jarvis.Jarvis.open("jarvis.toml") as j:
            session = await j.sessions.create(user="ada")

    After a fork the child's handle connects again at its next use. A SQLite file that was in use at
    the fork is refused there with :class:`~jarvis.UnsupportedError`.
    """

    __slots__ = ("_cache", "_core", "_events", "_health", "_operator", "_sessions")

    def __init__(self, core: Any) -> None:
        """Use :meth:`open`."""
        self._core = core
        self._sessions = SessionStore(core.sessions)
        self._cache = Cache(core.cache)
        self._events = EventBus(core.events)
        self._health = Health(core.health)
        self._operator = Operator(core.operator)

    @classmethod
    def open(
        cls,
        config: Optional[Union[str, os.PathLike[str], Dict[str, Any]]] = None,
        *,
        store: Optional[str] = None,
        sessions: Optional[str] = None,
        cache: Optional[str] = None,
        bus: Optional[str] = None,
        state_dir: Optional[Union[str, os.PathLike[str]]] = None,
        mode: Optional[Mode] = None,
        services: Iterable[Service] = (),
        sinks: Optional[Mapping[str, Union[AlertSink, Sink]]] = None,
        probes: Optional[Mapping[str, Factory]] = None,
        restarters: Optional[Mapping[str, Factory]] = None,
    ) -> Jarvis:
        """Reads the configuration.

        Args:
            config: The path of a ``jarvis.toml``, or a dict with its contents. By default the file is
                searched for as the command ``jarvis`` does; without a file the configuration is
                empty.
            store: Where sessions, the cache and events are kept, as far as that store supports them:
                ``"memory:"``, ``"sqlite:PATH"`` (sessions only), ``"redis://…"``.
            sessions: Where sessions are kept. Overrides ``store``.
            cache: Where the cache is kept. Overrides ``store``.
            bus: What carries events. Overrides ``store``.
            state_dir: The state directory.
            mode: Overrides the configuration's mode.
            services: Services with probes and restarters written in Python.
            sinks: Receivers of alerts written in Python, by the name of their ``[alert.NAME]``.
            probes: Creates probes for ``type = "NAME"`` in the configuration: a function that takes
                the section as a dict and returns an object with a method ``probe``.
            restarters: The same for ``via = "NAME"``.

        Raises:
            ConfigInvalidError: With every mistake in the configuration.
        """
        return cls(
            open_core(
                False,
                config,
                services,
                sinks,
                probes,
                restarters,
                store=store,
                sessions=sessions,
                cache=cache,
                bus=bus,
                state_dir=state_dir,
                mode=mode,
            )
        )

    @property
    def sessions(self) -> SessionStore:
        """The sessions."""
        return self._sessions

    @property
    def cache(self) -> Cache:
        """The cache."""
        return self._cache

    @property
    def events(self) -> EventBus:
        """The event bus."""
        return self._events

    @property
    def health(self) -> Health:
        """The health of the services."""
        return self._health

    @property
    def operator(self) -> Operator:
        """Manual control of the services."""
        return self._operator

    @property
    def left_behind(self) -> int:
        """How many calls of Python probes, restarters and sinks hang past their deadline."""
        return self._core.left_behind

    @property
    def state_dir(self) -> str:
        """The state directory."""
        return os.fspath(self._core.state_dir)

    async def run(self, until: Optional[Awaitable[Any]] = None) -> None:
        """Supervises: probes, restarts, alerts, records history, and answers on the control socket.

        Ends in good order when ``until`` is done, when the task is cancelled, or when the handle is
        closed: an action that is under way is finished first, within 28 seconds.

        Args:
            until: Ends it. By default it runs until it is cancelled.

        Raises:
            ConflictError: This handle supervises already, or did so before.
        """
        self._core.start()
        ended: Any = asyncio.ensure_future(self._ended())
        waiting = {ended} if until is None else {ended, asyncio.ensure_future(until)}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting - {ended}:
                task.cancel()
            self._core.stop()
            await asyncio.shield(ended)

    async def _ended(self) -> None:
        await settled(self._core.ended())

    async def close(self) -> None:
        """Ends :meth:`run`, background work and connections. Safe to repeat.

        Any later call raises :class:`~jarvis.OperationCancelledError`.
        """
        self._core.stop()
        # An error of the loop was raised by `run`.
        with suppress(JarvisError):
            await self._ended()
        await settled(self._core.close())

    #: The name that some libraries expect.
    aclose = close

    async def __aenter__(self) -> Jarvis:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()
