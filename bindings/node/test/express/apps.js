'use strict';

// Express applications on real ports, and their visitors.
const { once } = require('node:events');
const { createServer } = require('node:http');
const session = require('express-session');
const { errorHandler, jarvisStore } = require('../../express');
const { address, open } = require('../stores.js');

const JarvisStore = jarvisStore(session);

const expresses = [
  ['Express 4', require('express4')],
  ['Express 5', require('express5')],
];

/** Serves an application until the test is over; returns its address. */
async function serve(t, app) {
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** An application with sessions and these routes. */
async function application(t, express, store, routes, options = {}) {
  const app = express();
  app.use(session({ store, secret: 'a secret', resave: false, saveUninitialized: false, ...options }));
  routes(app);
  app.use(errorHandler({ log: () => {} }));
  // Outside of the environment `test` Express prints every error that it answers with 500.
  app.set('env', 'test');
  return serve(t, app);
}

/** A store of express-session and its handle; on Redis each test file has its own database. */
function storeOn(t, storage, database, { config, ...options } = {}) {
  const jarvis = open(t, config, { sessions: address(storage, database) });
  return { jarvis, store: new JarvisStore({ sessions: jarvis.sessions, ...options }) };
}

/** Sends requests, and keeps cookies as a browser does. */
class Visitor {
  cookies = new Map();

  constructor(place) {
    this.place = place;
  }

  async ask(path, { method = 'GET', json, signal } = {}) {
    const cookie = [...this.cookies].map(([name, value]) => `${name}=${value}`).join('; ');
    const headers = { ...(cookie && { cookie }), ...(json && { 'content-type': 'application/json' }) };
    const answer = await fetch(this.place + path, { method, signal, headers, body: json && JSON.stringify(json) });
    for (const line of answer.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      this.cookies.set(name, value);
    }
    const text = await answer.text();
    const body = answer.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
    return { status: answer.status, headers: answer.headers, body };
  }

  async get(path) {
    return (await this.ask(path)).body;
  }

  /** The id in the cookie, without the signature that express-session adds. */
  get sid() {
    return /^s:(.*)\./.exec(decodeURIComponent(this.cookies.get('connect.sid')))[1];
  }
}

/** Lets a request wait until the test opens it. */
function gate() {
  let open;
  let reach;
  const opened = new Promise((resolve) => (open = resolve));
  const reached = new Promise((resolve) => (reach = resolve));
  return {
    reached,
    open,
    pass() {
      reach();
      return opened;
    },
  };
}

module.exports = { JarvisStore, Visitor, application, expresses, gate, serve, storeOn };
