"""The cookie that carries a session's id."""

from __future__ import annotations

import math
import re
from datetime import datetime, timezone
from typing import Any, List, Literal, Mapping, Optional, Tuple

#: Which requests from other sites bring the cookie along.
SameSite = Literal["lax", "strict", "none"]

#: The characters that RFC 6265 allows in a name.
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")

#: What may stand in an attribute.
_ATTRIBUTE = re.compile(r"[ -:<-~]*")


class Cookie:
    """How the cookie is written and read."""

    __slots__ = ("_attributes", "_https_only", "_name", "persistent")

    def __init__(
        self,
        name: str,
        *,
        path: str,
        domain: Optional[str],
        same_site: SameSite,
        https_only: Optional[bool],
        http_only: bool,
        persistent: bool,
    ) -> None:
        _check(name, path, domain, same_site, https_only)
        self._name = name.encode("ascii")
        self._https_only = https_only
        self.persistent = persistent
        attributes = [f"Path={path}", f"SameSite={same_site.capitalize()}"]
        if domain is not None:
            attributes.append(f"Domain={domain}")
        if http_only:
            attributes.append("HttpOnly")
        self._attributes = attributes

    def read(self, scope: Mapping[str, Any]) -> Optional[str]:
        """What the visitor brought. Of several of one name it is the first, the most specific."""
        headers: List[Tuple[bytes, bytes]] = scope["headers"]
        for header, value in headers:
            if header != b"cookie":
                continue
            for pair in value.split(b";"):
                name, found, text = pair.strip().partition(b"=")
                if found and name == self._name:
                    return text.strip().decode("latin-1")
        return None

    def write(self, scope: Mapping[str, Any], id: str, expires_at: datetime) -> str:
        """The header that gives the visitor an id, for as long as the session lives."""
        if not self.persistent:
            return self._header(scope, id, None)
        left = (expires_at - datetime.now(timezone.utc)).total_seconds()
        return self._header(scope, id, max(0, math.ceil(left)))

    def clear(self, scope: Mapping[str, Any]) -> str:
        """The header that takes it away."""
        return self._header(scope, "", 0)

    def _header(self, scope: Mapping[str, Any], value: str, max_age: Optional[int]) -> str:
        parts = [f"{self._name.decode('ascii')}={value}", *self._attributes]
        if max_age is not None:
            parts.append(f"Max-Age={max_age}")
        https = scope.get("scheme") in ("https", "wss")
        if https if self._https_only is None else self._https_only:
            parts.append("Secure")
        return "; ".join(parts)


def _check(
    name: str, path: str, domain: Optional[str], same_site: str, https_only: Optional[bool]
) -> None:
    """Refuses what browsers would drop without a word.

    Raises:
        ValueError: Says which argument, and what to write instead.
    """
    if not _NAME.fullmatch(name):
        raise ValueError(f"cookie_name: {name!r} is no name for a cookie")
    if not path.startswith("/") or not _ATTRIBUTE.fullmatch(path):
        raise ValueError(f"path: {path!r} is none; it begins with a slash")
    if domain is not None and not (domain and _ATTRIBUTE.fullmatch(domain)):
        raise ValueError(f"domain: {domain!r} is none")
    if same_site not in ("lax", "strict", "none"):
        raise ValueError(f"same_site: {same_site!r} is none of lax, strict, none")
    if same_site == "none" and not https_only:
        raise ValueError('same_site="none" needs https_only=True: browsers refuse it otherwise')
    if name.startswith(("__Host-", "__Secure-")) and not https_only:
        raise ValueError(f"cookie_name: {name!r} needs https_only=True: browsers refuse it otherwise")
    if name.startswith("__Host-") and (path != "/" or domain is not None):
        raise ValueError(f'cookie_name: {name!r} needs path="/" and no domain')
