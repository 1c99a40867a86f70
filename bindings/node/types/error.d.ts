import { Millis } from './common';
import { Session } from './session';

export type ErrorKind =
  | 'not_found'
  | 'conflict'
  | 'invalid_input'
  | 'config_invalid'
  | 'unauthorized'
  | 'forbidden'
  | 'rate_limited'
  | 'budget_exceeded'
  | 'too_large'
  | 'exhausted'
  | 'unavailable'
  | 'timeout'
  | 'cancelled'
  | 'unsupported'
  | 'corrupt'
  | 'internal';

/** Whether the same call may be repeated. `indeterminate`: it may have been applied. */
export type Retry = 'never' | 'safe' | 'indeterminate';

export interface ErrorDetails {
  /** Default `internal`. */
  kind?: ErrorKind;
  cause?: unknown;
  operation?: string;
  context?: Record<string, string>;
  /** Default `never`. */
  retry?: Retry;
  retryAfter?: Millis;
}

/**
 * Every failure of this package. A probe, a restarter or a sink of yours may throw one too, to say
 * what kind of failure it was.
 */
export class JarvisError extends Error {
  constructor(message: string, details?: ErrorDetails);
  readonly name: 'JarvisError';
  /** The same in every language: `ERR_JARVIS_NOT_FOUND`, … */
  readonly code: `ERR_JARVIS_${Uppercase<ErrorKind>}`;
  readonly kind: ErrorKind;
  readonly retry: Retry;
  /** True when it was certainly not applied, so that the call may be repeated. */
  readonly retryable: boolean;
  /** How long the other side asked us to wait. */
  readonly retryAfter?: Millis;
  /** The operation that failed: `session.redis.load`. */
  readonly operation?: string;
  /** Facts, such as the service or the path. */
  readonly context: Readonly<Record<string, string>>;
  readonly cause?: unknown;
  /** When `save` fails with `conflict`: what is stored now. */
  readonly current?: Session;
}
