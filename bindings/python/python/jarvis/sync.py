"""The blocking face: the same without ``await``, for scripts and for plain functions.

Every call waits on the calling thread without the interpreter's lock: other threads go on, and
Ctrl-C interrupts it. Classes and methods have the names, arguments, errors and documentation of
their counterparts in :mod:`jarvis`::

    with jarvis.sync.Jarvis.open(store="redis://127.0.0.1:6379") as j:
        session = j.sessions.create(user="ada")
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Dict, Iterable, Mapping, Optional, Union

from jarvis import _core
from jarvis._core import Cache, EventBus, Health, Operator, SessionStore, Stream
from jarvis._open import open_core
from jarvis._types import Factory, Mode
from jarvis.errors import JarvisError
from jarvis.service import AlertSink, Service, Sink

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "Cache",
    "EventBus",
    "Health",
    "Jarvis",
    "Operator",
    "SessionStore",
    "Stream",
]


class Jarvis:
    """A handle on everything that a configuration describes. See :class:`jarvis.Jarvis`."""

    __slots__ = ("_core", "cache", "events", "health", "operator", "sessions")

    def __init__(self, core: _core.Jarvis) -> None:
        """Use :meth:`open`."""
        self._core = core
        #: The sessions.
        self.sessions: SessionStore = core.sessions
        #: The cache.
        self.cache: Cache = core.cache
        #: The event bus.
        self.events: EventBus = core.events
        #: The health of the services.
        self.health: Health = core.health
        #: Manual control of the services.
        self.operator: Operator = core.operator

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
        """Reads the configuration. See :meth:`jarvis.Jarvis.open`."""
        return cls(
            open_core(
                True,
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
    def state_dir(self) -> str:
        """The state directory."""
        return os.fspath(self._core.state_dir)

    @property
    def left_behind(self) -> int:
        """How many calls of Python probes, restarters and sinks hang past their deadline."""
        return self._core.left_behind

    def run(self) -> None:
        """Supervises until Ctrl-C, or until :meth:`close` is called from another thread.

        Ends in good order: an action that is under way is finished first, within 28 seconds. See
        :meth:`jarvis.Jarvis.run`.
        """
        self._core.start()
        try:
            self._core.ended()
        except BaseException:
            self._core.stop(True)
            self._core.ended()
            raise

    def close(self) -> None:
        """Ends :meth:`run`, background work and connections. Safe to repeat."""
        self._core.stop()
        # An error of the loop was raised by `run`.
        with suppress(JarvisError):
            self._core.ended()
        self._core.close()

    def __enter__(self) -> Jarvis:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()
