// What the Node package costs, and what it does beside connect-redis, interleaved in one process.
//
//   benches/peers/setup && tests/servers start DIR && . DIR/env
//   cargo build --release --locked -p jarvis-core-node --features echo
//   cp target/release/libjarvis_core_node.so target/echo.node
//   JARVIS_CORE_NODE=$PWD/target/echo.node node benches/peers/node_binding.mjs [memory] [redis]
//
// The feature `echo` adds the function that the calls in memory are compared with.
//
// Five rounds; medians of the ratios with their spread. Exit code 1 when a limit is missed.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const peers = createRequire(new URL('../../target/peers/package.json', import.meta.url));
const binding = createRequire(import.meta.url);
const root = fileURLToPath(new URL('../../bindings/node/', import.meta.url));
const { Jarvis } = binding(root);
const { native } = binding(`${root}lib/bridge.js`);

const ROUNDS = 5;
const CALLERS = 64;
const SESSION = { cookie: { originalMaxAge: 3_600_000 }, user: 'ada', project: 'demo', notes: 'x'.repeat(380) };

let missed = false;

function report(what, ratios, limit, isMost) {
  const sorted = [...ratios].sort((a, b) => a - b);
  const median = sorted[Math.floor(sorted.length / 2)];
  const fits = isMost ? median <= limit : median >= limit;
  missed ||= !fits;
  const spread = `${sorted[0].toFixed(2)}-${sorted.at(-1).toFixed(2)}`;
  console.log(`${what}: ${median.toFixed(2)} (${spread}), ${isMost ? 'at most' : 'at least'} ${limit}${fits ? '' : ', MISSED'}`);
}

/** Nanoseconds a call, of calls one after the other. */
async function cost(call, calls) {
  const began = process.hrtime.bigint();
  for (let n = 0; n < calls; n += 1) await call();
  return Number(process.hrtime.bigint() - began) / calls;
}

async function memory() {
  const jarvis = Jarvis.open({}, { sessions: 'memory:', cache: 'memory:' });
  const { id } = await jarvis.sessions.create({ data: SESSION });
  await jarvis.cache.set('profile:ada', SESSION);
  const text = JSON.stringify(SESSION);
  // The same strings in and out: an id, and a session as it crosses.
  const packed = `["${id}",1,1750000000000,1750000000000,1750003600000,3600000,null,null,null,null]\n${text}`;
  const calls = {
    bare: async () => native.echo(id, packed),
    load: () => jarvis.sessions.load(id),
    'load, data read': async () => (await jarvis.sessions.load(id)).data.user,
    'bare, data read': async () => JSON.parse(native.echo(id, text)).user,
    get: () => jarvis.cache.get('profile:ada'),
  };
  for (const call of Object.values(calls)) await cost(call, 50_000);
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const taken = {};
    for (const [name, call] of Object.entries(calls)) taken[name] = await cost(call, 200_000);
    rounds.push(taken);
  }
  for (const name of Object.keys(calls)) console.log(`  ${name}: ${Math.min(...rounds.map((taken) => taken[name])).toFixed(0)} ns at best`);
  report('session load in memory / bare bound function', rounds.map((taken) => taken.load / taken.bare), 2.5, true);
  report('the same, data read', rounds.map((taken) => taken['load, data read'] / taken['bare, data read']), 2.5, true);
  report('cache get in memory / bare bound function, parsed', rounds.map((taken) => taken.get / taken['bare, data read']), 2.5, true);
  await jarvis.close();
}

/** Operations a second of so many callers. */
async function rate(call, seconds) {
  const end = performance.now() + seconds * 1_000;
  const began = performance.now();
  let done = 0;
  await Promise.all(
    Array.from({ length: CALLERS }, async (_, caller) => {
      while (performance.now() < end) {
        await call(caller);
        done += 1;
      }
    }),
  );
  return done / ((performance.now() - began) / 1_000);
}

async function redis() {
  const url = process.env.JARVIS_TEST_REDIS_URL;
  if (!url) throw new Error('JARVIS_TEST_REDIS_URL is not set: see tests/servers');
  const { RedisStore } = peers('connect-redis');
  const client = peers('redis').createClient({ url });
  await client.connect();
  const store = new RedisStore({ client, ttl: 3_600, prefix: 'bench:' });
  const told = (call) => new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value))));
  const jarvis = Jarvis.open({}, { sessions: url });
  const ids = [];
  for (let caller = 0; caller < CALLERS; caller += 1) {
    ids.push((await jarvis.sessions.create({ data: SESSION })).id);
    await told((done) => store.set(ids[caller], SESSION, done));
  }
  const calls = {
    ours: async (caller) => (await jarvis.sessions.loadAndExtend(ids[caller])).data.user,
    // As express-session does: the session at its begin, touch at its end.
    theirs: async (caller) => {
      const session = await told((done) => store.get(ids[caller], done));
      await told((done) => store.touch(ids[caller], session, done));
      return session.user;
    },
    'our load': async (caller) => (await jarvis.sessions.load(ids[caller])).data.user,
    'their get': async (caller) => (await told((done) => store.get(ids[caller], done))).user,
  };
  for (const call of Object.values(calls)) await rate(call, 0.5);
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const taken = {};
    for (const [name, call] of Object.entries(calls)) taken[name] = await rate(call, 1.5);
    rounds.push(taken);
  }
  for (const name of Object.keys(calls)) console.log(`  ${name}: ${Math.max(...rounds.map((taken) => taken[name])).toFixed(0)} a second at best`);
  report(`${CALLERS} callers, load and touch / connect-redis get and touch`, rounds.map((taken) => taken.ours / taken.theirs), 1.5, false);
  report('load / connect-redis get', rounds.map((taken) => taken['our load'] / taken['their get']), 1, false);
  await client.quit();
  await jarvis.close();
}

const wanted = process.argv.slice(2);
if (wanted.length === 0 || wanted.includes('memory')) await memory();
if (wanted.length === 0 || wanted.includes('redis')) await redis();
process.exitCode = missed ? 1 : 0;
