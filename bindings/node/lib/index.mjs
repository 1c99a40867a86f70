// One module for both: classes must be the same for `import` and `require`.
import lib from './index.js';

export const { Jarvis, JarvisError, Session, SessionStore, Cache, EventBus, Subscription, Stream, Health, Operator, escapePattern, version } = lib;
export default lib;
