'use strict';

const assert = require('node:assert/strict');
const { AsyncLocalStorage } = require('node:async_hooks');
const { describe, test } = require('node:test');
const { JarvisError, escapePattern } = require('..');
const { address, caches, open } = require('./stores.js');

const refused = (kind) => (error) => error instanceof JarvisError && error.kind === kind;

for (const store of caches) {
  describe(`a cache on ${store}`, () => {
    const cacheOf = (t, config) => open(t, config, { cache: address(store) }).cache;

    test('keeps JSON as JSON and bytes as bytes', async (t) => {
      const cache = cacheOf(t);
      for (const value of [null, true, 1.5, 'ü', [1, [2]], { a: { b: null } }]) {
        assert.equal(await cache.set('k', value), true);
        assert.deepEqual(await cache.get('k'), value);
      }
      assert.equal(await cache.get('none'), undefined);
      assert.equal(await cache.getBytes('none'), undefined);
      const bytes = Uint8Array.of(0, 255, 254);
      await cache.set('b', bytes);
      assert.deepEqual(await cache.getBytes('b'), Buffer.from(bytes));
      await assert.rejects(cache.get('b'), refused('corrupt'));
      await assert.rejects(cache.set('k', undefined), refused('invalid_input'));
      await assert.rejects(cache.set('k', 1n), refused('invalid_input'));
    });

    test('stores under a condition, for a time', async (t) => {
      const cache = cacheOf(t);
      assert.equal(await cache.set('k', 1, { ifPresent: true }), false);
      assert.equal(await cache.set('k', 1, { ifAbsent: true, ttl: 60_000 }), true);
      assert.equal(await cache.set('k', 2, { ifAbsent: true }), false);
      const left = await cache.lifetime('k');
      assert.ok(left > 50_000 && left <= 60_000, String(left));
      assert.equal(await cache.expire('k', { ttl: Infinity }), true);
      assert.equal(await cache.lifetime('k'), Infinity);
      assert.equal(await cache.expire('none', { ttl: 1_000 }), false);
      assert.equal(await cache.lifetime('none'), undefined);
      await assert.rejects(cache.set('k', 1, { ttl: 0 }), refused('invalid_input'));
      await assert.rejects(cache.set('k', 1, { ifAbsent: true, ifPresent: true }), refused('invalid_input'));
    });

    test('is asked and told many at a time', async (t) => {
      const cache = cacheOf(t);
      assert.equal(await cache.setMany({ a: 1, b: [2] }), 2);
      assert.equal(await cache.setMany(new Map([['c', Uint8Array.of(9)]]), { ttl: 1_000 }), 1);
      assert.deepEqual(await cache.getMany(['a', 'none', 'b']), [1, undefined, [2]]);
      assert.equal(await cache.exists('c'), true);
      assert.equal(await cache.delete('a', 'none'), 1);
      assert.equal(await cache.delete(['b', 'c']), 2);
      assert.equal(await cache.exists('c'), false);
    });

    test('counts, exactly beyond what a number holds', async (t) => {
      const cache = cacheOf(t);
      assert.equal(await cache.increment('n'), 1);
      assert.equal(await cache.increment('n', { by: -3, ttl: 60_000 }), -2);
      assert.equal(await cache.get('n'), -2);
      assert.equal(await cache.increment('n', { by: 2n ** 62n }), 2n ** 62n - 2n);
      await cache.increment('n', { by: 2n ** 62n });
      await assert.rejects(cache.increment('n', { by: 2 }), refused('invalid_input'));
      await assert.rejects(cache.increment('n', { by: 0.5 }), refused('invalid_input'));
    });

    test('forgets by tag, by pattern, and all', async (t) => {
      const cache = cacheOf(t);
      await cache.set('u:1', 1, { tags: ['ada'] });
      await cache.set('u:2', 2, { tags: ['ada', 'bob'] });
      await cache.set('u:*', 3);
      assert.equal(await cache.invalidateTag('bob'), undefined);
      assert.deepEqual(await cache.getMany(['u:1', 'u:2', 'u:*']), [1, undefined, 3]);
      assert.equal(await cache.invalidatePattern(escapePattern('u:*')), 1);
      assert.equal(await cache.exists('u:1'), true);
      assert.equal(await cache.flush(), undefined);
      assert.equal(await cache.exists('u:1'), false);
    });

    test('loads once for all who ask', async (t) => {
      const cache = cacheOf(t);
      let loads = 0;
      const load = async (signal) => {
        assert.ok(signal instanceof AbortSignal);
        loads += 1;
        await new Promise((resolve) => setImmediate(resolve));
        return { loads };
      };
      const all = await Promise.all(Array.from({ length: 20 }, () => cache.getOrLoad('k', load, { ttl: 60_000 })));
      assert.deepEqual(all, Array(20).fill({ loads: 1 }));
      assert.deepEqual(await cache.getOrLoad('k', load), { loads: 1 });
      assert.equal(await cache.getOrLoad('sync', () => 'at once', { tags: ['t'], stale: 1_000, early: 1, wait: 100 }), 'at once');
      const stats = await cache.stats();
      assert.deepEqual([stats.loads, stats.loadFailures, stats.errors], [2, 0, 0]);
    });

    test('a load sees the AsyncLocalStorage of whoever asks', async (t) => {
      const cache = cacheOf(t);
      const request = new AsyncLocalStorage();
      const load = async () => {
        const before = request.getStore();
        await new Promise((resolve) => setImmediate(resolve));
        return [before, request.getStore()];
      };
      const ask = (name) => request.run(name, () => cache.getOrLoad(name, load));
      const names = ['one', 'two', 'three'];
      assert.deepEqual(await Promise.all(names.map(ask)), names.map((name) => [name, name]));
      assert.equal(request.getStore(), undefined);
    });

    test('a load that fails is given to its callers as it was thrown', async (t) => {
      const cache = cacheOf(t);
      const own = new TypeError('mine');
      const fail = async () => {
        throw own;
      };
      await assert.rejects(cache.getOrLoad('k', fail), (error) => error === own);
      await assert.rejects(cache.getOrLoad('k', () => undefined), refused('invalid_input'));
      assert.equal(await cache.exists('k'), false);
      // Over a network either may come first.
      if (store !== 'memory:') return;
      const [one, two] = await Promise.allSettled([cache.getOrLoad('k', fail), cache.getOrLoad('k', () => 'other')]);
      assert.equal(one.reason, own);
      // The second waited for the first, and gets the error of that one.
      assert.match(two.reason.message, /TypeError: mine/);
    });
  });
}
