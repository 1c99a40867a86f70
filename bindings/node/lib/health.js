'use strict';

const { now, run } = require('./bridge.js');
const { Stream } = require('./stream.js');

/** What is well. `index.d.ts` says what each method does. */
class Health {
  #native;

  constructor(health) {
    this.#native = health;
  }

  check({ services } = {}) {
    return run(() => this.#native.check(services), JSON.parse);
  }

  snapshot() {
    return JSON.parse(now(() => this.#native.snapshot()));
  }

  healthz() {
    return JSON.parse(now(() => this.#native.healthz()));
  }

  uptime({ services, window } = {}) {
    return run(() => this.#native.uptime(services, window), JSON.parse);
  }

  metrics() {
    return run(() => this.#native.metrics());
  }

  watch({ signal } = {}) {
    return new Stream(now(() => this.#native.watch()), signal);
  }
}

module.exports = { Health };
