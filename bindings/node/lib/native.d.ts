// Generated from src/*.rs by test/native-types.js: don't edit. The types of the package are in ../types.

/** The end of one JavaScript environment (the main thread, or a worker thread). */
export declare class Bridge {
  /** Calls `wake` without arguments when there is something to `take()`. */
  constructor(wake: () => void)
  /** Starts the calls that were given a ticket; to be called at the end of the turn. */
  begin(): void
  /**
   * Takes everything from the inbox, three values each: 0 (done), ticket, answer; 1 (failed),
   * ticket, error as JSON; 2 (call a function), call, [function, arguments as JSON]; 3 (forget a
   * function), function, null; 4 (nobody waits for a call any more), call, null.
   */
  take(): Array<null | boolean | string | Buffer | Array<null | boolean | string | Buffer> | number>
  /**
   * Answers a call of a JavaScript function: its value as text, or with `failed` its error as
   * JSON.
   */
  reply(call: number, failed: boolean, text: string): void
}

/** The cache. */
export declare class Cache {
  /** The value of a key, as text or as bytes. */
  get(key: string, asBytes: boolean): string | Buffer | null | number
  /** Stores a value; true when it was stored. */
  set(key: string, given: string | Uint8Array, options?: StoreOptions | undefined | null): boolean | number
  /** Removes keys; how many there were. */
  delete(keys: Array<string>): string | number
  /** Is there a value? */
  exists(key: string): boolean | number
  /** Many values. */
  getMany(keys: Array<string>, asBytes: boolean): Array<string | Buffer | null> | number
  /** Stores many values; how many were stored. */
  setMany(keys: Array<string>, values: Array<string | Uint8Array>, options?: StoreOptions | undefined | null): string | number
  /** Adds to a number; the sum. */
  increment(key: string, by: string, ttl?: number | undefined | null): string | number
  /** Gives a key a new lifetime. */
  expire(key: string, ttl: number): boolean | number
  /** How long a key will live, in milliseconds, or `Infinity`. */
  lifetime(key: string): string | null | number
  /** Invalidates every entry with this tag. */
  invalidateTag(tag: string): null | number
  /** Removes the keys that match; how many. */
  invalidatePattern(pattern: string): string | number
  /** Invalidates every entry. */
  flush(): null | number
  /** Counters of this process, as JSON. */
  stats(): string | number
  /** The value of a key, loaded by a function where there is none. */
  getOrLoad(key: string, options: FetchOptions, function_: number): string | number
}

/** The bus. */
export declare class Events {
  /** The name of this bus in this process. */
  get instance(): string
  /** Publishes a message whose payload is JSON text; its envelope as JSON. */
  publish(topic: string, payload: string): string | number
  /** Waits until the server has JARVIS's own events. */
  flush(): null | number
  /** A subscription, which begins with `open()`. */
  subscribe(wanted?: Wanted | undefined | null): Stream
}

/** How a value is loaded. */
export interface FetchOptions {
  /** How it is stored. */
  store: StoreOptions
  /** How long after its expiry it may be served, in milliseconds. */
  stale?: number
  /** The weight of early refresh. */
  early?: number
  /** How long to wait for the load of another process, in milliseconds. */
  wait?: number
}

/** The state of the services. */
export declare class Health {
  /** One round of probes, as JSON. */
  check(names?: Array<string> | undefined | null): string | number
  /** The services as the loop of this state directory sees them, as JSON. */
  status(): string | number
  /** What the checks of this process say, as JSON. */
  snapshot(): string
  /** Is the loop of this process alive? As JSON. */
  healthz(): string
  /** How much of the time services were up, as JSON. */
  uptime(names?: Array<string> | undefined | null, window?: number | undefined | null): string | number
  /** The `OpenMetrics` text of this process. */
  metrics(): string | number
  /** The state changes of these services, or of all, beginning with the present states. */
  watch(names?: Array<string> | undefined | null): Stream
}

/** The handle of a configuration. Opening it starts and connects nothing. */
export declare class Jarvis {
  /** Opens a handle. */
  static open(bridge: Bridge, options: OpenOptions): Jarvis
  /** The sessions. */
  sessions(): Sessions
  /** The cache. */
  cache(): Cache
  /** The events. */
  events(): Events
  /** The state of the services. */
  health(): Health
  /** The commands of a person. */
  operator(): Operator
  /** The file that the configuration came from, where it came from one. */
  get file(): string | null
  /** How many calls of JavaScript objects go on although their deadline has passed. */
  get leftBehind(): number
  /** Supervises until `stop()`. */
  run(): null | number
  /** Ends `run`, which resolves when everything is written and closed. */
  stop(): void
  /** Ends the background work of the stores. */
  close(): null | number
  /**
   * The answer of a health route, as JSON. `max_age` is how old, in milliseconds, a round of
   * probes may be.
   */
  healthAnswer(services: Array<string>, maxAge: number): string | number
  /** The answer of a liveness route, as JSON. */
  livenessAnswer(): string
  /** Publishes the events of a request meter; false when there were none. */
  publishRequests(meter: RequestMeter): boolean | number
}

