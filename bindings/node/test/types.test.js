'use strict';

// The types declare exactly what is there.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const ts = require('typescript');
const jarvis = require('..');

/** For subclasses only. */
const INTERNAL = new Set(['constructor', 'convert']);

const root = path.join(__dirname, '..');
const folder = path.join(root, 'types');
const files = [path.join(root, 'index.d.ts'), ...fs.readdirSync(folder).map((name) => path.join(folder, name))];
const statements = files.flatMap((file) => ts.createSourceFile(file, fs.readFileSync(file, 'utf8'), ts.ScriptTarget.Latest).statements);
const isExported = (node) => ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);
const isStatic = (member) => ts.getModifiers(member)?.some(({ kind }) => kind === ts.SyntaxKind.StaticKeyword) ?? false;

const classes = new Map();
const values = [];
for (const node of statements.filter(isExported)) {
  if (ts.isClassDeclaration(node)) classes.set(node.name.text, node);
  if (ts.isClassDeclaration(node) || ts.isFunctionDeclaration(node)) values.push(node.name.text);
  if (ts.isVariableStatement(node)) values.push(...node.declarationList.declarations.map(({ name }) => name.text));
}

/** The members of a class and of the class it extends, or its static ones. */
function declared(name, wanted) {
  const node = classes.get(name);
  const base = classes.get(node.heritageClauses?.[0].types[0].expression.text);
  const members = [...node.members, ...(base?.members ?? [])].filter((member) => member.name && ts.isIdentifier(member.name));
  return [...new Set(members.filter((member) => isStatic(member) === wanted).map((member) => member.name.text))].sort();
}

test('the same names are exported', () => {
  assert.ok(values.length > 8);
  assert.deepEqual(Object.keys(jarvis).sort(), values.sort());
});

for (const name of classes.keys()) {
  test(`${name} has the members that are declared, and no other`, () => {
    for (const member of declared(name, true)) assert.equal(typeof jarvis[name][member], 'function', member);
    if (name === 'JarvisError') {
      const details = { kind: 'conflict', cause: 1, operation: 'x', context: {}, retry: 'safe', retryAfter: 1, current: {} };
      const error = new jarvis.JarvisError('x', details);
      for (const member of declared(name, false)) assert.ok(error[member] !== undefined, member);
      return;
    }
    const actual = new Set();
    for (let part = jarvis[name].prototype; part !== Object.prototype; part = Object.getPrototypeOf(part)) {
      for (const member of Object.getOwnPropertyNames(part)) if (!INTERNAL.has(member)) actual.add(member);
    }
    assert.deepEqual([...actual].sort(), declared(name, false));
  });
}
