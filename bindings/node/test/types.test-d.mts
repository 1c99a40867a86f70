// Compiled, not run: what the types allow and refuse.
import jarvisDefault, { Jarvis, JarvisError, type HealthProbe, type Running, type ServiceState, type Session } from 'jarvis-core';

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

for await (const { payload, at } of jarvis.events.subscribe<Cart>({ patterns: ['a.*'], signal: AbortSignal.timeout(1) })) {
  console.log(payload?.cart.length, at.getTime());
}
for await (const { event } of jarvis.operator.events({ follow: true })) {
  if (event.type === 'incident_recovered') console.log(event.afterMs.toFixed(), event.attempts);
  if (event.type === 'action_started' && typeof event.action === 'object') console.log(event.action.rollBack.to);
  // @ts-expect-error names are camelCase
  if (event.type === 'incident_resolved') console.log(event.after_ms);
}
for await (const change of jarvis.health.watch()) console.log(change.state, change.cause?.kind, change.at);
const { tookMs, services } = await jarvis.health.check({ services: ['coach'] });
const latency: number | undefined = services[0]?.checks[0]?.observation.latencyMs;
console.log(tookMs.toFixed(1), latency);
const status = await jarvis.health.status();
const phase: string | undefined = status.operator?.services[0]?.lifecycle.phase;
const state: ServiceState | undefined = status.health?.services[0]?.checks[0]?.state;
console.log(phase, state, jarvis.health.snapshot().loopStats.lagMs);
// @ts-expect-error there is no such field
console.log(status.operator?.anything);
const running: Running = { state: 'running', startedAt: '2026-11-21T09:30:00Z' };
console.log(running);

try {
  await jarvis.operator.restart('coach', { wait: false, by: 'ada' });
} catch (error) {
  if (error instanceof JarvisError && error.code === 'ERR_JARVIS_CONFLICT') console.log(error.current?.id, error.retryAfter);
  // @ts-expect-error there is no such code
  if (error instanceof JarvisError && error.code === 'ERR_JARVIS_OOPS') throw error;
}
