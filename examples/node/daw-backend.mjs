// The DAW backend: an Express application that uses JARVIS for sessions, health and metrics.
//
//   npm install path/to/bindings/node express express-session && node daw-backend.mjs
//   curl -c jar -H 'content-type: application/json' -d '{ "user": "ada" }' localhost:3001/login
//   curl -b jar -d name=drums localhost:3001/tracks
//   jarvis session list --user ada
//
// A `jarvis.toml` beside it, or JARVIS_STORE__SESSION=redis://…, sets where sessions are kept; the default
// is a file in STATE_DIR, or in JARVIS's own state directory. The default of PORT is 3001.
import express from 'express';
import session from 'express-session';
import { Jarvis } from 'jarvis-core';
import { errorHandler, health, healthz, jarvisStore, track } from 'jarvis-core/express';

const jarvis = Jarvis.open(undefined, { stateDir: process.env['STATE_DIR'] });
const requests = track({ jarvis, service: 'daw-backend' });
const JarvisStore = jarvisStore(session);
const app = express();

app.use(requests);
app.get('/health', health(jarvis));
app.get('/healthz', healthz(jarvis));
app.get('/metrics', requests.metrics);

app.use(express.json(), express.urlencoded());
app.use(
  session({
    store: new JarvisStore({ sessions: jarvis.sessions, user: (session) => /** @type {Data} */ (session).user }),
    secret: process.env['SESSION_SECRET'] ?? 'only for trying it out',
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 60 * 60_000, sameSite: 'lax' },
  }),
);

/** @typedef {import('express-session').SessionData & { user?: string, tracks?: string[] }} Data */
/** @param {import('express').Request} req */
const data = (req) => /** @type {Data} */ (req.session);

/**
 * @param {import('express').Request} req
 * @param {import('express').Response} res
 * @param {import('express').NextFunction} next
 */
function signedIn(req, res, next) {
  if (data(req).user === undefined) res.status(401).json({ detail: 'log in first' });
  else next();
}

/** A login gives the session a new id, so that an id that an attacker planted before is worthless. */
app.post('/login', (req, res, next) => {
  const { user } = req.body ?? {};
  if (typeof user !== 'string') {
    res.status(400).json({ detail: 'who are you? { "user": … }' });
    return;
  }
  req.session.regenerate((error) => {
    if (error) return next(error);
    Object.assign(data(req), { user, tracks: [] });
    res.json({ user });
  });
});

app.post('/logout', (req, res, next) => {
  req.session.destroy((error) => (error ? next(error) : res.status(204).end()));
});

/** On every device at once. */
app.post('/logout/everywhere', signedIn, async (req, res, next) => {
  try {
    res.json({ ended: await jarvis.sessions.clear(data(req).user ?? '') });
  } catch (error) {
    next(error);
  }
});

app.get('/tracks', signedIn, (req, res) => res.json(data(req).tracks));

app.post('/tracks', signedIn, (req, res) => {
  const tracks = (data(req).tracks ??= []);
  tracks.push(String(req.body?.name ?? 'untitled'));
  res.status(201).json(tracks);
});

app.use(errorHandler());

const server = app.listen(Number(process.env['PORT'] ?? 3001), '127.0.0.1', () => {
  const address = /** @type {import('node:net').AddressInfo} */ (server.address());
  console.log(`listening on http://127.0.0.1:${address.port}`);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    server.close(async () => {
      await requests.close();
      await jarvis.close();
    });
    server.closeIdleConnections();
  });
}
