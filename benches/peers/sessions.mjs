// A peer of the session bench: connect-redis (over node-redis) or ioredis.
//
//   node sessions.mjs connect-redis|ioredis PORT CALLERS SESSION-JSON
//
// Reads "get SECONDS" or "set SECONDS" a line, runs that many callers for so long, and answers with
// the operations a second. Says "ready" first.
import { createInterface } from "node:readline";

const [, , which, port, callers, text] = process.argv;
const session = JSON.parse(text);
const ids = Array.from({ length: Number(callers) }, (_, n) => `${which}-${n}`);

async function connectRedis() {
  const { RedisStore } = await import("connect-redis");
  const { createClient } = await import("redis");
  const client = createClient({ url: `redis://127.0.0.1:${port}` });
  await client.connect();
  const store = new RedisStore({ client, ttl: 3600 });
  const told = (call) =>
    new Promise((resolve, reject) => call((error, value) => (error ? reject(error) : resolve(value))));
  return {
    get: (id) => told((done) => store.get(id, done)),
    set: (id) => told((done) => store.set(id, session, done)),
  };
}

async function ioredis() {
  const { Redis } = await import("ioredis");
  const client = new Redis({ host: "127.0.0.1", port: Number(port) });
  return {
    get: async (id) => JSON.parse(await client.get(id)),
    set: (id) => client.set(id, JSON.stringify(session), "EX", 3600),
  };
}

const store = await (which === "ioredis" ? ioredis() : connectRedis());
for (const id of ids) await store.set(id);
if (JSON.stringify(await store.get(ids[0])) !== JSON.stringify(session)) {
  throw new Error("the session did not come back as it was");
}

async function run(operation, seconds) {
  const end = performance.now() + seconds * 1000;
  const began = performance.now();
  let done = 0;
  await Promise.all(
    ids.map(async (id) => {
      while (performance.now() < end) {
        await store[operation](id);
        done += 1;
      }
    }),
  );
  return done / ((performance.now() - began) / 1000);
}

console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const [operation, seconds] = line.split(" ");
  console.log(await run(operation, Number(seconds)));
}
process.exit(0);
