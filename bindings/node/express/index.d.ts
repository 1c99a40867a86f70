// Nothing is imported from express-session: all its types come from the module that the application
// gives, so that they are right however this package is installed or linked.

import { IncomingMessage, ServerResponse } from 'node:http';
import { Jarvis, Millis, SessionStore, web } from '..';

/** The requests of one method and route. */
export type RouteSummary = web.RouteSummary;
/** The payload of an event of `track`. */
export type RequestsSummary = web.RequestsSummary;

type Done<T = void> = (error?: unknown, value?: T) => void;
type Next = (error?: any) => void;

/** Middleware of Express 4 and 5, and of everything else that calls `(req, res, next)`. */
export type Middleware = (req: IncomingMessage, res: ServerResponse, next: Next) => void;

/** The `SessionData` of an express-session, with what the application added to it. */
export type SessionDataOf<Store> = Store extends {
  get(sid: string, callback: (error: any, session?: infer Data | null) => void): void;
}
  ? NonNullable<Data>
  : Record<string, unknown>;

export interface JarvisStoreOptions<Data = any> {
  /** Where sessions are kept: `jarvis.sessions`. */
  sessions: SessionStore;
  /**
   * Comes before every id, and separates applications that share a storage: `clear`, `length`, `all`
   * and `ids` see only sessions with this prefix. `jarvis.sessions` knows a session as prefix + id.
   * Default `sess:`; with `''` the store sees all sessions of `jarvis.sessions`.
   */
  prefix?: string;
  /**
   * How long a session lives whose cookie has no expiry (`cookie.maxAge`), in milliseconds; a function
   * decides for each session, whatever its cookie says. Default: `[session] ttl`, which is one hour.
   * Zero or less removes the session.
   */
  ttl?: Millis | ((session: Data) => Millis | undefined);
  /**
   * The user of a session, so that `jarvis.sessions.list(user)` finds it and `clear(user)` ends it:
   * `(session) => session.userId`. Undefined leaves the user as it is; null removes it.
   */
  user?: (session: Data) => string | number | bigint | null | undefined;
  /** Doesn't extend a session when a request changed nothing. Default false. */
  disableTouch?: boolean;
  /**
   * What happens to a request's changes when another request of the visitor has stored the session
   * since this one loaded it.
   *
   * - `merge` (default): the top-level keys that this request added, changed or removed are put on top
   *   of what is stored; when both changed the same key, the later one wins.
   * - `overwrite`: the session is stored as this request has it, as other stores do.
   * - `error`: `set` fails with `conflict`.
   *
   * In each case a session that was destroyed meanwhile stays destroyed.
   */
  conflict?: 'merge' | 'overwrite' | 'error';
  /**
   * What happens to requests with a session cookie while the storage is down.
   *
   * - `error` (default): they fail with `unavailable` or `timeout`, which `errorHandler` answers with
   *   503 or 504. Requests without the cookie are served.
   * - `skip`: the store emits `disconnect`, after which express-session passes all requests on without
   *   `req.session`, and `connect` when the storage is back. The first request that fails still fails.
   *   The application must handle an undefined `req.session`.
   */
  whenDown?: 'error' | 'skip';
}

/**
 * The methods of a store. Each takes a callback, as express-session requires, or returns a promise;
 * failures are a `JarvisError`.
 */
export interface JarvisStoreMethods<Data> {
  /**
   * The session of this id; null when there is none, or it has expired. Extends it by the time that it
   * was stored with, in the same trip, unless `disableTouch` is set.
   */
  get(sid: string): Promise<Data | null>;
  get(sid: string, callback: (error: any, session?: Data | null) => void): void;
  /**
   * Stores a session. One that came from `get`, or was stored before, is compared by its version (see
   * `conflict`), and is not brought back when it was destroyed. Any other is created, or overwrites the
   * session with that id.
   */
  set(sid: string, session: Data): Promise<void>;
  set(sid: string, session: Data, callback?: Done): void;
  /** Removes a session: a logout. Does nothing when there is none. */
  destroy(sid: string): Promise<void>;
  destroy(sid: string, callback?: Done): void;
  /** Extends a session without reading its data; makes no trip when `get` has just done it. */
  touch(sid: string, session: Data): Promise<void>;
  touch(sid: string, session: Data, callback?: () => void): void;
  /**
   * Every session with this store's prefix, with its id as `id`. `unsupported` unless `[session]
   * hash_ids = false`, as is `ids`: a hash can't be turned back into an id.
   */
  all(): Promise<(Data & { id: string })[]>;
  all(callback: (error: any, sessions?: any) => void): void;
  /** Every id with this store's prefix, without the prefix. See `all`. */
  ids(): Promise<string[]>;
  ids(callback: Done<string[]>): void;
  /** The number of sessions with this store's prefix. Lists all sessions in pages to count them. */
  length(): Promise<number>;
  length(callback: (error: any, length?: number) => void): void;
  /** Removes every session with this store's prefix, page by page. */
  clear(): Promise<void>;
  clear(callback?: Done): void;
}

