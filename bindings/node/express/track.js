'use strict';

const { performance } = require('node:perf_hooks');
const { JarvisError } = require('../lib/error.js');
const { openMetrics } = require('./metrics.js');
const { Requests, routes } = require('./requests.js');

/** What nginx writes when the client went away before the answer. */
const CLIENT_CLOSED = 499;
const UNMATCHED = '(unmatched)';
const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/**
 * Express says which route matched by setting `req.route`. It is looked at in that moment: by the
 * time of the answer the mount path of a router may be forgotten.
 */
function watchRoute(req, seen) {
  let current = req.route;
  Object.defineProperty(req, 'route', {
    configurable: true,
    enumerable: true,
    get: () => current,
    set(route) {
      current = route;
      if (route?.path !== undefined) seen(`${req.baseUrl ?? ''}${route.path}`);
    },
  });
}

class Tracker {
  #requests = new Requests();
  #jarvis;
  #service;
  #every;
  #nameOf;
  #log;
  #timer;
  #isClosed = false;

  constructor({ jarvis, service, every = 10_000, route, log = (error) => console.error(error) } = {}) {
    if (jarvis !== undefined && !service) throw refused('name the service that publishes: track({ jarvis, service })');
    if (!(every > 0)) throw refused('`every` is a number of milliseconds');
    this.#jarvis = jarvis;
    this.#service = service;
    this.#every = every;
    this.#nameOf = route;
    this.#log = log;
  }

  /** Follows one request to its end. */
  follow(req, res) {
    const began = performance.now();
    let route = UNMATCHED;
    this.#requests.active += 1;
    watchRoute(req, (path) => (route = path));
    res.once('close', () => {
      this.#requests.active -= 1;
      const status = res.writableFinished ? res.statusCode : CLIENT_CLOSED;
      const seconds = (performance.now() - began) / 1_000;
      if (this.#requests.add(req.method, this.#nameOf?.(req) ?? route, status, seconds)) this.#arm();
    });
  }

  /** No timer runs while there is nothing to tell. */
  #arm() {
    if (this.#jarvis === undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => void this.publish(), this.#every).unref();
  }

  snapshot() {
    return { active: this.#requests.active, routes: routes(this.#requests.totals()) };
  }

  /** The OpenMetrics text of the requests, and of all else that the handle has numbers of. */
  async text() {
    const others = await this.#jarvis?.health.metrics();
    return openMetrics(this.#requests.totals(), this.#requests.active, others);
  }

  /** Publishes what was not told yet, and says whether it did. */
  async publish() {
    if (this.#jarvis === undefined) return false;
    clearTimeout(this.#timer);
    const told = this.#requests.take();
    if (told === undefined) return false;
    try {
      await this.#jarvis.events.publish(`requests.${this.#service}`, { service: this.#service, ...told });
      return true;
    } catch (error) {
      // Requests go on without whoever listens.
      this.#log(error);
      return false;
    }
  }

  async close() {
    this.#isClosed = true;
    await this.publish();
  }
}

function refused(message) {
  return new JarvisError(message, { kind: 'invalid_input', operation: 'express.track' });
}

/**
 * Counts requests and how long they took, by method, route and status. The answer is middleware,
 * and has the numbers.
 */
function track(options) {
  const tracker = new Tracker(options);
  const middleware = function jarvisTrack(req, res, next) {
    tracker.follow(req, res);
    next();
  };
  return Object.assign(middleware, {
    snapshot: () => tracker.snapshot(),
    text: () => tracker.text(),
    publish: () => tracker.publish(),
    close: () => tracker.close(),
    metrics(req, res, next) {
      const send = (text) => res.setHeader('Content-Type', OPEN_METRICS).end(text);
      tracker.text().then(send).catch(next);
    },
  });
}

module.exports = { track };
