'use strict';

const { JarvisError, invalid } = require('../lib/error.js');
const { Session } = require('../lib/session.js');

/** How many sessions are listed, or removed, at once. */
const PAGE = 256;
/** The longest life of a session (`LONGEST_TTL` of the core), in milliseconds. Cookies may live longer. */
const LONGEST = 10 * 365 * 86_400_000;
/** By how much an expiry may differ from the wanted one, in milliseconds. */
const SLACK = 1_000;

/** The key of a session object's origin. */
const ORIGIN = Symbol('origin');

const nothing = () => undefined;
const refused = (message) => invalid(message, 'express.store');

/** The stored session that a session object was made from. */
class Origin {
  /** The save under way; settles when it is done or refused. */
  turn = undefined;

  constructor(sid, record) {
    this.sid = sid;
    /** The session as it was loaded, or last saved from this object; undefined before the first save. */
    this.record = record;
  }
}

/** Notes the origin of a session object: not in its JSON, not among its keys, not in copies. */
function remember(session, origin) {
  if (Object.isExtensible(session)) Object.defineProperty(session, ORIGIN, { value: origin, configurable: true });
}

/** Gives a session object the origin of another, which it was copied from. */
function inherit(session, other) {
  if (other[ORIGIN] !== undefined) remember(session, other[ORIGIN]);
  return session;
}

/** The version that was loaded or last stored; undefined for a session that was never stored. */
const versionOf = (session) => session?.[ORIGIN]?.record?.version;

/** The origin of an object; a new one when it has none, or one of another id. */
function originOf(sid, session) {
  const known = session[ORIGIN];
  if (known?.sid === sid) return known;
  const origin = new Origin(sid);
  remember(session, origin);
  return origin;
}

/** The object from which express-session makes its session. */
function inflated(sid, record) {
  const session = JSON.parse(record.json);
  const cookie = (session.cookie ??= { originalMaxAge: null });
  // Extending a session does not change its data.
  if (cookie.expires && record.expiresAt - Date.parse(cookie.expires) > SLACK) {
    cookie.expires = record.expiresAt.toISOString();
  }
  remember(session, new Origin(sid, record));
  return session;
}

/** The sessions of one express-session store, by the ids in their cookies. All methods return promises. */
class Storage {
  #sessions;
  #prefix;
  #ttl;
  #user;
  #conflict;
  #disableTouch;

  constructor({ sessions, prefix, ttl, user, disableTouch, conflict }) {
    this.#sessions = sessions;
    this.#prefix = prefix;
    this.#ttl = ttl;
    this.#user = user;
    this.#disableTouch = disableTouch;
    this.#conflict = conflict;
  }

  /** Loads and extends in one trip, so that the touch at the end of the request has nothing to do. */
  async get(sid) {
    const id = this.#prefix + sid;
    const record = await (this.#disableTouch ? this.#sessions.load(id) : this.#sessions.loadAndExtend(id));
    return record === null ? null : inflated(sid, record);
  }

  async destroy(sid) {
    await this.#sessions.delete(this.#prefix + sid);
  }

  async touch(sid, session) {
    if (this.#disableTouch) return;
    const ttl = this.#lifetime(session);
    if (ttl <= 0) return this.destroy(sid);
    if (expiresIn(session?.[ORIGIN]?.record, ttl)) return;
    await this.#sessions.extend(this.#prefix + sid, { ttl });
  }

  async set(sid, session) {
    const ttl = this.#lifetime(session);
    if (ttl <= 0) return this.destroy(sid);
    // Read now: the object may change while earlier saves are waited for.
    const wanted = { text: JSON.stringify(session), ttl, user: this.#userOf(session) };
    const origin = originOf(sid, session);
    // One save after the other: each needs the version that the one before it made.
    while (origin.turn !== undefined) await origin.turn.catch(nothing);
    origin.turn = this.#store(origin, wanted);
    try {
      await origin.turn;
    } finally {
      origin.turn = undefined;
    }
  }

  /** How long a session is to live, in milliseconds; undefined means as the policy says. */
  #lifetime(session) {
    const expires = session?.cookie?.expires;
    const ttl = typeof this.#ttl === 'function' ? this.#ttl(session) : expires ? new Date(expires) - Date.now() : this.#ttl;
    if (ttl === undefined || ttl === null) return undefined;
    if (typeof ttl !== 'number' || Number.isNaN(ttl)) throw refused(`invalid ttl ${String(ttl)}: give a number of milliseconds`);
    return Math.min(Math.ceil(ttl), LONGEST);
  }

  /** The user to file a session under: null for none, undefined to leave it as it is. */
  #userOf(session) {
    const user = this.#user?.(session);
    if (user === undefined || user === null || typeof user === 'string') return user;
    if (typeof user === 'number' || typeof user === 'bigint') return String(user);
    throw refused(`the option user returned ${typeof user}: return the id of the user, as in (session) => session.userId`);
  }

  async #store(origin, wanted) {
    if (origin.record === undefined) return this.#create(origin, wanted);
    const mine = fill(Session.copy(origin.record), wanted);
    try {
      origin.record = await this.#sessions.save(mine, { force: this.#conflict === 'overwrite' });
    } catch (error) {
      // It was logged out, or expired, while the request went on, and stays so.
      if (error.kind === 'not_found') return;
      if (error.kind !== 'conflict' || this.#conflict !== 'merge') throw error;
      await this.#merge(origin.record, mine);
      fill(origin.record, wanted);
    }
  }

  /**
   * Saves what this request changed, on top of what others stored since `base` was loaded. `base` keeps
   * its version: the object does not have the others' changes, so its next save must be merged again.
   */
  async #merge(base, mine) {
    // As JavaScript writes it: what this request did not touch must not differ from `mine`.
    base.json = JSON.stringify(JSON.parse(base.json));
    await this.#sessions.saveMerged(base, mine);
  }

