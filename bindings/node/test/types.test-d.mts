// Compiled, not run: what the types allow and refuse.
import jarvisDefault, { Jarvis, JarvisError, type Session, type HealthProbe } from 'jarvis-core';

interface Cart {
  cart: number[];
}

const probe: HealthProbe = { probe: async (context, { signal }) => ({ verdict: signal.aborted || context.fresh ? 'pass' : 'fail' }) };

await using jarvis = Jarvis.open({ store: { session: 'memory:' } }, { services: { coach: { check: [{ probe }] } } });
Jarvis.open();
Jarvis.open('jarvis.toml', { stateDir: '/tmp/x', mode: 'dry-run' });
jarvisDefault.Jarvis.open(new URL('file:///etc/jarvis/jarvis.toml'));

const made: Session<Cart> = await jarvis.sessions.create<Cart>({ data: { cart: [] } });
made.data.cart.push(1);
// @ts-expect-error a cart holds numbers
made.data.cart.push('one');
// @ts-expect-error the store counts
made.version = 2;
const loaded: Session<Cart> | null = await jarvis.sessions.load<Cart>(made.id);
await jarvis.sessions.update<Cart>(made.id, (session) => void session.data.cart.pop());
const saved: Session<Cart> = await jarvis.sessions.save(made);
await jarvis.sessions.delete(saved);
for await (const { handle, meta } of jarvis.sessions.scan()) console.log(handle, meta.ip);
// @ts-expect-error milliseconds are a number
await jarvis.sessions.extend(made.id, { ttl: '1h' });

const found: Cart | undefined = await jarvis.cache.get<Cart>('k');
await jarvis.cache.set('k', loaded?.data ?? found, { ttl: Infinity, tags: ['a'], ifAbsent: true });
const cart: Cart = await jarvis.cache.getOrLoad('k', async (signal) => ({ cart: [Number(signal.aborted)] }));
await jarvis.cache.setMany({ a: cart });

for await (const { payload, at } of jarvis.events.subscribe({ patterns: ['a.*'], signal: AbortSignal.timeout(1) })) {
  console.log(payload, at.getTime());
}
for await (const change of jarvis.health.watch()) console.log(change.state);
const { took_ms: took } = await jarvis.health.check({ services: ['coach'] });
console.log(took.toFixed(1));

try {
  await jarvis.operator.restart('coach', { wait: true });
} catch (error) {
  if (error instanceof JarvisError && error.code === 'ERR_JARVIS_CONFLICT') console.log(error.current?.id, error.retryAfter);
  // @ts-expect-error there is no such code
  if (error instanceof JarvisError && error.code === 'ERR_JARVIS_OOPS') throw error;
}
