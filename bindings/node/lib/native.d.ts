// Generated from src/*.rs by test/native-types.js: don't edit. What people use is in ../index.d.ts.

/** The end of one JavaScript environment (the main thread, or a worker thread). */
export declare class Bridge {
  /** `wake` is called without arguments when there is something to `take()`. */
  constructor(wake: () => void)
  /** Lets the calls begin that were given a ticket: to be called at the end of the turn. */
  begin(): void
  /**
   * Everything that waits, three values each: 0 (done), ticket, answer; 1 (failed), ticket,
   * error as JSON; 2 (call a function), call, [function, arguments as JSON]; 3 (forget a
   * function), function, null; 4 (nobody waits for a call), call, null.
   */
  take(): Array<null | boolean | string | Buffer | Array<null | boolean | string | Buffer> | number>
  /**
   * A function that was called has answered: its value as text, or with `failed` its error as
   * JSON.
   */
  reply(call: number, failed: boolean, text: string): void
}

/** The cache. */
export declare class Cache {
  /** The value of a key, as text or as bytes. */
  get(key: string, asBytes: boolean): string | Buffer | null | number
  /** Stores a value; whether it did. */
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
  /** Makes all with this tag miss. */
  invalidateTag(tag: string): null | number
  /** Removes the keys that match; how many. */
  invalidatePattern(pattern: string): string | number
  /** Makes all miss. */
  flush(): null | number
  /** What it has seen, as JSON. */
  stats(): string | number
  /** The value of a key, loaded by a function where there is none. */
  getOrLoad(key: string, options: FetchOptions, function_: number): string | number
}

/** The bus. */
export declare class Events {
  /** Names this bus in this process. */
  get instance(): string
  /** Publishes a message whose payload is JSON text; its envelope as JSON. */
  publish(topic: string, payload: string): string | number
  /** Waits until JARVIS's own events are with the server. */
  flush(): null | number
  /** Subscribes; `open()` tells when it is done. */
  subscribe(wanted?: Wanted | undefined | null): Subscription
}

/** How a value is loaded. */
export interface FetchOptions {
  /** How it is stored. */
  store: StoreOptions
  /** How long after its end it may be given, in milliseconds. */
  stale?: number
  /** The weight of early refresh. */
  early?: number
  /** How long another process may take, in milliseconds. */
  wait?: number
}

/** What is well. */
export declare class Health {
  /** One round of probes, as JSON. */
  check(names?: Array<string> | undefined | null): string | number
  /** What this process knows, as JSON. */
  snapshot(): string
  /** Does the loop of this process go round? As JSON. */
  healthz(): string
  /** How much of the time services were up, as JSON. */
  uptime(names?: Array<string> | undefined | null, window?: number | undefined | null): string | number
  /** The `OpenMetrics` text of this process. */
  metrics(): string | number
  /** The changes, beginning with what is known. */
  watch(): Watch
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
  /** What is well. */
  health(): Health
  /** What a person asks for. */
  operator(): Operator
  /** The file that the configuration came from, where it came from one. */
  get file(): string | null
  /** How many calls of JavaScript objects nobody waits for any more that have not ended. */
  get leftBehind(): number
  /** Supervises until `stop()`. */
  run(): null | number
  /** Ends `run`, which resolves when all is in order. */
  stop(): void
  /** Ends what goes on behind the stores. */
  close(): null | number
}

/** Events, oldest first. */
export declare class Log {
  /** Waits for events and gives all that are there, as a JSON array; null at the end. */
  next(): string | null | number
  /** Ends it; who waits gets null. */
  close(): void
}

/** Which events are wanted. */
export interface LogQuery {
  /** Only topics that one of these patterns matches. */
  topics?: Array<string>
  /** Only of this service. */
  service?: string
  /** Retained events from then on, RFC 3339; none when absent. */
  since?: string
  /** At most that many retained events, the newest. */
  limit?: number
  /** Go on with new events. */
  follow?: boolean
  /** Also what other instances say. */
  everywhere?: boolean
}

/** A function that calls the methods of an object, and which those are. */
export interface Offered {
  /** Called with the method and its argument. */
  function: number
  /** By the names that the core calls them by. */
  methods: Array<string>
}

