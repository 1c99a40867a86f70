'use strict';

const native = require('./native.js');
const { fromJson, fromNative, toNative } = require('./failure.js');

const [DONE, FAILED, CALL, FORGET, DROP] = [0, 1, 2, 3, 4];

/** Pending calls of the compiled part, by ticket. */
const waiting = new Map();
/** Functions that the compiled part may call, by number. */
const functions = new Map();
/** Calls of these functions that have not ended, by number. */
const calls = new Map();
let lastFunction = 0;

/** Keeps the process alive while calls are pending. The bridge itself does not. */
const keeper = {
  timer: undefined,
  hold() {
    this.timer ??= setInterval(() => {}, 0x7fffffff);
    this.timer.ref();
  },
  release() {
    this.timer.unref();
  },
};

/** `count` is how many batches of late answers arrived: an answer that came while it changed was late. */
const batches = { count: 0 };

const bridge = new native.Bridge(drain);

/** Do calls wait for the end of this turn? */
let isGathering = false;

function begin() {
  isGathering = false;
  bridge.begin();
}

/** Takes everything from the inbox: answers to calls, and calls of functions. */
function drain() {
  batches.count += 1;
  const taken = bridge.take();
  for (let at = 0; at < taken.length; at += 3) {
    const [id, value] = [taken[at + 1], taken[at + 2]];
    switch (taken[at]) {
      case DONE:
      case FAILED:
        settle(id, value, taken[at] === FAILED);
        break;
      case CALL:
        void called(id, Number(value[0]), value[1]);
        break;
      case FORGET:
        functions.delete(id);
        break;
      case DROP:
        calls.get(id)?.abort();
        break;
    }
  }
}

function settle(ticket, value, failed) {
  const call = waiting.get(ticket);
  if (call === undefined) return;
  waiting.delete(ticket);
  if (waiting.size === 0) keeper.release();
  if (failed) return call.reject(fromJson(value));
  try {
    call.resolve(call.convert(value));
  } catch (error) {
    call.reject(error);
  }
}

const same = (value) => value;

/**
 * Turns a call of the compiled part into a promise. An answer that is there at once resolves it at
 * once; a number is the ticket of a call that goes on.
 */
function run(start, convert = same) {
  let answer;
  try {
    answer = start();
    if (typeof answer !== 'number') return Promise.resolve(convert(answer));
  } catch (error) {
    return Promise.reject(fromNative(error));
  }
  return new Promise((resolve, reject) => {
    if (waiting.size === 0) keeper.hold();
    waiting.set(answer, { resolve, reject, convert });
    if (isGathering) return;
    isGathering = true;
    setImmediate(begin);
  });
}

/** The same for a call that always answers at once. */
function now(start) {
  try {
    return start();
  } catch (error) {
    throw fromNative(error);
  }
}

/** Registers a function for the compiled part, `(arguments, signal) => text`, and returns its number. */
function offer(call) {
  lastFunction = (lastFunction + 1) >>> 0;
  functions.set(lastFunction, call);
  return lastFunction;
}

/**
 * Answers a call of the compiled part. The signal aborts when the compiled part no longer waits; the
 * end of the call is reported all the same, so that an object is not called while it is busy.
 */
async function called(id, number, text) {
  const abort = new AbortController();
  calls.set(id, abort);
  let failed = false;
  let reply;
  try {
    reply = await functions.get(number)(JSON.parse(text), abort.signal);
  } catch (error) {
    [failed, reply] = [true, toNative(error)];
  }
  calls.delete(id);
  bridge.reply(id, failed, reply);
}

module.exports = { batches, bridge, native, now, offer, run };
