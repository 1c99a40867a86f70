// The part `web` of the fixtures: the functions of the core that the Express kit is built on.
import { JarvisError, web } from 'jarvis-core';

/** An answer with its body parsed. */
const parsed = ({ body, ...rest }) => ({ ...rest, body: JSON.parse(body) });

const camel = (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());

/** A cookie with rules as the fixtures write them. */
function cookie(rules) {
  return new web.SessionCookie(Object.fromEntries(Object.entries(rules).map(([name, value]) => [camel(name), value])));
}

export const webPart = {
  httpStatus: (kind) => web.httpStatus(new JarvisError('x', { kind })),
  errorAnswer: (kind, { retryAfter } = {}) => parsed(web.errorAnswer(new JarvisError('x', { kind, retryAfter }))),
  setCookie: (rules, { id, left, https }) => cookie(rules).write(id, { left, https }),
  clearCookie: (rules, { https }) => cookie(rules).clear({ https }),
  readCookie: (rules, header) => cookie(rules).read(header),
  health: (platform, services) => parsed(web.healthDocument(platform, services)),
  liveness: (process) => parsed(web.liveness(process)),

  async requests(service, records, { since, until }) {
    const meter = new web.RequestMeter({ service, since: new Date(since) });
    for (const [method, route, status, millis, times] of records) {
      for (let n = 1; n <= times; n += 1) {
        meter.begin();
        meter.end(method, route?.replaceAll('{n}', String(n)), status, millis);
      }
    }
    const events = meter.take(new Date(until));
    const lines = (await meter.metrics()).split('\n');
    return { events, snapshot: meter.snapshot(), metrics: lines.at(-1) === '' ? lines.slice(0, -1) : lines };
  },
};
