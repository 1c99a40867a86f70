// Compiled with `tsc --strict`, never run: what an application in TypeScript writes.
import express = require('express');
import session = require('express-session');
import { Jarvis, JarvisError } from 'jarvis-core';
import { JarvisStore, RequestsSummary, errorHandler, health, healthz, jarvisStore, statusOf, track, versionOf } from 'jarvis-core/express';

declare module 'express-session' {
  interface SessionData {
    user: string;
    views: number;
  }
}

const jarvis = Jarvis.open();
const Store = jarvisStore(session);
const store = new Store({
  sessions: jarvis.sessions,
  prefix: 'daw:',
  user: ({ user }) => user,
  ttl: ({ views }) => (views > 10 ? 60_000 : undefined),
  conflict: 'merge',
  whenDown: 'skip',
});
const base: session.Store = store;
const named: JarvisStore<session.Store> = store;
base.on('disconnect', () => {});

const requests = track({ jarvis, service: 'daw', every: 1_000, route: (req: express.Request) => req.path });
const app = express();
app.use(requests);
app.use(session({ store, secret: 'x', resave: false, saveUninitialized: false }));
app.get('/health', health(jarvis, { maxAge: 1_000 }));
app.get('/healthz', healthz(jarvis));
app.get('/metrics', requests.metrics);
app.get('/', (req, res) => {
  req.session.views = (req.session.views ?? 0) + 1;
  const version: number | undefined = versionOf(req.session);
  res.json({ version, views: req.session.views });
});
app.use(errorHandler({ log: (error, req) => console.error(req.url, error) }));

async function directly(): Promise<void> {
  const loaded: session.SessionData | null = await store.get('id');
  store.get('id', (error, found) => console.log(error, found?.views));
  if (loaded !== null) {
    await store.set('id', loaded);
    await store.touch('id', loaded);
    store.set('id', loaded, (error) => console.log(error));
  }
  const ids: string[] = await store.ids();
  const all: { id: string; views: number }[] = await store.all();
  const length: number = await store.length();
  await store.destroy('id');
  await store.clear();
  const status: number | undefined = statusOf(new JarvisError('x'));
  const { active, routes } = requests.snapshot();
  const text: string = await requests.text();
  const published: boolean = await requests.publish();
  for await (const { payload: given } of jarvis.events.subscribe({ patterns: ['requests.*'] })) {
    const payload = given as RequestsSummary;
    console.log(payload.service, payload.routes[0]?.max_ms);
  }
  console.log(named, ids, all, length, status, active, routes[0]?.route, text, published);
}

// @ts-expect-error: it needs a session store.
new Store({});
// @ts-expect-error: the data has no such key.
new Store({ sessions: jarvis.sessions, user: ({ name }) => name });
// @ts-expect-error: this is not express-session.
jarvisStore(express);
// @ts-expect-error: one of three.
new Store({ sessions: jarvis.sessions, conflict: 'last' });

void directly();
