'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { Jarvis, JarvisError } = require('..');
const { bridge, native, offer, run } = require('../lib/bridge.js');
const { open } = require('./stores.js');

const { kinds } = JSON.parse(fs.readFileSync(path.join(__dirname, '../../../tests/fixtures/parity/errors.json'), 'utf8'));

test('every kind crosses to the core and back', async (t) => {
  const handle = native.Jarvis.open(bridge, { config: '{}', cache: 'memory:' });
  t.after(() => run(() => handle.close()));
  const cache = handle.cache();
  assert.equal(kinds.length, 16);
  for (const { kind, code } of kinds) {
    const retry = { timeout: 'indeterminate', unavailable: 'safe', rate_limited: 'safe' }[kind] ?? 'never';
    const failing = offer(() => {
      throw new JarvisError('as the test asked', { kind, retry, retryAfter: retry === 'safe' ? 1_500 : undefined });
    });
    const error = await run(() => cache.getOrLoad('k', { store: {} }, failing)).then(assert.fail, (error) => error);
    assert.ok(error instanceof JarvisError && error instanceof Error);
    assert.deepEqual([error.name, error.kind, error.code], ['JarvisError', kind, code]);
    assert.match(error.message, /as the test asked/);
    assert.deepEqual([error.retry, error.retryable], [retry, retry === 'safe']);
    assert.equal(error.retryAfter, retry === 'safe' ? 1_500 : undefined);
    const causes = [];
    for (let { cause } = error; cause !== undefined; { cause } = cause) causes.push(cause.message);
    assert.match(causes.at(-1), /errors\.test\.js/, 'the stack of what was thrown is the last cause');
  }
});

test('an error says what failed, and where', async (t) => {
  const { sessions, operator } = open(t, {}, { sessions: 'memory:' });
  const made = await sessions.create();
  const atOnce = await sessions.create({ id: made.id }).then(assert.fail, (error) => error);
  assert.deepEqual([atOnce.kind, atOnce.operation], ['conflict', 'session.memory.create']);
  const late = await operator.testAlert({ sink: 'nobody' }).then(assert.fail, (error) => error);
  assert.ok(late instanceof JarvisError);
  assert.equal(late.kind, 'not_found');
});

test('whatever is thrown becomes an error, and ends nothing', async (t) => {
  const handle = native.Jarvis.open(bridge, { config: '{}', cache: 'memory:' });
  t.after(() => run(() => handle.close()));
  const cache = handle.cache();
  const hostile = Object.defineProperty({}, 'message', {
    get() {
      throw new Error('no message');
    },
  });
  for (const thrown of [null, undefined, 7, 'a text', Object.create(null), hostile]) {
    const failing = offer(() => {
      throw thrown;
    });
    await assert.rejects(run(() => cache.getOrLoad('k', { store: {} }, failing)), { kind: 'internal' });
  }
});

test('the addon has no function that is only for tests', () => {
  const classes = ['Bridge', 'Cache', 'Events', 'Health', 'Jarvis', 'Operator', 'RequestMeter', 'SessionCookie', 'SessionUpdate', 'Sessions', 'Stream'];
  const functions = ['errorAnswer', 'escapePattern', 'healthDocument', 'httpStatus', 'liveness'];
  assert.deepEqual(Object.keys(native).sort(), [...classes, ...functions].sort());
});

test('a wrong configuration is reported with all its mistakes', () => {
  const wrong = () => Jarvis.open({ store: { sesion: 'memory:' }, cache: { naer: true } }, { stateDir: '/nowhere' });
  assert.throws(wrong, (error) => {
    assert.equal(error.code, 'ERR_JARVIS_CONFIG_INVALID');
    assert.match(error.message, /did you mean "session"/);
    assert.match(error.cause.message, /did you mean "near"/);
    return true;
  });
  assert.throws(() => Jarvis.open('/nowhere/jarvis.toml'), { kind: 'config_invalid' });
  assert.throws(() => Jarvis.open({ a: 1 }), { kind: 'config_invalid' });
  assert.throws(() => Jarvis.open({ store: 'memory:' }), { kind: 'config_invalid' });
  assert.throws(() => Jarvis.open({ store: [null] }), { kind: 'invalid_input' });
  assert.throws(() => Jarvis.open(7), { kind: 'invalid_input' });
  assert.throws(() => Jarvis.open({}, { sessions: 7 }), { kind: 'invalid_input' });
});

test('a store of its own overrides the common one', async (t) => {
  const down = 'redis://127.0.0.1:1';
  for (const [name, ask] of [
    ['sessions', (jarvis) => jarvis.sessions.create()],
    ['cache', (jarvis) => jarvis.cache.increment('n')],
    ['bus', (jarvis) => jarvis.events.publish('app')],
  ]) {
    const jarvis = Jarvis.open({}, { store: 'memory:', [name]: down, stateDir: os.tmpdir() });
    t.after(() => jarvis.close());
    await assert.rejects(ask(jarvis), { kind: 'unavailable' });
    for (const other of ['sessions', 'cache', 'bus']) {
      if (other === name) continue;
      if (other === 'sessions') await jarvis.sessions.create();
      if (other === 'cache') assert.equal(await jarvis.cache.increment('n'), 1);
      if (other === 'bus') await jarvis.events.publish('app');
    }
  }
  assert.throws(() => Jarvis.open({}, { mode: 'never' }), { kind: 'config_invalid' });
});
