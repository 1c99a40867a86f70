'use strict';

const { now, run } = require('./bridge.js');
const { camelCased, fromCore } = require('./json.js');
const { Stream } = require('./stream.js');

/** The state of the services. `types/health.d.ts` documents each method. */
class Health {
  #native;

  constructor(health) {
    this.#native = health;
  }

  check({ services } = {}) {
    return run(() => this.#native.check(services), fromCore);
  }

  status() {
    return run(() => this.#native.status(), fromCore);
  }

  snapshot() {
    return fromCore(now(() => this.#native.snapshot()));
  }

  healthz() {
    return fromCore(now(() => this.#native.healthz()));
  }

  uptime({ services, window } = {}) {
    return run(() => this.#native.uptime(services, window), fromCore);
  }

  metrics() {
    return run(() => this.#native.metrics());
  }

  watch({ services, signal } = {}) {
    return new Changes(now(() => this.#native.watch(services)), signal);
  }
}

/** A stream of state changes. */
class Changes extends Stream {
  convert(change) {
    return camelCased(change);
  }
}

module.exports = { Health };
