'use strict';

const { inspect } = require('node:util');
const { invalid } = require('./error.js');

// The position of each field in the head of a packed session (`head` in src/packed.rs).
const [ID, VERSION, CREATED, UPDATED, EXPIRES, TTL, USER, IP, AGENT, PREFIX] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

/** The position of the data among the arguments of `save`. */
const DATA = 3;

/** A session as it was stored at one version. Each part is parsed when it is first read. */
class Session {
  /** The text of the compiled part: the head as JSON, a line break, the data as JSON. */
  #packed;
  #head;
  #text;
  #data;

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
    return { ip: this.#fields[IP], userAgent: this.#fields[AGENT], prefix: this.#fields[PREFIX] };
  }

  set meta({ ip, userAgent, prefix = this.#fields[PREFIX] }) {
    this.#fields[IP] = ip ?? null;
    this.#fields[AGENT] = userAgent ?? null;
    this.#fields[PREFIX] = prefix ?? null;
  }

  get data() {
    return (this.#data ??= JSON.parse(this.#stored));
  }

  set data(data) {
    this.#data = data;
  }

  /** The data as text; unchanged from what was loaded until `data` is read. */
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

  /** Shows no id: whoever has the id is the visitor. */
  [inspect.custom](depth, options) {
    const { user, data, version, expiresAt } = this;
    return `Session ${inspect({ user, data, version, expiresAt }, options)}`;
  }

  /** The arguments of the native `save`. */
  static arguments(session, force) {
    const [fields, data] = [session.#fields, session.json];
    return [fields[ID], fields[VERSION], fields[TTL], data, force, fields[USER], fields[IP], fields[AGENT], fields[PREFIX]];
  }

  /** The same as an object, for the native `saveMany`. */
  static input(session, force) {
    const [id, version, ttl, data, , user, ip, userAgent, prefix] = Session.arguments(session, force);
    return { id, version, ttl, data, force, user: user ?? undefined, ip: ip ?? undefined, userAgent: userAgent ?? undefined, prefix: prefix ?? undefined };
  }

  /** Another object for the same stored session. */
  static copy(session) {
    return new Session(`${JSON.stringify(session.#fields)}\n${session.json}`);
  }

  /** Replaces the contents of a session by what is stored. */
  static stored(session, packed) {
    session.#packed = packed;
    session.#head = session.#text = session.#data = undefined;
    return session;
  }

  /** Notes that a session was saved: the head is new, the data is what was sent. */
  static saved(session, head, text) {
    session.#packed = `${head}\n`;
    session.#head = undefined;
    session.#text = text;
    return session;
  }
}

/** The JSON text of session data. */
function textOf(data) {
  const text = JSON.stringify(data);
  if (text === undefined) throw invalid('session data must be a JSON object');
  return text;
}

module.exports = { DATA, Session, textOf };
