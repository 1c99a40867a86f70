'use strict';

/** How long after a failure the storage is tried again, in milliseconds. */
const PAUSE = 250;

const isOutage = (error) => error?.kind === 'unavailable' || error?.kind === 'timeout';

/**
 * Emits the events by which express-session learns that the storage is down, and that it is back.
 * Meanwhile express-session asks nothing: it passes requests on without a session.
 */
class Outage {
  #store;
  #ask;
  #isDown = false;

  /** `ask` rejects while the storage is down. */
  constructor(store, ask) {
    this.#store = store;
    this.#ask = ask;
  }

  /** Returns an answer, and notices when it says that the storage is down. */
  async watch(answer) {
    try {
      return await answer;
    } catch (error) {
      if (isOutage(error)) this.#began();
      throw error;
    }
  }

  #began() {
    if (this.#isDown) return;
    this.#isDown = true;
    this.#store.emit('disconnect');
    this.#askLater();
  }

  #askLater() {
    setTimeout(() => void this.#askAgain(), PAUSE).unref();
  }

  async #askAgain() {
    try {
      await this.#ask();
    } catch (error) {
      if (isOutage(error)) return this.#askLater();
    }
    this.#isDown = false;
    this.#store.emit('connect');
  }
}

module.exports = { Outage };
