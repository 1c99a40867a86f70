'use strict';

const { sendJson } = require('./errors.js');

/** How long one round of probes is answered with, in milliseconds. */
const MAX_AGE = 1_000;

/** Asks once for all who come while it is asked, and for a while after. */
function shared(ask, maxAge) {
  let answer;
  let until = 0;
  return () => {
    if (answer === undefined || Date.now() >= until) {
      until = Infinity;
      answer = ask().finally(() => (until = Date.now() + maxAge));
    }
    return answer;
  };
}

/** What a load balancer asks: 200 while the platform works, 503 while it is down or nobody knows. */
function statusOfPlatform({ state }, services) {
  const isWell = state === 'healthy' || state === 'degraded' || services.length === 0;
  return isWell ? 200 : 503;
}

/** The route that says how the services are. */
function health(jarvis, { maxAge = MAX_AGE } = {}) {
  const check = shared(() => jarvis.health.check(), maxAge);
  return async function jarvisHealth(req, res, next) {
    try {
      const known = jarvis.health.snapshot();
      const { platform, services } = known.loopStats.running ? known : await check();
      const states = services.map(({ service, state }) => ({ service, state }));
      sendJson(res, statusOfPlatform(platform, services), { ...platform, services: states });
    } catch (error) {
      next(error);
    }
  };
}

/** The route that says whether this process is alive: it answers, and its loop, if it has one, goes round. */
function healthz(jarvis) {
  return function jarvisHealthz(req, res, next) {
    try {
      const { alive, reason, loopStats: loop } = jarvis.health.healthz();
      const isAlive = alive || !loop.running;
      sendJson(res, isAlive ? 200 : 503, isAlive ? { alive: true } : { alive: false, reason });
    } catch (error) {
      next(error);
    }
  };
}

module.exports = { health, healthz };
