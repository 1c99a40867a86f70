'use strict';

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { JarvisError } = require('..');
const { address, caches, open } = require('./stores.js');

for (const bus of caches) {
  describe(`events on ${bus}`, () => {
    const eventsOf = (t) => open(t, {}, { bus: address(bus) }).events;
    // A server's stream outlives the test: topics of its own keep tests apart.
    const topicOf = () => `test.${process.pid}.${Math.random().toString(36).slice(2)}`;

    test('arrive in order, by pattern, until the loop is left', async (t) => {
      const events = eventsOf(t);
      const topic = topicOf();
      const chats = events.subscribe({ patterns: [`${topic}.*`] });
      await chats.ready();
      const sent = [];
      for (let n = 0; n < 600; n += 1) sent.push(events.publish(`${topic}.chat`, { n }));
      await events.publish('elsewhere');
      const envelope = await sent[0];
      assert.deepEqual(envelope.event, { type: 'message', topic: `${topic}.chat`, payload: { n: 0 } });
      assert.equal(envelope.instance, events.instance);
      assert.ok(envelope.at instanceof Date && envelope.payload.n === 0);
      let n = 0;
      for await (const { payload } of chats) {
        assert.equal(payload.n, n);
        n += 1;
        if (n === 600) break;
      }
      assert.deepEqual(await chats.next(), { done: true, value: undefined });
    });

    test('a listener ends with its signal, whatever the reason', async (t) => {
      const events = eventsOf(t);
      const topic = topicOf();
      const reasons = [undefined, 'SIGTERM', new Error('enough'), AbortSignal.timeout(1)];
      for (const reason of reasons) {
        const abort = reason instanceof AbortSignal ? undefined : new AbortController();
        const signal = abort?.signal ?? reason;
        // Without an `onError`, an error would end the process.
        const subscription = events.listen(() => {}, { topics: [topic], signal });
        if (abort) await subscription.ready();
        abort?.abort(reason);
        while (!signal.aborted) await new Promise((resolve) => setTimeout(resolve, 1));
        await assert.rejects(subscription.next(), (error) => error === signal.reason);
      }
      await new Promise((resolve) => setImmediate(resolve));
    });

    test('wait for the next event, and end with a signal', async (t) => {
      const events = eventsOf(t);
      const topic = topicOf();
      const abort = new AbortController();
      const waiting = events.subscribe({ topics: [topic], signal: abort.signal });
      await waiting.ready();
      const [first, second] = [waiting.next(), waiting.next()];
      await events.publish(topic, 1);
      assert.equal((await first).value.event.payload, 1);
      abort.abort();
      await assert.rejects(second, { name: 'AbortError' });
      const late = events.subscribe({ signal: abort.signal });
      await assert.rejects(late.next(), { name: 'AbortError' });
    });

    test('close ends a pending next', async (t) => {
      const waiting = eventsOf(t).subscribe();
      await waiting.ready();
      const next = waiting.next();
      waiting.close();
      waiting.close();
      assert.deepEqual(await next, { done: true, value: undefined });
    });
  });
}

test('a slow subscriber learns how many events it missed', async (t) => {
  const { events } = open(t);
  const notices = [];
  const slow = events.subscribe({ topics: ['a'], buffer: 2, onNotice: (notice) => notices.push(notice) });
  for (let n = 0; n < 5; n += 1) await events.publish('a', n);
  assert.equal((await slow.next()).value.event.payload, 3);
  assert.deepEqual(notices, [{ notice: 'missed', count: 3 }]);
  await events.flush();
});

test('with overflow: close, a slow subscriber is closed', async (t) => {
  const { events } = open(t);
  const slow = events.subscribe({ topics: ['a'], buffer: 2, overflow: 'close' });
  for (let n = 0; n < 5; n += 1) await events.publish('a', n);
  const got = [];
  await assert.rejects(
    async () => {
      for await (const { event } of slow) got.push(event.payload);
    },
    (error) => error instanceof JarvisError && error.kind === 'exhausted',
  );
  assert.deepEqual(got, [0, 1]);
});

test('invalid arguments are refused', async (t) => {
  const { events } = open(t);
  for (const wanted of [{ topics: ['a b'] }, { patterns: ['a..b'] }, { origin: 'there' }, { overflow: 'x' }, { topics: 'a' }]) {
    assert.throws(() => events.subscribe(wanted), { code: 'ERR_JARVIS_INVALID_INPUT' }, JSON.stringify(wanted));
  }
  await assert.rejects(events.publish('health', 1), { kind: 'invalid_input' });
  await assert.rejects(events.publish('a', 'x'.repeat(70_000)), { kind: 'too_large' });
  await assert.rejects(
    events.publish('a', () => {}),
    { kind: 'invalid_input' },
  );
});
