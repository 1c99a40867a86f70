// What people read and compile against. The compiled part's own types are in lib/native.d.ts.

/** Milliseconds, as everywhere in JavaScript. */
export type Millis = number;

/** Where a store is: `memory:`, `sqlite:PATH`, `redis://…`, `rediss://…`, `redis+cluster://…`, `redis+sentinel://…`. */
export type StoreUrl = string;

/** JSON, as it is stored. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export type ErrorKind =
  | 'not_found'
  | 'conflict'
  | 'invalid_input'
  | 'config_invalid'
  | 'unauthorized'
  | 'forbidden'
  | 'rate_limited'
  | 'budget_exceeded'
  | 'too_large'
  | 'exhausted'
  | 'unavailable'
  | 'timeout'
  | 'cancelled'
  | 'unsupported'
  | 'corrupt'
  | 'internal';

/** May the same call be made again? `indeterminate`: it may have been applied. */
export type Retry = 'never' | 'safe' | 'indeterminate';

export interface ErrorDetails {
  /** Default `internal`. */
  kind?: ErrorKind;
  cause?: unknown;
  operation?: string;
  context?: Record<string, string>;
  /** Default `never`. */
  retry?: Retry;
  retryAfter?: Millis;
}

/**
 * Every failure of this package. A probe, a restarter or a sink of yours may throw one too, to say
 * what kind of failure it was.
 */
export class JarvisError extends Error {
  constructor(message: string, details?: ErrorDetails);
  readonly name: 'JarvisError';
  /** The same in every language: `ERR_JARVIS_NOT_FOUND`, … */
  readonly code: `ERR_JARVIS_${Uppercase<ErrorKind>}`;
  readonly kind: ErrorKind;
  readonly retry: Retry;
  /** Was it certainly not applied, so that the call may be repeated? */
  readonly retryable: boolean;
  /** How long the other side asked us to wait. */
  readonly retryAfter?: Millis;
  /** What failed: `session.redis.load`. */
  readonly operation?: string;
  /** Facts, such as the service or the path. */
  readonly context: Readonly<Record<string, string>>;
  readonly cause?: unknown;
  /** With the kind `conflict` of a `save`: what is stored now. */
  readonly current?: Session;
}

export interface OpenOptions {
  /** Where everything is remembered, instead of `[jarvis] state_dir`. */
  stateDir?: string;
  /** Instead of `[store] session`. Default `sqlite:`. */
  sessions?: StoreUrl;
  /** Instead of `[store] cache`. Default `memory:`. */
  cache?: StoreUrl;
  /** Instead of `[store] bus`. Default `memory:`. */
  bus?: StoreUrl;
  /** How much it may do, instead of `[jarvis] mode`. */
  mode?: Mode;
  /** Services beside those of the configuration, as its `[service.X]` tables. */
  services?: Record<string, ServiceTable>;
  /** Alert sinks beside those of the configuration, as its `[alert.X]` tables. */
  alerts?: Record<string, AlertTable>;
  /** Kinds of probes that the configuration may name as `type = "…"`: each makes one of its settings. */
  probes?: Record<string, (settings: any) => Made<HealthProbe | HealthProbe['probe']>>;
  /** Kinds of restarters that the configuration may name as `via = "…"`. */
  restarters?: Record<string, (settings: any) => Made<ServiceRestarter>>;
  /** Kinds of alert sinks that the configuration may name as `type = "…"`. */
  sinks?: Record<string, (settings: any) => Made<AlertSink | AlertSink['deliver']>>;
}

/** What a function gives at once or later. */
export type Made<T> = T | Promise<T>;

/** How much JARVIS may do. */
export type Mode = 'act' | 'dry-run' | 'observe';

/** `[service.X]`; durations as there: `"10s"`. */
export interface ServiceTable {
  critical?: boolean;
  start_grace?: string;
  depends_on?: string[];
  check?: CheckTable[];
  restart?: RestartTable;
  [key: string]: unknown;
}

