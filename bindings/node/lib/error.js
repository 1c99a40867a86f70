'use strict';

/** What the compiled part marks its own errors with. */
const MARK = 'JARVIS';

const codeOf = (kind) => `ERR_JARVIS_${kind.toUpperCase()}`;

/** Every failure of jarvis-core. `index.d.ts` says what is in it. */
class JarvisError extends Error {
  constructor(message, { kind = 'internal', cause, operation, context = {}, retry = 'never', retryAfter, current } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.kind = kind;
    this.code = codeOf(kind);
    this.retry = retry;
    this.retryable = retry === 'safe';
    if (retryAfter !== undefined) this.retryAfter = retryAfter;
    if (operation !== undefined) this.operation = operation;
    this.context = context;
    if (current !== undefined) this.current = current;
  }
}
Object.defineProperty(JarvisError.prototype, 'name', { value: 'JarvisError', configurable: true, writable: true });

/** The chain of causes, outermost first, as errors within each other. */
function chained(causes) {
  return causes.reduceRight((cause, message) => new Error(message, cause && { cause }), undefined);
}

/** Makes a packed session readable; `session.js` fills it in, which needs this file. */
const unpacked = { session: (packed) => packed };

/** From the JSON of the compiled part. */
function fromJson(text) {
  const { kind, message, retry, retry_after: after, operation, context, causes, current } = JSON.parse(text);
  return new JarvisError(message, {
    kind,
    retry,
    retryAfter: after ?? undefined,
    operation: operation ?? undefined,
    context: Object.fromEntries(context),
    cause: chained(causes),
    current: current === null ? undefined : unpacked.session(current),
  });
}

/** What the compiled part threw: one of ours, or its refusal of an argument's type. */
function fromNative(error) {
  if (error?.code === MARK) return fromJson(error.message);
  if (error instanceof JarvisError) return error;
  return new JarvisError(String(error?.message ?? error), { kind: 'invalid_input', cause: error });
}

/** What a user's function threw, for the compiled part. */
function toNative(thrown) {
  const known = thrown instanceof JarvisError;
  const message = known || !(thrown instanceof Error) ? String(thrown?.message ?? thrown) : `${thrown.name}: ${thrown.message}`;
  return JSON.stringify({
    kind: known ? thrown.kind : kindOf(thrown),
    message,
    retry: known ? thrown.retry : undefined,
    retry_after: known ? thrown.retryAfter : undefined,
    stack: thrown instanceof Error ? thrown.stack : undefined,
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

/** The kind of an error of JavaScript's or Node's; `fetch` hides its own in the cause. */
function kindOf(thrown) {
  if (thrown?.name === 'TimeoutError') return 'timeout';
  if (thrown?.name === 'AbortError') return 'cancelled';
  return KINDS.get(thrown?.code) ?? KINDS.get(thrown?.cause?.code) ?? 'internal';
}

module.exports = { JarvisError, fromJson, fromNative, toNative, unpacked };
