'use strict';
// A failed build of the addon says what failed.
const assert = require('node:assert/strict');
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { after, test } = require('node:test');
const { root } = require('./host.js');

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'gridcentric-build-'));
after(() => fs.rmSync(folder, { recursive: true, force: true }));

const isMade = (file) => ['node_modules', 'build', 'prebuilds'].includes(path.basename(file));
for (const name of ['VERSION', 'core', 'bindings-node', 'autoscale']) {
  fs.cpSync(path.join(root, name), path.join(folder, name), { recursive: true, filter: (file) => !isMade(file) });
}
fs.symlinkSync(path.join(root, 'node_modules'), path.join(folder, 'node_modules'));

/** The output of the build step of `npm install`. */
function build(environment) {
  const env = { ...process.env, ...environment };
  const options = { cwd: path.join(folder, 'bindings-node'), env, encoding: 'utf8' };
  const done = spawnSync('npm', ['exec', '--no', '-c', 'node scripts/build.js'], options);
  assert.equal(done.status, 1, `${done.error ?? ''}\n${done.stdout}\n${done.stderr}`);
  return done.stderr.slice(done.stderr.indexOf('gridcentric: '));
}

test('the compiler\'s complaint is repeated at the end', () => {
  const file = path.join(folder, 'core', 'guest', 'around_copy.cpp');
  fs.writeFileSync(file, `#error broken on purpose\n${fs.readFileSync(file, 'utf8')}`);
  const said = build({});
  assert.match(said, /^gridcentric: the addon can't be built: "node-gyp build" ended with 1:\n/);
  assert.match(said, /around_copy\.cpp:1:2: error: #error broken on purpose/);
});

test('a tool that is missing is named, and no other', () => {
  const said = build({ CXX: 'no-such-compiler' });
  assert.match(said, /^gridcentric: the addon can't be built: no no-such-compiler on PATH/);
  assert.doesNotMatch(said, /no make|no python3/);
});

test('gyp\'s complaint is repeated at the end', () => {
  fs.appendFileSync(path.join(folder, 'bindings-node', 'binding.gyp'), '\n}');
  const said = build({});
  assert.match(said, /^gridcentric: the addon can't be built: "node-gyp configure" ended with 1:\n/);
  assert.match(said, /binding\.gyp/);
});
