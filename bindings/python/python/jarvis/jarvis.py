"""The handle: :class:`Jarvis`."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Awaitable, Dict, Iterable, Mapping, Optional, Union

from jarvis import _core
from jarvis._types import Factory, Future, Mode
from jarvis.cache import Cache
from jarvis.errors import JarvisError
from jarvis.events import EventBus
from jarvis.health import Health
from jarvis.operator import Operator
from jarvis.service import AlertSink, Service, Sink, _Given
from jarvis.session import SessionStore

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Jarvis"]


class Jarvis:
    """Everything that a configuration describes, behind one handle.

    Opening it starts nothing and connects nothing; each part opens at its first use::

        async with jarvis.Jarvis.open("jarvis.toml") as j:
            session = await j.sessions.create(user="ada")

    After a fork the child's handle connects anew at its next use. A SQLite file that was in use at
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
            config: The path of a ``jarvis.toml``, or a dict of what would stand in it. When
                absent, the file is looked for as the command ``jarvis`` does, and none is an empty
                configuration.
            store: Where everything is kept that can be kept there: ``"memory:"``,
                ``"sqlite:PATH"`` (sessions only), ``"redis://…"``.
            sessions: Where sessions are kept; goes before ``store``.
            cache: Where the cache is; goes before ``store``.
            bus: What carries events; goes before ``store``.
            state_dir: The folder of everything that is remembered.
            mode: Overrides the configuration's mode.
            services: Services with probes and restarters of one's own.
            sinks: Receivers of alerts of one's own, by the name of their ``[alert.NAME]``.
            probes: Makes probes for ``type = "NAME"`` in the configuration: a function that is
                given the section as a dict and gives an object with a method ``probe``.
            restarters: The same for ``via = "NAME"``.

        Raises:
            ConfigInvalidError: With every mistake of the configuration.
        """
        given = _Given(services, sinks or {}, probes, restarters)
        core: Any = _core.Jarvis(
            False,
            config,
            store=store,
            sessions=sessions,
            cache=cache,
            bus=bus,
            state_dir=state_dir,
            mode=mode,
            more=given.more,
            probes=given.probes,
            restarters=given.restarters,
            sinks=given.sinks,
        )
        return cls(core)

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
        """The bus."""
        return self._events

    @property
    def health(self) -> Health:
        """What is well, and how long it was."""
        return self._health

    @property
    def operator(self) -> Operator:
        """What a person asks of the loop that supervises."""
        return self._operator

    @property
    def left_behind(self) -> int:
        """How many calls of one's own probes, restarters and sinks hang past their deadline."""
        return self._core.left_behind

    @property
    def state_dir(self) -> str:
        """The folder of everything that is remembered."""
        return os.fspath(self._core.state_dir)

    async def run(self, until: Optional[Awaitable[Any]] = None) -> None:
        """Supervises: watches, heals, alerts, keeps the books, and answers on the control socket.

        Ends in good order when ``until`` is done, when the task is cancelled, or when the handle
        is closed: an action in flight is finished first, within 28 seconds.

        Args:
            until: Ends it; for ever when absent.

        Raises:
            ConflictError: This handle supervises already, or did before.
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
        answer = self._core.ended()
        if type(answer) is Future:
            await answer

    async def close(self) -> None:
        """Ends what goes on behind the stores, the connections and :meth:`run`. Safe to repeat.

        Any later call raises :class:`~jarvis.OperationCancelledError`.
        """
        self._core.stop()
        # How the loop ended, whoever ran it has heard.
        with suppress(JarvisError):
            await self._ended()
        answer = self._core.close()
        return await answer if type(answer) is Future else answer

    #: What some libraries call it.
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
