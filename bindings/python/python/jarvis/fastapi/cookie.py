"""The cookie that carries a session's id."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, List, Literal, Mapping, Optional, Tuple

from jarvis._core import SessionCookie

#: Which requests from other sites send the cookie.
SameSite = Literal["lax", "strict", "none"]


class Cookie:
    """Reads and writes the cookie of ASGI requests."""

    __slots__ = ("_core", "persistent")

    def __init__(self, **rules: Any) -> None:
        self._core = SessionCookie(rules)
        self.persistent: bool = rules["persistent"]

    def read(self, scope: Mapping[str, Any]) -> Optional[str]:
        """The id that the visitor sent."""
        headers: List[Tuple[bytes, bytes]] = scope["headers"]
        for header, value in headers:
            if header == b"cookie":
                found = self._core.read(value)
                if found is not None:
                    return found
        return None

    def write(self, scope: Mapping[str, Any], id: str, expires_at: datetime) -> str:
        """The header that gives the visitor an id for as long as the session lives."""
        left = max(timedelta(0), expires_at - datetime.now(timezone.utc))
        return self._core.write(id, left, _is_https(scope))

    def clear(self, scope: Mapping[str, Any]) -> str:
        """The header that removes the cookie."""
        return self._core.clear(_is_https(scope))


def _is_https(scope: Mapping[str, Any]) -> bool:
    return scope.get("scheme") in ("https", "wss")
