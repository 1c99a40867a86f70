'use strict';

const assert = require('node:assert/strict');
const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { test } = require('node:test');

const root = path.join(__dirname, '..', '..');

/** A place for this package, and one for an application, neither of them within the other. */
function places(t) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'jarvis-peer-'));
  t.after(() => fs.rmSync(folder, { recursive: true, force: true }));
  fs.cpSync(path.join(root, 'express'), path.join(folder, 'package', 'express'), { recursive: true });
  for (const name of ['error.js', 'rounds.js']) fs.cpSync(path.join(root, 'lib', name), path.join(folder, 'package', 'lib', name));
  fs.mkdirSync(path.join(folder, 'application', 'node_modules'), { recursive: true });
  const program = `
    const { JarvisStore, track } = require(${JSON.stringify(path.join(folder, 'package', 'express'))});
    track();
    try {
      const store = new JarvisStore({ sessions: { load: async () => null } });
      console.log(store instanceof require('express-session').Store);
    } catch (error) {
      console.log(error.code, error.message);
    }`;
  const application = path.join(folder, 'application');
  fs.writeFileSync(path.join(application, 'program.js'), program);
  return { folder, application };
}

const said = (application, cwd) => execFileSync(process.execPath, [path.join(application, 'program.js')], { cwd, encoding: 'utf8' }).trim();

test('express-session is found in the application that this package is linked into', (t) => {
  const { folder, application } = places(t);
  fs.symlinkSync(path.dirname(require.resolve('express-session')), path.join(application, 'node_modules', 'express-session'));
  assert.equal(said(application, application), 'true');
  assert.equal(said(application, folder), 'true');
});

test('without express-session all but the store works, and that says what to do', (t) => {
  const { folder, application } = places(t);
  assert.match(said(application, folder), /^ERR_JARVIS_UNSUPPORTED .*npm install express-session/);
});
