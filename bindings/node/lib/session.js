'use strict';

const { inspect } = require('node:util');
const { run } = require('./bridge.js');
const { JarvisError, fromJson, unpacked } = require('./error.js');

// Where each stands in the head of a packed session (`head` in src/session.rs).
const [ID, VERSION, CREATED, UPDATED, EXPIRES, TTL, USER, IP, AGENT] = [0, 1, 2, 3, 4, 5, 6, 7, 8];

/** Where the data stands among the arguments of `save`. */
const DATA = 3;

/** A session as it was stored at one version. Its parts are read when they are asked for. */
class Session {
  /** What the compiled part gave: the head as JSON, a line break, the data as JSON. */
  #packed;
  #head;
  #text;
  #data;

  /** From the text of the compiled part. */
  constructor(packed) {
    this.#packed = packed;
  }

  get #fields() {
    return (this.#head ??= JSON.parse(this.#packed.slice(0, this.#packed.indexOf('\n'))));
  }

  get id() {
    return this.#fields[ID];
  }

  get version() {
    return this.#fields[VERSION];
  }

  get createdAt() {
    return new Date(this.#fields[CREATED]);
  }

  get updatedAt() {
    return new Date(this.#fields[UPDATED]);
  }

  get expiresAt() {
    return new Date(this.#fields[EXPIRES]);
  }

  get ttl() {
    return this.#fields[TTL];
  }

  set ttl(millis) {
    this.#fields[TTL] = millis;
  }

  get user() {
    return this.#fields[USER];
  }

  set user(user) {
    this.#fields[USER] = user ?? null;
  }

  get meta() {
    return { ip: this.#fields[IP], userAgent: this.#fields[AGENT] };
  }

  set meta({ ip, userAgent }) {
    this.#fields[IP] = ip ?? null;
    this.#fields[AGENT] = userAgent ?? null;
  }

  get data() {
    return (this.#data ??= JSON.parse(this.#stored));
  }

  set data(data) {
    this.#data = data;
  }

  /** The data as text: as it came while nobody looked at it. */
  get json() {
    return this.#data === undefined ? this.#stored : textOf(this.#data);
  }

  set json(text) {
    this.#text = text;
    this.#data = undefined;
  }

  get #stored() {
    return (this.#text ??= this.#packed.slice(this.#packed.indexOf('\n') + 1));
  }

  toJSON() {
    const { id, user, data, version, createdAt, updatedAt, expiresAt, ttl, meta } = this;
    return { id, user, data, version, createdAt, updatedAt, expiresAt, ttl, meta };
  }

  /** Without the id: who has it is the visitor. */
  [inspect.custom](depth, options) {
    const { user, data, version, expiresAt } = this;
    return `Session ${inspect({ user, data, version, expiresAt }, options)}`;
  }

  /** For `save`. */
  static input(session, force) {
    const [fields, data] = [session.#fields, session.json];
    return {
      id: fields[ID],
      user: fields[USER] ?? undefined,
      data,
      version: fields[VERSION],
      ttl: fields[TTL],
      ip: fields[IP] ?? undefined,
      userAgent: fields[AGENT] ?? undefined,
      force,
    };
  }

  /** The same as arguments, and the data among them. */
  static arguments(session, force) {
    const [fields, data] = [session.#fields, session.json];
    return [fields[ID], fields[VERSION], fields[TTL], data, force, fields[USER], fields[IP], fields[AGENT]];
  }

  /** What was saved: the head is new, the data is what was given. */
  static saved(session, head, text) {
    session.#packed = `${head}\n`;
    session.#head = undefined;
    session.#text = text;
    return session;
  }
}

unpacked.session = (packed) => new Session(packed);

const session = (packed) => (packed === null ? null : new Session(packed));
const moment = (millis) => (millis === null ? null : new Date(Number(millis)));

function textOf(data) {
  const text = JSON.stringify(data);
  if (text === undefined) throw new JarvisError('session data must be a JSON object', { kind: 'invalid_input' });
  return text;
}

function summary({ handle, id, user, version, created_at, updated_at, expires_at, meta }) {
  return {
    handle,
    id: id ?? null,
    user: user ?? null,
    version,
    createdAt: new Date(created_at),
    updatedAt: new Date(updated_at),
    expiresAt: new Date(expires_at),
    meta: { ip: meta.ip ?? null, userAgent: meta.user_agent ?? null },
  };
}

/** A session by what names it: an id, a session, or the summary that a listing gave. */
function named(name) {
  if (typeof name === 'string') return [name, false];
  if (name instanceof Session) return [name.id, false];
  if (typeof name?.handle === 'string') return [name.handle, true];
  throw new JarvisError('a session is named by its id, by itself, or by { handle }', { kind: 'invalid_input' });
}

/** Where sessions are kept. `index.d.ts` says what each method does. */
class SessionStore {
  #native;
  /** The last update under way of each session: the next one waits for it. */
  #turns = new Map();

  constructor(store) {
    this.#native = store;
  }

  create({ data, json, ...rest } = {}) {
    return run(() => this.#native.create({ ...rest, data: json ?? textOf(data ?? {}) }), session);
  }

  load(id) {
    return run(() => this.#native.load(id), session);
  }

  loadAndExtend(id, { ttl } = {}) {
    return run(() => this.#native.loadAndExtend(id, ttl), session);
  }

  save(given, { force = false } = {}) {
    // What is sent is what is saved, whatever happens to the data meanwhile.
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
      (text) => JSON.parse(text).map(summary),
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

  async *scan({ pageSize = 100 } = {}) {
    if (!Number.isInteger(pageSize) || pageSize < 1) {
      throw new JarvisError(`${pageSize} is no size of a page: give a whole number from 1`, { kind: 'invalid_input' });
    }
    let cursor;
    do {
      const page = await run(() => this.#native.scan(cursor, pageSize), JSON.parse);
      for (const found of page.sessions) yield summary(found);
      cursor = page.next ?? undefined;
    } while (cursor !== undefined);
  }
}

function tooLate() {
  const message = 'others kept changing the session until the deadline; nothing of this update was stored';
  return new JarvisError(message, { kind: 'timeout', retry: 'safe', operation: 'session.update' });
}

module.exports = { Session, SessionStore };
