'use strict';

const { run } = require('./bridge.js');

const nothing = () => undefined;

/** An async iterable over a native stream, which gives batches: JSON arrays, and null at the end. */
class Stream {
  #native;
  #signal;
  #waiting = [];
  #isOver = false;
  /** The `next()` under way: the following one waits for it. */
  #asking = Promise.resolve();
  #ready;
  #onAbort = () => this.close();

  constructor(stream, signal) {
    this.#native = stream;
    this.#signal = signal;
    this.#ready = run(() => stream.open(), nothing);
    // Whoever iterates sees the failure; without an iteration it is not an unhandled rejection.
    this.#ready.catch(nothing);
    if (signal?.aborted) this.close();
    else signal?.addEventListener('abort', this.#onAbort, { once: true });
  }

  /** Resolves when the stream is open. */
  ready() {
    return this.#ready;
  }

  /** Converts an item for the user; undefined skips it. */
  convert(item) {
    return item;
  }

  next() {
    const asked = this.#asking.then(() => this.#next());
    this.#asking = asked.catch(nothing);
    return asked;
  }

  async #next() {
    if (!this.#isOver) await this.#ready;
    for (;;) {
      this.#signal?.throwIfAborted();
      if (this.#isOver) return { done: true, value: undefined };
      if (this.#waiting.length === 0) await this.#refill();
      else {
        const value = this.convert(this.#waiting.pop());
        if (value !== undefined) return { done: false, value };
      }
    }
  }

  async #refill() {
    const batch = await run(() => this.#native.next());
    if (batch === null) this.close();
    else this.#waiting = JSON.parse(batch).reverse();
  }

  close() {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#signal?.removeEventListener('abort', this.#onAbort);
    this.#native.close();
  }

  async return(value) {
    this.close();
    return { done: true, value };
  }

  [Symbol.asyncIterator]() {
    return this;
  }
}

module.exports = { Stream };