/** `[[service.X.check]]`: a `type` with its settings, or a `probe` of yours. */
export interface CheckTable {
  name?: string;
  type?: string;
  probe?: HealthProbe | HealthProbe['probe'];
  interval?: string;
  timeout?: string;
  [key: string]: unknown;
}

/** `[service.X.restart]`: the consent to act. A `via` with its settings, or a `restarter` of yours. */
export interface RestartTable {
  via?: string;
  restarter?: ServiceRestarter;
  [key: string]: unknown;
}

/** `[alert.X]`: a `type` with its settings, or a `sink` of yours. */
export interface AlertTable {
  type?: string;
  sink?: AlertSink | AlertSink['deliver'];
  [key: string]: unknown;
}

/** Why something is not well. */
export type FailureKind =
  | 'exited'
  | 'refused'
  | 'timeout'
  | 'reset'
  | 'protocol'
  | 'server_error'
  | 'body'
  | 'check'
  | 'dns'
  | 'unreachable'
  | 'tls'
  | 'auth'
  | 'client_error'
  | 'rate_limited'
  | 'slow'
  | 'resource'
  | 'not_ready'
  | 'missing'
  | 'internal';

/** What one probe saw. */
export interface Observation {
  verdict: 'pass' | 'warn' | 'fail' | 'unknown';
  /** Why it did not pass. Default `check`. */
  kind?: FailureKind;
  /** One line for a person, without secrets. */
  message?: string;
  /** Names the life that was seen, where that can be told. */
  instance?: string;
  facts?: Record<string, Json>;
}

/** Aborts when nobody waits for the answer any more. */
export interface Call {
  readonly signal: AbortSignal;
}

/** Nothing or true: it is well. False: it is not. A text: it is well, and this is the message. */
export type ProbeAnswer = void | null | boolean | string | Observation;

/**
 * Measures one target. A sick target is an observation; throw when you could not measure. What is
 * thrown with `ECONNREFUSED` or `ETIMEDOUT` tells of a sick target too. One that does not answer by
 * the check's timeout is a failure, and is not called again before it has.
 */
export interface HealthProbe {
  /** `timeout`: how long we wait. `fresh`: not what was measured before, but now. */
  probe(request: { readonly timeout: Millis; readonly fresh: boolean }, call: Call): Made<ProbeAnswer>;
}

/** An action that is to be taken, already recorded. The same intent again must not act again. */
export interface ActionRequest {
  readonly intent: string;
  readonly token: unknown;
  /** How long we wait for the answer. */
  readonly timeout: Millis;
  /** Which version, for `rollBack`. */
  readonly to?: string;
}

/** What the platform answered. */
export interface Receipt {
  /** The life before, and after. */
  before?: string;
  after?: string;
  /** One line for a person. */
  message?: string;
}

/** What runs. */
export interface Running {
  state: 'running' | 'starting' | 'exited' | 'stopped_by_person' | 'not_started' | 'missing';
  /** With `exited`: how; `"unknown"`, `"out_of_memory"`, `{ code }` or `{ signal }`. */
  exit?: 'unknown' | 'out_of_memory' | { code: number } | { signal: number };
  /** With `stopped_by_person`: how we know. */
  evidence?: string;
  /** Names this life: two never share it. */
  instance?: string;
  version?: string;
  /** RFC 3339. */
  started_at?: string;
}

/** Nothing, a line for a person, or a receipt. */
export type ReceiptAnswer = void | null | string | Receipt;

/**
 * Brings one service back. Whether to act is the operator's business: act once, at once, and tell
 * the truth about it. It is not called twice for one intent. Without `start`, `stop` or `rollBack`
 * those are `unsupported`; the others may be left out.
 */
