'use strict';

const { now, run } = require('./bridge.js');
const { JarvisError } = require('./error.js');
const { Stream } = require('./stream.js');

const nothing = () => undefined;

/** The time as a `Date`, and what a message says at hand. */
function envelope(raw) {
  const { at, event } = raw;
  return event.type === 'message' ? { ...raw, at: new Date(at), payload: event.payload } : { ...raw, at: new Date(at) };
}

/** Carries events. `index.d.ts` says what each method does. */
class EventBus {
  #native;

  constructor(events) {
    this.#native = events;
  }

  get instance() {
    return this.#native.instance;
  }

  publish(topic, payload = null) {
    return run(() => {
      const text = JSON.stringify(payload);
      if (text === undefined) throw new JarvisError('the payload has no form in JSON', { kind: 'invalid_input' });
      return this.#native.publish(topic, text);
    }, (text) => envelope(JSON.parse(text)));
  }

  flush() {
    return run(() => this.#native.flush(), nothing);
  }

  listen(listener, { onError = report, ...options } = {}) {
    const subscription = this.subscribe(options);
    void deliver(subscription, listener, onError, options.signal);
    return subscription;
  }

  subscribe({ signal, onNotice, ...wanted } = {}) {
    return new Subscription(now(() => this.#native.subscribe(wanted)), signal, onNotice);
  }
}

/** Hands events to a listener, one at a time; what it throws ends nothing. */
async function deliver(subscription, listener, onError, signal) {
  try {
    for await (const event of subscription) {
      try {
        await listener(event);
      } catch (error) {
        onError(error);
      }
    }
  } catch (error) {
    // Whoever aborted knows.
    if (signal?.aborted !== true) onError(error);
  }
}

/** As Node does with what nobody caught. */
function report(error) {
  process.nextTick(() => {
    throw error;
  });
}

/** Envelopes, and word of those that are missing. */
class Deliveries extends Stream {
  #onNotice;

  constructor(stream, signal, onNotice) {
    super(stream, signal);
    this.#onNotice = onNotice;
  }

  convert(item) {
    if (item.notice === undefined) return envelope(item);
    if (item.notice === 'too_slow') {
      this.close();
      throw new JarvisError('this subscriber was too slow and was closed; subscribe again', {
        kind: 'exhausted',
        operation: 'events.next',
      });
    }
    this.#onNotice?.(item);
    return undefined;
  }
}

/** What one subscriber receives: an async iterable of envelopes. */
class Subscription extends Deliveries {
  #ready;

  constructor(subscription, signal, onNotice) {
    super(subscription, signal, onNotice);
    this.#ready = run(() => subscription.open(), nothing);
    // Who iterates sees the failure; it is nobody's unhandled rejection.
    this.#ready.catch(nothing);
  }

  ready() {
    return this.#ready;
  }
}

module.exports = { Deliveries, EventBus, Subscription, envelope };
