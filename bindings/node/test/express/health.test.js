'use strict';

const assert = require('node:assert/strict');
const { describe, test } = require('node:test');
const { health, healthz } = require('../../express');
const { open } = require('../stores.js');
const { Visitor, expresses, serve } = require('./apps.js');

for (const [name, express] of expresses) {
  describe(`health under ${name}`, () => {
    const healthOf = async (t, options, maxAge) => {
      const jarvis = open(t, {}, options);
      const app = express();
      app.get('/health', health(jarvis, { maxAge }));
      app.get('/healthz', healthz(jarvis));
      return { jarvis, visitor: new Visitor(await serve(t, app)) };
    };
    const service = (probe) => ({ services: { coach: { check: [{ name: 'ping', probe }] } } });

    test('is fine where nothing is watched', async (t) => {
      const { visitor } = await healthOf(t);
      const { status, body, headers } = await visitor.ask('/health');
      assert.equal(status, 200);
      assert.deepEqual(body.services, []);
      assert.equal(headers.get('cache-control'), 'no-store');
      assert.deepEqual((await visitor.ask('/healthz')).body, { alive: true });
    });

    test('is that of the services', async (t) => {
      let verdict = 'pass';
      const { visitor } = await healthOf(t, service(() => ({ verdict })), 0);
      const well = await visitor.ask('/health');
      assert.equal(well.status, 200);
      assert.equal(well.body.state, 'healthy');
      assert.deepEqual(well.body.services, [{ service: 'coach', state: 'healthy' }]);
      verdict = 'fail';
      const sick = await visitor.ask('/health');
      assert.equal(sick.status, 503);
      assert.equal(sick.body.state, 'down');
      assert.equal((await visitor.ask('/healthz')).status, 200);
    });

    test('asks once for many', async (t) => {
      let probes = 0;
      const probe = () => {
        probes += 1;
        return { verdict: 'pass' };
      };
      const { visitor } = await healthOf(t, service(probe), 60_000);
      const answers = await Promise.all(Array.from({ length: 16 }, () => visitor.ask('/health')));
      assert.deepEqual(new Set(answers.map(({ status }) => status)), new Set([200]));
      await visitor.ask('/health');
      assert.equal(probes, 1);
    });
  });
}
