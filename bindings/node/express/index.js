'use strict';

const { errorHandler, statusOf } = require('./errors.js');
const { health, healthz } = require('./health.js');
const { jarvisStore, versionOf } = require('./store.js');
const { track } = require('./track.js');

module.exports = { jarvisStore, versionOf, track, health, healthz, errorHandler, statusOf };
