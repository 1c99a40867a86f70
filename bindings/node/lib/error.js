'use strict';

const codeOf = (kind) => `ERR_JARVIS_${kind.toUpperCase()}`;

/** Every failure of jarvis-core. `types/error.d.ts` documents the fields. */
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

/** An argument that can't be used. */
const invalid = (message, operation) => new JarvisError(message, { kind: 'invalid_input', operation });

module.exports = { JarvisError, invalid };
