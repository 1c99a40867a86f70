'use strict';

const { now, run } = require('./bridge.js');
const { invalid } = require('./error.js');
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

  saveMerged(base, given) {
    let sent;
    return run(
      () => this.#native.saveMerged(Session.input(base, false), (sent = Session.input(given, false))),
      (outcome) => {
        if (outcome === null) return null;
        const [isMerged, text] = outcome;
        return isMerged ? Session.stored(given, text) : Session.saved(given, text, sent.data);
      },
    );
  }

  async update(id, change, { deadline } = {}) {
    const update = now(() => this.#native.update(id, deadline));
    try {
      let packed = await run(() => update.begin());
      while (packed !== null) {
        const found = new Session(packed);
        await change(found);
        const sent = Session.input(found, false);
        const outcome = await run(() => update.save(sent));
        if (outcome === null) return null;
        const [isStored, text] = outcome;
        if (isStored) return Session.saved(found, text, sent.data);
        packed = text;
      }
      return null;
    } finally {
      // Others wait for their turn meanwhile.
      update.end();
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

module.exports = { SessionStore };
