'use strict';

const { offerFactories, replaced } = require('./backends.js');
const { bridge, native, now, run } = require('./bridge.js');
const { Cache } = require('./cache.js');
const { JarvisError, invalid } = require('./error.js');
const { EventBus } = require('./events.js');
const { Health } = require('./health.js');
const { Operator } = require('./operator.js');
const { SessionStore } = require('./sessions.js');

const nothing = () => undefined;

/** The native handle of a `Jarvis`, for the other modules of this package. */
let nativeOf;

/** The handle on a configuration. `types/jarvis.d.ts` documents each part. */
class Jarvis {
  #native;
  #parts = new Map();
  /** The promise of `run`, after its first call. */
  #running;

  static {
    nativeOf = (jarvis) => {
      if (typeof jarvis === 'object' && jarvis !== null && #native in jarvis) return jarvis.#native;
      throw invalid('give the handle that Jarvis.open() returned');
    };
  }

  /** Use `open`. */
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
      return Promise.reject(new JarvisError('run() was called before on this handle; open another one', { kind: 'conflict' }));
    }
    const stop = () => this.#native.stop();
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
    this.#running = run(() => this.#native.run(), nothing).finally(() => signal?.removeEventListener('abort', stop));
    return this.#running;
  }

  async close() {
    this.#native.stop();
    // Whoever called `run` gets its error.
    await this.#running?.catch(nothing);
    await run(() => this.#native.close());
  }
}

// Node 18 has no Symbol.asyncDispose; code that compiles `await using` for it uses this symbol.
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
  throw invalid('the configuration must be a path, a file: URL, or an object with its tables');
}

module.exports = { Jarvis, nativeOf };
