'use strict';

const { errorHandler, statusOf } = require('./errors.js');
const { health, healthz } = require('./health.js');
const { JarvisStore, VERSION } = require('./store.js');
const { track } = require('./track.js');

module.exports = { JarvisStore, VERSION, track, health, healthz, errorHandler, statusOf };
