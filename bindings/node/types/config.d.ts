import { MaybePromise } from './common';
import { AlertSink, HealthProbe, ServiceRestarter } from './backends';
import { Mode } from './health';

/** Where a store is: `memory:`, `sqlite:PATH`, `redis://…`, `rediss://…`, `redis+cluster://…`, `redis+sentinel://…`. */
export type StoreUrl = string;

/**
 * The tables of a `jarvis.toml` as an object: `{ store: { session: 'redis://…' } }`. This is the file's
 * own format: its keys are those of the file (`start_grace`), durations are texts (`'10s'`).
 */
export interface ConfigTables {
  service?: Record<string, ServiceTable>;
  alert?: Record<string, AlertTable>;
  [table: string]: unknown;
}

/** `[service.X]`, as in the file. */
export interface ServiceTable {
  critical?: boolean;
  start_grace?: string;
  depends_on?: readonly string[];
  host?: string;
  template?: string;
  check?: readonly CheckTable[];
  restart?: RestartTable;
  [key: string]: unknown;
}

/** `[[service.X.check]]`, as in the file: a `type` with its settings, or a `probe` of yours. */
export interface CheckTable {
  name?: string;
  type?: string;
  probe?: HealthProbe | HealthProbe['probe'];
  interval?: string;
  timeout?: string;
  critical?: boolean;
  [key: string]: unknown;
}

/** `[service.X.restart]`, as in the file: consent to act. A `via` with its settings, or a `restarter` of yours. */
export interface RestartTable {
  via?: string;
  restarter?: ServiceRestarter;
  [key: string]: unknown;
}

/** `[alert.X]`, as in the file: a `type` with its settings, or a `sink` of yours. */
export interface AlertTable {
  type?: string;
  sink?: AlertSink | AlertSink['deliver'];
  [key: string]: unknown;
}

/** The keys of a section , which the core has not checked. */
export type Settings = Record<string, unknown>;

export interface OpenOptions {
  /** The state directory, instead of `[jarvis] state_dir`. */
  stateDir?: string;
  /**
   * Instead of all of `[store]`: keeps sessions there and, except in a `sqlite:` file, which can't hold
   * them, the cache and the bus too.
   */
  store?: StoreUrl;
  /** Instead of `[store] session`. Default `sqlite:`. Overrides `store`. */
  sessions?: StoreUrl;
  /** Instead of `[store] cache`. Default `memory:`. Overrides `store`. */
  cache?: StoreUrl;
  /** Instead of `[store] bus`. Default `memory:`. Overrides `store`. */
  bus?: StoreUrl;
  /** How much JARVIS may do, instead of `[jarvis] mode`. */
  mode?: Mode;
  /** Services beside those of the configuration, as its `[service.X]` tables. */
  services?: Record<string, ServiceTable>;
  /** Alert sinks beside those of the configuration, as its `[alert.X]` tables. */
  alerts?: Record<string, AlertTable>;
  /** Factories of probes that the configuration may name as `type = "…"`. */
  probes?: Record<string, (settings: Settings) => MaybePromise<HealthProbe | HealthProbe['probe']>>;
  /** Factories of restarters that the configuration may name as `via = "…"`. */
  restarters?: Record<string, (settings: Settings) => MaybePromise<ServiceRestarter>>;
  /** Factories of alert sinks that the configuration may name as `type = "…"`. */
  sinks?: Record<string, (settings: Settings) => MaybePromise<AlertSink | AlertSink['deliver']>>;
}
