// The application of express.mjs, with one store: node express-app.mjs STORE PACKAGE REDIS-URL.
// Tells its port to the process that started it, and the CPU it took, in microseconds, when asked.
import { createRequire } from "node:module";
import { resolve } from "node:path";
import express from "express";
import session from "express-session";

const [, , which, folder, url] = process.argv;

const stores = {
  MemoryStore: () => new session.MemoryStore(),
  async "connect-redis"() {
    const { RedisStore } = await import("connect-redis");
    const { createClient } = await import("redis");
    const client = createClient({ url });
    await client.connect();
    return new RedisStore({ client });
  },
  "jarvis-memory": () => jarvis("memory:"),
  "jarvis-redis": () => jarvis(url),
};

function jarvis(sessions) {
  const load = createRequire(resolve(folder, "package.json"));
  const { Jarvis } = load("./lib/index.js");
  const { jarvisStore } = load("./express/index.js");
  const JarvisStore = jarvisStore(session);
  return new JarvisStore({ sessions: Jarvis.open({}, { sessions }).sessions });
}

const app = express();
app.set("env", "production");
app.use(
  session({
    store: await stores[which](),
    secret: "a secret",
    resave: false,
    saveUninitialized: false,
    cookie: { maxAge: 3_600_000 },
  }),
);
app.get("/login", (req, res) => {
  Object.assign(req.session, { user: "ada", views: 0, notes: "x".repeat(350) });
  res.json({});
});
app.get("/read", (req, res) => res.json({ user: req.session.user }));
app.get("/write", (req, res) => {
  req.session.views += 1;
  res.json({ views: req.session.views });
});

process.on("message", () => {
  const { user, system } = process.cpuUsage();
  process.send(user + system);
});
const server = app.listen(0, "127.0.0.1", () => process.send(server.address().port));
