'use strict';

const assert = require('node:assert/strict');
const { AsyncLocalStorage } = require('node:async_hooks');
const { describe, test } = require('node:test');
const session = require('express-session');
const { JarvisError } = require('../..');
const { jarvisStore, versionOf } = require('../../express');
const { sessionStores } = require('../stores.js');
const apps = require('./apps.js');

const { JarvisStore } = apps;

const refused = (kind) => (error) => error instanceof JarvisError && error.kind === kind;
const lasting = (millis) => ({ originalMaxAge: null, expires: new Date(Date.now() + millis) });
const storeOn = (t, storage, options) => apps.storeOn(t, storage, 4, options);
const plain = { config: { session: { hash_ids: false } } };

/** Calls with a callback, as express-session does. */
const called = (store, method, ...given) =>
  new Promise((resolve, reject) => {
    const answer = store[method](...given, (error, value) => (error ? reject(error) : resolve(value)));
    assert.equal(answer, undefined);
  });

for (const storage of sessionStores) {
  describe(`a store of express-session on ${storage}`, () => {
    test('does what the documentation of connect-redis says', async (t) => {
      const { jarvis, store } = storeOn(t, storage, plain);
      const endOf = async (sid) => (await jarvis.sessions.load(`sess:${sid}`)).expiresAt - Date.now();
      assert.ok(store instanceof session.Store);
      await store.clear();

      const stored = { foo: 'bar', cookie: { originalMaxAge: null } };
      await store.set('123', stored);
      assert.deepEqual(await store.get('123'), stored);
      const end = await endOf('123');
      assert.ok(end > 3_590_000 && end <= 3_600_000, `${end}`);

      const cookie = lasting(60_000);
      await store.set('456', { cookie });
      assert.ok((await endOf('456')) <= 60_000);
      await store.touch('456', { cookie: lasting(90_000) });
      assert.ok((await endOf('456')) > 80_000);

      assert.equal(await store.length(), 2);
      assert.deepEqual((await store.ids()).sort(), ['123', '456']);
      const all = (await store.all()).sort((a, b) => a.id.localeCompare(b.id));
      assert.deepEqual(all[0], { id: '123', ...stored });
      assert.equal(all[1].id, '456');
      await store.destroy('456');
      assert.equal(await store.length(), 1);
      await store.clear();
      assert.deepEqual([await store.length(), await store.ids(), await store.all()], [0, [], []]);

      await store.set('789', { cookie: lasting(60_000) });
      await store.set('789', { cookie: lasting(-60_000) });
      assert.equal(await store.length(), 0);
    });

    test('lists, counts and clears more than a page', async (t) => {
      const { store } = storeOn(t, storage, plain);
      const ids = Array.from({ length: 1_201 }, (_, n) => `s${n}`);
      await Promise.all(ids.map((id) => store.set(id, { n: id, cookie: lasting(60_000) })));
      assert.equal(await store.length(), ids.length);
      assert.deepEqual((await store.ids()).sort(), ids.toSorted?.() ?? [...ids].sort());
      assert.deepEqual(new Set((await store.all()).map(({ id, n }) => id === n && id)), new Set(ids));
      await store.clear();
      assert.equal(await store.length(), 0);
    });

    test('answers callbacks and promises alike', async (t) => {
      const { store } = storeOn(t, storage, plain);
      const stored = { views: 1, cookie: { originalMaxAge: null } };
      assert.equal(await called(store, 'set', 'a', stored), undefined);
      assert.deepEqual(await called(store, 'get', 'a'), stored);
      assert.equal(await called(store, 'get', 'b'), null);
      assert.equal(await called(store, 'touch', 'a', stored), undefined);
      assert.equal(await called(store, 'length'), 1);
      assert.deepEqual(await called(store, 'ids'), ['a']);
      assert.deepEqual(await called(store, 'all'), [{ ...stored, id: 'a' }]);
      assert.equal(await called(store, 'destroy', 'a'), undefined);
      assert.equal(await called(store, 'destroy', 'a'), undefined);
      assert.equal(await called(store, 'clear'), undefined);
      await assert.rejects(called(store, 'get', 'a\n'), refused('invalid_input'));
      await assert.rejects(store.get('a\n'), refused('invalid_input'));
    });

    test('calls back in the context of the caller', async (t) => {
      const { store } = storeOn(t, storage);
      const context = new AsyncLocalStorage();
      const seen = (n) => new Promise((resolve) => context.run(n, () => store.get('a', () => resolve(context.getStore()))));
      assert.deepEqual(await Promise.all([1, 2, 3].map(seen)), [1, 2, 3]);
    });

    test('lets a logout win over a request that goes on', async (t) => {
      const { store } = storeOn(t, storage);
      await store.set('a', { cookie: { originalMaxAge: null } });
      const late = await store.get('a');
      await store.destroy('a');
      late.views = 1;
      await store.set('a', late);
      await store.touch('a', late);
      assert.equal(await store.get('a'), null);
      assert.equal(await store.length(), 0);
    });

    test('lets a logout win over a request that began the session', async (t) => {
      const { store } = storeOn(t, storage);
      const begun = { cookie: { originalMaxAge: null } };
      await store.set('a', begun);
      await store.destroy('a');
      await store.set('a', begun);
      assert.equal(await store.get('a'), null);
    });

    test('merges the changes of two requests, key by key', async (t) => {
      const { store } = storeOn(t, storage);
      await store.set('a', { kept: 1, gone: 1, both: 1, cookie: { originalMaxAge: null } });
      const [one, two] = [await store.get('a'), await store.get('a')];
      Object.assign(one, { one: 1, both: 2 });
      delete two.gone;
      Object.assign(two, { two: { deep: [1] }, both: 3 });
      await store.set('a', one);
      await store.set('a', two);
      const together = { kept: 1, both: 3, one: 1, two: { deep: [1] }, cookie: { originalMaxAge: null } };
      assert.deepEqual(await store.get('a'), together);

      // The object does not have the other's changes: storing it again must not undo them.
      two.three = 3;
      await store.set('a', two);
      assert.deepEqual(await store.get('a'), { ...together, three: 3 });
      delete two.two;
      await store.set('a', two);
      const { two: _, ...rest } = together;
      assert.deepEqual(await store.get('a'), { ...rest, three: 3 });
    });

    test('a reordered object is no change, and undoes none', async (t) => {
      const { store } = storeOn(t, storage);
      await store.set('a', { cart: { items: [{ id: 1, n: 2 }], total: 3 }, cookie: { originalMaxAge: null } });
      const [one, two] = [await store.get('a'), await store.get('a')];
      one.cart = { items: [], total: 0 };
      await store.set('a', one);
      two.cart = { total: 3, items: [{ n: 2, id: 1 }] };
      two.theme = 'dark';
      await store.set('a', two);
      const { cart, theme } = await store.get('a');
      assert.deepEqual([cart, theme], [{ items: [], total: 0 }, 'dark']);
    });

    test('numbers that another language wrote in its own way are no change', async (t) => {
      const { jarvis, store } = storeOn(t, storage);
      await jarvis.sessions.create({ id: 'sess:a', json: '{"bpm":120.0,"n":1,"cookie":{"originalMaxAge":null}}' });
      const [one, two] = [await store.get('a'), await store.get('a')];
      await store.set('a', Object.assign(one, { bpm: 90 }));
      await store.set('a', Object.assign(two, { n: 2 }));
      const { bpm, n } = await store.get('a');
      assert.deepEqual([bpm, n], [90, 2]);
    });

    test('loses no key of many requests at once', async (t) => {
      const { store } = storeOn(t, storage);
      await store.set('a', { cookie: { originalMaxAge: null } });
      const numbers = Array.from({ length: 32 }, (_, n) => n);
      const requests = await Promise.all(numbers.map(() => store.get('a')));
      await Promise.all(numbers.map((n) => store.set('a', Object.assign(requests[n], { [`n${n}`]: n }))));
      const { cookie, ...keys } = await store.get('a');
      assert.deepEqual(keys, Object.fromEntries(numbers.map((n) => [`n${n}`, n])));
    });

    test('with conflict: overwrite or error, overwrites or refuses', async (t) => {
      const overwriting = storeOn(t, storage, { conflict: 'overwrite' }).store;
      await overwriting.set('a', { cookie: { originalMaxAge: null } });
      const [one, two] = [await overwriting.get('a'), await overwriting.get('a')];
      await overwriting.set('a', Object.assign(one, { one: 1 }));
      await overwriting.set('a', Object.assign(two, { two: 2 }));
      assert.deepEqual(await overwriting.get('a'), { two: 2, cookie: { originalMaxAge: null } });
      await overwriting.destroy('a');
      await overwriting.set('a', two);
      assert.equal(await overwriting.get('a'), null);

      const strict = storeOn(t, storage, { conflict: 'error' }).store;
      await strict.set('a', { cookie: { originalMaxAge: null } });
      const [three, four] = [await strict.get('a'), await strict.get('a')];
      await strict.set('a', Object.assign(three, { three: 3 }));
      await assert.rejects(strict.set('a', Object.assign(four, { four: 4 })), refused('conflict'));
      await assert.rejects(strict.set('a', { cookie: {} }), refused('conflict'));
      assert.deepEqual(await strict.get('a'), { three: 3, cookie: { originalMaxAge: null } });
    });

    test('stores one object again and again, in the order of the calls', async (t) => {
      const { store } = storeOn(t, storage, { conflict: 'error' });
      const one = { n: 0, cookie: { originalMaxAge: null } };
      const done = [];
      for (; one.n < 10; one.n += 1) done.push(store.set('a', one));
      await Promise.all(done);
      assert.equal((await store.get('a')).n, 9);
      assert.equal(versionOf(one), 10);
      assert.equal(versionOf(await store.get('a')), 10);
    });

    test('creates or overwrites a session that was not loaded', async (t) => {
      const { store } = storeOn(t, storage);
      await store.set('a', { one: 1, cookie: { originalMaxAge: null } });
      await store.set('a', { two: 2, cookie: { originalMaxAge: null } });
      assert.deepEqual(await store.get('a'), { two: 2, cookie: { originalMaxAge: null } });
      // A copy is another object, and so is the same one under another id.
      const loaded = await store.get('a');
      await store.set('b', loaded);
      await store.destroy('a');
      await store.set('a', { ...loaded });
      assert.equal(await store.length(), 2);
    });

    test('adds no visible key to a session', async (t) => {
      const { store } = storeOn(t, storage);
      await store.set('a', Object.freeze({ x: 1, cookie: { originalMaxAge: null } }));
      const loaded = await store.get('a');
      assert.deepEqual(Object.keys(loaded), ['x', 'cookie']);
      assert.equal(JSON.stringify(loaded), '{"x":1,"cookie":{"originalMaxAge":null}}');
      assert.equal(versionOf(loaded), 1);
      assert.equal(versionOf({ ...loaded }), undefined);
    });

    test('lets sessions live as long as the cookie, the option or the policy says', async (t) => {
      const lifeOf = async (options, stored) => {
        const { jarvis, store } = storeOn(t, storage, options);
        await store.set('a', stored);
        const { ttl, expiresAt } = await jarvis.sessions.load('sess:a');
        await store.destroy('a');
        assert.ok(Math.abs(expiresAt - Date.now() - ttl) < 5_000);
        return ttl;
      };
      const near = (ttl, expected) => assert.ok(Math.abs(ttl - expected) < 5_000, `${ttl} is not ${expected}`);
      near(await lifeOf({}, { cookie: {} }), 3_600_000);
      near(await lifeOf({ config: { session: { ttl: '2h' } } }, { cookie: {} }), 7_200_000);
      near(await lifeOf({ ttl: 120_000 }, { cookie: {} }), 120_000);
      near(await lifeOf({ ttl: 120_000 }, { cookie: lasting(60_000) }), 60_000);
      near(await lifeOf({ ttl: ({ admin }) => (admin ? 600_000 : 1) }, { admin: true, cookie: lasting(60_000) }), 600_000);
      near(await lifeOf({}, { cookie: { expires: '9999-12-31T23:59:59.000Z' } }), 10 * 365 * 86_400_000);
      const { store } = storeOn(t, storage, { ttl: () => NaN });
      await assert.rejects(store.set('a', { cookie: {} }), refused('invalid_input'));
    });

    test('touches, and says of it in the cookie', async (t) => {
      const { jarvis, store } = storeOn(t, storage);
      const cookie = lasting(60_000);
      await store.set('a', { cookie });
      assert.equal((await store.get('a')).cookie.expires, cookie.expires.toISOString());
      await store.touch('a', { cookie: lasting(600_000) });
      const { expiresAt, version } = await jarvis.sessions.load('sess:a');
      assert.ok(expiresAt - cookie.expires > 500_000);
      assert.equal(version, 1);
      await store.touch('a', { cookie: lasting(-1) });
      assert.equal(await store.get('a'), null);
      await store.touch('a', { cookie });
      assert.equal(await store.get('a'), null);

      const still = storeOn(t, storage, { disableTouch: true });
      await still.store.set('a', { cookie });
      const before = (await still.jarvis.sessions.load('sess:a')).expiresAt;
      await still.store.touch('a', { cookie: lasting(600_000) });
      assert.equal((await still.store.get('a')).cookie.expires, cookie.expires.toISOString());
      assert.deepEqual((await still.jarvis.sessions.load('sess:a')).expiresAt, before);
      const until = await still.jarvis.sessions.extend('sess:a', { ttl: 600_000 });
      assert.equal((await still.store.get('a')).cookie.expires, until.toISOString());
    });

    test('extends with the load, so that the touch after it makes no trip', async (t) => {
      const { jarvis, store } = storeOn(t, storage);
      let extended = 0;
      const sessions = new Proxy(jarvis.sessions, {
        get(target, name) {
          if (name === 'extend') extended += 1;
          return target[name].bind(target);
        },
      });
      const watched = new JarvisStore({ sessions });
      for (const cookie of [lasting(600_000), { originalMaxAge: null }]) {
        await store.set('a', { cookie });
        await jarvis.sessions.extend('sess:a', { ttl: 30_000 });
        const loaded = await watched.get('a');
        const { expiresAt, ttl } = await jarvis.sessions.load('sess:a');
        assert.ok(Math.abs(expiresAt - Date.now() - ttl) < 5_000, 'the load prolongs it');
        loaded.cookie.expires = cookie.expires && new Date(Date.now() + ttl);
        await watched.touch('a', loaded);
        assert.equal(extended, 0);
        loaded.cookie.expires = new Date(Date.now() + 1_200_000);
        await watched.touch('a', loaded);
        assert.equal(extended, 1, 'another end is another matter');
        extended = 0;
      }
    });

    test('files sessions under their user', async (t) => {
      const { jarvis, store } = storeOn(t, storage, { user: (stored) => stored.userId });
      await store.set('a', { cookie: {} });
      const one = await store.get('a');
      await store.set('a', Object.assign(one, { userId: 'ada' }));
      await store.set('b', { userId: 'ada', cookie: {} });
      assert.equal(await jarvis.sessions.count({ user: 'ada' }), 2);
      await store.set('a', Object.assign(one, { userId: null }));
      assert.equal((await jarvis.sessions.list('ada')).length, 1);
      assert.equal(await jarvis.sessions.clear('ada'), 1);
      assert.equal(await store.get('b'), null);
    });

    for (const [how, config] of [
      ['hashed', {}],
      ['plain', { session: { hash_ids: false } }],
    ]) {
      test(`sees the sessions with its prefix alone, where ids are ${how}`, async (t) => {
        const { jarvis, store } = storeOn(t, storage, { config });
        const other = new JarvisStore({ sessions: jarvis.sessions, prefix: 'other:' });
        const whole = new JarvisStore({ sessions: jarvis.sessions, prefix: '' });
        const { id } = await jarvis.sessions.create({ data: { of: 'no store' } });
        await store.set('a', { by: 'store', cookie: {} });
        await store.set('b', { cookie: {} });
        await other.set('a', { by: 'other', cookie: {} });
        assert.deepEqual([(await store.get('a')).by, (await other.get('a')).by, await whole.get('a')], ['store', 'other', null]);
        // A session that was saved again still belongs to its store.
        const again = await store.get('a');
        await store.set('a', Object.assign(again, { again: true }));
        assert.deepEqual([await store.length(), await other.length(), await whole.length()], [2, 1, 4]);
        if (how === 'plain') {
          assert.deepEqual((await store.ids()).sort(), ['a', 'b']);
          assert.deepEqual(await other.all(), [{ by: 'other', cookie: {}, id: 'a' }]);
        } else {
          await assert.rejects(other.ids(), refused('unsupported'));
        }
        await store.clear();
        assert.deepEqual([await store.length(), await other.length()], [0, 1]);
        assert.equal((await other.get('a')).by, 'other');
        assert.equal((await jarvis.sessions.load(id)).data.of, 'no store');
        await whole.clear();
        assert.equal(await jarvis.sessions.count(), 0);
      });
    }

    test('files a session under the id of its user, and refuses an object', async (t) => {
      const { jarvis, store } = storeOn(t, storage, { user: (stored) => stored.user });
      await store.set('a', { user: 5, cookie: {} });
      await store.set('b', { user: null, cookie: {} });
      assert.equal(await jarvis.sessions.count({ user: '5' }), 1);
      assert.equal(await store.length(), 2);
      await assert.rejects(store.set('c', { user: { id: 5 }, cookie: {} }), refused('invalid_input'));
      const one = await store.get('a');
      await store.set('a', Object.assign(one, { user: null }));
      assert.equal(await jarvis.sessions.count({ user: '5' }), 0);
    });

    test('says why hashed ids cannot be listed', async (t) => {
      const { store } = storeOn(t, storage);
      assert.deepEqual([await store.ids(), await store.all()], [[], []]);
      await store.set('a', { cookie: {} });
      for (const ask of [() => store.ids(), () => store.all()]) {
        await assert.rejects(ask, (error) => refused('unsupported')(error) && /hash_ids = false/.test(error.message));
      }
      assert.equal(await store.length(), 1);
      await store.clear();
      assert.equal(await store.length(), 0);
    });

    test('gives express-session a session that another program stored', async (t) => {
      const { jarvis, store } = storeOn(t, storage);
      await jarvis.sessions.create({ id: 'sess:a', data: { by: 'another' } });
      const loaded = await new Promise((resolve, reject) =>
        store.load('a', (error, found) => (error ? reject(error) : resolve(found))),
      );
      assert.ok(loaded instanceof session.Session);
      assert.equal(loaded.by, 'another');
      assert.equal(versionOf(loaded), 1);
      assert.ok(loaded.cookie instanceof session.Cookie);
    });

    test('refuses data that cannot be stored', async (t) => {
      const { store } = storeOn(t, storage, { config: { session: { max_bytes: '1KiB' } } });
      await assert.rejects(store.set('a', { big: 'x'.repeat(2_000), cookie: {} }), refused('too_large'));
      await assert.rejects(store.set('a', { n: 1n, cookie: {} }), TypeError);
      assert.equal(await store.get('a'), null);
    });
  });
}

test('invalid options are refused', () => {
  const sessions = { load: async () => null };
  assert.throws(() => new JarvisStore(), refused('invalid_input'));
  assert.throws(() => new JarvisStore({ sessions, conflict: 'merged' }), refused('invalid_input'));
  assert.throws(() => new JarvisStore({ sessions, whenDown: 'wait' }), refused('invalid_input'));
  assert.throws(() => new JarvisStore({ sessions, prefix: 7 }), refused('invalid_input'));
  for (const given of [undefined, {}, session.Store]) assert.throws(() => jarvisStore(given), refused('invalid_input'));
  assert.ok(new JarvisStore({ sessions }) instanceof session.Store);
});

test('a store extends the Store that it was made for, and changes no other', () => {
  class Store {}
  const sessions = { load: async () => null };
  const Other = jarvisStore({ Store });
  assert.ok(new Other({ sessions }) instanceof Store);
  assert.ok(!(new Other({ sessions }) instanceof session.Store));
  assert.ok(!(new JarvisStore({ sessions }) instanceof Store));
  assert.equal(Object.getPrototypeOf(JarvisStore), session.Store);
});
