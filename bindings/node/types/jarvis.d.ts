import { Cache } from './cache';
import { ConfigTables, OpenOptions } from './config';
import { EventBus } from './events';
import { Health } from './health';
import { Operator } from './operator';
import { SessionStore } from './session';

/** The handle: everything that a configuration describes. */
export class Jarvis {
  private constructor();
  /**
   * Opens a handle. Starts nothing and connects nothing: each part opens at its first use.
   *
   * @param config The path of a `jarvis.toml`, or its tables as an object. Without one the file is
   *   searched for as the command does; where there is none the configuration is empty.
   * @throws {JarvisError} `config_invalid` with every mistake at once.
   */
  static open(config?: string | URL | ConfigTables | null, options?: OpenOptions): Jarvis;
  readonly sessions: SessionStore;
  readonly cache: Cache;
  /** Events of JARVIS, and messages between the instances of an application. */
  readonly events: EventBus;
  /** The state of the services. */
  readonly health: Health;
  /** The commands of a person. */
  readonly operator: Operator;
  /** How many calls of your own probes, restarters and sinks go on although their deadline has passed. */
  readonly leftBehind: number;
  /**
   * Supervises: watches, heals, alerts, and answers on the control socket; until the signal aborts or
   * `close()` is called. Resolves when everything is written and closed, within 28 s.
   */
  run(options?: { signal?: AbortSignal }): Promise<void>;
  /** Ends `run` and the background work of the stores. May be called again. */
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}
