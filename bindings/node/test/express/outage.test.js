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
      // Before the handle is closed, also when a test fails.
      t.after(redis.resume);
      const jarvis = open(t, {}, { sessions: redis.url });
      t.after(redis.end);
      const store = new JarvisStore({ sessions: jarvis.sessions, ...options });
      const visitor = new Visitor(await application(t, express, store, routes));
      await visitor.ask('/login', { method: 'POST' });
      return { redis, store, visitor };
    };

    test('requests with a session fail, those without are served, and both work afterwards', async (t) => {
      const { redis, visitor } = await visited(t);
      redis.pause();
      const [refused, anonymous] = await Promise.all([visitor.ask('/'), new Visitor(visitor.place).ask('/')]);
      // The first request waits for the server, all after it fail at once.
      assert.deepEqual([refused.status, refused.body.code], [504, 'ERR_JARVIS_TIMEOUT']);
      const next = await visitor.ask('/');
      assert.deepEqual([next.status, next.body.code], [503, 'ERR_JARVIS_UNAVAILABLE']);
      assert.ok(Number(next.headers.get('retry-after')) >= 1);
      assert.deepEqual([anonymous.status, anonymous.body], [200, { user: null }]);

      redis.resume();
      let answer;
      do answer = await visitor.ask('/');
      while (answer.status >= 500);
      assert.deepEqual(answer.body, { user: 'ada' });
    });

    test('with whenDown: skip, express-session passes requests on without a session', async (t) => {
      const { redis, store, visitor } = await visited(t, { whenDown: 'skip' });
      const down = once(store, 'disconnect');
      redis.pause();
      assert.equal((await visitor.ask('/')).status, 504);
      await down;
      assert.deepEqual(await visitor.get('/'), { user: 'no session' });

      const up = once(store, 'connect');
      redis.resume();
      await up;
      assert.deepEqual(await visitor.get('/'), { user: 'ada' });
    });
  });
}
