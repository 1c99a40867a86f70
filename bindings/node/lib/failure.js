'use strict';

// Errors cross between JavaScript and the compiled part as JSON.

const { JarvisError } = require('./error.js');
const { Session } = require('./session.js');

/** The `code` of an error that the compiled part threw itself. */
const MARK = 'JARVIS';

/** The chain of causes, outermost first, as nested errors. */
function chained(causes) {
  return causes.reduceRight((cause, message) => new Error(message, cause && { cause }), undefined);
}

/** Reads an error of the compiled part. */
function fromJson(text) {
  const { kind, message, retry, retry_after: after, operation, context, causes, current } = JSON.parse(text);
  return new JarvisError(message, {
    kind,
    retry,
    retryAfter: after ?? undefined,
    operation: operation ?? undefined,
    context: Object.fromEntries(context),
    cause: chained(causes),
    current: current === null ? undefined : new Session(current),
  });
}

/** Converts what a native function threw: an error of the core, or napi's refusal of an argument's type. */
function fromNative(error) {
  if (error?.code === MARK) return fromJson(error.message);
  if (error instanceof JarvisError) return error;
  return new JarvisError(String(error?.message ?? error), { kind: 'invalid_input', cause: error });
}

/** Writes what a function of the application threw, for the compiled part. Never throws itself. */
function toNative(thrown) {
  try {
    return written(thrown);
  } catch {
    // Anything can be thrown, also an object whose `message` throws.
    return JSON.stringify({ kind: 'internal', message: 'a value was thrown that has no text' });
  }
}

function written(thrown) {
  const known = thrown instanceof JarvisError;
  const message = known || !(thrown instanceof Error) ? String(thrown?.message ?? thrown) : `${thrown.name}: ${thrown.message}`;
  return JSON.stringify({
    kind: known ? thrown.kind : kindOf(thrown),
    message,
    retry: known ? thrown.retry : undefined,
    retry_after: known ? thrown.retryAfter : undefined,
    stack: thrown instanceof Error ? String(thrown.stack) : undefined,
  });
}

const KINDS = new Map([
  ['ENOENT', 'not_found'],
  ['EEXIST', 'conflict'],
  ['EACCES', 'forbidden'],
  ['EPERM', 'forbidden'],
  ['EMFILE', 'exhausted'],
  ['ENFILE', 'exhausted'],
  ['ENOSPC', 'exhausted'],
  ['ENOMEM', 'exhausted'],
  ['ETIMEDOUT', 'timeout'],
  ['ECONNREFUSED', 'unavailable'],
  ['ECONNRESET', 'unavailable'],
  ['ECONNABORTED', 'unavailable'],
  ['EPIPE', 'unavailable'],
  ['EHOSTUNREACH', 'unavailable'],
  ['ENETUNREACH', 'unavailable'],
  ['ENOTFOUND', 'unavailable'],
  ['EAI_AGAIN', 'unavailable'],
]);

/** The kind of an error of JavaScript or Node. `fetch` has the system's error as its cause. */
function kindOf(thrown) {
  if (thrown?.name === 'TimeoutError') return 'timeout';
  if (thrown?.name === 'AbortError') return 'cancelled';
  return KINDS.get(thrown?.code) ?? KINDS.get(thrown?.cause?.code) ?? 'internal';
}

module.exports = { fromJson, fromNative, toNative };
