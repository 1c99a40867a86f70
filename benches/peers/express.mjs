// An Express application under autocannon, with each store of sessions in turn: reads (a session is
// loaded and touched) and writes (loaded and stored), 64 visitors with a session of 500 bytes each.
//
//   node express.mjs PACKAGE [REDIS-URL]
//
// PACKAGE is the folder of jarvis-core for Node, built. Needs what benches/peers/setup installs.
// Without a Redis it starts one. Prints medians with their spread; the exit code is 1 when a limit
// is missed.
import { fork, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import autocannon from "autocannon";

const ROUNDS = 5;
const SECONDS = Number(process.env.ROUND_SECONDS ?? 2);
const VISITORS = 64;
const PEERS = [
  { ours: "jarvis-memory", peer: "MemoryStore", limit: 0.9 },
  { ours: "jarvis-redis", peer: "connect-redis", limit: 1 },
];

const [, , folder, given] = process.argv;

async function redis() {
  if (given) return { url: given, end() {} };
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  const server = spawn("redis-server", ["--port", `${port}`, "--save", "", "--appendonly", "no"]);
  for await (const chunk of server.stdout) if (`${chunk}`.includes("Ready to accept")) break;
  return { url: `redis://127.0.0.1:${port}`, end: () => server.kill() };
}

/** The application in a process of its own, with a cookie for each visitor. */
async function application(which, url) {
  const process = fork(fileURLToPath(new URL("express-app.mjs", import.meta.url)), [which, folder, url]);
  const [port] = await once(process, "message");
  const place = `http://127.0.0.1:${port}`;
  const login = async () => (await fetch(`${place}/login`)).headers.getSetCookie()[0].split(";")[0];
  const cookies = await Promise.all(Array.from({ length: VISITORS }, login));
  const cpu = async () => {
    process.send("cpu");
    return (await once(process, "message"))[0];
  };
  return { place, cookies, cpu, end: () => process.kill() };
}

/** Requests a second, and microseconds of the server's CPU a request. */
async function load({ place, cookies, cpu }, path) {
  let next = 0;
  const before = await cpu();
  const result = await autocannon({
    url: place + path,
    connections: VISITORS,
    duration: SECONDS,
    setupClient: (client) => client.setHeaders({ cookie: cookies[next++ % VISITORS] }),
  });
  if (result.non2xx + result.errors + result.timeouts > 0) throw new Error(`${path}: not all requests were answered`);
  const { total } = result.requests;
  return { rate: total / result.duration, cost: ((await cpu()) - before) / total };
}

const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];

/** One after the other, so that both meet what else the machine does. */
async function compare(ours, peer, path) {
  const rounds = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const order = round % 2 === 0 ? [ours, peer] : [peer, ours];
    const results = new Map();
    for (const one of order) results.set(one, await load(one, path));
    rounds.push([results.get(ours), results.get(peer)]);
  }
  return rounds;
}

/** The median of what is ours over what is the peer's, with its spread. */
function ratio(rounds, of) {
  const ratios = rounds.map(([ours, peer]) => of(ours) / of(peer));
  const text = `${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}–${Math.max(...ratios).toFixed(2)})`;
  return { median: median(ratios), text };
}

const server = await redis();
let missed = 0;
for (const { ours, peer, limit } of PEERS) {
  const [one, two] = [await application(ours, server.url), await application(peer, server.url)];
  for (const path of ["/read", "/write"]) {
    await load(one, path);
    await load(two, path);
    const rounds = await compare(one, two, path);
    const rates = ratio(rounds, ({ rate }) => rate);
    const costs = ratio(rounds, ({ cost }) => cost);
    const isMissed = rates.median < limit;
    if (isMissed) missed += 1;
    console.log(`${path} ${ours} / ${peer}: requests ${rates.text}, at least ${limit}${isMissed ? ", MISSED" : ""}; CPU each ${costs.text}`);
  }
  one.end();
  two.end();
}
server.end();
process.exit(missed > 0 ? 1 : 0);
