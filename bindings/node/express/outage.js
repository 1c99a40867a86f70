'use strict';

/** How long after a failure the storage is asked again, in milliseconds. */
const PAUSE = 250;

const isOutage = (error) => error?.kind === 'unavailable' || error?.kind === 'timeout';

/**
 * Tells express-session, by the events it listens to, that the storage is down and when it is
 * back. While it is down nobody else asks: express-session passes requests on without a session.
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

  /** Gives the answer on, and looks whether it is that the storage is down. */
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
