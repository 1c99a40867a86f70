'use strict';

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { track } = require('../../express');
const { open } = require('../stores.js');
const { Visitor, expresses, gate, serve } = require('./apps.js');

/** Resolves when this many requests have ended, which is a little after their answers arrive. */
async function ended(requests, count) {
  const sum = () => requests.snapshot().routes.reduce((all, one) => all + one.count, 0);
  while (sum() < count) await new Promise(setImmediate);
}

for (const [name, express] of expresses) {
  describe(`tracking under ${name}`, () => {
    const tracked = async (t, options) => {
      const requests = track(options);
      t.after(() => requests.close());
      const door = gate();
      const app = express();
      app.set('env', 'test');
      app.use(requests);
      app.get('/projects/:id', (req, res) => res.json({}));
      const tracks = express.Router();
      tracks.post('/:name', (req, res) => res.status(201).json({}));
      tracks.get('/broken', (req, res, next) => next(new Error('broken')));
      app.use('/tracks', tracks);
      app.get('/slow', async (req, res) => {
        await door.pass();
        res.json({});
      });
      app.get('/metrics', requests.metrics);
      return { requests, door, visitor: new Visitor(await serve(t, app)) };
    };
    const counts = (requests) =>
      Object.fromEntries(requests.snapshot().routes.map(({ method, route, statuses }) => [`${method} ${route}`, statuses]));

    test('counts by method, route and status', async (t) => {
      const { requests, visitor } = await tracked(t);
      for (const id of [1, 2, 3]) await visitor.ask(`/projects/${id}?x=${id}`);
      await visitor.ask('/tracks/drums', { method: 'POST' });
      await visitor.ask('/tracks/broken');
      await visitor.ask('/nowhere');
      await ended(requests, 6);
      assert.deepEqual(counts(requests), {
        'GET /projects/:id': { 200: 3 },
        'POST /tracks/:name': { 201: 1 },
        'GET /tracks/broken': { 500: 1 },
        'GET (unmatched)': { 404: 1 },
      });
      const { active, routes } = requests.snapshot();
      assert.equal(active, 0);
      assert.deepEqual(Object.fromEntries(routes.map(({ route, errors }) => [route, errors])), {
        '/projects/:id': 0,
        '/tracks/:name': 0,
        '/tracks/broken': 1,
        '(unmatched)': 0,
      });
      for (const { p50Ms: p50, p99Ms: p99, maxMs: max } of routes) assert.ok(p50 > 0 && p50 <= p99 && p99 <= max && max < 60_000);
    });

    test('counts active requests, and clients that went away', async (t) => {
      const { requests, door, visitor } = await tracked(t);
      const abort = new AbortController();
      const asked = visitor.ask('/slow', { signal: abort.signal });
      await door.reached;
      assert.equal(requests.snapshot().active, 1);
      abort.abort();
      await assert.rejects(asked);
      await ended(requests, 1);
      assert.deepEqual(counts(requests), { 'GET /slow': { 499: 1 } });
      door.open();
    });

    test('takes names of routes from the application, 500 at most', async (t) => {
      const { requests, visitor } = await tracked(t, { route: (req) => (req.path === '/projects/1' ? 'first' : req.path) });
      await visitor.ask('/projects/1');
      await ended(requests, 1);
      assert.deepEqual(counts(requests), { 'GET first': { 200: 1 } });
      const paths = Array.from({ length: 520 }, (_, n) => `/projects/x${n}`);
      await Promise.all(paths.map((path) => visitor.ask(path)));
      await ended(requests, 521);
      assert.equal(requests.snapshot().routes.length, 501);
      assert.equal(counts(requests)['GET (other)'][200], 21);
    });

    test('is read by Prometheus', async (t) => {
      const jarvis = open(t);
      const { requests, visitor } = await tracked(t, { jarvis, service: 'daw' });
      await visitor.ask('/projects/1');
      await ended(requests, 1);
      const { headers, body } = await visitor.ask('/metrics');
      assert.match(headers.get('content-type'), /^application\/openmetrics-text/);
      const lines = body.split('\n');
      const labels = 'http_request_method="GET",http_route="/projects/:id",http_response_status_code="200"';
      assert.ok(lines.includes(`http_server_request_duration_seconds_count{${labels}} 1`), body);
      assert.ok(lines.includes(`http_server_request_duration_seconds_bucket{${labels},le="10.0"} 1`), body);
      assert.ok(lines.includes('http_server_active_requests 1'), body);
      assert.ok(lines.some((line) => line.startsWith('jarvis_')), body);
      assert.equal(lines.filter((line) => line === '# EOF').length, 1);
      assert.deepEqual(lines.slice(-2), ['# EOF', '']);
    });

    test('publishes what happened since the last time', async (t) => {
      const jarvis = open(t);
      const { requests, visitor } = await tracked(t, { jarvis, service: 'daw', every: 3_600_000 });
      const events = jarvis.events.subscribe({ topics: ['requests.daw'] });
      t.after(() => events.close());
      assert.equal(await requests.publish(), false);
      await visitor.ask('/projects/1');
      await visitor.ask('/tracks/broken');
      await ended(requests, 2);
      assert.equal(await requests.publish(), true);
      assert.equal(await requests.publish(), false);
      await visitor.ask('/projects/2');
      await ended(requests, 3);
      await requests.close();

      const payload = async () => (await events.next()).value.payload;
      const first = await payload();
      assert.equal(first.service, 'daw');
      assert.deepEqual(
        first.routes.map(({ method, route, count, errors, statuses }) => [method, route, count, errors, statuses]),
        [
          ['GET', '/projects/:id', 1, 0, { 200: 1 }],
          ['GET', '/tracks/broken', 1, 1, { 500: 1 }],
        ],
      );
      const second = await payload();
      assert.deepEqual([second.routes.length, second.routes[0].count], [1, 1]);
      assert.equal(second.since, first.until);
      assert.ok(second.until >= second.since);
      assert.deepEqual(counts(requests), { 'GET /projects/:id': { 200: 2 }, 'GET /tracks/broken': { 500: 1 } });
    });

    test('publishes by itself after `every`', async (t) => {
      const jarvis = open(t);
      const { visitor } = await tracked(t, { jarvis, service: 'daw', every: 1 });
      const events = jarvis.events.subscribe({ patterns: ['requests.*'] });
      t.after(() => events.close());
      for (const id of [1, 2]) {
        await visitor.ask(`/projects/${id}`);
        assert.equal((await events.next()).value.payload.routes[0].count, 1);
      }
    });

    test('publishes 500 routes in events that the bus takes', async (t) => {
      const jarvis = open(t);
      const route = (req) => `${req.path}/${'x'.repeat(150)}`;
      const { requests, visitor } = await tracked(t, { jarvis, service: 'daw', every: 3_600_000, route });
      const events = jarvis.events.subscribe({ topics: ['requests.daw'] });
      t.after(() => events.close());
      const paths = Array.from({ length: 500 }, (_, n) => `/projects/${n}`);
      for (let at = 0; at < paths.length; at += 50) await Promise.all(paths.slice(at, at + 50).map((path) => visitor.ask(path)));
      await ended(requests, paths.length);
      assert.equal(await requests.publish(), true);
      const seen = new Set();
      let count = 0;
      while (seen.size < paths.length) {
        const { payload } = (await events.next()).value;
        assert.ok(JSON.stringify(payload).length <= 65_536);
        for (const one of payload.routes) seen.add(one.route);
        count += 1;
      }
      assert.ok(count > 1, 'they do not fit into one');
    });

    test('goes on when the bus takes nothing', async (t) => {
      const told = [];
      const log = (error) => told.push(error.kind);
      const jarvis = open(t, {}, { bus: 'redis://127.0.0.1:1' });
      const { requests, visitor } = await tracked(t, { jarvis, service: 'daw', log });
      await visitor.ask('/projects/1');
      await ended(requests, 1);
      assert.equal(await requests.publish(), false);
      assert.deepEqual(told, ['unavailable']);
    });
  });
}

test('invalid options are refused', () => {
  for (const options of [{ every: 0 }, { every: NaN }, { jarvis: {} }, { jarvis: {}, service: 'no name' }]) {
    assert.throws(() => track(options), (error) => error.code === 'ERR_JARVIS_INVALID_INPUT');
  }
});
