// Compiled, not run: the same by `require`.
import jarvis = require('jarvis-core');

const handle: jarvis.Jarvis = jarvis.Jarvis.open();
const version: string = jarvis.version;
void handle.close().then(() => console.log(version));
