// By `import` it is the same as by `require`.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import * as imported from 'jarvis-core/express';

test('import and require give the same', () => {
  const required = createRequire(import.meta.url)('jarvis-core/express');
  const { default: whole, ...names } = imported;
  assert.equal(whole, required);
  assert.deepEqual(names, { ...required });
});
