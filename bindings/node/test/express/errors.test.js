'use strict';

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { JarvisError } = require('../..');
const { errorHandler, statusOf } = require('../../express');
const { Visitor, expresses, serve } = require('./apps.js');

/** Every kind, with its status. */
const statuses = {
  invalid_input: 422,
  unauthorized: 401,
  forbidden: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  rate_limited: 429,
  budget_exceeded: 402,
  unsupported: 501,
  unavailable: 503,
  timeout: 504,
  exhausted: 503,
  cancelled: 499,
  config_invalid: 500,
  corrupt: 500,
  internal: 500,
};

for (const [name, express] of expresses) {
  describe(`errors under ${name}`, () => {
    const throwing = async (t, thrown, options) => {
      const app = express();
      app.set('env', 'test');
      app.get('/', (req, res, next) => next(thrown));
      app.get('/late', (req, res, next) => {
        res.write('begun');
        next(thrown);
      });
      app.use(errorHandler({ log: () => {}, ...options }));
      app.use((error, req, res, next) => (res.headersSent ? next(error) : res.status(418).end(error.message)));
      return new Visitor(await serve(t, app));
    };

    test('have the status of their kind and tell nobody the message', async (t) => {
      for (const [kind, status] of Object.entries(statuses)) {
        const logged = [];
        const error = new JarvisError('redis://10.0.0.1 is down', { kind });
        assert.equal(statusOf(error), status);
        const visitor = await throwing(t, error, { log: (seen) => logged.push(seen) });
        const answer = await visitor.ask('/');
        assert.equal(answer.status, status, kind);
        assert.deepEqual(Object.keys(answer.body).sort(), ['code', 'detail']);
        assert.equal(answer.body.code, error.code);
        assert.equal(answer.headers.get('cache-control'), 'no-store');
        assert.equal(answer.headers.get('retry-after'), status === 429 || status === 503 ? '1' : null);
        assert.deepEqual(logged, status >= 500 ? [error] : []);
      }
    });

    test('say how long to wait, in whole seconds', async (t) => {
      const visitor = await throwing(t, new JarvisError('slow down', { kind: 'rate_limited', retryAfter: 1_200 }));
      assert.equal((await visitor.ask('/')).headers.get('retry-after'), '2');
    });

    test('of others are left to others', async (t) => {
      for (const thrown of [new Error('mine'), Object.assign(new Error('mine'), { code: 'ENOENT' })]) {
        assert.equal(statusOf(thrown), undefined);
        const answer = await (await throwing(t, thrown)).ask('/');
        assert.deepEqual([answer.status, answer.body], [418, 'mine']);
      }
    });

    test('that come after the answer has begun end it', async (t) => {
      const visitor = await throwing(t, new JarvisError('late', { kind: 'unavailable' }));
      await assert.rejects(visitor.ask('/late'));
    });
  });
}
