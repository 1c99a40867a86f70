'use strict';

// The compiled part: `install.js` puts it beside this package's package.json.
const path = require('node:path');

const file = process.env.JARVIS_CORE_NODE || path.join(__dirname, '..', 'jarvis-core.node');

try {
  module.exports = require(file);
} catch (cause) {
  if (cause.code !== 'MODULE_NOT_FOUND') throw cause;
  throw new Error(`jarvis-core is not built: ${file} is not there; run \`npm rebuild jarvis-core\``, { cause });
}
