'use strict';

const { now, run } = require('./bridge.js');
const { JarvisError, invalid } = require('./error.js');
const { camelCased } = require('./json.js');
const { Stream } = require('./stream.js');

const nothing = () => undefined;

/** An envelope with its time as a `Date`, and the payload of a message at hand. */
function envelope(raw) {
  const at = new Date(raw.at);
  // All names of a message are single words.
  if (raw.event.type === 'message') return { ...raw, at, payload: raw.event.payload };
  return { ...camelCased(raw), at };
}

/** Publishes and subscribes. `types/events.d.ts` documents each method. */
class EventBus {
  #native;

  constructor(events) {
    this.#native = events;
  }

  get instance() {
    return this.#native.instance;
  }

  publish(topic, payload = null) {
    return run(
      () => {
        const text = JSON.stringify(payload);
        if (text === undefined) throw invalid(`the payload has no JSON form: ${typeof payload}`, 'events.publish');
        return this.#native.publish(topic, text);
      },
      (text) => envelope(JSON.parse(text)),
    );
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

/** Calls a listener for each event, one at a time. An error of the listener ends nothing. */
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
    // Whoever aborted the signal knows already.
    if (signal?.aborted !== true) onError(error);
  }
}

/** Throws an error as Node throws what nobody caught. */
function report(error) {
  process.nextTick(() => {
    throw error;
  });
}

/** A stream of envelopes. Notices of missing events go to `onNotice`. */
class Subscription extends Stream {
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

module.exports = { EventBus, Subscription };
