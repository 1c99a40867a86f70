'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { describe, test } = require('node:test');
const { Jarvis, JarvisError } = require('..');
const { open } = require('./stores.js');

/** A handle on one service with this probe. */
const probing = (t, probe, check = {}) => open(t, { service: { coach: { check: [{ probe, ...check }] } } });

async function checked(jarvis) {
  const { services } = await jarvis.health.check();
  return services[0].checks[0].observation;
}

describe('a probe in JavaScript', () => {
  test('says what it saw', async (t) => {
    const seen = [];
    const probe = {
      answer: { verdict: 'warn', kind: 'slow', message: 'takes long', facts: { queue: 7 } },
      async probe(context, call) {
        seen.push([context.fresh, context.timeout > 0, call.signal instanceof AbortSignal]);
        return this.answer;
      },
    };
    const { verdict, kind, message, facts } = await checked(probing(t, probe));
    assert.deepEqual([verdict, kind, message], ['warn', 'slow', 'takes long']);
    assert.deepEqual(facts, [['queue', 7]]);
    assert.deepEqual(seen, [[true, true, true]]);
  });

  test('may be a function, and synchronous', async (t) => {
    const jarvis = probing(t, () => ({ verdict: 'pass' }));
    const { platform, services } = await jarvis.health.check({ services: ['coach'] });
    assert.deepEqual([platform.state, services[0].state], ['healthy', 'healthy']);
  });

  test('may answer in short forms', async (t) => {
    for (const [answer, verdict, message] of [
      [undefined, 'pass', 'it is well'],
      [null, 'pass', 'it is well'],
      [true, 'pass', 'it is well'],
      [false, 'fail', 'it is not well'],
      ['7 in the queue', 'pass', '7 in the queue'],
    ]) {
      const seen = await checked(probing(t, () => answer));
      assert.deepEqual([seen.verdict, seen.message], [verdict, message]);
    }
  });

  test('that throws could not measure, and its error is reported', async (t) => {
    const failing = (error) =>
      checked(
        probing(t, () => {
          throw error;
        }),
      );
    for (const [code, kind] of [
      ['ECONNREFUSED', 'refused'],
      ['ETIMEDOUT', 'timeout'],
    ]) {
      const seen = await failing(Object.assign(new Error('no'), { code }));
      assert.deepEqual([seen.verdict, seen.kind], ['fail', kind], 'that tells of a sick target');
    }
    for (const error of [new RangeError('no route'), 'a text', null]) {
      const { verdict, message } = await failing(error);
      assert.equal(verdict, 'unknown');
      assert.match(message, new RegExp(error?.message ?? String(error)));
    }
  });

  test('an invalid answer is reported with what is wrong with it', async (t) => {
    const circle = {};
    circle.circle = circle;
    for (const [answer, hint] of [
      [7, /probe\(\) answers nothing, a bool, a text/],
      [{}, /an observation such as/],
      [{ verdict: 'great' }, /an observation such as/],
      [{ verdict: 'pass', colour: 'red' }, /an observation such as/],
      [{ verdict: 'fail', kind: 'tired' }, /an observation such as/],
      [circle, /circular/i],
      [() => {}, /no JSON form/],
      [{ verdict: 'pass', facts: { n: 1n } }, /BigInt/],
    ]) {
      const { verdict, message } = await checked(probing(t, () => answer));
      assert.equal(verdict, 'unknown', message);
      assert.match(message, hint);
    }
  });

  test('that hangs fails at its deadline, is aborted, and is not called again', async (t) => {
    let calls = 0;
    let aborted;
    const isAborted = new Promise((resolve) => (aborted = resolve));
    let release;
    const probe = (_, { signal }) => {
      calls += 1;
      if (calls > 1) return { verdict: 'pass' };
      signal.addEventListener('abort', aborted);
      return new Promise((resolve) => (release = resolve));
    };
    const jarvis = probing(t, probe, { timeout: '50ms', interval: '10s' });
    const first = await checked(jarvis);
    assert.deepEqual([first.verdict, first.kind], ['fail', 'timeout']);
    assert.ok(first.latencyMs >= 50 && first.latencyMs < 5_000);
    await isAborted;
    assert.equal(jarvis.leftBehind, 1);
    const second = await checked(jarvis);
    assert.deepEqual([second.verdict, calls], ['unknown', 1]);
    assert.match(second.message, /still hangs/);
    release({ verdict: 'pass' });
    while (jarvis.leftBehind > 0) await new Promise((resolve) => setImmediate(resolve));
    assert.equal((await checked(jarvis)).verdict, 'pass');
    assert.equal(calls, 2);
  });

  test('may be made by a factory for a kind that the configuration names', async (t) => {
    const made = [];
    const probes = {
      ping: async (settings) => {
        made.push(settings);
        return { probe: () => ({ verdict: 'pass', message: settings.target }) };
      },
    };
    const config = { service: { coach: { check: [{ type: 'ping', target: 'here', interval: '10s' }] } } };
    const jarvis = open(t, config, { probes });
    assert.deepEqual(made, [], 'nothing is made when it is opened');
    assert.equal((await checked(jarvis)).message, 'here');
    assert.equal((await checked(jarvis)).message, 'here');
    assert.deepEqual(made, [{ target: 'here' }]);
    const bad = open(t, config, { probes: { ping: () => 'nothing' } });
    assert.match((await checked(bad)).message, /must be a function/);
  });

  test('stands beside a configuration file', async (t) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'jarvis-node-'));
    t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
    const file = path.join(folder, 'jarvis.toml');
    fs.writeFileSync(file, '[service.db]\n[[service.db.check]]\ntype = "command"\ncommand = ["true"]\n');
    const services = { coach: { depends_on: ['db'], check: [{ probe: () => ({ verdict: 'pass' }) }] } };
    for (const config of [file, new URL(`file://${file}`)]) {
      const jarvis = Jarvis.open(config, { services, stateDir: folder });
      const { services: all } = await jarvis.health.check();
      assert.deepEqual(all.map(({ service, state }) => [service, state]).sort(), [
        ['coach', 'healthy'],
        ['db', 'healthy'],
      ]);
      await jarvis.close();
    }
  });
});

