// `import` and `require` share one module, so that classes are the same.
import lib from './index.js';

export const { jarvisStore, versionOf, track, health, healthz, errorHandler, statusOf } = lib;
export default lib;