/** How a handle is opened. */
export interface OpenOptions {
  /** A configuration file. Without it and `config`, one is looked for as the CLI does. */
  file?: string
  /** A configuration as the JSON of its tables, instead of a file. */
  config?: string
  /** More tables, as JSON, beside those of the file. */
  extra?: string
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

/** The operator of a state directory: the loop that runs there, else what it left behind. */
export declare class Operator {
  /** What the services are and what is done about them, as JSON. */
  status(): string | number
  /** Restarts a service; the answer as JSON. */
  restart(service: string, wait: boolean): string | number
  /** Stops a service; the answer as JSON. */
  stop(service: string, wait: boolean): string | number
  /** Starts a service; the answer as JSON. */
  start(service: string, wait: boolean): string | number
  /** Clears the budgets, the breaker and the backoff of a service; the answer as JSON. */
  reset(service: string): string | number
  /** Holds every action; the answer as JSON. */
  pause(reason: string, lasting?: number | undefined | null): string | number
  /** Acts again; the answer as JSON. */
  resume(): string | number
  /** Opens a maintenance window; the answer as JSON. */
  maintain(services: Array<string>, duration: number, reason: string): string | number
  /** Closes a maintenance window, or each; the answer as JSON. */
  endMaintenance(window?: number | undefined | null): string | number
  /** What happened, and with `follow` what happens. */
  events(query?: LogQuery | undefined | null): Log
  /** Makes the loop read its configuration again; what changed, as JSON. */
  reload(): string | number
  /** Sends a test alert to a sink, or to each; how each took it, as JSON. */
  testAlert(sink?: string | undefined | null): string | number
}

/** A session as it is given. */
export interface SessionInput {
  /** Its id; for a new one a fresh id when absent. */
  id?: string
  /** Its user. */
  user?: string
  /** Its data, as JSON text. */
  data: string
  /** The version that is changed; 0 for one that was never stored. */
  version?: number
  /** How long it lives, in milliseconds. */
  ttl?: number
  /** The visitor's address. */
  ip?: string
  /** The visitor's browser. */
  userAgent?: string
  /** Over whatever is stored. */
  force?: boolean
}

/** Where the sessions are kept. Text that these give is a packed session unless said otherwise. */
export declare class Sessions {
  /** Makes a session. */
  create(session: SessionInput): string | number
  /** The session of an id. */
  load(id: string): string | null | number
  /** Loads a session and lets it live on, in one trip. */
  loadAndExtend(id: string, ttl?: number | undefined | null): string | null | number
  /**
   * Saves a session, given as the fields of `SessionInput`; its head alone. Reading an object would
   * take as long as the rest.
   */
  save(id: string, version: number, ttl: number, data: string, force: boolean, user?: string | undefined | null, ip?: string | undefined | null, userAgent?: string | undefined | null): string | number
  /** Removes a session. */
  delete(name: string, isHandle: boolean): boolean | number
  /** Lets a session live on; until when, in milliseconds since 1970. */
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
  /** What it can be invalidated by. */
  tags?: Array<string>
}

/** What one subscriber receives. */
export declare class Subscription {
  /** Subscribes. */
  open(): null | number
  /**
   * Waits for events and gives all that are there, as a JSON array of envelopes and notices;
   * null at the end.
   */
  next(): string | null | number
  /** Ends it; who waits gets null. */
  close(): void
}

/** Which events are wanted. */
export interface Wanted {
  /** Topics; all when there is neither a topic nor a pattern. */
  topics?: Array<string>
  /** Patterns of topics. */
  patterns?: Array<string>
  /** `anywhere`, `here` or `elsewhere`. */
  origin?: string
  /** `drop_oldest` or `close`. */
  overflow?: string
  /** How many may wait. */
  buffer?: number
}

/** Changes of services, as they come. */
export declare class Watch {
  /** The next change as a JSON array of one; null at the end. */
  next(): string | null | number
  /** Ends it; who waits gets null. */
  close(): void
}

/** A pattern that matches this text alone. */
export declare function escapePattern(text: string): string

/** Takes a text and gives it back: what any bound function costs. */
export declare function trialEcho(text: string, back: string): string

/** Fails with an error of this kind: at once, or `late` from the runtime. */
export declare function trialFail(bridge: Bridge, kind: string, late: boolean): number

/** Never ends by itself. */
export declare function trialHang(bridge: Bridge): number

/** The kinds of errors, by their words. */
export declare function trialKinds(): Array<string>

/** Gives a text back through the runtime. */
export declare function trialLate(bridge: Bridge, text: string): string | number

/** Panics: at once, or `late` in the runtime. */
export declare function trialPanic(bridge: Bridge, late: boolean): number
