'use strict';

// Where the tests keep things: memory, a file, and the real server whose address the tests'
// environment says (`tests/servers`).
const { randomUUID } = require('node:crypto');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { Jarvis } = require('..');

const redis = process.env.JARVIS_TEST_REDIS_URL;

/** Is there a real server? Without one a test that needs it fails, and says what is missing. */
function redisUrl() {
  if (!redis) throw new Error('JARVIS_TEST_REDIS_URL is not set: run `tests/servers start DIR && . DIR/env`');
  return redis;
}

/** Opens a handle in a folder of its own; both are gone after the test. */
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

/** A server keeps what a test leaves. */
async function clear(sessions) {
  const left = [];
  for await (const summary of sessions.scan()) left.push(summary);
  await sessions.deleteMany(left);
}

const sessionStores = ['memory:', 'sqlite:', 'redis'];
const caches = ['memory:', 'redis'];
/** Of the server, a database of this file's own: files run at once. */
const address = (store, database = 0) => (store === 'redis' ? `${redisUrl()}/${database}` : store);

module.exports = { address, caches, open, redisUrl, sessionStores };
