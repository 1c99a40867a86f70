// Types for applications in TypeScript need @types/express-session.

import session = require('express-session');
import { IncomingMessage, ServerResponse } from 'node:http';
import { Jarvis, Millis, SessionStore } from '..';

type Done<T = void> = (error?: unknown, value?: T) => void;
type Next = (error?: any) => void;

/** Middleware of Express 4 and 5, and of whatever else calls with `(req, res, next)`. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: Next) => void;

/**
 * On a session: the version that was loaded or stored last; undefined before it was ever stored.
 * It is no part of the session's data.
 */
export declare const VERSION: unique symbol;

declare module 'express-session' {
  interface Session {
    readonly [VERSION]?: number;
  }
}

export interface JarvisStoreOptions {
  /** Where sessions are kept: `jarvis.sessions`. */
  sessions: SessionStore;
  /** The application's express-session, where it is not found by itself. */
  session?: Pick<typeof session, 'Store'>;
  /**
   * How long a session lives whose cookie has no end (`cookie.maxAge`), in milliseconds; a function
   * decides for each session, whatever its cookie says. Default: `[session] ttl`, which is one hour.
   * Zero or less removes the session.
   */
  ttl?: Millis | ((session: session.SessionData) => Millis | undefined);
  /**
   * Whose a session is, so that `jarvis.sessions.list(user)` finds it and `clear(user)` ends it:
   * `(session) => session.userId`. Undefined leaves that as it is; null makes it nobody's.
   */
  user?: (session: session.SessionData) => string | null | undefined;
  /** Leaves the end of a session alone when a request changed nothing. Default false. */
  disableTouch?: boolean;
  /**
   * What happens to a request's changes when another request of the visitor has stored the session
   * since this one loaded it.
   *
   * - `merge` (default): the top-level keys that this request added, changed or removed are put
   *   upon what is stored; of two changes of one key the later one stays.
   * - `overwrite`: the session is stored as this request has it, as other stores do.
   * - `error`: `set` fails with `conflict`.
   *
   * Whatever is chosen, a session that was destroyed meanwhile stays destroyed.
   */
  conflict?: 'merge' | 'overwrite' | 'error';
  /**
   * What becomes of requests with a session's cookie while the storage is down.
   *
   * - `error` (default): they fail with `unavailable` or `timeout`, which `errorHandler` answers
   *   with 503. Requests without the cookie go on.
   * - `skip`: the store emits `disconnect`, upon which express-session passes all requests on
   *   without `req.session`, and `connect` when the storage is back. The request that found out
   *   still fails. The application has to be ready for an undefined `req.session`.
   */
  whenDown?: 'error' | 'skip';
}

/**
 * Keeps the sessions of express-session in `jarvis.sessions`. Every method takes a callback, as
 * express-session wants, or returns a promise; failures are a `JarvisError`.
 *
 * Use it with `resave: false`. Sessions have the id that express-session makes.
 */
export class JarvisStore extends session.Store {
  /** `invalid_input` for a bad option, `unsupported` where express-session is not installed. */
  constructor(options: JarvisStoreOptions);
  /**
   * The session of this id; null when there is none, or it has ended. Prolongs it by the time that
   * it was stored with, in the same trip, unless `disableTouch`.
   */
  get(sid: string): Promise<session.SessionData | null>;
  get(sid: string, callback: (error: any, session?: session.SessionData | null) => void): void;
  /**
   * Stores a session. One that came from `get`, or was stored before, is compared by its version
   * (see `conflict`), and is not brought back when it was destroyed. Any other is created, or takes
   * the place of what has that id.
   */
  set(sid: string, session: session.SessionData): Promise<void>;
  set(sid: string, session: session.SessionData, callback?: Done): void;
  /** Removes a session: a logout. Nothing happens where there is none. */
  destroy(sid: string): Promise<void>;
  destroy(sid: string, callback?: Done): void;
  /** Lets a session live on, without a look at its data; no trip when `get` has just done it. */
  touch(sid: string, session: session.SessionData): Promise<void>;
  touch(sid: string, session: session.SessionData, callback?: () => void): void;
  /**
   * Every session, with its id as `id`. Reads all there are; `unsupported` unless `[session]
   * hash_ids = false`, as are `ids`: a hash can't be made an id again.
   */
  all(): Promise<(session.SessionData & { id: string })[]>;
  all(callback: (error: any, sessions?: any) => void): void;
  /** Every id. Asks for all sessions in pages; see `all`. */
  ids(): Promise<string[]>;
  ids(callback: Done<string[]>): void;
  /** How many sessions there are. Those that ended within the last minute may be counted. */
  length(): Promise<number>;
  length(callback: (error: any, length?: number) => void): void;
  /** Removes every session of the storage, page by page, those of other applications too. */
  clear(): Promise<void>;
  clear(callback?: Done): void;
}

