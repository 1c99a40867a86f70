'use strict';

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { versionOf } = require('../../express');
const { sessionStores } = require('../stores.js');
const { Visitor, application, expresses, gate, storeOn } = require('./apps.js');

/** What the applications of these tests do. */
function routes(door) {
  return (app) => {
    app.get('/', (req, res) => res.json({ user: req.session.user ?? null, version: versionOf(req.session) ?? null }));
    app.post('/login', (req, res, next) => {
      req.session.regenerate((error) => {
        if (error) return next(error);
        req.session.user = 'ada';
        res.json({});
      });
    });
    app.post('/logout', (req, res, next) => req.session.destroy((error) => (error ? next(error) : res.json({}))));
    app.post('/put/:key', (req, res) => {
      req.session[req.params.key] = true;
      res.json({});
    });
    app.post('/slow/:key', async (req, res) => {
      await door.pass();
      req.session[req.params.key] = true;
      res.json({});
    });
    app.post('/twice', (req, res, next) => {
      req.session.first = true;
      req.session.save((error) => {
        if (error) return next(error);
        req.session.second = true;
        res.json({ version: versionOf(req.session) });
      });
    });
    app.post('/reload', (req, res, next) => {
      req.session.lost = true;
      req.session.reload((error) => (error ? next(error) : res.json({ keys: Object.keys(req.session) })));
    });
    app.get('/keys', (req, res) => res.json(Object.keys(req.session).filter((key) => key !== 'cookie')));
  };
}

for (const [name, express] of expresses) {
  for (const storage of sessionStores) {
    describe(`${name} with sessions on ${storage}`, () => {
      const applicationOn = async (t, { session, ...options } = {}) => {
        const door = gate();
        const { jarvis, store } = storeOn(t, storage, 5, options);
        const place = await application(t, express, store, routes(door), session);
        return { jarvis, store, door, place, visitor: new Visitor(place) };
      };

      test('a visitor logs in and out', async (t) => {
        const { store, visitor } = await applicationOn(t, { config: { session: { hash_ids: false } } });
        assert.deepEqual(await visitor.get('/'), { user: null, version: null });
        assert.equal(visitor.cookies.size, 0, 'a visitor without a stored session has no cookie');
        await visitor.ask('/login', { method: 'POST' });
        assert.deepEqual(await visitor.get('/'), { user: 'ada', version: 1 });
        assert.deepEqual(await store.ids(), [visitor.sid]);
        const { cookies } = visitor;
        await visitor.ask('/logout', { method: 'POST' });
        assert.equal(await store.length(), 0);
        visitor.cookies = cookies;
        assert.equal((await visitor.get('/')).user, null);
      });

      test('a login ends the session before it', async (t) => {
        const { store, place, visitor } = await applicationOn(t);
        await visitor.ask('/put/planted', { method: 'POST' });
        const planted = new Visitor(place);
        planted.cookies = new Map(visitor.cookies);
        const before = visitor.sid;
        await visitor.ask('/login', { method: 'POST' });
        assert.notEqual(visitor.sid, before);
        assert.equal((await planted.get('/')).user, null);
        assert.equal((await visitor.get('/')).user, 'ada');
        assert.deepEqual(await visitor.get('/keys'), ['user']);
        assert.equal(await store.length(), 1);
      });

      test('concurrent requests lose no change', async (t) => {
        const { visitor } = await applicationOn(t);
        await visitor.ask('/login', { method: 'POST' });
        const keys = Array.from({ length: 20 }, (_, n) => `key${n}`);
        const answers = await Promise.all(keys.map((key) => visitor.ask(`/put/${key}`, { method: 'POST' })));
        assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
        assert.deepEqual(new Set(await visitor.get('/keys')), new Set(['user', ...keys]));
      });

      test('a logout wins over a request that outlives it', async (t) => {
        const { store, door, place, visitor } = await applicationOn(t);
        await visitor.ask('/login', { method: 'POST' });
        const slow = visitor.ask('/slow/late', { method: 'POST' });
        await door.reached;
        await visitor.ask('/logout', { method: 'POST' });
        door.open();
        assert.equal((await slow).status, 200);
        assert.equal(await store.length(), 0);
        const thief = new Visitor(place);
        thief.cookies = new Map(visitor.cookies);
        assert.equal((await thief.get('/')).user, null);
      });

      test('a slow request does not undo a quick one', async (t) => {
        const { door, visitor } = await applicationOn(t);
        await visitor.ask('/login', { method: 'POST' });
        const slow = visitor.ask('/slow/late', { method: 'POST' });
        await door.reached;
        await visitor.ask('/put/quick', { method: 'POST' });
        door.open();
        await slow;
        assert.deepEqual(new Set(await visitor.get('/keys')), new Set(['user', 'quick', 'late']));
      });

      test('a session is saved, reloaded and saved again within a request', async (t) => {
        const { visitor } = await applicationOn(t);
        assert.deepEqual((await visitor.ask('/twice', { method: 'POST' })).body, { version: 1 });
        assert.equal((await visitor.get('/')).version, 2);
        assert.deepEqual(await visitor.get('/keys'), ['first', 'second']);
        const { body } = await visitor.ask('/reload', { method: 'POST' });
        assert.deepEqual(body.keys.sort(), ['cookie', 'first', 'second']);
      });

      test('a request that changes nothing extends the session, and with `rolling` its cookie', async (t) => {
        const session = { rolling: true, cookie: { maxAge: 60_000 } };
        const { jarvis, visitor } = await applicationOn(t, { session });
        await visitor.ask('/login', { method: 'POST' });
        const stored = () => jarvis.sessions.load(`sess:${visitor.sid}`);
        await jarvis.sessions.extend(`sess:${visitor.sid}`, { ttl: 30_000 });
        const before = await stored();
        const { headers } = await visitor.ask('/');
        const after = await stored();
        assert.ok(after.expiresAt - before.expiresAt > 20_000, 'it is prolonged');
        assert.equal(after.version, before.version, 'and not stored again');
        const expires = /Expires=([^;]+)/.exec(headers.getSetCookie()[0])[1];
        assert.ok(Math.abs(new Date(expires) - after.expiresAt) < 2_000);
      });

      test('a forged cookie is no session', async (t) => {
        const { store, visitor } = await applicationOn(t);
        visitor.cookies.set('connect.sid', encodeURIComponent('s:guessed.signature'));
        assert.deepEqual(await visitor.get('/'), { user: null, version: null });
        assert.equal(await store.length(), 0);
      });
    });
  }
}