export interface ServiceRestarter {
  /** Does it run; the name of its life; or more of it. */
  observe(nothing: null, call: Call): Made<boolean | string | Running>;
  restart(request: ActionRequest, call: Call): Made<ReceiptAnswer>;
  start?(request: ActionRequest, call: Call): Made<ReceiptAnswer>;
  stop?(request: ActionRequest, call: Call): Made<ReceiptAnswer>;
  rollBack?(request: ActionRequest, call: Call): Made<ReceiptAnswer>;
  settleRollBack?(keep: boolean, call: Call): Made<void>;
  release?(why: 'interrupted' | 'terminated', call: Call): Made<void>;
  lastLogLines?(lines: number, call: Call): Made<string[]>;
}

/** One message to people. */
export interface Alert {
  /** Names this message: use it to deliver once. */
  readonly id: string;
  /** The same over the whole incident. */
  readonly key: string;
  readonly status: 'triggered' | 'updated' | 'reminder' | 'recovered' | 'resolved' | 'test';
  readonly severity: 'info' | 'warning' | 'critical';
  readonly service?: string;
  readonly title: string;
  readonly body: string;
  readonly at: string;
  readonly lasted_ms?: Millis;
}

/** Delivers messages to people. When it throws an error that is retryable it is tried again. */
export interface AlertSink {
  deliver(alert: Alert, call: Call): Made<unknown>;
}

