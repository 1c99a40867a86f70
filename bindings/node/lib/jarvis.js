'use strict';

const { offerFactories, replaced } = require('./backends.js');
const { bridge, native, now, run } = require('./bridge.js');
const { Cache } = require('./cache.js');
const { JarvisError } = require('./error.js');
const { EventBus } = require('./events.js');
const { Health } = require('./health.js');
const { Operator } = require('./operator.js');
const { SessionStore } = require('./session.js');

const nothing = () => undefined;

/** Everything that a configuration describes. `index.d.ts` says what each part does. */
class Jarvis {
  #native;
  #parts = new Map();
  /** `run`, once it was called. */
  #running;

  /** Called by `open`. */
  constructor(handle) {
    this.#native = handle;
  }

  static open(config, options = {}) {
    const { services, alerts, probes, restarters, sinks, ...rest } = options;
    const isTables = typeof config === 'object' && config !== null && !(config instanceof URL);
    const own = isTables ? config : {};
    const [tables, objects] = replaced({
      ...own,
      ...(services && { service: { ...own.service, ...services } }),
      ...(alerts && { alert: { ...own.alert, ...alerts } }),
    });
    const given = {
      ...rest,
      [isTables ? 'config' : 'extra']: JSON.stringify(tables),
      file: isTables ? undefined : fileOf(config),
      objects,
      probes: offerFactories(probes, 'probe'),
      restarters: offerFactories(restarters, 'restart'),
      sinks: offerFactories(sinks, 'deliver'),
    };
    return new Jarvis(now(() => native.Jarvis.open(bridge, given)));
  }

  #part(name, Type) {
    let part = this.#parts.get(name);
    if (part === undefined) {
      part = new Type(now(() => this.#native[name]()));
      this.#parts.set(name, part);
    }
    return part;
  }

  get sessions() {
    return this.#part('sessions', SessionStore);
  }

  get cache() {
    return this.#part('cache', Cache);
  }

  get events() {
    return this.#part('events', EventBus);
  }

  get health() {
    return this.#part('health', Health);
  }

  get operator() {
    return this.#part('operator', Operator);
  }

  get leftBehind() {
    return this.#native.leftBehind;
  }

  run({ signal } = {}) {
    if (this.#running !== undefined) {
      return Promise.reject(new JarvisError('this handle supervises already, or did before', { kind: 'conflict' }));
    }
    const stop = () => this.#native.stop();
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
    this.#running = run(() => this.#native.run(), nothing).finally(() => signal?.removeEventListener('abort', stop));
    return this.#running;
  }

  async close() {
    this.#native.stop();
    // Whoever runs it hears of its failure.
    await this.#running?.catch(nothing);
    await run(() => this.#native.close());
  }
}

// Node 18 has no Symbol.asyncDispose, but those who compile `await using` for it do.
Object.defineProperty(Jarvis.prototype, Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose'), {
  value: function dispose() {
    return this.close();
  },
  configurable: true,
  writable: true,
});

function fileOf(config) {
  if (config === undefined || config === null) return undefined;
  if (typeof config === 'string') return config;
  if (config instanceof URL && config.protocol === 'file:') return require('node:url').fileURLToPath(config);
  throw new JarvisError('a configuration is a path, a file: URL, or an object of its tables', { kind: 'invalid_input' });
}

module.exports = { Jarvis };
