'use strict';

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { camelCased, fromCore, toCore } = require('../lib/json.js');
const { open } = require('./stores.js');

/** The names in an answer that are not camelCase. */
function snakeCase(value, found = []) {
  if (Array.isArray(value)) for (const item of value) snakeCase(item, found);
  else if (value !== null && typeof value === 'object' && !(value instanceof Date)) {
    for (const [name, item] of Object.entries(value)) {
      if (name.includes('_')) found.push(name);
      if (name !== 'payload') snakeCase(item, found);
    }
  }
  return found;
}

describe('answers of the core', () => {
  test('have camelCase names at every depth', () => {
    const answer = fromCore('{"took_ms":1,"loop_stats":{"lateness_p50_ms":2},"checks":[{"ever_passed":true,"message":"a_b"}]}');
    assert.deepEqual(answer, { tookMs: 1, loopStats: { latenessP50Ms: 2 }, checks: [{ everPassed: true, message: 'a_b' }] });
    assert.deepEqual(camelCased([null, 'a_b', 1]), [null, 'a_b', 1]);
  });

  test('keep what the application put in', () => {
    const event = { type: 'message', topic: 'a', payload: { snake_case: { deep_one: 1 } } };
    assert.deepEqual(camelCased({ the_event: event }), { theEvent: event });
    const facts = [['disk_percent', { of_disk: 1 }]];
    assert.deepEqual(camelCased({ facts }), { facts });
  });

  test('go back to the core with snake_case names and the values as they are', () => {
    assert.deepEqual(toCore({ startedAt: 'x', facts: { itsOwn: 1 } }), { started_at: 'x', facts: { itsOwn: 1 } });
    for (const value of [null, true, 'text', ['aB']]) assert.equal(toCore(value), value);
  });
});

test('no part of the API answers with snake_case names', async (t) => {
  const probe = () => ({ verdict: 'warn', kind: 'slow', message: 'takes long', facts: { in_queue: { by_kind: 1 } } });
  const jarvis = open(t, { service: { coach: { check: [{ name: 'ping', probe }] } } });
  const check = await jarvis.health.check();
  const [fact] = check.services[0].checks[0].observation.facts;
  assert.deepEqual(fact, ['in_queue', { by_kind: 1 }], 'facts are the probe\'s own');
  check.services[0].checks[0].observation.facts = [];
  await jarvis.sessions.create({ user: 'ada', userAgent: 'x' });
  const answers = [
    check,
    jarvis.health.snapshot(),
    jarvis.health.healthz(),
    await jarvis.health.status(),
    await jarvis.operator.status(),
    await jarvis.cache.stats(),
    await jarvis.sessions.list('ada'),
    await jarvis.events.publish('a', { snake_case: 1 }),
  ];
  for (const answer of answers) assert.deepEqual(snakeCase(answer), []);
  assert.deepEqual(answers.at(-1).payload, { snake_case: 1 });
});