/** Everything that a configuration describes, behind one handle. */
export class Jarvis {
  private constructor();
  /**
   * Opens a handle. Starts nothing and connects nothing: each part opens at its first use.
   *
   * @param config The path of a `jarvis.toml`, or its tables as an object. Without one it is looked
   *   for as the command line does; where there is none the configuration is empty.
   * @throws {JarvisError} `config_invalid` with every mistake at once.
   */
  static open(config?: string | URL | ConfigTables | null, options?: OpenOptions): Jarvis;
  /** Where sessions are kept. */
  readonly sessions: SessionStore;
  /** What may be forgotten. */
  readonly cache: Cache;
  /** What happened, and messages between the instances of an application. */
  readonly events: EventBus;
  /** What is well. */
  readonly health: Health;
  /** What a person asks for. */
  readonly operator: Operator;
  /** How many calls of your own probes, restarters and sinks hang past their deadline. */
  readonly leftBehind: number;
  /**
   * Supervises: watches, heals, alerts, and answers on the control socket; until the signal aborts
   * or `close()`. Resolves when all is in order, which takes 28 s at most.
   */
  run(options?: { signal?: AbortSignal }): Promise<void>;
  /** Ends `run` and what goes on behind the stores. May be called again. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** The tables of a `jarvis.toml`: `{ store: { session: 'redis://…' }, session: { ttl: '30m' } }`. */
export interface ConfigTables {
  [table: string]: unknown;
}

/** A session's data: one JSON object. */
export type SessionData = Record<string, unknown>;

/** A session as it was stored at one version. Change it and `save` it. */
export class Session<D extends object = SessionData> {
  private constructor();
  /** The visitor's secret: for their cookie, and for nobody else. */
  readonly id: string;
  /** Whose it is, once that is known. */
  user: string | null;
  /** What it holds. Read from its text when it is first looked at. */
  data: D;
  /** `data` as JSON text; may be set instead of it. */
  json: string;
  /** Grows by one with every save. */
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  /** From when on it is gone. */
  readonly expiresAt: Date;
  /** How long it lives after a save or an extension. */
  ttl: Millis;
  /** Where it was made. Assign a new object to change it. */
  meta: SessionMeta;
  toJSON(): object;
}

/** Where a session was made, as far as the application said. */
export interface SessionMeta {
  /** The visitor's address. */
  readonly ip: string | null;
  /** The visitor's browser, as it calls itself. */
  readonly userAgent: string | null;
}

/** A session as others may see it: without its data, and without its id where ids are hashed. */
export interface SessionSummary {
  /** Names it in `delete`, `extend` and `clear`. */
  readonly handle: string;
  readonly id: string | null;
  readonly user: string | null;
  readonly version: number;
  readonly createdAt: Date;
  readonly updatedAt: Date;
  readonly expiresAt: Date;
  readonly meta: SessionMeta;
}

/** A session by its id, by itself, or by what a listing gave. */
export type SessionName = string | Session<any> | { readonly handle: string };

export interface NewSession<D extends object = SessionData> {
  /** An id that a framework made, 1 to 128 bytes; else a fresh one that can't be guessed. */
  id?: string;
  user?: string;
  /** Default `{}`. */
  data?: D;
  /** `data` as JSON text, instead of it. */
  json?: string;
  /** Default: the policy's. */
  ttl?: Millis;
  ip?: string;
  userAgent?: string;
}

/**
 * Keeps sessions. All methods reject with a `JarvisError`: `unavailable` or `timeout` when the
 * storage can't be reached, `invalid_input` for an argument that can't be, `too_large` for data
 * over the policy's size.
 */
export class SessionStore {
  private constructor();
  /** Makes a session, with version 1. `conflict` when its id is taken. */
  create<D extends object = SessionData>(session?: NewSession<D>): Promise<Session<D>>;
  /** The session of this id; null when there is none, or it expired. */
  load<D extends object = SessionData>(id: string): Promise<Session<D> | null>;
  /** `load` and `extend` in one trip: what a request begins with. */
  loadAndExtend<D extends object = SessionData>(id: string, options?: { ttl?: Millis }): Promise<Session<D> | null>;
  /**
   * Stores a session if nobody changed it since it was loaded, and gives it back with its new
   * version. `conflict` with `current` when somebody did; `not_found` when it expired or was
   * deleted: a late save never brings a session back. `force`: whatever is stored.
   */
  save<S extends Session<any>>(session: S, options?: { force?: boolean }): Promise<S>;
  /**
   * Loads, changes and saves, again until nobody came in between; `change` may be called more than
   * once. Null when there is no such session; `timeout` when the deadline (5 s) passes first.
   */
  update<D extends object = SessionData>(
    id: string,
    change: (session: Session<D>) => void | Promise<void>,
    options?: { deadline?: Millis },
  ): Promise<Session<D> | null>;
  /** Removes a session: a logout. False when there was none. */
  delete(session: SessionName): Promise<boolean>;
  /** Lets a session live for `ttl` (else its own) from now; until when, or null. */
  extend(session: SessionName, options?: { ttl?: Millis }): Promise<Date | null>;
  /** Moves a session to a fresh id, for a login; null when there is none. */
  regenerate<D extends object = SessionData>(id: string, options?: { user?: string }): Promise<Session<D> | null>;
  /** The sessions of a user, oldest first. */
  list(user: string): Promise<SessionSummary[]>;
  /** Removes the sessions of a user, but one; how many. */
  clear(user: string, options?: { except?: SessionName }): Promise<number>;
  /** How many sessions live, of a user or of all. */
  count(options?: { user?: string }): Promise<number>;
  /** `load` for many ids, in their order. */
  loadMany<D extends object = SessionData>(ids: readonly string[]): Promise<(Session<D> | null)[]>;
  /** `save` for many, in their order: each is the saved session, or why it was not. */
  saveMany<S extends Session<any>>(sessions: readonly S[], options?: { force?: boolean }): Promise<(S | JarvisError)[]>;
  /** `delete` for many; how many there were. */
  deleteMany(sessions: readonly SessionName[]): Promise<number>;
  /** Every living session, in no order; asked for in pages. */
  scan(options?: { pageSize?: number }): AsyncGenerator<SessionSummary, void, undefined>;
}

export interface SetOptions {
  /** How long it lives, or `Infinity`. Default: the policy's, 5 minutes. */
  ttl?: Millis;
  /** Only when there is none. */
  ifAbsent?: boolean;
  /** Only when there is one. */
  ifPresent?: boolean;
  /** What it can be invalidated by; at most 4. */
  tags?: string[];
}

export interface LoadOptions extends Omit<SetOptions, 'ifAbsent' | 'ifPresent'> {
  /** How long after its end a value may still be given while a new one is loaded. Default 0. */
  stale?: Millis;
  /** Refreshes shortly before a value runs out; 1 is the usual weight, 0 (default) never. */
  early?: number;
  /** How long another process may take to load before this one does. Default 2 s. */
  wait?: Millis;
}

export interface CacheStats {
  readonly hits: number;
  readonly nearHits: number;
  readonly staleHits: number;
  readonly misses: number;
  readonly loads: number;
  readonly loadFailures: number;
  readonly errors: number;
  readonly evictions: number;
  readonly entries: number | null;
  readonly readP50Us: number;
  readonly readP99Us: number;
}

/**
 * Keeps values for a while, by key. Values are kept as JSON; a `Uint8Array` is kept as it is, and
 * read with `getBytes`. When its storage is down it is a miss, unless `[cache] strict` is set.
 */
export class Cache {
  private constructor();
  /** The value of a key; undefined when there is none. */
  get<T = unknown>(key: string): Promise<T | undefined>;
  /** The bytes of a key; of JSON, those of its text. */
  getBytes(key: string): Promise<Buffer | undefined>;
  /** Stores a value, and says whether it did. */
  set(key: string, value: unknown, options?: SetOptions): Promise<boolean>;
  /** Removes keys; how many there were. */
  delete(...keys: (string | readonly string[])[]): Promise<number>;
  /** Is there a value? */
  exists(key: string): Promise<boolean>;
  /** `get` for many keys, in their order, in one trip. */
  getMany<T = unknown>(keys: readonly string[]): Promise<(T | undefined)[]>;
  /** `set` for many; how many were stored. */
  setMany(
    entries: Iterable<readonly [string, unknown]> | { readonly [key: string]: unknown },
    options?: SetOptions,
  ): Promise<number>;
  /** Adds to a whole number of 64 bits; the sum, as a BigInt beyond 2^53. */
  increment(key: string, options?: { by?: number | bigint; ttl?: Millis }): Promise<number | bigint>;
  /** Gives a key a new lifetime, or `Infinity`, from now; false when there is no value. */
  expire(key: string, options: { ttl: Millis }): Promise<boolean>;
  /** How long a key will still live, or `Infinity`; undefined when there is no value. */
  lifetime(key: string): Promise<Millis | undefined>;
  /** Makes every entry with this tag miss, at once. */
  invalidateTag(tag: string): Promise<void>;
  /** Removes the keys that match a glob; how many. Looks at every key: tags are the fast way. */
  invalidatePattern(pattern: string): Promise<number>;
  /** Makes every entry of the namespace miss. */
  flush(): Promise<void>;
  /** What this process has seen. */
  stats(): Promise<CacheStats>;
  /**
   * The value of a key, loaded when there is none: once for all who ask, in this process and in
   * others. What `load` throws is thrown. The signal aborts when nobody waits for it any more. Wherever
   * it runs, `load` sees the `AsyncLocalStorage` of whoever gave it.
   */
  getOrLoad<T = unknown>(key: string, load: (signal: AbortSignal) => T | Promise<T>, options?: LoadOptions): Promise<T>;
}

/** A pattern for `invalidatePattern` that matches this text alone. */
export function escapePattern(text: string): string;

/** An event with where and when. */
export interface Envelope {
  /** Counts up by one within one `instance`. */
  readonly sequence: number;
  /** The process that published it. */
  readonly instance: string;
  /** When, by that process's clock. */
  readonly at: Date;
  readonly topic: string;
  /** What happened; a message of an application is `{ type: 'message', topic, payload }`. */
  readonly event: { readonly type: string; readonly [field: string]: unknown };
  /** What a message says. */
  readonly payload?: any;
  /** Its place in the order of all instances. */
  readonly stream?: { readonly epoch: string; readonly sequence: number };
}

/** That something is missing. */
export type Notice =
  | { readonly notice: 'missed'; readonly count: number }
  | { readonly notice: 'stream_lost' | 'stream_rolled_back' };

export interface SubscribeOptions {
  /** Only these topics: `project.42.chat`. All when there is neither a topic nor a pattern. */
  topics?: readonly string[];
  /** Only topics that one of these matches: `project.*.chat`, `project.**`. */
  patterns?: readonly string[];
  /** Which instances' events. Default `anywhere`. */
  origin?: 'anywhere' | 'here' | 'elsewhere';
  /** When this subscriber is too slow. `close` ends it with an error. Default `drop_oldest`. */
  overflow?: 'drop_oldest' | 'close';
  /** How many events may wait, up to 65536. Default 1024. */
  buffer?: number;
  /** Ends the iteration with its reason. */
  signal?: AbortSignal;
  /** Told where events are missing. */
  onNotice?: (notice: Notice) => void;
}

/** Carries events to whoever subscribed, in this process and, on a shared bus, in others. */
export class EventBus {
  private constructor();
  /** Names this bus in this process. */
  readonly instance: string;
  /** Publishes a message of the application. */
  publish(topic: string, payload?: unknown): Promise<Envelope>;
  /** Waits until JARVIS's own events are with the server. */
  flush(): Promise<void>;
  /**
   * Calls a listener for each event, one at a time. What it throws goes to `onError`; without one it
   * is an uncaught exception. Keeps the process alive until it is closed.
   */
  listen(
    listener: (event: Envelope) => unknown,
    options?: SubscribeOptions & { onError?: (error: unknown) => void },
  ): Subscription;
  /** Subscribes. `memory:` is subscribed when this returns; for a server await `ready()`. */
  subscribe(options?: SubscribeOptions): Subscription;
}

/** What comes, in order. */
export class Stream<T> implements AsyncIterableIterator<T> {
  protected constructor();
  /** Resolves when it has begun. */
  ready(): Promise<void>;
  next(): Promise<IteratorResult<T, undefined>>;
  return(value?: any): Promise<IteratorResult<T, any>>;
  /** Ends it; whoever iterates is done. */
  close(): void;
  [Symbol.asyncIterator](): this;
}

/** What one subscriber receives: what is published after `ready()` has resolved. */
export class Subscription extends Stream<Envelope> {}

/** What the services are as one. */
export interface Platform {
  readonly state: ServiceState;
  readonly healthy: number;
  readonly degraded: number;
  readonly down: number;
  readonly unknown: number;
  readonly [field: string]: unknown;
}

export type ServiceState = 'unknown' | 'healthy' | 'degraded' | 'down';

/** One round of probes. Names are those of the command's `--output json`. */
export interface CheckAnswer {
  readonly at: string;
  readonly took_ms: number;
  readonly platform: Platform;
  readonly services: readonly ServiceCheck[];
}

export interface ServiceCheck {
  readonly service: string;
  readonly state: ServiceState;
  readonly critical: boolean;
  readonly checks: readonly { readonly [field: string]: any }[];
}

export interface HealthSnapshot {
  readonly at: string;
  readonly platform: Platform;
  readonly services: readonly { readonly service: string; readonly state: ServiceState; readonly [field: string]: any }[];
  readonly loop_stats: { readonly [field: string]: any };
}

export interface Healthz {
  /** Does the loop go round? */
  readonly alive: boolean;
  /** What is wrong with it. */
  readonly reason?: string;
  readonly loop_stats: { readonly [field: string]: any };
}

export interface UptimeAnswer {
  readonly services: readonly { readonly service: string; readonly [field: string]: any }[];
  readonly [field: string]: any;
}

/** A service is something else than before. */
export interface Change {
  readonly service: string;
  readonly state: ServiceState;
  readonly cause: { readonly [field: string]: any } | null;
  readonly ever_passed: boolean;
  readonly flapping: boolean;
  readonly instance: string | null;
  readonly watched: boolean;
  readonly at: string;
}

/** What is well. Answers are plain data, with the names of the command's JSON. */
export class Health {
  private constructor();
  /** Probes these services (default: all) once, now. `not_found` for an unknown one. */
  check(options?: { services?: readonly string[] }): Promise<CheckAnswer>;
  /** What this process knows at this moment. */
  snapshot(): HealthSnapshot;
  /** Does the loop of this process go round? What `/healthz` answers. */
  healthz(): Healthz;
  /** How much of the time services were up; default: all, over 24 hours. */
  uptime(options?: { services?: readonly string[]; window?: Millis }): Promise<UptimeAnswer>;
  /** The OpenMetrics text of this process. */
  metrics(): Promise<string>;
  /** The changes of services, beginning with what is known. Of each service the newest waits. */
  watch(options?: { signal?: AbortSignal }): Stream<Change>;
}

/** The answer to an action. */
export interface ActionAnswer {
  /** One line for a person. */
  readonly message: string;
  /** Names the action in the events, where one was begun. */
  readonly intent?: string;
  /** The maintenance window that was opened. */
  readonly maintenance?: { readonly [field: string]: any };
}

export interface StatusAnswer {
  readonly platform: Platform;
  readonly health?: HealthSnapshot | null;
  readonly operator?: { readonly [field: string]: any } | null;
  readonly [field: string]: any;
}

/**
 * What a person asks of the operator: of the loop that runs on this state directory (in this
 * process or another), else of what it left behind. `forbidden` when a gate is closed,
 * `unavailable` when it needs a loop and none runs.
 */
export class Operator {
  private constructor();
  /** What the services are, and what is done about them. */
  status(): Promise<StatusAnswer>;
  /** Restarts a service; with `wait` resolves when it is verified, `conflict` when it is not well then. */
  restart(service: string, options?: { wait?: boolean }): Promise<ActionAnswer>;
  /** Stops a service; it is left stopped. */
  stop(service: string, options?: { wait?: boolean }): Promise<ActionAnswer>;
  /** Starts a service. */
  start(service: string, options?: { wait?: boolean }): Promise<ActionAnswer>;
  /** Clears the budgets, the breaker and the backoff of a service. */
  reset(service: string): Promise<ActionAnswer>;
  /** Begins nothing until `resume`, or for so long. */
  pause(options?: { reason?: string; lasting?: Millis }): Promise<ActionAnswer>;
  /** Acts again. */
  resume(): Promise<ActionAnswer>;
  /** Opens a maintenance window for names or globs of services. */
  maintain(options: { services: string[]; duration: Millis; reason?: string }): Promise<ActionAnswer>;
  /** Closes a window that was opened so, or all of them. */
  endMaintenance(options?: { window?: number }): Promise<ActionAnswer>;
  /**
   * What happened, oldest first: the retained events since a time (none when there is no `since`), and
   * with `follow` those that come, messages of the application included.
   */
  events(options?: {
    /** Patterns of topics. */
    topics?: readonly string[];
    service?: string;
    since?: Date | string | number;
    /** At most that many retained events, the newest. */
    limit?: number;
    follow?: boolean;
    /** With `follow`: also what other instances say. */
    everywhere?: boolean;
    /** Told where events are missing. */
    onNotice?: (notice: Notice) => void;
    signal?: AbortSignal;
  }): Stream<Envelope>;
  /** Makes the loop read its configuration again; what changed. */
  reload(): Promise<string[]>;
  /** Sends a test alert to a sink, or to each. */
  testAlert(options?: { sink?: string }): Promise<{ readonly sink: string; readonly error?: string }[]>;
}

/** The version of this package, the library and the command. */
export const version: string;
