// Sessions, a cache and messages: `node --experimental-strip-types sessions.mts`, or compile it.
import { Jarvis, JarvisError } from 'jarvis-core';

interface Visit {
  project: string;
  takes: number[];
}

const url = process.env['REDIS_URL'];
await using jarvis = Jarvis.open(url ? { store: { session: url, cache: url, bus: url } } : { store: { session: 'memory:' } });

const visit = await jarvis.sessions.create<Visit>({ user: 'ada', data: { project: 'demo', takes: [] } });

// Two concurrent requests: no change is lost.
await Promise.all([1, 2].map((take) => jarvis.sessions.update<Visit>(visit.id, ({ data }) => void data.takes.push(take))));
console.log('takes', (await jarvis.sessions.load<Visit>(visit.id))?.data.takes.length);

// `visit` is older than what is stored by now.
try {
  await jarvis.sessions.save(visit);
} catch (error) {
  if (!(error instanceof JarvisError) || error.kind !== 'conflict') throw error;
  console.log('conflict', error.current?.version);
}

const profile = await jarvis.cache.getOrLoad('profile:ada', async () => ({ name: 'Ada' }), { ttl: 60_000, tags: ['ada'] });
console.log('profile', profile.name);

const chat = jarvis.events.subscribe<{ text: string }>({ patterns: ['project.*.chat'] });
await chat.ready();
await jarvis.events.publish('project.demo.chat', { text: 'take two' });
for await (const { topic, payload } of chat) {
  console.log(topic, payload?.text);
  break;
}

// A logout.
await jarvis.sessions.clear('ada');
console.log('left', await jarvis.sessions.count({ user: 'ada' }));
