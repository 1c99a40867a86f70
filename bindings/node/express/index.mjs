// One module for both: classes must be the same for `import` and `require`.
import lib from './index.js';

export const { JarvisStore, VERSION, track, health, healthz, errorHandler, statusOf } = lib;
export default lib;