/** Which events of the log are wanted. */
export interface LogQuery {
  /** Only topics that one of these patterns matches. */
  topics?: Array<string>
  /** Only of this service. */
  service?: string
  /** Retained events from then on, RFC 3339; when absent all, with `follow` none. */
  since?: string
  /** At most this many retained events, the newest. */
  limit?: number
  /** Go on with new events. */
  follow?: boolean
  /** Also what other instances publish. */
  everywhere?: boolean
}

/** A function that calls the methods of an object, and the methods that there are. */
export interface Offered {
  /** Called with the method and its argument. */
  function: number
  /** By the core's names. */
  methods: Array<string>
}

/** How a handle is opened. */
export interface OpenOptions {
  /** A configuration file. Without this and `config`, the CLI's search for one applies. */
  file?: string
  /** A configuration as the JSON of its tables, instead of a file. */
  config?: string
  /** More tables, as JSON, beside those of the file. */
  extra?: string
  /** Overrides all of `[store]`, as far as the backend can hold it. */
  store?: string
  /** Overrides `[store] session`. */
  sessions?: string
  /** Overrides `[store] cache`. */
  cache?: string
  /** Overrides `[store] bus`. */
  bus?: string
  /** Overrides `[jarvis] state_dir`. */
  stateDir?: string
  /** Overrides `[jarvis] mode`. */
  mode?: string
  /** JavaScript objects that stand for backends, by the name in `object = "…"`. */
  objects?: Record<string, Offered>
  /** Functions that make probes of their settings, by `type`. */
  probes?: Record<string, number>
  /** Functions that make restarters of their settings, by `via`. */
  restarters?: Record<string, number>
  /** Functions that make alert sinks of their settings, by `type`. */
  sinks?: Record<string, number>
}

/** The operator of a state directory: the loop that runs there, else what the last loop left behind. */
export declare class Operator {
  /** The state of each service and what is done about it, as JSON. */
  status(): string | number
  /** Restarts a service; the answer as JSON. */
  restart(service: string, wait: boolean, by?: string | undefined | null): string | number
  /** Stops a service; the answer as JSON. */
  stop(service: string, wait: boolean, by?: string | undefined | null): string | number
  /** Starts a service; the answer as JSON. */
  start(service: string, wait: boolean, by?: string | undefined | null): string | number
  /** Clears the budgets, the breaker and the backoff of a service; the answer as JSON. */
  reset(service: string, by?: string | undefined | null): string | number
  /** Pauses all actions; the answer as JSON. */
  pause(reason: string, lasting?: number | undefined | null, by?: string | undefined | null): string | number
  /** Acts again; the answer as JSON. */
  resume(by?: string | undefined | null): string | number
  /** Opens a maintenance window; the answer as JSON. */
  maintain(services: Array<string>, duration: number, reason: string, by?: string | undefined | null): string | number
  /** Closes a maintenance window, or all; the answer as JSON. */
  endMaintenance(window?: number | undefined | null, by?: string | undefined | null): string | number
  /** The retained events, and with `follow` those that come. */
  events(query?: LogQuery | undefined | null): Stream
  /** Makes the loop read its configuration again; what changed, as JSON. */
  reload(): string | number
  /** Sends a test alert to a sink, or to each; what each answered, as JSON. */
  testAlert(sink?: string | undefined | null): string | number
}

/** Counts requests and how long they take. */
export declare class RequestMeter {
  /** A meter since this time, with events on `requests.SERVICE` when there is a service. */
  constructor(since: number, service?: string | undefined | null)
  /** One more request is being answered. */
  begin(): void
  /** A request has ended after this many milliseconds; true for the first since the last event. */
  end(method: string, route: string | undefined | null, status: number, took: number): boolean
  /** Takes the events that were not published yet: their payloads, as JSON. */
  take(now: number): Array<string>
  /** All requests since the start, as JSON. */
  snapshot(): string
  /** The `OpenMetrics` text, after that of others. */
  metrics(others?: string | undefined | null): string
}

/** The rules of a session cookie. */
export declare class SessionCookie {
  /** A cookie with these rules, as JSON. */
  constructor(rules: string)
  /** The session id in a `Cookie` header. */
  read(header: string): string | null
  /** The `Set-Cookie` header for a session that lives for this long. */
  write(id: string, left: number, https: boolean): string
  /** The `Set-Cookie` header that removes the cookie. */
  clear(https: boolean): string
}

