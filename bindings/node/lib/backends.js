'use strict';

// Probes, restarters and sinks written in JavaScript: objects in the tables of a configuration
// (`probe`, `restarter`, `sink`), or factories for kinds that a configuration names.

const { offer } = require('./bridge.js');
const { invalid } = require('./error.js');
const { camelCased, toCore } = require('./json.js');

/** The `type` or `via` of a table whose backend is a JavaScript object. */
const KIND = 'javascript';

const request = ({ timeout_ms: timeout, ...rest }) => ({ timeout, ...rest });

/** The methods that the core calls: their names in JavaScript, and the argument made of the core's. */
const METHODS = {
  probe: ['probe', request],
  observe: ['observe', () => null],
  restart: ['restart', request],
  start: ['start', request],
  stop: ['stop', request],
  roll_back: ['rollBack', request],
  settle_roll_back: ['settleRollBack', ({ keep }) => keep],
  last_log_lines: ['lastLogLines', ({ lines }) => lines],
  release: ['release', ({ why }) => why],
  deliver: ['deliver', camelCased],
};

/** Lets the compiled part call the methods of an object. */
function offerObject(object) {
  const methods = Object.keys(METHODS).filter((method) => typeof object[METHODS[method][0]] === 'function');
  const call = async ([method, argument], signal) => {
    const [name, convert] = METHODS[method];
    const answer = await object[name](convert(argument), { signal });
    return JSON.stringify(toCore(answer ?? null)) ?? notJson(name);
  };
  return { function: offer(call), methods };
}

function notJson(method) {
  throw invalid(`the answer of ${method}() has no JSON form`);
}

/** A function stands for an object with that one method. */
function asObject(given, method, where) {
  if (typeof given === 'function') return { [method]: given };
  if (typeof given?.[method] === 'function') return given;
  throw invalid(`${where} must be a function, or an object with a method ${method}`);
}

/** Offers factories: each makes an object from its settings. */
function offerFactories(factories = {}, method) {
  const entries = Object.entries(factories).map(([kind, make]) => {
    if (typeof make !== 'function') throw invalid(`${kind} must be a function that makes a backend from its settings`);
    const offered = offer(async ([settings]) => JSON.stringify(offerObject(asObject(await make(settings), method, `the result of ${kind}()`))));
    return [kind, offered];
  });
  return Object.fromEntries(entries);
}

/** The tables with a name in the place of each object, and the objects by these names. */
function replaced(tables) {
  const objects = {};
  const take = (table, key, word, method, name) => {
    if (table === null || typeof table !== 'object' || !(key in table)) return table;
    const { [key]: given, ...rest } = table;
    objects[name] = offerObject(asObject(given, method, name));
    return { ...rest, [word]: KIND, object: name };
  };
  const service = mapped(tables.service, (table, id) => {
    const check = Array.isArray(table.check)
      ? table.check.map((one, at) => named(take(one, 'probe', 'type', 'probe', `service.${id}.check.${one?.name ?? at}`)))
      : table.check;
    const restart = take(table.restart, 'restarter', 'via', 'restart', `service.${id}.restart`);
    return { ...table, ...(check && { check }), ...(restart && { restart }) };
  });
  const alert = mapped(tables.alert, (table, name) => take(table, 'sink', 'type', 'deliver', `alert.${name}`));
  return [{ ...tables, ...(service && { service }), ...(alert && { alert }) }, objects];
}

/** A check without a name is called by its type, which is the same for all of these. */
function named(check) {
  return check?.type === KIND && check.name === undefined ? { ...check, name: 'probe' } : check;
}

function mapped(tables, change) {
  if (tables === undefined || tables === null || typeof tables !== 'object') return tables;
  const entries = Object.entries(tables).map(([name, table]) => {
    return [name, table !== null && typeof table === 'object' ? change(table, name) : table];
  });
  return Object.fromEntries(entries);
}

module.exports = { offerFactories, replaced };
