'use strict';

// The one place where JSON of the core becomes JavaScript. The core's names are snake_case, those of
// this package are camelCase; what an application or a probe of its own put in is left as it is.

/** Values under these names belong to the application: the payload of a message, the facts of a probe. */
const OPAQUE = new Set(['payload', 'facts']);

/** The names seen so far, which are few, in camelCase. */
const names = new Map();

function camelCase(name) {
  let known = names.get(name);
  if (known === undefined) {
    known = name.replace(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());
    names.set(name, known);
  }
  return known;
}

/** A value with all its names in camelCase. */
function camelCased(value) {
  if (Array.isArray(value)) return value.map(camelCased);
  if (value === null || typeof value !== 'object') return value;
  const result = {};
  for (const name of Object.keys(value)) {
    result[camelCase(name)] = OPAQUE.has(name) ? value[name] : camelCased(value[name]);
  }
  return result;
}

/** Reads an answer of the core. */
const fromCore = (text) => camelCased(JSON.parse(text));

/** The names of an object in snake_case, for the core; its values are left as they are. */
function toCore(value) {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) return value;
  const entries = Object.entries(value);
  return Object.fromEntries(entries.map(([name, item]) => [name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), item]));
}

module.exports = { camelCased, fromCore, toCore };
