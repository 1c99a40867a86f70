"""Errors of this package as HTTP answers."""

from __future__ import annotations

import logging

from fastapi import FastAPI
from starlette.requests import HTTPConnection
from starlette.responses import Response

from jarvis._core import _error_answer
from jarvis.errors import JarvisError

log = logging.getLogger("jarvis.fastapi")


def answer(error: JarvisError) -> Response:
    """The HTTP answer to an error. A server error is written to the log ``jarvis.fastapi``.

    The body contains the code. The message may name servers and paths, so it goes to the log only.
    """
    status, headers, body = _error_answer(error.kind, error.retry_after)
    if status >= 500:
        log.error("%s", error, exc_info=error)
    return Response(body, status, dict(headers))


async def _handle(connection: HTTPConnection, error: Exception) -> Response:
    # A websocket may already be accepted and then has no status; the server closes it.
    if connection.scope["type"] != "http" or not isinstance(error, JarvisError):
        raise error
    return answer(error)


def add_error_handlers(app: FastAPI) -> None:
    """Answers errors of this package, wherever an endpoint raises one, with the status of their kind.

    401, 402 budget exceeded, 403, 404 not found, 409 conflict, 413 too large, 422 invalid input,
    429 rate limited, 499 cancelled, 501 unsupported, 503 unavailable or exhausted, 504 timeout, and
    500 for the others. 429 and 503 have a ``Retry-After``. The body is
    ``{"code": "ERR_JARVIS_UNAVAILABLE", "detail": "Service Unavailable"}``. The message may name
    servers, so it goes to the log ``jarvis.fastapi`` only.
    """
    app.add_exception_handler(JarvisError, _handle)
