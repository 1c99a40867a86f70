import { MaybePromise, Millis } from './common';

export interface SetOptions {
  /** How long it lives, or `Infinity`. Default: the policy's, 5 minutes. */
  ttl?: Millis;
  /** Only when there is no value. */
  ifAbsent?: boolean;
  /** Only when there is a value. */
  ifPresent?: boolean;
  /** Tags to invalidate it by; at most 4. */
  tags?: string[];
}

export interface LoadOptions extends Omit<SetOptions, 'ifAbsent' | 'ifPresent'> {
  /** How long after its expiry a value may still be served while a new one is loaded. Default 0. */
  stale?: Millis;
  /** Refreshes shortly before a value expires; 1 is the usual weight, 0 (default) never. */
  early?: number;
  /** How long to wait for the load of another process before this one loads too. Default 2 s. */
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
 * Keeps values for a while, by key. Values are stored as JSON; a `Uint8Array` is stored as it is, and
 * read with `getBytes`. While its storage is down every read misses, unless `[cache] strict` is set.
 */
export class Cache {
  private constructor();
  /** The value of a key; undefined when there is none. */
  get<T = unknown>(key: string): Promise<T | undefined>;
  /** The bytes of a key; for JSON, those of its text. */
  getBytes(key: string): Promise<Buffer | undefined>;
  /** Stores a value; true when it was stored. */
  set(key: string, value: unknown, options?: SetOptions): Promise<boolean>;
  /** Removes keys; returns how many there were. */
  delete(...keys: (string | readonly string[])[]): Promise<number>;
  /** True when there is a value. */
  exists(key: string): Promise<boolean>;
  /** `get` for many keys, in their order, in one trip. */
  getMany<T = unknown>(keys: readonly string[]): Promise<(T | undefined)[]>;
  /** `set` for many; returns how many were stored. */
  setMany(
    entries: Iterable<readonly [string, unknown]> | { readonly [key: string]: unknown },
    options?: SetOptions,
  ): Promise<number>;
  /** Adds to a whole number of 64 bits; returns the sum, as a BigInt beyond 2^53. */
  increment(key: string, options?: { by?: number | bigint; ttl?: Millis }): Promise<number | bigint>;
  /** Gives a key a new lifetime, or `Infinity`, from now; false when there is no value. */
  expire(key: string, options: { ttl: Millis }): Promise<boolean>;
  /** How long a key will still live, or `Infinity`; undefined when there is no value. */
  lifetime(key: string): Promise<Millis | undefined>;
  /** Invalidates every entry with this tag, at once. */
  invalidateTag(tag: string): Promise<void>;
  /** Removes the keys that match a glob; returns how many. Reads every key: tags are the fast way. */
  invalidatePattern(pattern: string): Promise<number>;
  /** Invalidates every entry of the namespace. */
  flush(): Promise<void>;
  /** Counters of this process. */
  stats(): Promise<CacheStats>;
  /**
   * The value of a key, loaded when there is none: once for all concurrent callers, in this process
   * and in others. An error of `load` is thrown as it is. The signal aborts when no caller waits any
   * more. `load` runs in the caller's `AsyncLocalStorage` context.
   */
  getOrLoad<T = unknown>(key: string, load: (signal: AbortSignal) => MaybePromise<T>, options?: LoadOptions): Promise<T>;
}

/** A pattern for `invalidatePattern` that matches this text alone. */
export function escapePattern(text: string): string;
