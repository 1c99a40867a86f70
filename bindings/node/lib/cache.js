'use strict';

const { AsyncResource } = require('node:async_hooks');

const { native, now, offer, run } = require('./bridge.js');
const { JarvisError, invalid } = require('./error.js');
const { fromCore } = require('./json.js');

/** The stored form of a value: bytes as they are, everything else as JSON. */
function stored(value) {
  if (value instanceof Uint8Array) return value;
  const text = JSON.stringify(value);
  if (text === undefined) throw invalid(`the value has no JSON form: ${typeof value}`);
  return text;
}

function parsed(text) {
  if (text === null) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new JarvisError('the cached value is not JSON; read it with getBytes', { kind: 'corrupt', cause });
  }
}

/** What a loader returned, as JSON. */
function loaded(value) {
  if (value instanceof Uint8Array) throw invalid('getOrLoad stores JSON; for bytes use getBytes() and set()');
  return stored(value);
}

const bytes = (buffer) => buffer ?? undefined;

/** A whole number; beyond 2^53 a BigInt, which is exact. */
function whole(text) {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

function options({ ttl, tags, ifAbsent, ifPresent } = {}) {
  return { ttl, tags, ifAbsent, ifPresent };
}

/** Keeps values for a while. `types/cache.d.ts` documents each method. */
class Cache {
  #native;

  constructor(cache) {
    this.#native = cache;
  }

  get(key) {
    return run(() => this.#native.get(key, false), parsed);
  }

  getBytes(key) {
    return run(() => this.#native.get(key, true), bytes);
  }

  set(key, value, how) {
    return run(() => this.#native.set(key, stored(value), how === undefined ? undefined : options(how)));
  }

  delete(...keys) {
    return run(() => this.#native.delete(keys.flat()), Number);
  }

  exists(key) {
    return run(() => this.#native.exists(key));
  }

  getMany(keys) {
    return run(
      () => this.#native.getMany(keys, false),
      (values) => values.map(parsed),
    );
  }

  setMany(entries, how) {
    return run(() => {
      const pairs = [...(typeof entries[Symbol.iterator] === 'function' ? entries : Object.entries(entries))];
      return this.#native.setMany(
        pairs.map(([key]) => key),
        pairs.map(([, value]) => stored(value)),
        options(how),
      );
    }, Number);
  }

  increment(key, { by = 1, ttl } = {}) {
    return run(() => this.#native.increment(key, String(by), ttl), whole);
  }

  expire(key, { ttl }) {
    return run(() => this.#native.expire(key, ttl));
  }

  lifetime(key) {
    return run(
      () => this.#native.lifetime(key),
      (text) => (text === null ? undefined : Number(text)),
    );
  }

  invalidateTag(tag) {
    return run(() => this.#native.invalidateTag(tag), nothing);
  }

  invalidatePattern(pattern) {
    return run(() => this.#native.invalidatePattern(pattern), Number);
  }

  flush() {
    return run(() => this.#native.flush(), nothing);
  }

  stats() {
    return run(
      () => this.#native.stats(),
      (text) => ({ entries: null, ...fromCore(text) }),
    );
  }

  async getOrLoad(key, load, { stale, early, wait, ...how } = {}) {
    // The caller's own error is thrown as it is, not as the copy that crossed to the core and back.
    let thrown;
    const calling = async (_, signal) => {
      try {
        return loaded(await load(signal));
      } catch (error) {
        thrown = { error };
        throw error;
      }
    };
    // `load` runs in the caller's AsyncLocalStorage context.
    const function_ = offer(AsyncResource.bind(calling));
    try {
      return await run(() => this.#native.getOrLoad(key, { store: options(how), stale, early, wait }, function_), parsed);
    } catch (error) {
      throw thrown === undefined ? error : thrown.error;
    }
  }
}

const nothing = () => undefined;

/** A pattern for `invalidatePattern` that matches this text alone. */
const escapePattern = (text) => now(() => native.escapePattern(text));

module.exports = { Cache, escapePattern };
