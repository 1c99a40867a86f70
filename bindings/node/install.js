'use strict';

// Builds the compiled part with cargo and puts it beside this file. npm runs it at installation. Does
// nothing when the compiled part is newer than its sources.

const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const here = __dirname;
const root = path.join(here, '..', '..');
const addon = path.join(here, 'jarvis-core.node');

/** The modification time of the newest file below a path, in milliseconds; 0 without one. */
function newest(place) {
  const stat = fs.statSync(place, { throwIfNoEntry: false });
  if (stat === undefined) return 0;
  if (!stat.isDirectory()) return stat.mtimeMs;
  return Math.max(0, ...fs.readdirSync(place).map((name) => newest(path.join(place, name))));
}

function isCurrent() {
  const sources = ['Cargo.toml', 'Cargo.lock', 'jarvis-core', 'bindings/node/Cargo.toml', 'bindings/node/build.rs', 'bindings/node/src'];
  const built = fs.statSync(addon, { throwIfNoEntry: false });
  return built !== undefined && sources.every((source) => newest(path.join(root, source)) <= built.mtimeMs);
}

function fail(message) {
  console.error(`jarvis-core: ${message}`);
  process.exit(1);
}

function cargo(...args) {
  const run = spawnSync('cargo', args, { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 28 });
  if (run.error?.code === 'ENOENT') fail('the package is built on this machine, which needs Rust: install it from https://rustup.rs');
  if (run.status !== 0) fail(`\`cargo ${args.join(' ')}\` failed`);
  return run.stdout;
}

/** The path of the library that cargo built. */
function built(messages) {
  const lines = messages.split('\n').filter((line) => line.startsWith('{'));
  const artifacts = lines.map((line) => JSON.parse(line)).filter((message) => message.reason === 'compiler-artifact');
  const files = artifacts.filter((artifact) => artifact.target.name === 'jarvis_core_node').flatMap((artifact) => artifact.filenames);
  return files.find((file) => /\.(so|dylib|dll)$/.test(file)) ?? fail('cargo built no library; report this as a bug');
}

function main() {
  if (!fs.existsSync(path.join(root, 'jarvis-core', 'Cargo.toml'))) {
    if (fs.existsSync(addon)) return;
    fail('the sources of the compiled part are missing: install the package from the folder of a checkout of its repository');
  }
  if (isCurrent()) return;
  const messages = cargo('build', '--release', '--locked', '-p', 'jarvis-core-node', '--message-format=json-render-diagnostics');
  // Renamed into place: a process that has loaded the old file keeps it.
  const fresh = `${addon}.${process.pid}`;
  fs.copyFileSync(built(messages), fresh);
  fs.renameSync(fresh, addon);
}

main();
