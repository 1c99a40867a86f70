import { Platform, ServiceState } from './health';
import { Jarvis } from './jarvis';
import { Millis, Timestamp } from './common';

/** An HTTP answer that a framework only has to write. */
export interface WebAnswer {
  readonly status: number;
  /** Names in lower case. */
  readonly headers: { readonly [name: string]: string };
  readonly body: string;
}

/** The requests of one method and route. */
export interface RouteSummary {
  readonly method: string;
  readonly route: string;
  readonly count: number;
  /** Those with a status of 500 or more. */
  readonly errors: number;
  /** How many had which status. 499: the client went away before the answer. */
  readonly statuses: { readonly [status: string]: number };
  readonly p50Ms: Millis;
  readonly p99Ms: Millis;
  readonly maxMs: Millis;
}

/** All requests since the start, by route. */
export interface RequestSnapshot {
  /** How many are being answered now. */
  readonly active: number;
  readonly routes: readonly RouteSummary[];
}

/**
 * The payload of an event on `requests.SERVICE`: what ended between two moments. It is a message on the
 * bus, with the same names in every language.
 */
export interface RequestsSummary {
  readonly service: string;
  readonly since: Timestamp;
  readonly until: Timestamp;
  readonly routes: readonly {
    readonly method: string;
    readonly route: string;
    readonly count: number;
    readonly errors: number;
    readonly statuses: { readonly [status: string]: number };
    readonly p50_ms: Millis;
    readonly p99_ms: Millis;
    readonly max_ms: Millis;
  }[];
}

/** Counts requests and how long they take, by method, route and status. */
export class RequestMeter {
  /** With a `service`, `publish` tells what happened on the topic `requests.SERVICE`. */
  constructor(options?: { service?: string; since?: Date | number });
  /** A request arrived. */
  begin(): void;
  /**
   * It ended after `took`. Without a route it counts as `(unmatched)`; after 500 routes all others are
   * `(other)`. True for the first request since the last event: start the timer that publishes.
   */
  end(method: string, route: string | undefined, status: number, took: Millis): boolean;
  snapshot(): RequestSnapshot;
  /** Takes what was not published yet, in events within the bus's size limit. */
  take(until?: Date | number): RequestsSummary[];
  /** Publishes what was not published yet; false when there was nothing. */
  publish(jarvis: Jarvis): Promise<boolean>;
  /** The OpenMetrics text, with everything that the handle has numbers of. */
  metrics(jarvis?: Jarvis): Promise<string>;
}

export interface CookieRules {
  /** Default `jarvis_sid`. */
  cookieName?: string;
  /** Default `/`. */
  path?: string;
  domain?: string | null;
  /** Default `lax`. */
  sameSite?: 'lax' | 'strict' | 'none';
  /** Only over HTTPS. Default: as the request came. */
  httpsOnly?: boolean | null;
  /** Hidden from scripts. Default true. */
  httpOnly?: boolean;
  /** Outlives the browser. Default true. */
  persistent?: boolean;
}

/** Reads and writes the cookie of a session, for servers without express-session. */
export class SessionCookie {
  /** `invalid_input` for rules that browsers ignore. */
  constructor(rules?: CookieRules);
  /** The session id in a `Cookie` header. */
  read(header: string): string | null;
  /** The `Set-Cookie` header for a session that lives for `left`. */
  write(id: string, options: { left: Millis; https: boolean }): string;
  /** The `Set-Cookie` header that removes the cookie. */
  clear(options: { https: boolean }): string;
}

/** The HTTP status of an error of this package; undefined for any other error. */
export function httpStatus(error: unknown): number | undefined;

/** The answer to a request that failed with an error of this package; undefined for any other error. */
export function errorAnswer(error: unknown): WebAnswer | undefined;

/**
 * The answer of a health route: the platform's state and each service's, 503 while it is down or
 * unknown. From what `jarvis.run()` watches in this process; else from one round of probes that all
 * callers within `maxAge` (default 1 s) share.
 */
export function healthAnswer(jarvis: Jarvis, options?: { services?: readonly string[]; maxAge?: Millis }): Promise<WebAnswer>;

/** The answer of a health route for a platform that was judged elsewhere. */
export function healthDocument(platform: Platform, services: readonly (readonly [service: string, state: ServiceState])[]): WebAnswer;

/** The answer of a liveness route: a process that does not supervise is alive when it answers. */
export function liveness(process: { supervises: boolean; alive: boolean; reason?: string }): WebAnswer;

/** The answer of a liveness route: 503 when `jarvis.run()` was called and its loop is not alive. */
export function livenessAnswer(jarvis: Jarvis): WebAnswer;
