'use strict';

// Tests that need a process of their own: the cost of `require`, and how a process ends.
const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const path = require('node:path');
const { test } = require('node:test');
const { redisUrl } = require('./stores.js');

const root = path.join(__dirname, '..');

/** Runs a program to its end, and gives what it printed as JSON. */
function run(body, { module = false, timeout = 60_000 } = {}) {
  const prelude = module ? '' : `const jarvis = require(${JSON.stringify(root)});\n`;
  const flags = ['--expose-gc', ...(module ? ['--input-type=module'] : [])];
  const child = spawnSync(process.execPath, [...flags, '-e', prelude + body], {
    cwd: root,
    encoding: 'utf8',
    timeout,
    env: { ...process.env, JARVIS_TEST_ROOT: root },
  });
  assert.equal(child.signal, null, `it did not end by itself\n${child.stderr}`);
  assert.equal(child.status, 0, child.stderr);
  return child.stdout === '' ? undefined : JSON.parse(child.stdout);
}

const threads = `const threads = () => require('node:fs').readdirSync('/proc/self/task').length;`;

test('require starts no thread and takes under 50 ms', () => {
  const script = `
    ${threads}
    const before = threads();
    const began = performance.now();
    const jarvis = require(process.env.JARVIS_TEST_ROOT);
    const took = performance.now() - began;
    console.log(JSON.stringify({ took, started: threads() - before }));`;
  const runs = Array.from({ length: 5 }, () => {
    const child = spawnSync(process.execPath, ['-e', script], { encoding: 'utf8', env: { ...process.env, JARVIS_TEST_ROOT: root } });
    return JSON.parse(child.stdout);
  });
  assert.deepEqual(runs.map((run) => run.started), [0, 0, 0, 0, 0]);
  // The quickest: a busy machine takes its time for anything.
  const best = Math.min(...runs.map((run) => run.took));
  assert.ok(best < 50, `${best} ms`);
});

test('stores in memory need no thread', () => {
  const { started, loaded } = run(`
    ${threads}
    const before = threads();
    void (async () => {
      const handle = jarvis.Jarvis.open({}, { sessions: 'memory:', cache: 'memory:' });
      const made = await handle.sessions.create({ data: { a: 1 } });
      const loaded = (await handle.sessions.load(made.id)).data;
      await handle.cache.set('k', 1);
      await handle.events.publish('a', 1);
      console.log(JSON.stringify({ started: threads() - before, loaded }));
    })();`);
  assert.deepEqual([started, loaded], [0, { a: 1 }]);
});

test('open handles and subscriptions keep no process alive', () => {
  run(`
    const handle = jarvis.Jarvis.open({}, { sessions: ${JSON.stringify(redisUrl())}, bus: ${JSON.stringify(redisUrl())} });
    void (async () => {
      await handle.sessions.load('nobody');
      await handle.events.subscribe().ready();
    })();`);
});

test('a pending call keeps the process alive until it is answered', () => {
  const answer = run(`
    const handle = jarvis.Jarvis.open({}, { sessions: ${JSON.stringify(redisUrl())} });
    handle.sessions.create({ data: { late: true } }).then((made) => console.log(made.json));`);
  assert.deepEqual(answer, { late: true });
});

test('a process may exit with calls in flight', () => {
  run(`
    const { Jarvis } = jarvis;
    const handle = Jarvis.open({}, { sessions: ${JSON.stringify(redisUrl())}, cache: 'memory:' });
    let loads = 0;
    const hang = () => new Promise(() => { loads += 1; if (loads === 100) process.exit(0); });
    for (let n = 0; n < 100; n += 1) {
      void handle.cache.getOrLoad('k' + n, hang);
      void handle.sessions.load('nobody' + n);
    }`);
});

test('worker threads may end with calls in flight, and disturb no other thread', () => {
  const answers = run(`
    const { Worker } = require('node:worker_threads');
    const body = \`
      const { parentPort } = require('node:worker_threads');
      const { Jarvis } = require(process.env.JARVIS_TEST_ROOT);
      const handle = Jarvis.open({}, { sessions: process.env.JARVIS_TEST_REDIS_URL });
      void handle.events.subscribe({ topics: ['nothing'] }).next();
      handle.cache.getOrLoad('k', () => new Promise(() => {}));
      handle.sessions.create({ data: { from: 'worker' } }).then((made) => parentPort.postMessage(made.data.from));
    \`;
    const one = () => new Promise((resolve, reject) => {
      const worker = new Worker(body, { eval: true });
      worker.once('error', reject);
      worker.once('message', async (message) => { await worker.terminate(); resolve(message); });
    });
    void (async () => {
      const handle = jarvis.Jarvis.open({}, { sessions: process.env.JARVIS_TEST_REDIS_URL });
      const answers = [];
      for (let n = 0; n < 5; n += 1) answers.push(...(await Promise.all([one(), one()])));
      const here = await handle.sessions.create({ data: { from: 'here' } });
      answers.push(here.data.from);
      console.log(JSON.stringify(answers));
    })();`);
  assert.deepEqual(answers, [...Array(10).fill('worker'), 'here']);
});

test('import and require give the same classes', () => {
  const same = run(
    `import { createRequire } from 'node:module';
     import jarvis, { Jarvis, JarvisError } from 'jarvis-core';
     const required = createRequire(process.cwd() + '/x.js')('jarvis-core');
     console.log(JSON.stringify([Jarvis === required.Jarvis, JarvisError === required.JarvisError, jarvis === required, Object.keys(required).length > 5]));`,
    { module: true },
  );
  assert.deepEqual(same, [true, true, true, true]);
});

test('many calls leave nothing behind', () => {
  const calls = Number(process.env.JARVIS_TEST_CALLS ?? 60_000);
  const { growth } = run(`
    const calls = ${calls};
    void (async () => {
      const handle = jarvis.Jarvis.open({}, { sessions: 'memory:', cache: ${JSON.stringify(redisUrl())} });
      const { id } = await handle.sessions.create({ data: { a: 'x'.repeat(300) } });
      const one = async (n) => {
        await handle.sessions.load(id);
        if (n % 4 === 0) await handle.cache.get('none');
        if (n % 16 === 0) await handle.cache.getOrLoad('k' + (n % 64), () => 'v', { ttl: 1 });
        if (n % 16 === 1) await handle.sessions.load('').catch(() => {});
      };
      const some = async (count) => {
        for (let n = 0; n < count; n += 100) await Promise.all(Array.from({ length: 100 }, (_, k) => one(n + k)));
        gc();
        return process.memoryUsage().rss;
      };
      await some(calls / 3);
      const before = await some(calls / 3);
      const after = await some(calls / 3);
      console.log(JSON.stringify({ growth: (after - before) / 2 ** 20 }));
    })();`, { timeout: 60_000 + calls });
  assert.ok(growth < 16, `${growth.toFixed(1)} MiB more after ${calls} calls`);
});
