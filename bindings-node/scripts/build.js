'use strict';
// The package's install step: node-gyp, told where Node's headers are when this machine has them already, so that
// nothing is downloaded. What is built is in binding.gyp.
const { spawnSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');
const os = require('node:os');
const { home } = require('./sources.js');

/** The prefix whose include/node fits the running Node exactly, or undefined: node-gyp then fetches the headers. */
function headers() {
  const prefix = path.join(path.dirname(fs.realpathSync(process.execPath)), '..');
  let text;
  try {
    text = fs.readFileSync(path.join(prefix, 'include', 'node', 'node_version.h'), 'utf8');
  } catch {
    return undefined;
  }
  const part = (name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
  const found = ['MAJOR', 'MINOR', 'PATCH'].map(part).join('.');
  return found === process.versions.node ? path.resolve(prefix) : undefined;
}

/** How to start node-gyp: npm names its own; without npm the one on the PATH. */
function nodeGyp() {
  const own = process.env.npm_config_node_gyp;
  return own ? [process.execPath, own] : ['node-gyp'];
}

const [command, ...first] = nodeGyp();
const prefix = process.env.npm_config_nodedir ? undefined : headers();
const options = prefix ? [`--nodedir=${prefix}`] : [];
for (const step of [['configure'], ['build', '--jobs', String(os.availableParallelism?.() ?? os.cpus().length)]]) {
  const run = spawnSync(command, [...first, ...step, ...options], { cwd: home, stdio: 'inherit' });
  if (run.error) {
    console.error(`gridcentric: node-gyp could not be started (${run.error.message}); install it with npm`);
    process.exit(1);
  }
  if (run.status !== 0) {
    console.error(`gridcentric: "node-gyp ${step[0]}" failed; it needs g++ (C++20), make and Python 3`);
    process.exit(1);
  }
}
