// One module for both: classes must be the same for `import` and `require`.
import lib from './index.js';

export const { jarvisStore, versionOf, track, health, healthz, errorHandler, statusOf } = lib;
export default lib;
