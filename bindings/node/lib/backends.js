'use strict';

// Probes, restarters and sinks that are written in JavaScript: in the tables of a configuration
// (`probe`, `restarter`, `sink`), or as kinds that a configuration may name.

const { offer } = require('./bridge.js');
const { JarvisError } = require('./error.js');

/** What a table says instead of an object. */
const KIND = 'javascript';

const bad = (message) => new JarvisError(message, { kind: 'invalid_input' });

const request = ({ timeout_ms: timeout, ...rest }) => ({ timeout, ...rest });
const same = (argument) => argument;

/** What the compiled part may call: its name here, and its argument of what the core gives. */
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
  deliver: ['deliver', same],
};

/** Lets the compiled part call an object by its methods' names. */
function offerObject(object) {
  const methods = Object.keys(METHODS).filter((method) => typeof object[METHODS[method][0]] === 'function');
  const call = async ([method, argument], signal) => {
    const [name, convert] = METHODS[method];
    const answer = await object[name](convert(argument), { signal });
    return JSON.stringify(answer ?? null) ?? notJson(name);
  };
  return { function: offer(call), methods };
}

function notJson(method) {
  throw bad(`what ${method} answered has no form in JSON`);
}

/** A function alone stands for an object with that one method. */
function asObject(given, method, where) {
  if (typeof given === 'function') return { [method]: given };
  if (typeof given?.[method] === 'function') return given;
  throw bad(`${where} must be a function, or an object with a method ${method}`);
}

/** Offers functions that make objects of their settings. */
function offerFactories(factories = {}, method) {
  const entries = Object.entries(factories).map(([kind, make]) => {
    if (typeof make !== 'function') throw bad(`${kind} must be a function that makes a backend of its settings`);
    const offered = offer(async ([settings]) => JSON.stringify(offerObject(asObject(await make(settings), method, `what ${kind} made`))));
    return [kind, offered];
  });
  return Object.fromEntries(entries);
}

/** The tables without objects, and those by their names. */
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

/** A check is called by its type unless it has a name; ours all have the same type. */
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
