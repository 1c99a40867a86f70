'use strict';

const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { createServer } = require('node:net');

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Starts Redis on a port; resolves when it is ready, false when it ended instead. */
async function started(server) {
  let said = '';
  for await (const chunk of server.stdout) {
    said += chunk;
    if (said.includes('Ready to accept connections')) return true;
  }
  return false;
}

/** A Redis of the test's own, that it may stop and let go on, and has to end. */
async function redisServer() {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const port = await freePort();
    const server = spawn('redis-server', ['--bind', '127.0.0.1', '--port', `${port}`, '--save', '', '--appendonly', 'no'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    if (await started(server)) {
      return {
        end: () => server.kill('SIGKILL'),
        url: `redis://127.0.0.1:${port}`,
        pause: () => server.kill('SIGSTOP'),
        resume: () => server.kill('SIGCONT'),
      };
    }
  }
  throw new Error('redis-server does not start: Debian has it in the package redis-server');
}

module.exports = { redisServer };