export interface TrackOptions {
  /** Publishes on `jarvis.events`, and lets `metrics` show all that the handle has numbers of. */
  jarvis?: Jarvis;
  /** Names the service in the topic and in the event; with `jarvis` it has to be there. */
  service?: string;
  /** How long events are apart. Default 10 s. */
  every?: Millis;
  /**
   * Names the route of a request that ended. Default: the mount path and the pattern that matched
   * (`/projects/:id`), or `(unmatched)`. After 500 names all others are one, `(other)`.
   */
  route?: (req: any) => string | undefined;
  /** Told of an event that the bus did not take; it is dropped. Default `console.error`. */
  log?: (error: unknown) => void;
}

/** The requests of one method and route. */
export interface RouteSummary {
  readonly method: string;
  readonly route: string;
  readonly count: number;
  /** Those with a status of 500 or more. */
  readonly errors: number;
  /** How many had which status. A client that went away before the answer is status 499. */
  readonly statuses: { readonly [status: string]: number };
  readonly p50_ms: Millis;
  readonly p99_ms: Millis;
  readonly max_ms: Millis;
}

/** The payload of an event of `track`: what ended between two moments. */
export interface RequestsSummary {
  readonly service: string;
  readonly since: string;
  readonly until: string;
  readonly routes: readonly RouteSummary[];
}

export interface Tracker extends Middleware {
  /** All since the start, and how many requests go on at this moment. */
  snapshot(): { readonly active: number; readonly routes: readonly RouteSummary[] };
  /** The OpenMetrics text: `http_server_request_duration_seconds` and `http_server_active_requests`. */
  text(): Promise<string>;
  /** The route that answers with it, for Prometheus. */
  metrics: Middleware;
  /** Publishes now; false when there was nothing to tell, or it failed. */
  publish(): Promise<boolean>;
  /** Publishes a last time, and then no more. */
  close(): Promise<void>;
}

/**
 * Counts requests and how long they take, until the last byte. With `jarvis` it publishes on the
 * topic `requests.SERVICE` what happened in every 10 s in which there was a request. No address,
 * header, argument or body is kept. Put it before all other middleware.
 */
export function track(options?: TrackOptions): Tracker;

/**
 * The route that says how the services are: the platform's state and each service's, 503 while it
 * is down or not known. From what `jarvis.run()` watches in this process; else by one round of
 * probes for all who ask within `maxAge` (default 1 s).
 */
export function health(jarvis: Jarvis, options?: { maxAge?: Millis }): Middleware;

/** The route that says whether this process is alive: 503 when its `jarvis.run()` does not go round. */
export function healthz(jarvis: Jarvis): Middleware;

/** The HTTP status of an error of this package: 404 for `not_found`, …; undefined for any other error. */
export function statusOf(error: unknown): number | undefined;

/**
 * Answers errors of this package with their status and `{ detail, code }`, with `Retry-After` for
 * 429 and 503; passes on all others, and those that come too late. The message, which may name
 * servers, is for `log` (default `console.error`), which is given what is 500 or more.
 */
export function errorHandler(options?: {
  log?: (error: unknown, req: IncomingMessage) => void;
}): (error: any, req: IncomingMessage, res: ServerResponse, next: Next) => void;
