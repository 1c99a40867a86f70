// Compiled, not run: an application in TypeScript that npm linked this package into.
import express from 'express';
import session from 'express-session';
import { Jarvis, JarvisError, type Session } from 'jarvis-core';
import { errorHandler, health, jarvisStore, track, versionOf } from 'jarvis-core/express';

declare module 'express-session' {
  interface SessionData {
    user?: { id: number; name: string };
    views: number;
  }
}

const jarvis = Jarvis.open({ store: { session: 'memory:' } });
const JarvisStore = jarvisStore(session);
const store = new JarvisStore({ sessions: jarvis.sessions, user: (data) => data.user?.name });
const app = express();
app.use(track({ jarvis, service: 'x' }));
app.get('/health', health(jarvis));
app.use(session({ store, secret: 's', resave: false, saveUninitialized: false }));
app.get('/', (req, res) => {
  req.session.views = (req.session.views ?? 0) + 1;
  const version: number | undefined = versionOf(req.session);
  res.json({ version });
});
app.use(errorHandler());

const views: number | undefined = (await store.get('id'))?.views;
const one: number = await jarvis.cache.getOrLoad('k', async () => 5, { ttl: 1_000 });
const made: Session = await jarvis.sessions.create({ user: 'a', data: { a: 1 } });
try {
  await jarvis.sessions.save(made);
} catch (error) {
  if (error instanceof JarvisError && error.kind === 'conflict') console.log(error.current?.version, views, one);
}
for await (const { topic } of jarvis.events.subscribe({ topics: ['a'] })) {
  console.log(topic);
  break;
}