test('an invalid backend is refused at once', () => {
  for (const [config, options] of [
    [{ service: { coach: { check: [{ probe: 7 }] } } }],
    [{ service: { coach: { check: [{ probe: {} }] } } }],
    [{ service: { coach: { restart: { restarter: {} } } } }],
    [{ alert: { ops: { sink: 'me' } } }],
    [{}, { probes: { ping: {} } }],
  ]) {
    assert.throws(() => Jarvis.open(config, options), (error) => error instanceof JarvisError && error.kind === 'invalid_input');
  }
  assert.throws(() => Jarvis.open({ service: { coach: { restart: { restarter: () => {} } } } }), {
    kind: 'config_invalid',
    message: /service\.coach\.restart: a restarter needs a method `observe`/,
  });
  assert.throws(() => Jarvis.open({ service: { coach: { check: [{ type: 'pnig' }] } } }, { probes: { ping: () => {} } }), {
    kind: 'config_invalid',
    message: /did you mean "ping"/,
  });
});

test('a sink in JavaScript is sent alerts', async (t) => {
  const alerts = [];
  const jarvis = open(t, { alert: { ops: { sink: (alert) => alerts.push(alert) }, bad: { sink: { deliver: () => Promise.reject(new Error('no')) } } } });
  const answers = await jarvis.operator.testAlert();
  assert.deepEqual(answers.map(({ sink }) => sink).sort(), ['bad', 'ops']);
  assert.match(answers.find(({ sink }) => sink === 'bad').error, /Error: no/);
  assert.equal(answers.find(({ sink }) => sink === 'ops').error, undefined);
  assert.equal(alerts.length, 1);
  assert.deepEqual([alerts[0].status, typeof alerts[0].title], ['test', 'string']);
  await assert.rejects(jarvis.operator.testAlert({ sink: 'nobody' }), { kind: 'not_found' });
});

/** A service that the test runs. */
class Coach {
  life = 1;
  isWell = true;
  done = [];

  probe() {
    return this.isWell ? { verdict: 'pass', instance: `life-${this.life}` } : { verdict: 'fail', kind: 'exited', instance: `life-${this.life}` };
  }

  observe() {
    return { state: 'running', instance: `life-${this.life}` };
  }

  restart({ intent, timeout }) {
    this.done.push([typeof intent, timeout > 0]);
    const before = `life-${this.life}`;
    this.life += 1;
    this.isWell = true;
    return { before, after: `life-${this.life}`, message: 'done' };
  }

  lastLogLines(lines) {
    this.lines = lines;
    return ['boom'];
  }

  release(why) {
    this.released = why;
  }
}

