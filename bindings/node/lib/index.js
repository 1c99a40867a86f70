'use strict';

const { Cache, escapePattern } = require('./cache.js');
const { JarvisError } = require('./error.js');
const { EventBus, Subscription } = require('./events.js');
const { Health } = require('./health.js');
const { Jarvis } = require('./jarvis.js');
const { Operator } = require('./operator.js');
const { Session } = require('./session.js');
const { SessionStore } = require('./sessions.js');
const { Stream } = require('./stream.js');
const web = require('./web.js');
const { version } = require('../package.json');

module.exports = { Jarvis, JarvisError, Session, SessionStore, Cache, EventBus, Subscription, Stream, Health, Operator, escapePattern, version, web };
