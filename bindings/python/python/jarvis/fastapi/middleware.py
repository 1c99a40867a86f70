"""The middleware that loads and saves sessions: :class:`SessionMiddleware`."""

from __future__ import annotations

from typing import Any, Optional

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from jarvis._types import Seconds
from jarvis.errors import JarvisError
from jarvis.fastapi.cookie import Cookie, SameSite
from jarvis.fastapi.errors import answer, log
from jarvis.fastapi.lifespan import jarvis_of
from jarvis.fastapi.session import SCOPE_KEY, Session
from jarvis.fastapi.visit import CookieChange, Visit
from jarvis.jarvis import Jarvis

#: "Try again later" of the WebSocket protocol.
_TRY_AGAIN_LATER = 1013

#: Errors of a store that does not work at the moment. Any other error is the endpoint's.
_STORE_FAILURES = frozenset({"unavailable", "timeout", "exhausted", "cancelled"})

#: The messages with which the response to a request or a websocket begins.
_BEGINNINGS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class SessionMiddleware:
    """Sessions for HTTP and websockets, behind a cookie::

        app = FastAPI(lifespan=lifespan())
        app.add_middleware(SessionMiddleware, cookie_name="coach_sid")

    Endpoints take the session as :data:`SessionDep`, or use ``request.session``.

    - The cookie is the id and nothing else: 192 random bits from the operating system, of which the
      store has only a hash. There is nothing to sign, and a made-up id finds no session.
    - The store is asked when an endpoint uses the session, and changed before the response begins.
      Other endpoints cost no round trip.
    - It fails closed: a request that needs the store while it is down gets 503 (504 after a timeout),
      even if the endpoint has finished and only its change can't be saved. Other requests are not
      affected.
    - A response that depends on the session has ``Vary: Cookie``, and one that sets the cookie has
      ``Cache-Control: no-store``, whatever the endpoint set.
    - The cookie is set with a new id, and when the session was extended. Only
      :meth:`Session.destroy` removes it: a request that comes too late for its session does not log
      out the session that replaced it.

    Args:
        app: The application.
        jarvis: The handle with the sessions; by default that of :func:`lifespan`.
        cookie_name: The name of the cookie. The rules for ``__Host-`` and ``__Secure-`` are checked.
        path: The browser sends the cookie below this path.
        domain: The browser sends it to this domain; by default only to the host that set it.
        same_site: Which requests from other sites send it.
        https_only: Never send it over plain HTTP. By default so for requests that came over TLS,
            which a server behind a proxy knows from its headers.
        http_only: Hide it from scripts.
        persistent: The browser keeps it as long as the session lives; otherwise until it is closed.
        rolling: Using a session extends it, once a tenth of its time has passed. Leave ``rolling`` of
            the section ``[session]`` off: it would extend the session without the cookie.
        ttl: How long a session lives after its last use; by default the policy's, 1 h unless
            configured.
        autoload: Load the session of every request that has the cookie, before the endpoint. For
            coroutines that use ``request.session``: without it, its first use blocks the event loop
            for a round trip. The middleware logs that once, and then loads before each endpoint.

    Raises:
        ValueError: Browsers would refuse this cookie.
    """

    def __init__(
        self,
        app: ASGIApp,
        jarvis: Optional[Jarvis] = None,
        *,
        cookie_name: str = "jarvis_sid",
        path: str = "/",
        domain: Optional[str] = None,
        same_site: SameSite = "lax",
        https_only: Optional[bool] = None,
        http_only: bool = True,
        persistent: bool = True,
        rolling: bool = True,
        ttl: Optional[Seconds] = None,
        autoload: bool = False,
    ) -> None:
        self._app = app
        self._jarvis = jarvis
        self._rolling = rolling
        self._ttl = ttl
        self._autoload = autoload
        self._cookie = Cookie(
            cookie_name=cookie_name,
            path=path,
            domain=domain,
            same_site=same_site,
            https_only=https_only,
            http_only=http_only,
            persistent=persistent,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        visit = Visit(
            scope,
            lambda: (self._jarvis or jarvis_of(scope)).sessions,
            self._cookie.read(scope),
            ttl=self._ttl,
            rolling=self._rolling,
            on_blocked=self._autoload_from_now_on,
        )
        # In place: an outer middleware may need the route that the router adds to the scope.
        scope[SCOPE_KEY] = Session(visit)
        exchange = _Exchange(self._app, self._cookie, visit, scope, receive, send)
        await exchange.run(self._autoload)

    def _autoload_from_now_on(self) -> None:
        if not self._autoload:
            self._autoload = True
            log.warning(
                "request.session was used before it was loaded and blocked the event loop; from now "
                "on, sessions are loaded before each endpoint (SessionMiddleware(autoload=True))"
            )


class _Refused(Exception):
    """Ends an application whose response was replaced."""


class _Exchange:
    """One request, or one websocket."""

    def __init__(
        self,
        app: ASGIApp,
        cookie: Cookie,
        visit: Visit,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._app = app
        self._cookie = cookie
        self._visit = visit
        self._scope = scope
        self._receive = receive
        self._send = send
        self._refusal: Optional[JarvisError] = None

    async def run(self, autoload: bool) -> None:
        visit = self._visit
        try:
            if autoload and visit.has_id:
                await visit.load()
            await self._app(self._scope, self._receive, self._pass_on)
        except WebSocketDisconnect:
            await visit.save()
            raise
        except Exception as error:
            refusal = self._refusal or (error if error is visit.failure else None)
            if not isinstance(refusal, JarvisError):
                raise
            await self._refuse(refusal)
            return
        if self._refusal is not None:
            await self._refuse(self._refusal)
        elif visit.answered:
            await visit.save()

    async def _pass_on(self, message: Message) -> None:
        if self._refusal is not None:
            raise _Refused
        if message["type"] in _BEGINNINGS and not self._visit.answered:
            try:
                if self._visit.loaded:
                    await self._visit.save()
                    await self._visit.roll()
            except JarvisError as error:
                self._refusal = error
                raise _Refused from error
            self._visit.answered = True
            self._add_headers(message)
        await self._send(message)

    def _add_headers(self, message: Message) -> None:
        visit = self._visit
        if not visit.loaded:
            return
        message.setdefault("headers", [])
        headers = MutableHeaders(scope=message)
        headers.add_vary_header("Cookie")
        cookie = self._set_cookie()
        if cookie is not None:
            headers.append("set-cookie", cookie)
            headers["cache-control"] = "no-store"

    def _set_cookie(self) -> Optional[str]:
        visit, cookie = self._visit, self._cookie
        change = visit.cookie
        if change is CookieChange.REMOVED:
            return cookie.clear(self._scope)
        if change is CookieChange.NEW_ID or (change is CookieChange.EXTENDED and cookie.persistent):
            assert visit.stored is not None and visit.expires_at is not None
            return cookie.write(self._scope, visit.stored.id, visit.expires_at)
        return None

    async def _refuse(self, error: JarvisError) -> None:
        """Answers if the store is down. Any other error is the endpoint's, and so a 500."""
        if error.kind not in _STORE_FAILURES:
            raise error
        if self._scope["type"] == "http":
            if self._visit.answered:
                raise error
            response = answer(error)
            # What was done before the failure is done: the visitor needs the new id, or none.
            cookie = self._set_cookie()
            if cookie is not None:
                response.headers.append("set-cookie", cookie)
            await response(self._scope, self._receive, self._send)
        elif not self._visit.answered and _can_deny(self._scope):
            await answer(error)(self._scope, self._receive, self._send)
        else:
            log.error("%s", error, exc_info=error)
            await self._send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})


def _can_deny(scope: Scope) -> bool:
    """Whether the server lets an application choose the status of a refused websocket."""
    extensions: Any = scope.get("extensions") or {}
    return "websocket.http.response" in extensions
