'use strict';

const { errorAnswer, httpStatus } = require('../lib/web.js');

/** Writes an answer of the core. */
function send(res, { status, headers, body }) {
  res.statusCode = status;
  for (const [name, value] of Object.entries(headers)) res.setHeader(name, value);
  res.end(body);
}

/** Answers errors of jarvis-core, and passes all others to the next handler. */
function errorHandler({ log = (error) => console.error(error) } = {}) {
  return function jarvisErrors(error, req, res, next) {
    const answer = errorAnswer(error);
    if (answer === undefined || res.headersSent) return next(error);
    if (answer.status >= 500) log(error, req);
    send(res, answer);
  };
}

module.exports = { errorHandler, send, statusOf: httpStatus };
