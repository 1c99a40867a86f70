// The types of the package. Those of the compiled part are in lib/native.d.ts.
export * from './types/backends';
export * from './types/cache';
export * from './types/common';
export * from './types/config';
export * from './types/error';
export * from './types/events';
export * from './types/health';
export * from './types/jarvis';
export * from './types/operator';
export * from './types/session';

/** The version of this package, the library and the command. */
export const version: string;

/** What web frameworks need. `jarvis-core/express` is built on it. */
export * as web from './types/web';
