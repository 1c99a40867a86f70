'use strict';

const assert = require('node:assert/strict');
const { test } = require('node:test');
const { Jarvis, JarvisError } = require('..');
const { bridge, native, run } = require('../lib/bridge.js');

test('every kind crosses, at once and late', async () => {
  const kinds = native.trialKinds();
  assert.equal(kinds.length, 16);
  for (const kind of kinds) {
    for (const late of [false, true]) {
      const error = await run(() => native.trialFail(bridge, kind, late)).then(assert.fail, (error) => error);
      assert.ok(error instanceof JarvisError && error instanceof Error);
      assert.deepEqual([error.name, error.kind, error.code], ['JarvisError', kind, `ERR_JARVIS_${kind.toUpperCase()}`]);
      assert.equal(error.message, 'as the trial asked (trial.fail; service: coach)');
      assert.equal(error.operation, 'trial.fail');
      assert.deepEqual(error.context, { service: 'coach' });
      assert.equal(error.cause.message, 'the cause');
      assert.equal(error.retryable, kind === 'unavailable' || kind === 'rate_limited');
      assert.equal(error.retry, { timeout: 'indeterminate' }[kind] ?? (error.retryable ? 'safe' : 'never'));
    }
  }
});

test('a panic is an error, at once and late', async () => {
  for (const late of [false, true]) {
    const panic = run(() => native.trialPanic(bridge, late));
    await assert.rejects(panic, { code: 'ERR_JARVIS_INTERNAL', message: /as the trial asked/ });
  }
});

test('a wrong configuration is told with all its mistakes', () => {
  const wrong = () => Jarvis.open({ store: { sesion: 'memory:' }, cache: { naer: true } }, { stateDir: '/nowhere' });
  assert.throws(wrong, (error) => {
    assert.equal(error.code, 'ERR_JARVIS_CONFIG_INVALID');
    assert.match(error.message, /did you mean "session"/);
    assert.match(error.cause.message, /did you mean "near"/);
    return true;
  });
  assert.throws(() => Jarvis.open('/nowhere/jarvis.toml'), { kind: 'config_invalid' });
  assert.throws(() => Jarvis.open({ a: null }), { kind: 'config_invalid' });
  assert.throws(() => Jarvis.open(7), { kind: 'invalid_input' });
  assert.throws(() => Jarvis.open({}, { sessions: 7 }), { kind: 'invalid_input' });
});
