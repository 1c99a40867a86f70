'use strict';

const { Durations } = require('./durations.js');

/** So many routes are told apart; a mount path with a parameter in it would make ever more. */
const MOST_ROUTES = 500;
const OTHER = '(other)';

const millis = (seconds) => Math.round(seconds * 1e6) / 1e3;

/** Counts and times by method, route and status, since one moment. */
class Series {
  since = new Date();
  #all = new Map();

  get isEmpty() {
    return this.#all.size === 0;
  }

  of(method, route, status) {
    const key = `${method} ${status} ${route}`;
    let one = this.#all.get(key);
    if (one === undefined) this.#all.set(key, (one = { method, route, status, durations: new Durations() }));
    return one.durations;
  }

  values() {
    return [...this.#all.values()];
  }
}

/** What was seen since the start, and since the last event. */
class Requests {
  active = 0;
  #told = new Series();
  #fresh = new Series();
  #routes = new Set();

  /** Is it the first since the last event? */
  add(method, route, status, seconds) {
    const isFirst = this.#fresh.isEmpty;
    this.#fresh.of(method, this.#bounded(route), status).add(seconds);
    return isFirst;
  }

  #bounded(route) {
    if (this.#routes.has(route)) return route;
    if (this.#routes.size >= MOST_ROUTES) return OTHER;
    this.#routes.add(route);
    return route;
  }

  /** Each method, route and status with its durations since the start. */
  totals() {
    const totals = new Series();
    for (const { method, route, status, durations } of [...this.#told.values(), ...this.#fresh.values()]) {
      totals.of(method, route, status).merge(durations);
    }
    return totals.values();
  }

  /** What was not told yet, as it is told; undefined when that is nothing. */
  take() {
    if (this.#fresh.isEmpty) return undefined;
    const fresh = this.#fresh;
    for (const { method, route, status, durations } of fresh.values()) this.#told.of(method, route, status).merge(durations);
    this.#fresh = new Series();
    return { since: fresh.since.toISOString(), until: this.#fresh.since.toISOString(), routes: routes(fresh.values()) };
  }
}

/** One entry a method and route, with its statuses. */
function routes(series) {
  const whole = new Map();
  for (const { method, route, status, durations } of series) {
    const key = `${method} ${route}`;
    if (!whole.has(key)) whole.set(key, { method, route, statuses: {}, durations: new Durations() });
    const one = whole.get(key);
    one.statuses[status] = durations.count;
    one.durations.merge(durations);
  }
  return [...whole.values()].map(told);
}

function told({ method, route, statuses, durations }) {
  const errors = Object.entries(statuses).reduce((sum, [status, count]) => sum + (Number(status) >= 500 ? count : 0), 0);
  return {
    method,
    route,
    count: durations.count,
    errors,
    statuses,
    p50_ms: millis(durations.quantile(0.5)),
    p99_ms: millis(durations.quantile(0.99)),
    max_ms: millis(durations.longest),
  };
}

module.exports = { Requests, routes };
