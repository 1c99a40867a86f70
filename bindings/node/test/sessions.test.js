'use strict';

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { inspect } = require('node:util');
const { JarvisError, Session } = require('..');
const { address, open, sessionStores } = require('./stores.js');

const refused = (kind) => (error) => error instanceof JarvisError && error.kind === kind;

for (const store of sessionStores) {
  describe(`sessions on ${store}`, () => {
    const sessionsOf = (t, config) => open(t, config, { sessions: address(store, 1) }).sessions;

    test('are made, loaded, changed and ended', async (t) => {
      const sessions = sessionsOf(t);
      const made = await sessions.create({ user: 'ada', data: { cart: [1] }, ttl: 60_000, ip: '::1', userAgent: 'a "b"\n' });
      assert.ok(made instanceof Session);
      assert.equal(made.id.length, 34);
      assert.equal(made.expiresAt - made.createdAt, 60_000);

      const loaded = await sessions.load(made.id);
      assert.deepEqual(loaded.toJSON(), made.toJSON());
      assert.deepEqual([loaded.user, loaded.version, loaded.ttl], ['ada', 1, 60_000]);
      assert.deepEqual(loaded.meta, { ip: '::1', userAgent: 'a "b"\n', prefix: null });
      assert.equal(loaded.json, '{"cart":[1]}');

      loaded.data.cart.push('ü');
      loaded.meta = { userAgent: 'other' };
      assert.equal(await sessions.save(loaded), loaded);
      assert.equal(loaded.version, 2);
      loaded.data.more = true;
      assert.equal((await sessions.save(loaded)).version, 3);
      assert.deepEqual((await sessions.load(made.id)).data, { cart: [1, 'ü'], more: true });
      loaded.json = '{"as":"text"}';
      assert.deepEqual([(await sessions.save(loaded)).version, loaded.data], [4, { as: 'text' }]);
      assert.equal((await sessions.load(made.id)).json, '{"as":"text"}');
      assert.deepEqual((await sessions.create({ json: '{"n":1}' })).data, { n: 1 });

      assert.equal(await sessions.delete(made.id), true);
      assert.equal(await sessions.delete(loaded), false);
      assert.equal(await sessions.load(made.id), null);
      await assert.rejects(sessions.save(loaded), refused('not_found'));
      await assert.rejects(sessions.save(loaded, { force: true }), refused('not_found'));
    });

    test('of two saves of one version the second fails and has what is stored', async (t) => {
      const sessions = sessionsOf(t);
      const { id } = await sessions.create();
      const [one, two] = [await sessions.load(id), await sessions.load(id)];
      one.data.by = 'one';
      two.data.by = 'two';
      await sessions.save(one);
      await assert.rejects(sessions.save(two), (error) => {
        assert.equal(error.code, 'ERR_JARVIS_CONFLICT');
        assert.deepEqual([error.current.version, error.current.data], [2, { by: 'one' }]);
        return true;
      });
      assert.equal((await sessions.save(two, { force: true })).version, 3);
    });

    test('concurrent updates all count', async (t) => {
      const sessions = sessionsOf(t);
      const { id } = await sessions.create({ data: { n: 0 } });
      const add = async (session) => {
        await null;
        session.data.n += 1;
      };
      await Promise.all(Array.from({ length: 40 }, () => sessions.update(id, add)));
      const { data, version } = await sessions.load(id);
      assert.deepEqual([data.n, version], [40, 41]);
      assert.equal(await sessions.update('nobody', add), null);
      const own = new Error('mine');
      await assert.rejects(
        sessions.update(id, () => {
          throw own;
        }),
        (error) => error === own,
      );
      assert.equal((await sessions.load(id)).version, 41);
    });

    test('an update takes plain and async functions, and lets the next one go on after an error', async (t) => {
      const sessions = sessionsOf(t);
      const { id } = await sessions.create({ data: { n: 0 } });
      const plain = ({ data }) => void (data.n += 1);
      const later = async ({ data }) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        data.n += 1;
      };
      const failing = async () => {
        throw new Error('mine');
      };
      const updates = [plain, later, failing, plain, later].map((change) => sessions.update(id, change));
      const ended = await Promise.allSettled(updates);
      assert.deepEqual(ended.map(({ status }) => status), ['fulfilled', 'fulfilled', 'rejected', 'fulfilled', 'fulfilled']);
      assert.equal((await sessions.load(id)).data.n, 4);
    });

    test('are saved merged with what others changed', async (t) => {
      const sessions = sessionsOf(t);
      const base = await sessions.create({ user: 'ada', data: { a: 1, b: { x: 1, y: 2 }, c: 1 } });
      const [mine, theirs] = [await sessions.load(base.id), await sessions.load(base.id)];
      theirs.data = { a: 1, b: { x: 9 }, d: 1 };
      theirs.user = 'bob';
      await sessions.save(theirs);
      mine.data = { b: { y: 2, x: 1 }, c: 2 };
      assert.equal(await sessions.saveMerged(base, mine), mine);
      assert.deepEqual([mine.version, mine.user, mine.data], [3, 'bob', { b: { x: 9 }, c: 2, d: 1 }]);
      assert.deepEqual((await sessions.load(base.id)).toJSON(), mine.toJSON());
      const next = await sessions.load(base.id);
      next.data.e = 1;
      assert.equal((await sessions.saveMerged(mine, next)).version, 4);
      await sessions.delete(base.id);
      assert.equal(await sessions.saveMerged(next, next), null);
    });

    test('an update that waits for others ends at its deadline', async (t) => {
      const sessions = sessionsOf(t);
      const { id } = await sessions.create();
      let release;
      const held = sessions.update(id, () => new Promise((resolve) => (release = resolve)));
      await assert.rejects(sessions.update(id, () => {}, { deadline: 20 }), refused('timeout'));
      release();
      assert.equal((await held).version, 2);
      const slow = sessions.update(id, () => new Promise((resolve) => setTimeout(resolve, 30)), { deadline: 1 });
      await assert.rejects(slow, refused('timeout'));
      assert.equal((await sessions.load(id)).version, 2);
    });

    test('live longer when they are extended', async (t) => {
      const sessions = sessionsOf(t);
      const made = await sessions.create({ ttl: 60_000 });
      const until = await sessions.extend(made, { ttl: 600_000 });
      assert.ok(until - made.expiresAt >= 540_000);
      assert.equal((await sessions.load(made.id)).expiresAt.getTime(), until.getTime());
      const again = await sessions.loadAndExtend(made.id);
      assert.ok(until - again.expiresAt >= 539_000, 'its own time to live again');
      assert.equal(again.version, 1);
      assert.equal(await sessions.extend('nobody'), null);
      assert.equal(await sessions.loadAndExtend('nobody'), null);
    });

    test('move to a fresh id at a login', async (t) => {
      const sessions = sessionsOf(t);
      const made = await sessions.create({ data: { cart: [1] } });
      const moved = await sessions.regenerate(made.id, { user: 'ada' });
      assert.notEqual(moved.id, made.id);
      assert.deepEqual([moved.user, moved.data], ['ada', { cart: [1] }]);
      assert.equal(await sessions.load(made.id), null);
      assert.equal(await sessions.regenerate(made.id), null);
    });

    test('of a user are listed, counted and cleared', async (t) => {
      const sessions = sessionsOf(t);
      const mine = [];
      for (let n = 0; n < 3; n += 1) mine.push(await sessions.create({ user: 'ada', ip: '127.0.0.1' }));
      await sessions.create({ user: 'bob' });
      const listed = await sessions.list('ada');
      assert.equal(listed.length, 3);
      assert.deepEqual([listed[0].user, listed[0].meta.ip, listed[0].id], ['ada', '127.0.0.1', null]);
      assert.deepEqual(listed[0].createdAt, mine[0].createdAt);
      assert.deepEqual([await sessions.count({ user: 'ada' }), await sessions.count()], [3, 4]);
      assert.equal(await sessions.delete(listed[0]), true);
      assert.ok((await sessions.extend(listed[1], { ttl: 1_000 })) instanceof Date);
      assert.equal(await sessions.clear('ada', { except: listed[1] }), 1);
      assert.equal(await sessions.clear('ada'), 1);
      assert.deepEqual(await sessions.list('ada'), []);
    });

    test('are handled many at a time, and walked over', async (t) => {
      const sessions = sessionsOf(t);
      const made = await Promise.all(Array.from({ length: 25 }, (_, n) => sessions.create({ data: { n } })));
      const ids = made.map((session) => session.id);
      const loaded = await sessions.loadMany([ids[0], 'nobody', ids[24]]);
      assert.deepEqual(loaded.map((session) => session?.data), [{ n: 0 }, undefined, { n: 24 }]);
      const old = await sessions.load(ids[0]);
      await sessions.save(loaded[0]);
      const [first, second] = await sessions.saveMany([old, loaded[2]]);
      assert.deepEqual([first.kind, first.current.version, second.version], ['conflict', 2, 2]);
      const [forced] = await sessions.saveMany([old], { force: true });
      assert.equal(forced.version, 3);
      const seen = new Set();
      for await (const summary of sessions.scan({ pageSize: 10 })) seen.add(summary.handle);
      assert.equal(seen.size, 25);
      assert.equal(await sessions.deleteMany([ids[0], ids[0], made[1], 'nobody']), 2);
      assert.equal(await sessions.count(), 23);
      assert.deepEqual(await sessions.loadMany([]), []);
    });

    test('refuse invalid arguments', async (t) => {
      const sessions = sessionsOf(t, { session: { max_bytes: 100 } });
      const { id } = await sessions.create();
      const wrong = [
        () => sessions.load(7),
        () => sessions.load(''),
        () => sessions.load(undefined),
        () => sessions.create({ ttl: -1 }),
        () => sessions.create({ ttl: Number.NaN }),
        () => sessions.create({ ttl: 'soon' }),
        () => sessions.create({ data: [1] }),
        () => sessions.create({ data: () => {} }),
        () => sessions.create({ ip: 'here' }),
        () => sessions.create({ user: 'a\nb' }),
        () => sessions.delete(7),
        () => sessions.delete({ handle: 'x' }),
        () => sessions.extend(id, { ttl: 0 }),
        () => sessions.loadMany('abc'),
        async () => {
          for await (const _ of sessions.scan({ pageSize: -1 })) assert.fail();
        },
        () => sessions.save({}),
      ];
      for (const call of wrong) await assert.rejects(async () => call(), refused('invalid_input'), String(call));
      await assert.rejects(sessions.create({ data: { a: 'x'.repeat(100) } }), refused('too_large'));
      await assert.rejects(sessions.create({ id }), refused('conflict'));
      const circle = {};
      circle.circle = circle;
      await assert.rejects(async () => sessions.create({ data: circle }), refused('invalid_input'));
    });
  });
}

test('a session shows no id to a log', async (t) => {
  const made = await open(t, {}, { sessions: 'memory:' }).sessions.create({ data: { cart: [1] } });
  assert.ok(!inspect(made).includes(made.id));
  assert.match(inspect(made), /cart: \[ 1 \]/);
});

test('data may be assigned, and is parsed once', async (t) => {
  const { sessions } = open(t, {}, { sessions: 'memory:' });
  const made = await sessions.create({ data: { a: 1 } });
  assert.equal(made.data, made.data);
  made.data = { b: 2 };
  made.user = 'ada';
  made.user = undefined;
  made.ttl = 1_000;
  const saved = await sessions.save(made);
  assert.deepEqual([saved.data, saved.user, saved.ttl], [{ b: 2 }, null, 1_000]);
  assert.equal(saved.expiresAt - saved.updatedAt, 1_000);
});
