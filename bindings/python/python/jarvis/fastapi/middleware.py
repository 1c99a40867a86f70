"""The middleware that loads and saves sessions: :class:`SessionMiddleware`."""

from __future__ import annotations

from typing import Any, Optional

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from jarvis._types import Seconds
from jarvis.errors import JarvisError
from jarvis.fastapi.cookie import Cookie, SameSite
from jarvis.fastapi.errors import answer, log, STATUS
from jarvis.fastapi.lifespan import jarvis_of
from jarvis.fastapi.session import SCOPE_KEY
from jarvis.fastapi.visit import Told, Visit
from jarvis.jarvis import Jarvis

#: "Try again later" of the WebSocket protocol.
_TRY_AGAIN_LATER = 1013

#: With these the answer of a request or a websocket begins.
_BEGINNINGS = ("http.response.start", "websocket.accept", "websocket.http.response.start")


class SessionMiddleware:
    """Sessions for HTTP and websockets, behind a cookie::

        app = FastAPI(lifespan=lifespan())
        app.add_middleware(SessionMiddleware, cookie_name="coach_sid")

    - The cookie is the id and nothing else: 192 bits from the operating system, of which storage
      has only a hash. There is nothing in it to sign, and an id that nobody was given finds nothing.
    - The store is asked when an endpoint asks for the session (:data:`SessionDep`), and changed
      before the response begins. An endpoint that doesn't ask costs no trip anywhere.
    - It fails closed: a request that needs the store while it is down gets 503, also when the
      endpoint was through and its change can't be saved. The others are not touched.
    - A response that depends on the session says ``Vary: Cookie``, and one that sets the cookie
      ``Cache-Control: no-store``, whatever it said before.
    - The cookie is set for a new id, and when the session was prolonged. It is taken away by
      :meth:`Session.destroy` alone: a request that was late for its session does not log out the
      one that replaced it.

    Args:
        app: The application.
        jarvis: Where sessions are kept; that of :func:`lifespan` when absent.
        cookie_name: ``__Host-`` and ``__Secure-`` in front are checked.
        path: Below which the browser sends it.
        domain: To which hosts; when absent, only to this one.
        same_site: Which requests of other sites bring it along.
        https_only: Never over plain HTTP. When absent: for requests that came over TLS, which a
            server behind a proxy knows by its headers.
        http_only: Scripts can't read it.
        persistent: The browser keeps it as long as the session lives. If not, until it is closed.
        rolling: Being used prolongs a session, once a tenth of its time has passed. Leave ``rolling``
            of the section ``[session]`` off: it would prolong without telling the cookie.
        ttl: How long a session lives after its last use; the policy's, 1 h unless configured, when
            absent.

    Raises:
        ValueError: Browsers would refuse that cookie.
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
    ) -> None:
        self._app = app
        self._jarvis = jarvis
        self._rolling = rolling
        self._ttl = ttl
        self._cookie = Cookie(
            cookie_name,
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
        )
        # In place: whoever is outside of us may want to know the route that the router notes.
        scope[SCOPE_KEY] = visit
        await _Exchange(self._app, self._cookie, visit, scope, receive, send).run()


class _Refused(Exception):
    """Ends an application whose answer was replaced."""


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

    async def run(self) -> None:
        visit = self._visit
        try:
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
            self._tell(message)
        await self._send(message)

    def _tell(self, message: Message) -> None:
        visit = self._visit
        if not visit.loaded:
            return
        message.setdefault("headers", [])
        headers = MutableHeaders(scope=message)
        headers.add_vary_header("Cookie")
        cookie = self._written()
        if cookie is not None:
            headers.append("set-cookie", cookie)
            headers["cache-control"] = "no-store"

    def _written(self) -> Optional[str]:
        visit, cookie = self._visit, self._cookie
        if visit.told is Told.GONE:
            return cookie.clear(self._scope)
        if visit.told is Told.NEW_ID or (visit.told is Told.PROLONGED and cookie.persistent):
            assert visit.stored is not None and visit.expires_at is not None
            return cookie.write(self._scope, visit.stored.id, visit.expires_at)
        return None

    async def _refuse(self, error: JarvisError) -> None:
        """503 for a store that is down; what an endpoint did wrong is the server's own 500."""
        if STATUS.get(error.kind) != 503:
            raise error
        if self._scope["type"] == "http":
            if self._visit.answered:
                raise error
            response = answer(error)
            # What was done before it failed is done: the visitor needs the new id, or none.
            cookie = self._written()
            if cookie is not None:
                response.headers.append("set-cookie", cookie)
            await response(self._scope, self._receive, self._send)
        elif not self._visit.answered and _can_deny(self._scope):
            await answer(error)(self._scope, self._receive, self._send)
        else:
            log.error("%s", error, exc_info=error)
            await self._send({"type": "websocket.close", "code": _TRY_AGAIN_LATER})


def _can_deny(scope: Scope) -> bool:
    """Can the server answer a websocket's request with a status of ours?"""
    extensions: Any = scope.get("extensions") or {}
    return "websocket.http.response" in extensions
