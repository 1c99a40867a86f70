/** Milliseconds, as everywhere in JavaScript. */
export type Millis = number;

/** A time as text: `2026-11-21T09:30:00.000Z`. */
export type Timestamp = string;

/** A JSON value. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** A value, or a promise of one. */
export type MaybePromise<T> = T | Promise<T>;

/** An async iterable of what comes, in order. */
export class Stream<T> implements AsyncIterableIterator<T> {
  protected constructor();
  /** Resolves when the stream is open; rejects when it can't be opened. */
  ready(): Promise<void>;
  next(): Promise<IteratorResult<T, undefined>>;
  return(value?: unknown): Promise<IteratorResult<T, any>>;
  /** Ends it, and the iteration of whoever iterates. */
  close(): void;
  [Symbol.asyncIterator](): this;
}
