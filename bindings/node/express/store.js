'use strict';

const { batches } = require('../lib/bridge.js');
const { Outage } = require('./outage.js');
const { Storage, inherit, refused, versionOf } = require('./storage.js');

/** What comes before every id unless told otherwise; the same as in connect-redis. */
const PREFIX = 'sess:';

/** Passes an answer to a callback, if there is one; otherwise returns the promise. */
function answered(answer, callback) {
  if (typeof callback !== 'function') return answer;
  // An answer that was there at once is passed on in the next turn. Concurrent requests then go on
  // together, which is much faster than each from its beginning to its end: what they share is still in
  // the CPU's caches. Late answers arrive together anyway.
  const before = batches.count;
  const later = () => (batches.count === before ? setImmediate : process.nextTick);
  // What the callback throws is its own error, as with any callback, and no rejection of this promise.
  answer.then(
    (value) => later()(callback, null, value),
    (error) => later()(callback, error),
  );
  return undefined;
}

function choice(name, value, choices) {
  if (choices.includes(value)) return value;
  throw refused(`${name} must be one of ${choices.map((one) => `'${one}'`).join(', ')}`);
}

/**
 * Makes the store class for an application's express-session: it extends that one's `Store`.
 * `index.d.ts` documents the class and its options.
 */
function jarvisStore(session) {
  if (typeof session?.Store !== 'function') {
    throw refused("give your express-session: const JarvisStore = jarvisStore(require('express-session'))");
  }
  return class JarvisStore extends session.Store {
    #storage;
    #outage;

    constructor(options = {}) {
      const { sessions, prefix = PREFIX, conflict = 'merge', whenDown = 'error', disableTouch = false } = options;
      if (typeof sessions?.load !== 'function') throw refused('give a session store: new JarvisStore({ sessions: jarvis.sessions })');
      if (typeof prefix !== 'string') throw refused('prefix must be a text');
      choice('conflict', conflict, ['merge', 'overwrite', 'error']);
      choice('whenDown', whenDown, ['error', 'skip']);
      super();
      this.#storage = new Storage({ ...options, prefix, conflict, disableTouch });
      if (whenDown === 'skip') this.#outage = new Outage(this, () => this.#storage.ping());
    }

    get(sid, callback) {
      return this.#answer(this.#storage.get(sid), callback);
    }

    set(sid, session, callback) {
      return this.#answer(this.#storage.set(sid, session), callback);
    }

    destroy(sid, callback) {
      return this.#answer(this.#storage.destroy(sid), callback);
    }

    touch(sid, session, callback) {
      return this.#answer(this.#storage.touch(sid, session), callback);
    }

    all(callback) {
      return this.#answer(this.#storage.all(), callback);
    }

    ids(callback) {
      return this.#answer(this.#storage.ids(), callback);
    }

    length(callback) {
      return this.#answer(this.#storage.length(), callback);
    }

    clear(callback) {
      return this.#answer(this.#storage.clear(), callback);
    }

    /** express-session copies only the named keys of what `get` returned into its own object. */
    createSession(req, session) {
      return inherit(super.createSession(req, session), session);
    }

    #answer(answer, callback) {
      return answered(this.#outage === undefined ? answer : this.#outage.watch(answer), callback);
    }
  };
}

module.exports = { jarvisStore, versionOf };