  /** `set` has to be an upsert: a session without an origin may be stored already. */
  async #create(origin, wanted) {
    const id = this.#prefix + origin.sid;
    const { text, ttl, user } = wanted;
    for (;;) {
      try {
        origin.record = await this.#sessions.create({ id, json: text, ttl, user, prefix: this.#prefix || undefined });
        break;
      } catch (error) {
        if (error.kind !== 'conflict' || this.#conflict === 'error') throw error;
      }
      origin.record = await this.#replace(id, wanted);
      if (origin.record !== undefined) break;
    }
  }

  /** Overwrites a stored session; undefined when there is none. */
  async #replace(id, wanted) {
    const record = await this.#sessions.load(id);
    if (record === null) return undefined;
    try {
      return await this.#sessions.save(fill(record, wanted), { force: true });
    } catch (error) {
      if (error.kind === 'not_found') return undefined;
      throw error;
    }
  }

  /** Fails while the storage is down. */
  async ping() {
    await this.#sessions.load(`${this.#prefix}-`);
  }

  /** The summaries of all sessions with this prefix. */
  async *#mine() {
    for await (const summary of this.#sessions.scan({ pageSize: PAGE })) if (this.#isMine(summary)) yield summary;
  }

  /** Where ids are hashed, the session itself says which store created it. */
  #isMine({ id, meta }) {
    return id === null ? this.#prefix === '' || meta.prefix === this.#prefix : id.startsWith(this.#prefix);
  }

  async ids() {
    const ids = new Set();
    for await (const { id } of this.#mine()) ids.add(listed(id).slice(this.#prefix.length));
    return [...ids];
  }

  async all() {
    const ids = await this.ids();
    const sessions = [];
    for (let at = 0; at < ids.length; at += PAGE) {
      const page = ids.slice(at, at + PAGE);
      const records = await this.#sessions.loadMany(page.map((sid) => this.#prefix + sid));
      for (const [n, record] of records.entries()) {
        if (record !== null) sessions.push(Object.assign(inflated(page[n], record), { id: page[n] }));
      }
    }
    return sessions;
  }

  async length() {
    if (this.#prefix === '') return this.#sessions.count();
    const handles = new Set();
    for await (const { handle } of this.#mine()) handles.add(handle);
    return handles.size;
  }

  async clear() {
    let page = [];
    for await (const found of this.#mine()) {
      if (page.push(found) < PAGE) continue;
      await this.#sessions.deleteMany(page);
      page = [];
    }
    if (page.length > 0) await this.#sessions.deleteMany(page);
  }
}

/** Whether a session expires in `ttl` milliseconds from now, within the slack. */
function expiresIn(record, ttl) {
  return record !== undefined && Math.abs(record.expiresAt - Date.now() - (ttl ?? record.ttl)) < SLACK;
}

function fill(record, { text, ttl, user }) {
  record.json = text;
  if (ttl !== undefined) record.ttl = ttl;
  if (user !== undefined) record.user = user;
  return record;
}

function listed(id) {
  if (id !== null) return id;
  const message =
    'session ids are stored as hashes and cannot be listed; set `hash_ids = false` in [session], or use jarvis.sessions.scan(), which lists handles';
  throw new JarvisError(message, { kind: 'unsupported', operation: 'express.store' });
}

module.exports = { Storage, inherit, refused, versionOf };
