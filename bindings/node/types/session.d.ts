import { JarvisError } from './error';
import { MaybePromise, Millis } from './common';

/** The data of a session: one JSON object. */
export type SessionData = Record<string, unknown>;

/** A session as it was stored at one version. Change it and `save` it. */
export class Session<D extends object = SessionData> {
  private constructor();
  /** The visitor's secret: it belongs in their cookie and nowhere else. */
  readonly id: string;
  /** The user that the session belongs to, once that is known. */
  user: string | null;
  /** The data. Parsed when it is first read. */
  data: D;
  /** `data` as JSON text; may be set instead of it. */
  json: string;
  /** Grows by one with every save. */
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** The session is gone from then on. */
  readonly expiresAt: Date;
  /** How long it lives after a save or an extension. */
  ttl: Millis;
  /** Where it was created. Assign a new object to change it. */
  get meta(): SessionMeta;
  set meta(meta: Partial<SessionMeta>);
  toJSON(): object;
}

/** Where a session was created, as far as the application said. */
export interface SessionMeta {
  /** The visitor's address. */
  readonly ip: string | null;
  /** The visitor's browser, as it calls itself. */
  readonly userAgent: string | null;
  /** The prefix of the `JarvisStore` that created it. */
  readonly prefix: string | null;
}

/** A session as others may see it: without its data, and without its id where ids are hashed. */
export interface SessionSummary {
  /** Names it in `delete`, `extend` and `clear`. */
  readonly handle: string;
  readonly id: string | null;
  readonly user: string | null;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly expiresAt: Date;
  readonly meta: SessionMeta;
}

/** A session by its id, by itself, or by its summary. */
export type SessionName = string | Session<any> | { readonly handle: string };

export interface NewSession<D extends object = SessionData> {
  /** An id that a framework made, 1 to 128 bytes; else a fresh one that can't be guessed. */
  id?: string;
  user?: string | null;
  /** Default `{}`. */
  data?: D;
  /** `data` as JSON text, instead of it. */
  json?: string;
  /** Default: the policy's. */
  ttl?: Millis;
  ip?: string;
  userAgent?: string;
  /** Names the store that creates it, for `SessionMeta.prefix`. */
  prefix?: string;
}

/**
 * Keeps sessions. All methods reject with a `JarvisError`: `unavailable` or `timeout` when the
 * storage can't be reached, `invalid_input` for an invalid argument, `too_large` for data over the
 * policy's size.
 */
export class SessionStore {
  private constructor();
  /** Creates a session, with version 1. `conflict` when its id is taken. */
  create<D extends object = SessionData>(session?: NewSession<D>): Promise<Session<D>>;
  /** The session of this id; null when there is none, or it expired. */
  load<D extends object = SessionData>(id: string): Promise<Session<D> | null>;
  /** `load` and `extend` in one trip, for the beginning of a request. */
  loadAndExtend<D extends object = SessionData>(id: string, options?: { ttl?: Millis }): Promise<Session<D> | null>;
  /**
   * Stores a session if nobody changed it since it was loaded, and returns it with its new version.
   * `conflict` with `current` when somebody did; `not_found` when it expired or was deleted: a late
   * save never brings a session back. `force` overwrites whatever is stored.
   */
  save<S extends Session<any>>(session: S, options?: { force?: boolean }): Promise<S>;
  /**
   * Saves `session`, merged with what others stored since `base` was loaded: every top-level key of the
   * data that differs between the two is put on top of what is stored, and so are user, ttl and meta.
   * Returns `session` as it is stored now; null when there is none any more.
   */
  saveMerged<S extends Session<any>>(base: Session<any>, session: S): Promise<S | null>;
  /**
   * Loads, changes and saves, again until nobody else saved in between. `change` may be a plain or an
   * async function, and may be called more than once. Null when there is no such session; `timeout`
   * when the deadline (5 s) passes first.
   */
  update<D extends object = SessionData>(
    id: string,
    change: (session: Session<D>) => MaybePromise<void>,
    options?: { deadline?: Millis },
  ): Promise<Session<D> | null>;
  /** Removes a session: a logout. False when there was none. */
  delete(session: SessionName): Promise<boolean>;
  /** Lets a session live for `ttl` (default: its own) from now; returns its new expiry, or null. */
  extend(session: SessionName, options?: { ttl?: Millis }): Promise<Date | null>;
  /** Moves a session to a fresh id, for a login; null when there is none. */
  regenerate<D extends object = SessionData>(id: string, options?: { user?: string }): Promise<Session<D> | null>;
  /** The sessions of a user, oldest first. */
  list(user: string): Promise<SessionSummary[]>;
  /** Removes the sessions of a user, except one; returns how many. */
  clear(user: string, options?: { except?: SessionName }): Promise<number>;
  /** The number of sessions, of a user or of all. */
  count(options?: { user?: string }): Promise<number>;
  /** `load` for many ids, in their order. */
  loadMany<D extends object = SessionData>(ids: readonly string[]): Promise<(Session<D> | null)[]>;
  /** `save` for many, in their order: each result is the saved session, or its error. */
  saveMany<S extends Session<any>>(sessions: readonly S[], options?: { force?: boolean }): Promise<(S | JarvisError)[]>;
  /** `delete` for many; returns how many there were. */
  deleteMany(sessions: readonly SessionName[]): Promise<number>;
  /** Every session, in no order; loaded in pages of 256 unless told otherwise. */
  scan(options?: { pageSize?: number }): AsyncGenerator<SessionSummary, void, undefined>;
}
