// `import` and `require` share one module, so that classes are the same.
import lib from './index.js';

export const { Jarvis, JarvisError, Session, SessionStore, Cache, EventBus, Subscription, Stream, Health, Operator, escapePattern, version, web } = lib;
export default lib;
