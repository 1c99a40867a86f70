'use strict';

const { now, run } = require('./bridge.js');
const { Deliveries } = require('./events.js');

/** What a person asks of the operator. `index.d.ts` says what each method does. */
class Operator {
  #native;

  constructor(operator) {
    this.#native = operator;
  }

  status() {
    return run(() => this.#native.status(), JSON.parse);
  }

  restart(service, { wait = false } = {}) {
    return run(() => this.#native.restart(service, wait), JSON.parse);
  }

  stop(service, { wait = false } = {}) {
    return run(() => this.#native.stop(service, wait), JSON.parse);
  }

  start(service, { wait = false } = {}) {
    return run(() => this.#native.start(service, wait), JSON.parse);
  }

  reset(service) {
    return run(() => this.#native.reset(service), JSON.parse);
  }

  pause({ reason = '', lasting } = {}) {
    return run(() => this.#native.pause(reason, lasting), JSON.parse);
  }

  resume() {
    return run(() => this.#native.resume(), JSON.parse);
  }

  maintain({ services, duration, reason = '' }) {
    return run(() => this.#native.maintain(services, duration, reason), JSON.parse);
  }

  endMaintenance({ window } = {}) {
    return run(() => this.#native.endMaintenance(window), JSON.parse);
  }

  events({ signal, since, onNotice, ...query } = {}) {
    const from = since === undefined ? undefined : new Date(since).toISOString();
    return new Deliveries(now(() => this.#native.events({ ...query, since: from })), signal, onNotice);
  }

  reload() {
    return run(() => this.#native.reload(), JSON.parse);
  }

  testAlert({ sink } = {}) {
    return run(() => this.#native.testAlert(sink), JSON.parse);
  }
}

module.exports = { Operator };
