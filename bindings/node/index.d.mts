export * from './index.js';
import * as lib from './index.js';
export default lib;
