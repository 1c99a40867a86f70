'use strict';

/** How many times late answers came: who sees another number than before was answered late. */
module.exports = { count: 0 };
