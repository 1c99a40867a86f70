'use strict';

// Loads the compiled part, which `install.js` puts beside package.json.
const path = require('node:path');

const file = process.env.JARVIS_CORE_NODE || path.join(__dirname, '..', 'jarvis-core.node');

try {
  module.exports = require(file);
} catch (cause) {
  if (cause.code !== 'MODULE_NOT_FOUND') throw cause;
  throw new Error(`jarvis-core is not built: ${file} does not exist; run \`npm rebuild jarvis-core\``, { cause });
}
