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

/** Serves an application until the test is over; where it is. */
async function serve(t, app) {
  const server = createServer(app).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** An application with sessions; `routes` adds what it does. */
async function application(t, express, store, routes, options = {}) {
  const app = express();
  app.use(session({ store, secret: 'a secret', resave: false, saveUninitialized: false, ...options }));
  routes(app);
  app.use(errorHandler({ log: () => {} }));
  // Express prints what it answers 500 unless it is told that this is a test.
  app.set('env', 'test');
  return serve(t, app);
}

/** A store of express-session and the handle under it; on Redis in a database of the test file's own. */
function storeOn(t, storage, database, { config, ...options } = {}) {
  const jarvis = open(t, config, { sessions: address(storage, database) });
  return { jarvis, store: new JarvisStore({ sessions: jarvis.sessions, ...options }) };
}

/** Visits a place, and keeps its cookies as a browser does. */
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

  /** The id in the cookie, of which express-session signs what is behind the point. */
  get sid() {
    return /^s:(.*)\./.exec(decodeURIComponent(this.cookies.get('connect.sid')))[1];
  }
}

/** A door that a request waits at until the test opens it. */
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
