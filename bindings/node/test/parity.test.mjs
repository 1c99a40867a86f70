// Plays the cases that Rust, Python and JavaScript must answer alike: tests/fixtures/parity/README.md.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { Jarvis, JarvisError, version } from 'jarvis-core';
import { webPart } from './parity-web.mjs';

const root = new URL('../../../', import.meta.url);
const fixtures = new URL('tests/fixtures/parity/', root);
const read = (file) => JSON.parse(fs.readFileSync(new URL(file, fixtures), 'utf8'));

const camel = (name) => name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
/** `ttl_ms` is `ttl` in JavaScript, whose durations are milliseconds. */
const optionName = (name) => camel(name.replace(/_ms$/, ''));

function urlOf(backend, folder) {
  if (backend === 'memory') return 'memory:';
  if (backend === 'sqlite') return `sqlite:${path.join(folder, 'own.db')}`;
  assert.ok(process.env.JARVIS_TEST_REDIS_URL, 'JARVIS_TEST_REDIS_URL is not set: see tests/servers');
  return process.env.JARVIS_TEST_REDIS_URL;
}

class Player {
  names = new Map();

  constructor(url, folder) {
    this.url = url;
    this.folder = folder;
    this.unique = randomUUID();
  }

  open(config) {
    return Jarvis.open(this.value(config), { stateDir: this.folder });
  }

  /** A value of a fixture, with names, functions and repetitions filled in. */
  value(written) {
    if (typeof written === 'string') {
      if (written === '$url') return this.url;
      if (/^\$(?!unique)/.test(written)) return this.named(written.slice(1));
      return written.replaceAll('$unique', this.unique);
    }
    if (Array.isArray(written)) return written.map((item) => this.value(item));
    if (written === null || typeof written !== 'object') return written;
    if ('$assign' in written) return (session) => void Object.assign(session.data, this.value(written.$assign));
    if ('$assign_async' in written) {
      return async (session) => {
        await null;
        Object.assign(session.data, this.value(written.$assign_async));
      };
    }
    if ('$return' in written) return () => this.value(written.$return);
    if ('$fail' in written) {
      return () => {
        throw new Error(written.$fail);
      };
    }
    if ('$repeat' in written) return written.$repeat[0].repeat(written.$repeat[1]);
    return Object.fromEntries(Object.entries(written).map(([name, item]) => [this.value(name), this.value(item)]));
  }

  named(text) {
    const [name, ...members] = text.split('.');
    assert.ok(this.names.has(name), `no answer is called ${name}`);
    return members.reduce((object, member) => object[camel(member)], this.names.get(name));
  }

  options(written = {}) {
    return Object.fromEntries(Object.entries(written).map(([name, item]) => [optionName(name), this.value(item)]));
  }

  async step(jarvis, step) {
    if ('open' in step) return this.open(step.open).close();
    if ('set' in step) {
      this.names.get(step.set).data = this.value(step.data);
      return undefined;
    }
    if ('next' in step) return (await this.names.get(step.next).next()).value;
    if ('collect' in step) return collected(this.names.get(step.collect));
    const [part, method] = step.call.split('.').map(camel);
    const owner = part === 'web' ? webPart : jarvis[part];
    assert.equal(typeof owner?.[method], 'function', `there is no ${step.call}`);
    const args = (step.args ?? []).map((arg) => this.value(arg));
    const options = 'options' in step ? [this.options(step.options)] : [];
    let answer;
    for (let times = step.times ?? 1; times > 0; times -= 1) answer = await owner[method](...args, ...options);
    // Later messages must reach the subscriber.
    if (step.call === 'events.subscribe') await answer.ready();
    return answer;
  }

  async play(jarvis, step) {
    let answer;
    try {
      answer = await this.step(jarvis, step);
    } catch (error) {
      if (!('error' in step) || !(error instanceof JarvisError)) throw error;
      return this.expect(error, step.error, 'error');
    }
    assert.ok(!('error' in step), `it should have failed with ${step.error?.code}`);
    if ('as' in step) this.names.set(step.as, answer);
    if ('answer' in step) this.expect(answer, step.answer, 'answer');
  }

  expect(actual, written, where) {
    if (written === null) return assert.equal(actual ?? null, null, where);
    if (Array.isArray(written)) {
      assert.equal(actual.length, written.length, `${where}: its length`);
      return written.forEach((item, at) => this.expect(actual[at], item, `${where}[${at}]`));
    }
    if (typeof written === 'object') return this.expectObject(actual, written, where);
    assert.deepEqual(actual, this.value(written), where);
  }

  expectObject(actual, written, where) {
    if ('$type' in written) return assert.ok(isOf(actual, written.$type), `${where} is no ${written.$type}: ${actual}`);
    if ('$length' in written) return assert.equal(actual.length, written.$length, where);
    for (const [name, item] of Object.entries(written)) {
      const found = [camel(name), optionName(name), name].find((candidate) => actual[candidate] !== undefined);
      this.expect(actual[found], item, `${where}.${name}`);
    }
  }
}

/** Everything that a stream gives. */
async function collected(stream) {
  const items = [];
  for await (const item of stream) items.push(item);
  return items;
}

/** Resolves when the loop of a handle has judged every service, has started its own, and acts on none. */
async function settled(jarvis) {
  for (;;) {
    const { platform, operator } = await jarvis.operator.status();
    const isSteady = operator?.services.every(({ lifecycle, restartable, instance }) => lifecycle.phase === 'steady' && (!restartable || instance !== undefined));
    if (isSteady && operator.lease !== undefined && platform.unknown === 0) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function isOf(actual, type) {
  if (type === 'time') return actual instanceof Date && !Number.isNaN(actual.getTime());
  return typeof actual === type && actual !== null;
}

async function playCase(t, file, one, backend) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'jarvis-parity-'));
  const player = new Player(backend && urlOf(backend, folder), folder);
  const jarvis = player.open(one.config ?? file.config ?? {});
  const running = one.run ? jarvis.run() : undefined;
  t.after(async () => {
    await jarvis.close();
    await running;
    fs.rmSync(folder, { recursive: true, force: true });
  });
  if (running !== undefined) await Promise.race([settled(jarvis), running]);
  for (const [at, step] of one.steps.entries()) {
    await t.test(`step ${at}: ${step.call ?? Object.keys(step)[0]}`, () => player.play(jarvis, step));
  }
}

const files = fs.readdirSync(fixtures).filter((name) => name.endsWith('.json') && name !== 'errors.json');
assert.ok(files.length > 0);

for (const name of files) {
  const file = read(name);
  for (const backend of file.on ?? [undefined]) {
    describe(`${name}${backend ? ` on ${backend}` : ''}`, () => {
      for (const one of file.cases) test(one.name, (t) => playCase(t, file, one, backend));
    });
  }
}

test('every kind of error is the same', () => {
  for (const { kind, code } of read('errors.json').kinds) {
    assert.equal(new JarvisError('x', { kind }).code, code);
  }
});

test('there is one version', () => {
  const cargo = fs.readFileSync(new URL('Cargo.toml', root), 'utf8');
  assert.equal(version, /\[workspace\.package\]\nversion = "([^"]+)"/.exec(cargo)[1]);
});
