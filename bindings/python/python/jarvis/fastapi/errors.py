"""Errors of this package as HTTP answers."""

from __future__ import annotations

import logging
import math
from http import HTTPStatus
from typing import Any, Dict, Tuple

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from jarvis.errors import JarvisError

log = logging.getLogger("jarvis.fastapi")

#: Which status stands for a kind of error.
STATUS: Dict[str, int] = {
    "invalid_input": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "too_large": 413,
    "rate_limited": 429,
    "budget_exceeded": 429,
    "unsupported": 501,
    "unavailable": 503,
    "timeout": 503,
    "exhausted": 503,
    "cancelled": 503,
    "config_invalid": 500,
    "corrupt": 500,
    "internal": 500,
}

#: What a client is told when nobody knows how long to wait, in seconds.
_RETRY_AFTER = 1


def described(error: JarvisError) -> Tuple[int, Dict[str, str], Dict[str, Any]]:
    """Status, headers and body of an error.

    The body has its code. Its message may name servers and paths: that is for the log.
    """
    status = STATUS.get(error.kind, 500)
    headers = {"cache-control": "no-store"}
    if status in (429, 503):
        wait = _RETRY_AFTER if error.retry_after is None else math.ceil(error.retry_after)
        headers["retry-after"] = str(wait)
    return status, headers, {"detail": HTTPStatus(status).phrase, "code": error.code}


def answer(error: JarvisError) -> Response:
    """The HTTP answer to an error, which is told to the log ``jarvis.fastapi`` where it is ours."""
    status, headers, body = described(error)
    if status >= 500:
        log.error("%s", error, exc_info=error)
    return JSONResponse(body, status, headers)


async def _handle(connection: HTTPConnection, error: Exception) -> Response:
    # A websocket may be past the point where it has a status; the server closes it.
    if connection.scope["type"] != "http" or not isinstance(error, JarvisError):
        raise error
    return answer(error)


def add_error_handlers(app: FastAPI) -> None:
    """Answers an error of this package, wherever an endpoint meets one, with the status of its kind.

    400 invalid input, 401, 403, 404 not found, 409 conflict, 413 too large, 429 rate or budget,
    501 unsupported, 503 with ``Retry-After`` when something is down, late, full or closing, else
    500. The body is ``{"detail": "Service Unavailable", "code": "ERR_JARVIS_UNAVAILABLE"}``; the
    message, which may name servers, goes to the log ``jarvis.fastapi``.
    """
    app.add_exception_handler(JarvisError, _handle)
