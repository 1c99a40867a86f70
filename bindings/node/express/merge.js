'use strict';

/** The keys of a JSON object with their values; as a map, so that no key can mean anything else. */
const entries = (text) => new Map(Object.entries(JSON.parse(text)));

/**
 * What one request changed in a session, put upon what another stored meanwhile: each top-level
 * key that differs between `base` and `mine` is taken from `mine`, all else from `theirs`. All
 * three and the answer are the JSON text of an object.
 */
function merged(base, mine, theirs) {
  const [before, after, result] = [entries(base), entries(mine), entries(theirs)];
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    if (JSON.stringify(before.get(key)) === JSON.stringify(after.get(key))) continue;
    if (after.has(key)) result.set(key, after.get(key));
    else result.delete(key);
  }
  return JSON.stringify(Object.fromEntries(result));
}

module.exports = { merged };
