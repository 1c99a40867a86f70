'use strict';

const { AsyncResource } = require('node:async_hooks');

const { native, now, offer, run } = require('./bridge.js');
const { JarvisError } = require('./error.js');

/** As it is stored: bytes as they are, everything else as JSON. */
function stored(value) {
  if (value instanceof Uint8Array) return value;
  const text = JSON.stringify(value);
  if (text === undefined) {
    throw new JarvisError(`a value to be cached has no form in JSON: ${typeof value}`, { kind: 'invalid_input' });
  }
  return text;
}

function parsed(text) {
  if (text === null) return undefined;
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new JarvisError('the cached value is no JSON; read it with getBytes', { kind: 'corrupt', cause });
  }
}

const bytes = (buffer) => buffer ?? undefined;

/** A whole number: beyond 2^53 as a BigInt, which is exact. */
function whole(text) {
  const number = Number(text);
  return Number.isSafeInteger(number) ? number : BigInt(text);
}

function numbers({ near_hits, stale_hits, load_failures, read_p50_us, read_p99_us, entries, ...rest }) {
  return {
    ...rest,
    nearHits: near_hits,
    staleHits: stale_hits,
    loadFailures: load_failures,
    entries: entries ?? null,
    readP50Us: read_p50_us,
    readP99Us: read_p99_us,
  };
}

function options({ ttl, tags, ifAbsent, ifPresent } = {}) {
  return { ttl, tags, ifAbsent, ifPresent };
}

/** What may be forgotten. `index.d.ts` says what each method does. */
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
      (text) => numbers(JSON.parse(text)),
    );
  }

  async getOrLoad(key, load, { stale, early, wait, ...how } = {}) {
    // What the caller's own function threw is thrown as it is, not as a copy that was abroad.
    let thrown;
    const calling = async (_, signal) => {
      try {
        return stored(await load(signal));
      } catch (error) {
        thrown = { error };
        throw error;
      }
    };
    // It is called for whoever asks here, and sees their AsyncLocalStorage.
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
