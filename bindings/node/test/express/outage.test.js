'use strict';

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { once } = require('node:events');
const { open } = require('../stores.js');
const { JarvisStore, Visitor, application, expresses } = require('./apps.js');
const { redisServer } = require('./redis.js');

const routes = (app) => {
  app.post('/login', (req, res) => {
    req.session.user = 'ada';
    res.json({});
  });
  app.get('/', (req, res) => res.json({ user: req.session === undefined ? 'no session' : (req.session.user ?? null) }));
};

for (const [name, express] of expresses) {
  describe(`${name} while Redis hangs`, () => {
    const visited = async (t, options) => {
      const redis = await redisServer();
      const jarvis = open(t, {}, { sessions: redis.url });
      t.after(redis.end);
      const store = new JarvisStore({ sessions: jarvis.sessions, ...options });
      const visitor = new Visitor(await application(t, express, store, routes));
      await visitor.ask('/login', { method: 'POST' });
      return { redis, store, visitor };
    };

    test('requests with a session are refused, those without go on, and all is well after', async (t) => {
      const { redis, visitor } = await visited(t);
      redis.pause();
      const [refused, anonymous] = await Promise.all([visitor.ask('/'), new Visitor(visitor.place).ask('/')]);
      assert.equal(refused.status, 503);
      assert.match(refused.body.code, /^ERR_JARVIS_(TIMEOUT|UNAVAILABLE)$/);
      assert.ok(Number(refused.headers.get('retry-after')) >= 1);
      assert.deepEqual([anonymous.status, anonymous.body], [200, { user: null }]);

      redis.resume();
      let answer;
      do answer = await visitor.ask('/');
      while (answer.status === 503);
      assert.deepEqual(answer.body, { user: 'ada' });
    });

    test('express-session passes requests on without one, where it is told', async (t) => {
      const { redis, store, visitor } = await visited(t, { whenDown: 'skip' });
      const down = once(store, 'disconnect');
      redis.pause();
      assert.equal((await visitor.ask('/')).status, 503);
      await down;
      assert.deepEqual(await visitor.get('/'), { user: 'no session' });

      const up = once(store, 'connect');
      redis.resume();
      await up;
      assert.deepEqual(await visitor.get('/'), { user: 'ada' });
    });
  });
}
