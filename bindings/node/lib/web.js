'use strict';

// What web frameworks need: `jarvis-core/express` is built on it. `types/web.d.ts` documents it.

const { native, now, run } = require('./bridge.js');
const { nativeOf } = require('./jarvis.js');
const { fromCore, toCore } = require('./json.js');

/** Checks the code, not the class: there may be more than one copy of this package. */
const isOurs = (error) => typeof error?.code === 'string' && error.code.startsWith('ERR_JARVIS_');

function httpStatus(error) {
  return isOurs(error) ? now(() => native.httpStatus(error.kind)) : undefined;
}

function errorAnswer(error) {
  return isOurs(error) ? JSON.parse(now(() => native.errorAnswer(error.kind, error.retryAfter))) : undefined;
}

function healthAnswer(jarvis, { services = [], maxAge = 1_000 } = {}) {
  return run(() => nativeOf(jarvis).healthAnswer(services, maxAge), JSON.parse);
}

function livenessAnswer(jarvis) {
  return JSON.parse(now(() => nativeOf(jarvis).livenessAnswer()));
}

function healthDocument(platform, services) {
  return JSON.parse(now(() => native.healthDocument(JSON.stringify(platform), JSON.stringify(services))));
}

function liveness({ supervises, alive, reason = '' }) {
  return JSON.parse(now(() => native.liveness(supervises, alive, reason)));
}

/** Counts requests and how long they take. */
class RequestMeter {
  #native;

  constructor({ service, since = Date.now() } = {}) {
    this.#native = now(() => new native.RequestMeter(Number(since), service));
  }

  begin() {
    this.#native.begin();
  }

  end(method, route, status, took) {
    return this.#native.end(method, route, status, took);
  }

  snapshot() {
    return fromCore(now(() => this.#native.snapshot()));
  }

  take(until = Date.now()) {
    return now(() => this.#native.take(Number(until))).map((payload) => JSON.parse(payload));
  }

  publish(jarvis) {
    return run(() => nativeOf(jarvis).publishRequests(this.#native));
  }

  async metrics(jarvis) {
    return this.#native.metrics(await jarvis?.health.metrics());
  }
}

/** Reads and writes the cookie of a session. */
class SessionCookie {
  #native;

  constructor(rules = {}) {
    this.#native = now(() => new native.SessionCookie(JSON.stringify(toCore(rules))));
  }

  read(header) {
    return now(() => this.#native.read(header)) ?? null;
  }

  write(id, { left, https }) {
    return now(() => this.#native.write(id, left, https));
  }

  clear({ https }) {
    return now(() => this.#native.clear(https));
  }
}

module.exports = { RequestMeter, SessionCookie, errorAnswer, healthAnswer, healthDocument, httpStatus, liveness, livenessAnswer };
