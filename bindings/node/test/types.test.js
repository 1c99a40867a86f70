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
const types = fs.readdirSync(folder).map((name) => path.join(folder, name));
const isWeb = (file) => path.basename(file) === 'web.d.ts';

/** The exported classes of some files by name, and the names of all exported values. */
function exportsOf(files) {
  const classes = new Map();
  const values = [];
  const isExported = (node) => ts.canHaveModifiers(node) && ts.getModifiers(node)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);
  for (const file of files) {
    const { statements } = ts.createSourceFile(file, fs.readFileSync(file, 'utf8'), ts.ScriptTarget.Latest);
    for (const node of statements) {
      if (ts.isExportDeclaration(node) && node.exportClause && ts.isNamespaceExport(node.exportClause)) values.push(node.exportClause.name.text);
      if (!isExported(node)) continue;
      if (ts.isClassDeclaration(node)) classes.set(node.name.text, node);
      if (ts.isClassDeclaration(node) || ts.isFunctionDeclaration(node)) values.push(node.name.text);
      if (ts.isVariableStatement(node)) values.push(...node.declarationList.declarations.map(({ name }) => name.text));
    }
  }
  return { classes, values: [...new Set(values)].sort() };
}

const isStatic = (member) => ts.getModifiers(member)?.some(({ kind }) => kind === ts.SyntaxKind.StaticKeyword) ?? false;

/** The members of a class and of the class it extends, or its static ones. */
function declared(classes, name, wanted) {
  const node = classes.get(name);
  const base = classes.get(node.heritageClauses?.[0].types[0].expression.text);
  const members = [...node.members, ...(base?.members ?? [])].filter((member) => member.name && ts.isIdentifier(member.name));
  return [...new Set(members.filter((member) => isStatic(member) === wanted).map((member) => member.name.text))].sort();
}

for (const [where, actual, files] of [
  ['jarvis-core', jarvis, [path.join(root, 'index.d.ts'), ...types.filter((file) => !isWeb(file))]],
  ['web', jarvis.web, types.filter(isWeb)],
]) {
  const { classes, values } = exportsOf(files);

  test(`${where} exports what is declared, and nothing else`, () => {
    assert.ok(classes.size > 1);
    assert.deepEqual(Object.keys(actual).sort(), values);
  });

  for (const name of classes.keys()) {
    test(`${name} has the members that are declared, and no other`, () => {
      for (const member of declared(classes, name, true)) assert.equal(typeof actual[name][member], 'function', member);
      if (name === 'JarvisError') {
        const details = { kind: 'conflict', cause: 1, operation: 'x', context: {}, retry: 'safe', retryAfter: 1, current: {} };
        const error = new jarvis.JarvisError('x', details);
        for (const member of declared(classes, name, false)) assert.ok(error[member] !== undefined, member);
        return;
      }
      const found = new Set();
      for (let part = actual[name].prototype; part !== Object.prototype; part = Object.getPrototypeOf(part)) {
        for (const member of Object.getOwnPropertyNames(part)) if (!INTERNAL.has(member)) found.add(member);
      }
      assert.deepEqual([...found].sort(), declared(classes, name, false));
    });
  }
}
