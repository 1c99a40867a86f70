'use strict';

const { run } = require('./bridge.js');
const { JarvisError, invalid } = require('./error.js');
const { fromJson } = require('./failure.js');
const { fromCore } = require('./json.js');
const { DATA, Session, textOf } = require('./session.js');

/** How many sessions `scan` asks for at once; the same in every language. */
const PAGE = 256;

const session = (packed) => (packed === null ? null : new Session(packed));
const moment = (millis) => (millis === null ? null : new Date(Number(millis)));

function summary({ id = null, user = null, createdAt, updatedAt, expiresAt, meta, ...rest }) {
  const { ip = null, userAgent = null, prefix = null } = meta;
  return {
    ...rest,
    id,
    user,
    createdAt: new Date(createdAt),
    updatedAt: new Date(updatedAt),
    expiresAt: new Date(expiresAt),
    meta: { ip, userAgent, prefix },
  };
}

/** The name of a session, and whether that is a handle. Takes an id, a session, or a summary. */
function named(name) {
  if (typeof name === 'string') return [name, false];
  if (name instanceof Session) return [name.id, false];
  if (typeof name?.handle === 'string') return [name.handle, true];
  throw invalid('name a session by its id, by the session itself, or by { handle }');
}

/** Keeps sessions. `types/session.d.ts` documents each method. */
class SessionStore {
  #native;
  /** The last update under way of each session: the next one waits for it. */
  #turns = new Map();

  constructor(store) {
    this.#native = store;
  }

  create({ data, json, user, ...rest } = {}) {
    return run(() => this.#native.create({ ...rest, user: user ?? undefined, data: json ?? textOf(data ?? {}) }), session);
  }

  load(id) {
    return run(() => this.#native.load(id), session);
  }

  loadAndExtend(id, { ttl } = {}) {
    return run(() => this.#native.loadAndExtend(id, ttl), session);
  }

  save(given, { force = false } = {}) {
    // The data may change while the call is under way: what was saved is what was sent.
    let sent;
    return run(
      () => this.#native.save(...(sent = Session.arguments(given, force))),
      (head) => Session.saved(given, head, sent[DATA]),
    );
  }

  async update(id, change, { deadline = 5_000 } = {}) {
    const end = Date.now() + deadline;
    const before = this.#turns.get(id);
    const turn = this.#turn(before, end).then(() => this.#attempts(id, change, end));
    const over = turn.then(
      () => {},
      () => {},
    );
    this.#turns.set(id, over);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(id) === over) this.#turns.delete(id);
    }
  }

  async #turn(before, end) {
    if (before === undefined) return;
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(tooLate()), Math.max(0, end - Date.now()));
    });
    try {
      await Promise.race([before, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  /** Loads, changes and saves until nobody came in between. */
  async #attempts(id, change, end) {
    for (;;) {
      const found = await this.load(id);
      if (found === null) return null;
      await change(found);
      if (Date.now() >= end) throw tooLate();
      try {
        return await this.save(found);
      } catch (error) {
        if (error.kind === 'not_found') return null;
        if (error.kind !== 'conflict') throw error;
      }
    }
  }

  delete(name) {
    return run(() => this.#native.delete(...named(name)));
  }

  extend(name, { ttl } = {}) {
    return run(() => this.#native.extend(...named(name), ttl), moment);
  }

  regenerate(id, { user } = {}) {
    return run(() => this.#native.regenerate(id, user), session);
  }

  list(user) {
    return run(
      () => this.#native.list(user),
      (text) => fromCore(text).map(summary),
    );
  }

  clear(user, { except } = {}) {
    return run(() => {
      const [name, isHandle] = except === undefined ? [undefined, false] : named(except);
      return this.#native.clear(user, name, isHandle);
    }, Number);
  }

  count({ user } = {}) {
    return run(() => this.#native.count(user), Number);
  }

  loadMany(ids) {
    return run(
      () => this.#native.loadMany(ids),
      (all) => all.map(session),
    );
  }

  saveMany(sessions, { force = false } = {}) {
    let inputs;
    return run(
      () => this.#native.saveMany((inputs = sessions.map((given) => Session.input(given, force)))),
      (outcomes) =>
        sessions.map((given, at) => {
          const [isSaved, text] = [outcomes[2 * at], outcomes[2 * at + 1]];
          return isSaved ? Session.saved(given, text, inputs[at].data) : fromJson(text);
        }),
    );
  }

  deleteMany(names) {
    return run(() => {
      const all = names.map(named);
      return this.#native.deleteMany(
        all.map(([name]) => name),
        all.map(([, isHandle]) => isHandle),
      );
    }, Number);
  }

  async *scan({ pageSize = PAGE } = {}) {
    if (!Number.isInteger(pageSize) || pageSize < 1) throw invalid(`invalid pageSize ${pageSize}: give a whole number of 1 or more`);
    let cursor;
    do {
      const page = await run(() => this.#native.scan(cursor, pageSize), fromCore);
      for (const found of page.sessions) yield summary(found);
      cursor = page.next ?? undefined;
    } while (cursor !== undefined);
  }
}

function tooLate() {
  const message = 'others kept changing the session until the deadline; nothing of this update was stored';
  return new JarvisError(message, { kind: 'timeout', retry: 'safe', operation: 'session.update' });
}

module.exports = { SessionStore };