/** A session from JavaScript. */
export interface SessionInput {
  /** Its id; for a new one a fresh id when absent. */
  id?: string
  /** Its user. */
  user?: string
  /** Its data, as JSON text. */
  data: string
  /** The version that it changes; 0 for a session that was never stored. */
  version?: number
  /** How long it lives, in milliseconds. */
  ttl?: number
  /** The visitor's address. */
  ip?: string
  /** The visitor's browser. */
  userAgent?: string
  /** The prefix of the store that made it. */
  prefix?: string
  /** Overwrite whatever is stored. */
  force?: boolean
}

/**
 * An update of a session in steps. It holds the session's turn from `begin()` until it is stored or
 * `end()` is called.
 */
export declare class SessionUpdate {
  /** Waits for the turn; the packed session, or null when there is none. */
  begin(): string | null | number
  /**
   * Saves the changed session. True and its head when it is stored; false and the packed session
   * that another process has stored meanwhile, to be changed and saved again; null when there is
   * no session any more.
   */
  save(changed: SessionInput): Array<boolean | string> | null | number
  /** Passes the turn on. */
  end(): void
}

/** The sessions. A text that a method gives is a packed session unless its doc says otherwise. */
export declare class Sessions {
  /** Makes a session. */
  create(session: SessionInput): string | number
  /** The session of an id. */
  load(id: string): string | null | number
  /** Loads a session and extends it, in one trip. */
  loadAndExtend(id: string, ttl?: number | undefined | null): string | null | number
  /**
   * Saves a session; its head. The arguments are the fields of `SessionInput`: reading an object
   * would take as long as the rest of the call.
   */
  save(id: string, version: number, ttl: number, data: string, force: boolean, user?: string | undefined | null, ip?: string | undefined | null, userAgent?: string | undefined | null, prefix?: string | undefined | null): string | number
  /**
   * Saves a session, merged with what others stored since `base` was loaded. True and the packed
   * session when it was merged, false and its head when it was not; null when there is no session.
   */
  saveMerged(base: SessionInput, mine: SessionInput): Array<boolean | string> | null | number
  /** An update of a session, in steps. */
  update(id: string, deadline?: number | undefined | null): SessionUpdate
  /** Removes a session. */
  delete(name: string, isHandle: boolean): boolean | number
  /** Extends a session; its new expiry, in milliseconds since 1970. */
  extend(name: string, isHandle: boolean, ttl?: number | undefined | null): string | null | number
  /** Moves a session to a fresh id. */
  regenerate(id: string, user?: string | undefined | null): string | null | number
  /** The sessions of a user, as JSON. */
  list(user: string): string | number
  /** Removes the sessions of a user; how many. */
  clear(user: string, except: string | undefined | null, isHandle: boolean): string | number
  /** How many sessions live. */
  count(user?: string | undefined | null): string | number
  /** Many sessions. */
  loadMany(ids: Array<string>): Array<string | null> | number
  /** Saves many; for each whether it was saved, and its head or its error as JSON. */
  saveMany(sessions: Array<SessionInput>): Array<boolean | string> | number
  /** Removes many; how many there were. */
  deleteMany(names: Array<string>, areHandles: Array<boolean>): string | number
  /** A page of all sessions, as JSON. */
  scan(cursor: string | undefined | null, limit: number): string | number
}

/** How a value is stored. */
export interface StoreOptions {
  /** How long it lives, in milliseconds; Infinity for no end. */
  ttl?: number
  /** Only when there is none. */
  ifAbsent?: boolean
  /** Only when there is one. */
  ifPresent?: boolean
  /** Tags to invalidate it by. */
  tags?: Array<string>
}

/** Items that come over time. */
export declare class Stream {
  /** Opens it. Called once, before the first `next()`. */
  open(): null | number
  /** Waits for items and gives all that are there, as a JSON array; null at the end. */
  next(): string | null | number
  /** Ends it; a pending `next()` gives null. */
  close(): void
}

/** Which events a subscriber wants. */
export interface Wanted {
  /** Topics; all when there is neither a topic nor a pattern. */
  topics?: Array<string>
  /** Patterns of topics. */
  patterns?: Array<string>
  /** `anywhere`, `here` or `elsewhere`. */
  origin?: string
  /** `drop_oldest` or `close`. */
  overflow?: string
  /** How many events may wait. */
  buffer?: number
}

/** The answer to a request that failed with this kind of error, as JSON. */
export declare function errorAnswer(kind: string, retryAfter?: number | undefined | null): string

/** A pattern that matches this text alone. */
export declare function escapePattern(text: string): string

/**
 * The answer of a health route, as JSON. The platform and the list of pairs of a service and its
 * state are JSON too.
 */
export declare function healthDocument(platform: string, services: string): string

/** The HTTP status of a kind of error. */
export declare function httpStatus(kind: string): number

/** The answer of a liveness route, as JSON. */
export declare function liveness(supervises: boolean, alive: boolean, reason: string): string