/** A store of express-session that keeps its sessions in `jarvis.sessions`. Use it with `resave: false`. */
export type JarvisStore<Store extends object = object> = JarvisStoreMethods<SessionDataOf<Store>> & Store;

/** The class that `jarvisStore` makes. Its constructor throws `invalid_input` for an invalid option. */
export type JarvisStoreClass<Store extends object> = new (
  options: JarvisStoreOptions<SessionDataOf<Store>>,
) => JarvisStore<Store>;

/**
 * Makes the store class for your express-session; the class extends that module's `Store`.
 *
 *     import session from 'express-session';
 *     const JarvisStore = jarvisStore(session);
 *     app.use(session({ store: new JarvisStore({ sessions: jarvis.sessions }), … }));
 */
export function jarvisStore<Store extends object>(session: {
  readonly Store: abstract new (...args: any[]) => Store;
}): JarvisStoreClass<Store>;

/** The version of `req.session` that was loaded or last stored; undefined when it was never stored. */
export function versionOf(session: object | null | undefined): number | undefined;

export interface TrackOptions {
  /** Publishes on `jarvis.events`, and adds the numbers of the handle to `metrics`. */
  jarvis?: Jarvis;
  /** The name of the service in the topic and in the event; required with `jarvis`. */
  service?: string;
  /** The time between events. Default 10 s. */
  every?: Millis;
  /**
   * Names the route of a request that ended. Default: the mount path and the pattern that matched
   * (`/projects/:id`), or `(unmatched)`. After 500 names all others count as `(other)`.
   */
  route?: (req: any) => string | undefined;
  /** Gets the error when an event can't be published; the event is dropped. Default `console.error`. */
  log?: (error: unknown) => void;
}

export interface Tracker extends Middleware {
  /** All requests since the start, and how many are being answered now. */
  snapshot(): web.RequestSnapshot;
  /** The OpenMetrics text: `http_server_request_duration_seconds` and `http_server_active_requests`. */
  text(): Promise<string>;
  /** The route that answers with it, for Prometheus. */
  metrics: Middleware;
  /** Publishes now; false when there was nothing to publish, or it failed. */
  publish(): Promise<boolean>;
  /** Publishes for the last time. */
  close(): Promise<void>;
}

/**
 * Counts requests and how long they take, up to the last byte. With `jarvis` it publishes a summary on
 * the topic `requests.SERVICE` every 10 s in which there was a request. No address, header, argument or
 * body is kept. Use it before all other middleware.
 */
export function track(options?: TrackOptions): Tracker;

/**
 * The route with the state of the services: the platform's state and each service's, 503 while it is
 * down or unknown. From what `jarvis.run()` watches in this process; else from one round of probes that
 * all callers within `maxAge` (default 1 s) share. `services` names some of them.
 */
export function health(jarvis: Jarvis, options?: { services?: readonly string[]; maxAge?: Millis }): Middleware;

/** The route that says whether this process is alive: 503 when `jarvis.run()` was called and its loop is not. */
export function healthz(jarvis: Jarvis): Middleware;

/** The HTTP status of an error of this package: 404 for `not_found`, …; undefined for any other error. */
export function statusOf(error: unknown): number | undefined;

/**
 * Answers errors of this package with their status and `{ detail, code }`, and `Retry-After` with 429
 * and 503; passes on all others, and those that come after the answer has begun. The message may name
 * servers, so only `log` (default `console.error`) gets it, for a status of 500 or more.
 */
export function errorHandler(options?: {
  log?: (error: unknown, req: IncomingMessage) => void;
}): (error: any, req: IncomingMessage, res: ServerResponse, next: Next) => void;
