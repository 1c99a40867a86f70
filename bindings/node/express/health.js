'use strict';

const { healthAnswer, livenessAnswer } = require('../lib/web.js');
const { send } = require('./errors.js');

/** The route with the state of the services. */
function health(jarvis, options) {
  return function jarvisHealth(req, res, next) {
    healthAnswer(jarvis, options).then((answer) => send(res, answer)).catch(next);
  };
}

/** The route that says whether this process is alive. */
function healthz(jarvis) {
  return function jarvisHealthz(req, res, next) {
    try {
      send(res, livenessAnswer(jarvis));
    } catch (error) {
      next(error);
    }
  };
}

module.exports = { health, healthz };