test('run heals a service whose probe and restarter are one object', { timeout: 120_000 }, async (t) => {
  const coach = new Coach();
  const jarvis = open(t, {
    service: {
      coach: {
        check: [{ probe: coach, interval: '100ms' }],
        restart: { restarter: coach },
      },
    },
  });
  const incidents = jarvis.events.subscribe({ topics: ['incident'] });
  const changes = jarvis.health.watch();
  const abort = new AbortController();
  const running = jarvis.run({ signal: abort.signal });
  await assert.rejects(jarvis.run(), { kind: 'conflict' });
  // A service that was never healthy is not restarted.
  for await (const change of changes) if (change.state === 'healthy') break;
  coach.isWell = false;
  const types = [];
  for await (const { event } of incidents) {
    types.push(event.type);
    if (event.type === 'incident_recovered') break;
  }
  assert.equal(types[0], 'incident_opened');
  assert.deepEqual(coach.done, [['string', true]]);
  assert.equal(jarvis.health.snapshot().services[0].service, 'coach');
  assert.equal(jarvis.health.healthz().alive, true);

  // It recovered when the probes of its verification passed; it is healthy from the next round on.
  for await (const { state } of jarvis.health.watch()) if (state === 'healthy') break;
  const status = await jarvis.operator.status();
  assert.equal(status.platform.state, 'healthy');
  const { source, operator } = await jarvis.health.status();
  assert.deepEqual([source.type, operator.services[0].service], ['live', 'coach']);
  assert.equal(typeof operator.services[0].lifecycle.phase, 'string');
  const { loopStats, services } = jarvis.health.snapshot();
  assert.ok(loopStats.running && loopStats.latenessP99Ms >= 0 && services[0].checks[0].consecutiveFailures === 0);
  assert.match((await jarvis.operator.pause({ reason: 'a show', lasting: 60_000 })).message, /./);
  assert.match((await jarvis.operator.resume()).message, /./);
  const { maintenance } = await jarvis.operator.maintain({ services: ['coach'], duration: 60_000, reason: 'a show' });
  assert.deepEqual(maintenance.services, ['coach']);
  assert.match((await jarvis.operator.endMaintenance()).message, /./);
  assert.match((await jarvis.operator.reset('coach')).message, /./);
  const { intent } = await jarvis.operator.restart('coach', { by: 'ada' });
  assert.equal(typeof intent, 'string');
  assert.equal(coach.done.length, 2);
  await assert.rejects(jarvis.operator.stop('nobody'), { kind: 'not_found' });
  await assert.rejects(jarvis.operator.stop('coach'), JarvisError);
  assert.ok((await jarvis.health.uptime({ window: 3_600_000 })).services.length === 1);
  assert.match(await jarvis.health.metrics(), /jarvis_/);
  assert.deepEqual(await jarvis.operator.reload(), ['nothing changed']);
  const since = new Date(Date.now() - 3_600_000);
  const retained = [];
  for await (const { event, at } of jarvis.operator.events({ since, service: 'coach' })) {
    assert.ok(at >= since);
    retained.push(event);
  }
  const ofType = (type) => retained.find((event) => event.type === type);
  assert.equal(typeof ofType('incident_recovered').afterMs, 'number');
  assert.ok(retained.some(({ type, trigger }) => type === 'action_started' && trigger.type === 'manual' && trigger.by.includes('ada')));
  assert.deepEqual(Object.keys(ofType('incident_opened')).sort(), ['cause', 'incident', 'service', 'type']);
  // A stream that was closed, or read to its end, holds no connection, collected or not.
  const closed = [];
  for (let n = 0; n < 70; n += 1) {
    const events = jarvis.operator.events({ since, service: 'coach', follow: n % 2 === 0 });
    assert.equal((await events.next()).done, false);
    if (n % 2 === 0) events.close();
    else for await (const _ of events);
    closed.push(events);
  }
  assert.equal((await jarvis.operator.status()).source.type, 'live');
  const following = jarvis.operator.events({ topics: ['chat'], follow: true });
  const next = following.next();
  const told = (async () => {
    // It follows from when the question arrives.
    for (let isTold = false; !isTold; ) {
      await jarvis.events.publish('chat', 'hello');
      isTold = await Promise.race([next.then(() => true), new Promise((resolve) => setTimeout(resolve, 20, false))]);
    }
  })();
  assert.equal((await next).value.payload, 'hello');
  await told;
  following.close();
  assert.deepEqual(await following.next(), { done: true, value: undefined });
  abort.abort();
  await running;
  assert.equal(jarvis.health.healthz().alive, false);
  assert.deepEqual([typeof coach.lines, coach.released], ['number', 'terminated']);
});

test('close ends a run; without a run, commands that need one say so', async (t) => {
  const jarvis = open(t);
  await assert.rejects(jarvis.operator.resume(), { kind: 'unavailable' });
  assert.equal(typeof (await jarvis.operator.status()).platform, 'object');
  const running = jarvis.run();
  const closing = jarvis.close();
  await running;
  await closing;
  await jarvis.close();
});

test('a listener hears, one at a time, until it is closed', async (t) => {
  const { events } = open(t);
  const heard = [];
  let all;
  const done = new Promise((resolve) => (all = resolve));
  const errors = [];
  const listening = events.listen(
    async ({ payload }) => {
      heard.push(payload);
      await null;
      if (payload === 1) throw new Error('one');
      if (payload === 2) all();
    },
    { topics: ['a'], onError: (error) => errors.push(error.message) },
  );
  for (let n = 0; n < 3; n += 1) await events.publish('a', n);
  await done;
  listening.close();
  assert.deepEqual([heard, errors], [[0, 1, 2], ['one']]);
});
