'use strict';

const { createRequire } = require('node:module');
const path = require('node:path');
const { JarvisError } = require('../lib/error.js');

/** Where the application may have it: a package that is linked into one does not lie within it. */
function places() {
  const started = process.argv[1];
  return [__filename, ...(started ? [path.resolve(started)] : []), path.join(process.cwd(), 'package.json')];
}

function resolved(from) {
  try {
    return createRequire(from).resolve('express-session');
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return undefined;
    throw error;
  }
}

/** The express-session that the application has. */
function expressSession() {
  for (const place of places()) {
    const file = resolved(place);
    if (file !== undefined) return require(file);
  }
  const message =
    'express-session is not installed here: run `npm install express-session`, or give it as `new JarvisStore({ session, … })`';
  throw new JarvisError(message, { kind: 'unsupported', operation: 'express.store' });
}

module.exports = { expressSession };
