'use strict';

// Generates lib/native.d.ts from what the compiled part's macros write while it is checked:
//
//   node native-types.js FILE > lib/native.d.ts
//
// `@napi-rs/cli` does this too, but has to build everything once more, for a named target.
const fs = require('node:fs');

const HEADER = `// Generated from src/*.rs by test/native-types.js: don't edit. The types of the package are in ../types.
`;

const definitions = fs
  .readFileSync(process.argv[2], 'utf8')
  .split('\n')
  .filter((line) => line !== '')
  .map((line) => JSON.parse(line));

/** Indents, and renames parameters that are keywords. */
const indented = (text) =>
  text
    .replace(/^ (?=[^\s*])/gm, '')
    .replace(/([(,] ?)(function|default|new|delete)(\??:)/g, '$1$2_$3')
    .replace(/^(?=.)/gm, '  ');

/** A class comes in parts: its fields, then its methods. */
function classes() {
  const parts = new Map();
  for (const { kind, name, js_doc: doc, def } of definitions) {
    if (kind !== 'struct' && kind !== 'impl') continue;
    const known = parts.get(name) ?? { doc: '', bodies: [] };
    parts.set(name, { doc: known.doc || (kind === 'struct' ? doc : ''), bodies: [...known.bodies, def].filter((body) => body !== '') });
  }
  return [...parts].map(([name, { doc, bodies }]) => [name, `${doc}export declare class ${name} {\n${indented(bodies.join('\n'))}\n}`]);
}

function rest() {
  const written = { interface: (name, def) => `export interface ${name} {\n${indented(def)}\n}`, fn: (_, def) => `export declare ${def}` };
  return definitions
    .filter(({ kind }) => kind in written)
    .map(({ kind, name, js_doc: doc, def }) => [name, `${doc}${written[kind](name, def)}`]);
}

const known = new Set(['struct', 'impl', 'interface', 'fn']);
const strange = definitions.find(({ kind }) => !known.has(kind));
if (strange !== undefined) throw new Error(`test/native-types.js does not know the kind ${strange.kind}`);

const sorted = [...classes(), ...rest()].sort(([one], [two]) => (one < two ? -1 : 1));
process.stdout.write(`${HEADER}\n${sorted.map(([, text]) => text).join('\n\n')}\n`);
