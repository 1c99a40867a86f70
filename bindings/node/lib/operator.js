'use strict';

const { now, run } = require('./bridge.js');
const { Subscription } = require('./events.js');
const { fromCore } = require('./json.js');

/** Carries out what a person asks for. `types/operator.d.ts` documents each method. */
class Operator {
  #native;

  constructor(operator) {
    this.#native = operator;
  }

  status() {
    return run(() => this.#native.status(), fromCore);
  }

  restart(service, { wait = true, by } = {}) {
    return run(() => this.#native.restart(service, wait, by), fromCore);
  }

  stop(service, { wait = true, by } = {}) {
    return run(() => this.#native.stop(service, wait, by), fromCore);
  }

  start(service, { wait = true, by } = {}) {
    return run(() => this.#native.start(service, wait, by), fromCore);
  }

  reset(service, { by } = {}) {
    return run(() => this.#native.reset(service, by), fromCore);
  }

  pause({ reason = '', lasting, by } = {}) {
    return run(() => this.#native.pause(reason, lasting, by), fromCore);
  }

  resume({ by } = {}) {
    return run(() => this.#native.resume(by), fromCore);
  }

  maintain({ services, duration, reason = '', by }) {
    return run(() => this.#native.maintain(services, duration, reason, by), fromCore);
  }

  endMaintenance({ window, by } = {}) {
    return run(() => this.#native.endMaintenance(window, by), fromCore);
  }

  events({ signal, since, onNotice, ...query } = {}) {
    const from = since === undefined ? undefined : new Date(since).toISOString();
    return new Subscription(now(() => this.#native.events({ ...query, since: from })), signal, onNotice);
  }

  reload() {
    return run(() => this.#native.reload(), fromCore);
  }

  testAlert({ sink } = {}) {
    return run(() => this.#native.testAlert(sink), fromCore);
  }
}

module.exports = { Operator };
