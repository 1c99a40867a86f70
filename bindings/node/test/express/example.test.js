'use strict';

const assert = require('node:assert/strict');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');
const { redisUrl } = require('../stores.js');
const { Visitor } = require('./apps.js');

const DATABASE = 6;

/** Starts the example as a process; returns its address. */
async function started(t, env) {
  const folder = process.env.JARVIS_TEST_EXAMPLES;
  if (!folder) throw new Error('JARVIS_TEST_EXAMPLES is not set: `bindings/node/test/run tests` installs the examples and sets it');
  const stateDir = fs.mkdtempSync(path.join(os.tmpdir(), 'jarvis-daw-'));
  const server = spawn(process.execPath, ['daw-backend.mjs'], {
    cwd: folder,
    env: { ...process.env, PORT: '0', STATE_DIR: stateDir, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => {
    server.kill('SIGKILL');
    fs.rmSync(stateDir, { recursive: true, force: true });
  });
  const [line] = await once(server.stdout, 'data');
  return { server, place: /http:\S+/.exec(String(line))[0] };
}

test('the DAW backend keeps sessions over two processes, and ends on SIGTERM', async (t) => {
  const env = { JARVIS_STORE__SESSION: `${redisUrl()}/${DATABASE}` };
  const [one, two] = await Promise.all([started(t, env), started(t, env)]);
  const [laptop, phone] = [new Visitor(one.place), new Visitor(two.place)];
  assert.equal((await laptop.ask('/tracks')).status, 401);
  for (const visitor of [laptop, phone]) {
    assert.deepEqual((await visitor.ask('/login', { method: 'POST', json: { user: 'ada' } })).body, { user: 'ada' });
  }
  await laptop.ask('/tracks', { method: 'POST', json: { name: 'drums' } });
  laptop.place = two.place;
  assert.deepEqual((await laptop.ask('/tracks', { method: 'POST', json: { name: 'bass' } })).body, ['drums', 'bass']);
  assert.deepEqual((await phone.ask('/logout/everywhere', { method: 'POST' })).body, { ended: 2 });
  assert.equal((await laptop.ask('/tracks')).status, 401);

  assert.deepEqual((await laptop.ask('/health')).body.services, []);
  assert.deepEqual((await laptop.ask('/healthz')).body, { alive: true });
  assert.match((await laptop.ask('/metrics')).body, /http_route="\/tracks",http_response_status_code="201"/);

  for (const { server } of [one, two]) {
    const ended = once(server, 'exit');
    server.kill('SIGTERM');
    assert.deepEqual(await ended, [0, null]);
  }
});
