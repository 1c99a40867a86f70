'use strict';

// The stores of the tests: memory, a file, and a real server (`tests/servers` sets its address).
const { randomUUID } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Jarvis } = require('..');

const redis = process.env.JARVIS_TEST_REDIS_URL;

/** The URL of the real server. Fails without one, so that no test is skipped silently. */
function redisUrl() {
  if (!redis) throw new Error('JARVIS_TEST_REDIS_URL is not set: run `tests/servers start DIR && . DIR/env`');
  return redis;
}

/** Opens a handle in a new folder; both are removed after the test. */
function open(t, config = {}, options = {}) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'jarvis-node-'));
  const cache = { namespace: `node-${randomUUID()}`, ...config.cache };
  const jarvis = Jarvis.open({ ...config, cache }, { stateDir: folder, ...options });
  t.after(async () => {
    if (options.sessions?.startsWith('redis')) await clear(jarvis.sessions);
    await jarvis.close();
    fs.rmSync(folder, { recursive: true, force: true });
  });
  return jarvis;
}

/** Removes what the test left on a server. */
async function clear(sessions) {
  const left = [];
  for await (const summary of sessions.scan()) left.push(summary);
  await sessions.deleteMany(left);
}

const sessionStores = ['memory:', 'sqlite:', 'redis'];
const caches = ['memory:', 'redis'];
/** The address of a store; test files run concurrently, so each has its own database on the server. */
const address = (store, database = 0) => (store === 'redis' ? `${redisUrl()}/${database}` : store);

module.exports = { address, caches, open, redisUrl, sessionStores };
