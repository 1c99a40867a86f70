'use strict';

const { STATUS_CODES } = require('node:http');

/** The status of each kind of error. */
const STATUSES = {
  invalid_input: 400,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  rate_limited: 429,
  budget_exceeded: 429,
  unsupported: 501,
  unavailable: 503,
  timeout: 503,
  exhausted: 503,
  cancelled: 503,
  config_invalid: 500,
  corrupt: 500,
  internal: 500,
};

/** What a client is told where nobody knows how long to wait, in milliseconds. */
const WAIT = 1_000;

/** Not by its class: there may be more than one copy of this package. */
const isOurs = (error) => typeof error?.code === 'string' && error.code.startsWith('ERR_JARVIS_');

/** The HTTP status of an error; undefined for one that is not ours. */
function statusOf(error) {
  return isOurs(error) ? (STATUSES[error.kind] ?? 500) : undefined;
}

/** Answers errors of jarvis-core with their status, and leaves all others to the next handler. */
function errorHandler({ log = (error) => console.error(error) } = {}) {
  return function jarvisErrors(error, req, res, next) {
    const status = statusOf(error);
    if (status === undefined || res.headersSent) return next(error);
    if (status >= 500) log(error, req);
    if (status === 429 || status === 503) {
      res.setHeader('Retry-After', Math.ceil((error.retryAfter ?? WAIT) / 1_000));
    }
    // Not its message: that may name servers and paths.
    sendJson(res, status, { detail: STATUS_CODES[status], code: error.code });
  };
}

/** Answers with JSON that no cache may keep. */
function sendJson(res, status, body) {
  res.statusCode = status;
  res.setHeader('Cache-Control', 'no-store');
  res.setHeader('Content-Type', 'application/json; charset=utf-8');
  res.end(JSON.stringify(body));
}

module.exports = { errorHandler, sendJson, statusOf };
