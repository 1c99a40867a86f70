'use strict';

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { JarvisError } = require('../..');
const { track } = require('../../express');
const { Durations } = require('../../express/durations.js');
const { open } = require('../stores.js');
const { Visitor, expresses, gate, serve } = require('./apps.js');

/** Resolves when so many requests have ended: the answer arrives a little before that. */
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
      assert.deepEqual(routes.map(({ errors }) => errors), [0, 0, 1, 0]);
      for (const { p50_ms: p50, p99_ms: p99, max_ms: max } of routes) assert.ok(p50 > 0 && p50 <= p99 && p99 <= max && max < 60_000);
    });

    test('knows who is there, and who did not wait', async (t) => {
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

    test('names routes as it is told, and not without end', async (t) => {
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

    test('publishes by itself after a while', async (t) => {
      const jarvis = open(t);
      const { visitor } = await tracked(t, { jarvis, service: 'daw', every: 1 });
      const events = jarvis.events.subscribe({ patterns: ['requests.*'] });
      t.after(() => events.close());
      for (const id of [1, 2]) {
        await visitor.ask(`/projects/${id}`);
        assert.equal((await events.next()).value.payload.routes[0].count, 1);
      }
    });

    test('goes on when nobody takes what it publishes', async (t) => {
      const publish = async () => {
        throw new JarvisError('down', { kind: 'unavailable' });
      };
      const told = [];
      const log = (error) => told.push(error.kind);
      const { requests, visitor } = await tracked(t, { jarvis: { events: { publish } }, service: 'daw', log });
      await visitor.ask('/projects/1');
      await ended(requests, 1);
      assert.equal(await requests.publish(), false);
      assert.deepEqual(told, ['unavailable']);
    });
  });
}

test('what can not be is refused', () => {
  for (const options of [{ every: 0 }, { every: NaN }, { jarvis: {} }]) {
    assert.throws(() => track(options), (error) => error.code === 'ERR_JARVIS_INVALID_INPUT');
  }
});

test('quantiles are within the bucket, and not above the longest', () => {
  const durations = new Durations();
  assert.equal(durations.quantile(0.5), 0);
  for (const seconds of [0.002, 0.002, 0.03, 20]) durations.add(seconds);
  assert.equal(durations.quantile(0.5), 0.0025);
  assert.equal(durations.quantile(0.75), 0.05);
  assert.equal(durations.quantile(1), 20);
});
