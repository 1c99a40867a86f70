'use strict';

const { performance } = require('node:perf_hooks');
const { RequestMeter } = require('../lib/web.js');
const { invalid } = require('../lib/error.js');

/** nginx's status for a client that went away before the answer. */
const CLIENT_CLOSED = 499;
const OPEN_METRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8';

/**
 * Calls `seen` with the route that matched. Express sets `req.route`, which is read at that moment: by
 * the time of the answer a router may have reset the path that it is mounted on.
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
  #meter;
  #jarvis;
  #every;
  #nameOf;
  #log;
  #timer;
  #isClosed = false;

  constructor({ jarvis, service, every = 10_000, route, log = (error) => console.error(error) } = {}) {
    if (jarvis !== undefined && !service) throw invalid('name the service: track({ jarvis, service })', 'express.track');
    if (!(every > 0)) throw invalid(`invalid every ${String(every)}: give a number of milliseconds`, 'express.track');
    this.#meter = new RequestMeter({ service: jarvis && service });
    this.#jarvis = jarvis;
    this.#every = every;
    this.#nameOf = route;
    this.#log = log;
  }

  /** Follows one request to its end. */
  follow(req, res) {
    const began = performance.now();
    let route;
    this.#meter.begin();
    watchRoute(req, (path) => (route = path));
    res.once('close', () => {
      const status = res.writableFinished ? res.statusCode : CLIENT_CLOSED;
      const isFirst = this.#meter.end(req.method, this.#routeOf(req) ?? route, status, performance.now() - began);
      if (isFirst) this.#arm();
    });
  }

  /** The application's name of a route, if it gives one. */
  #routeOf(req) {
    const route = this.#nameOf?.(req);
    return route === undefined || route === null ? undefined : String(route);
  }

  /** Starts the timer; none runs while there is nothing to publish. */
  #arm() {
    if (this.#jarvis === undefined || this.#isClosed) return;
    this.#timer = setTimeout(() => void this.publish(), this.#every).unref();
  }

  snapshot() {
    return this.#meter.snapshot();
  }

  text() {
    return this.#meter.metrics(this.#jarvis);
  }

  /** Publishes what was not published yet, and says whether it did. */
  async publish() {
    if (this.#jarvis === undefined) return false;
    clearTimeout(this.#timer);
    try {
      return await this.#meter.publish(this.#jarvis);
    } catch (error) {
      // Requests go on without their subscribers.
      this.#log(error);
      return false;
    }
  }

  async close() {
    this.#isClosed = true;
    await this.publish();
  }
}

/** Counts requests by method, route and status. `index.d.ts` documents the result. */
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
