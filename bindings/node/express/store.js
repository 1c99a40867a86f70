'use strict';

const { EventEmitter } = require('node:events');
const { JarvisError } = require('../lib/error.js');
const rounds = require('../lib/rounds.js');
const { merged } = require('./merge.js');
const { Outage } = require('./outage.js');
const { expressSession } = require('./peer.js');

/** How many sessions are asked for, or removed, at once. */
const PAGE = 500;
/** No session lives longer (`LONGEST_TTL` of the core), in milliseconds. Cookies may. */
const LONGEST = 10 * 365 * 86_400_000;
/** By how much an end may differ from the one that is wanted, in milliseconds. */
const SLACK = 1_000;

/** Under this a session object keeps its origin. */
const ORIGIN = Symbol('origin');
/** Under this it says which version was loaded or stored last. */
const VERSION = Symbol('jarvis-core.version');

/** The stored session that a session object came from. */
class Origin {
  /** While something is stored: settles when it is, or was refused. */
  turn = undefined;

  constructor(id, record, text) {
    this.id = id;
    /** As it was loaded, or stored last; undefined before it was ever stored. */
    this.record = record;
    /** The data that the object had then, as JSON. */
    this.text = text;
  }
}

function version() {
  return this[ORIGIN]?.record?.version;
}

/** Lets a session object remember its origin: not in its JSON, not in its keys, not in copies. */
function remember(session, origin) {
  if (!Object.isExtensible(session)) return;
  Object.defineProperty(session, ORIGIN, { value: origin, configurable: true });
  Object.defineProperty(session, VERSION, { get: version, configurable: true });
}

/** The origin of an object; an unknown one where it has none, or that of another id. */
function originOf(id, session) {
  const known = session[ORIGIN];
  if (known?.id === id) return known;
  const origin = new Origin(id);
  remember(session, origin);
  return origin;
}

/** The object that express-session makes its session of. */
function inflated(record) {
  const text = record.json;
  const session = JSON.parse(text);
  const cookie = (session.cookie ??= { originalMaxAge: null });
  // A session is prolonged without a word in its data.
  if (cookie.expires && record.expiresAt - Date.parse(cookie.expires) > SLACK) {
    cookie.expires = record.expiresAt.toISOString();
  }
  remember(session, new Origin(record.id, record, text));
  return session;
}

const nothing = () => undefined;

/** Gives an answer to a callback, where there is one; else it is a promise. */
function answered(answer, callback) {
  if (typeof callback !== 'function') return answer;
  // What was answered at once is told in the next turn. So requests that came together go on
  // together, and that is much quicker than each from its beginning to its end: what they have in
  // common is still at hand. Late answers come together anyway.
  const asked = rounds.count;
  const later = () => (rounds.count === asked ? setImmediate : process.nextTick);
  // What a callback throws is its own affair, as with any callback, and no rejection of ours.
  answer.then(
    (value) => later()(callback, null, value),
    (error) => later()(callback, error),
  );
  return undefined;
}

/** Puts express-session's `Store` under ours, when the first is made: not everybody has it. */
function adopt(session) {
  if (JarvisStore.prototype instanceof session.Store) return;
  Object.setPrototypeOf(JarvisStore, session.Store);
  Object.setPrototypeOf(JarvisStore.prototype, session.Store.prototype);
}

function choice(name, value, choices) {
  if (choices.includes(value)) return value;
  throw refused(`${name} is one of ${choices.map((one) => `'${one}'`).join(', ')}`);
}

function refused(message) {
  return new JarvisError(message, { kind: 'invalid_input', operation: 'express.store' });
}

/** Keeps the sessions of express-session. `index.d.ts` says what each option does. */
class JarvisStore extends EventEmitter {
  #sessions;
  #ttl;
  #user;
  #conflict;
  #disableTouch;
  #outage;

  constructor({ sessions, session, ttl, user, disableTouch = false, conflict = 'merge', whenDown = 'error' } = {}) {
    if (typeof sessions?.load !== 'function') throw refused('give a store of sessions: new JarvisStore({ sessions: jarvis.sessions })');
    adopt(session ?? expressSession());
    super();
    this.#sessions = sessions;
    this.#ttl = ttl;
    this.#user = user;
    this.#disableTouch = disableTouch;
    this.#conflict = choice('conflict', conflict, ['merge', 'overwrite', 'error']);
    if (choice('whenDown', whenDown, ['error', 'skip']) === 'skip') this.#outage = new Outage(this, () => sessions.load('-'));
  }

