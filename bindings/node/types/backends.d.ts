import { Json, MaybePromise, Millis, Timestamp } from './common';
import { FailureKind, Verdict } from './health';

/** Aborts when nobody waits for the answer any more. */
export interface Call {
  readonly signal: AbortSignal;
}

/** What a probe of yours measured. */
export interface Observation {
  verdict: Verdict;
  /** Why it did not pass. Default `check`. */
  kind?: FailureKind;
  /** One line for a person, without secrets. */
  message?: string;
  /** The running instance that was seen, where that can be told. */
  instance?: string;
  facts?: Record<string, Json>;
}

/** Nothing or true: well. False: not well. A text: well, with this message. */
export type ProbeAnswer = void | null | boolean | string | Observation;

/**
 * Measures one target. A sick target is an observation; throw when you could not measure. An error
 * with `ECONNREFUSED` or `ETIMEDOUT` means a sick target too. A probe that does not answer by the
 * check's timeout is a failure, and is not called again before it has ended.
 */
export interface HealthProbe {
  /** `timeout`: the time that is left. `fresh`: don't reuse an earlier measurement. */
  probe(request: { readonly timeout: Millis; readonly fresh: boolean }, call: Call): MaybePromise<ProbeAnswer>;
}

/** An action to take; it is on record already. Don't act twice for one intent. */
export interface ActionRequest {
  readonly intent: string;
  readonly token: number;
  /** The time that is left for the answer. */
  readonly timeout: Millis;
  /** For `rollBack`: the version. */
  readonly to?: string;
}

/** What the platform answered. */
export interface Receipt {
  /** The running instance before the action, and after. */
  before?: string;
  after?: string;
  /** One line for a person. */
  message?: string;
}

/** Whether a service runs, as its platform sees it. */
export interface Running {
  state: 'running' | 'starting' | 'exited' | 'stopped_by_person' | 'not_started' | 'missing';
  /** With `exited`: how it ended. */
  exit?: 'unknown' | 'out_of_memory' | { code: number } | { signal: number };
  /** With `stopped_by_person`: how that is known. */
  evidence?: string;
  /** The name of this running instance; two never share one. */
  instance?: string;
  version?: string;
  startedAt?: Timestamp;
}

/** Nothing, a line for a person, or a receipt. */
export type ReceiptAnswer = void | null | string | Receipt;

/**
 * Restarts one service. When to act is the operator's decision: act once, at once, and report what
 * happened. It is not called twice for one intent. Without `start`, `stop` or `rollBack` these are
 * `unsupported`; the other optional methods may be left out.
 */
export interface ServiceRestarter {
  /** Whether it runs, the name of its running instance, or more. */
  observe(nothing: null, call: Call): MaybePromise<boolean | string | Running>;
  restart(request: ActionRequest, call: Call): MaybePromise<ReceiptAnswer>;
  start?(request: ActionRequest, call: Call): MaybePromise<ReceiptAnswer>;
  stop?(request: ActionRequest, call: Call): MaybePromise<ReceiptAnswer>;
  rollBack?(request: ActionRequest, call: Call): MaybePromise<ReceiptAnswer>;
  settleRollBack?(keep: boolean, call: Call): MaybePromise<void>;
  release?(why: 'interrupted' | 'terminated', call: Call): MaybePromise<void>;
  lastLogLines?(lines: number, call: Call): MaybePromise<string[]>;
}

/** One message to people. */
export interface Alert {
  /** Names this message: use it to deliver once. */
  readonly id: string;
  /** The same for the whole incident. */
  readonly key: string;
  readonly status: 'triggered' | 'updated' | 'reminder' | 'recovered' | 'resolved' | 'test';
  readonly severity: 'info' | 'warning' | 'critical';
  readonly service?: string;
  readonly title: string;
  readonly body: string;
  readonly at: Timestamp;
  readonly lastedMs?: Millis;
}

/** Delivers alerts to people. When it throws a retryable error, delivery is tried again. */
export interface AlertSink {
  deliver(alert: Alert, call: Call): MaybePromise<unknown>;
}