  get(sid, callback) {
    return answered(this.#get(sid), callback);
  }

  set(sid, session, callback) {
    return answered(this.#set(sid, session), callback);
  }

  destroy(sid, callback) {
    return answered(this.#destroy(sid), callback);
  }

  touch(sid, session, callback) {
    return answered(this.#touch(sid, session), callback);
  }

  all(callback) {
    return answered(this.#all(), callback);
  }

  ids(callback) {
    return answered(this.#ids(), callback);
  }

  length(callback) {
    return answered(this.#watched(this.#sessions.count()), callback);
  }

  clear(callback) {
    return answered(this.#clear(), callback);
  }

  /** express-session makes its session of what `get` gave, and copies only what has a name. */
  createSession(req, session) {
    const made = super.createSession(req, session);
    const origin = session[ORIGIN];
    if (origin !== undefined) remember(made, origin);
    return made;
  }

  #watched(answer) {
    return this.#outage === undefined ? answer : this.#outage.watch(answer);
  }

  /**
   * Loads and prolongs in one trip: the touch at the end of the request has nothing left to do.
   */
  async #get(sid) {
    const asked = this.#disableTouch ? this.#sessions.load(sid) : this.#sessions.loadAndExtend(sid);
    const record = await this.#watched(asked);
    return record === null ? null : inflated(record);
  }

  async #destroy(sid) {
    await this.#watched(this.#sessions.delete(sid));
  }

  async #touch(sid, session) {
    if (this.#disableTouch) return;
    const ttl = this.#lifetime(session);
    if (ttl <= 0) return this.#destroy(sid);
    if (endsAt(session?.[ORIGIN]?.record, ttl)) return;
    await this.#watched(this.#sessions.extend(sid, { ttl }));
  }

  async #set(sid, session) {
    const ttl = this.#lifetime(session);
    if (ttl <= 0) return this.#destroy(sid);
    // As it is now: it may change while others are waited for.
    const wanted = { text: JSON.stringify(session), ttl, user: this.#user?.(session) };
    const origin = originOf(sid, session);
    // One after the other: the next needs the version that this one makes.
    while (origin.turn !== undefined) await origin.turn.catch(nothing);
    origin.turn = this.#store(origin, wanted);
    try {
      await origin.turn;
    } finally {
      origin.turn = undefined;
    }
  }

  /** How long a session is to live, in milliseconds; undefined: as the policy says. */
  #lifetime(session) {
    const expires = session?.cookie?.expires;
    const ttl = typeof this.#ttl === 'function' ? this.#ttl(session) : expires ? new Date(expires) - Date.now() : this.#ttl;
    if (ttl === undefined || ttl === null) return undefined;
    if (typeof ttl !== 'number' || Number.isNaN(ttl)) throw refused('a session lives for a number of milliseconds');
    return Math.min(Math.ceil(ttl), LONGEST);
  }

  async #store(origin, wanted) {
    if (origin.record === undefined) return this.#create(origin, wanted);
    const { record } = origin;
    fill(record, wanted.text, wanted);
    try {
      await this.#watched(this.#sessions.save(record, { force: this.#conflict === 'overwrite' }));
    } catch (error) {
      // It was logged out, or ran out, while the request went on. It stays so.
      if (error.kind === 'not_found') return;
      if (error.kind !== 'conflict' || this.#conflict !== 'merge') throw error;
      await this.#merge(origin, wanted);
    }
    origin.text = wanted.text;
  }

  /**
   * Stores what the request changed over what another stored meanwhile. The record keeps the
   * version that it has: the object has not seen what the other did, so its next save has to
   * come here again.
   */
  async #merge({ id, text }, wanted) {
    await this.#sessions.update(id, (current) => fill(current, merged(text, wanted.text, current.json), wanted));
  }

  /** `set` is an upsert, says express-session: what came from nowhere may be there already. */
  async #create(origin, wanted) {
    const { id } = origin;
    const { text, ttl, user } = wanted;
    for (;;) {
      try {
        origin.record = await this.#watched(this.#sessions.create({ id, json: text, ttl, user }));
        break;
      } catch (error) {
        if (error.kind !== 'conflict' || this.#conflict === 'error') throw error;
      }
      origin.record = await this.#replace(id, wanted);
      if (origin.record !== undefined) break;
    }
    origin.text = text;
  }

  /** Stores over what is there; undefined when nothing is. */
  async #replace(id, wanted) {
    const record = await this.#sessions.load(id);
    if (record === null) return undefined;
    fill(record, wanted.text, wanted);
    try {
      return await this.#sessions.save(record, { force: true });
    } catch (error) {
      if (error.kind === 'not_found') return undefined;
      throw error;
    }
  }

  async #ids() {
    const ids = new Set();
    for await (const { id } of this.#sessions.scan({ pageSize: PAGE })) ids.add(known(id));
    return [...ids];
  }

  async #all() {
    const ids = await this.#ids();
    const sessions = [];
    for (let at = 0; at < ids.length; at += PAGE) {
      for (const record of await this.#sessions.loadMany(ids.slice(at, at + PAGE))) {
        if (record !== null) sessions.push(Object.assign(inflated(record), { id: record.id }));
      }
    }
    return sessions;
  }

  async #clear() {
    let page = [];
    for await (const found of this.#sessions.scan({ pageSize: PAGE })) {
      if (page.push(found) < PAGE) continue;
      await this.#sessions.deleteMany(page);
      page = [];
    }
    if (page.length > 0) await this.#sessions.deleteMany(page);
  }
}

/** Does it end, give or take the slack, in so many milliseconds from now? */
function endsAt(record, ttl) {
  return record !== undefined && Math.abs(record.expiresAt - Date.now() - (ttl ?? record.ttl)) < SLACK;
}

function fill(record, text, { ttl, user }) {
  record.json = text;
  if (ttl !== undefined) record.ttl = ttl;
  if (user !== undefined) record.user = user;
}

function known(id) {
  if (id !== null) return id;
  const message =
    'ids of sessions are stored as hashes and can not be listed; set `hash_ids = false` in [session], or use jarvis.sessions.scan(), which names them by handles';
  throw new JarvisError(message, { kind: 'unsupported', operation: 'express.store' });
}

module.exports = { JarvisStore, VERSION };
