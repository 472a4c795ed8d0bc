'use strict';
// The package's install step: nothing where a prebuilt addon fits this computer, else the build. npm may skip this step
// (since npm 12 it does): lib/native.js then loads what is there. A checkout is always built, prebuilt files or not.
const { spawnSync } = require('node:child_process');
const { home, root } = require('./sources.js');

/** A prebuilt addon is there and loads: tried in a process of its own, as one that does not fit may end it. */
function prebuiltWorks() {
  if (root() !== home || process.env.npm_config_build_from_source === 'true') return false;
  const load = "require('node-gyp-build')(process.argv[1])";
  const environment = { ...process.env, PREBUILDS_ONLY: '1' };
  return spawnSync(process.execPath, ['-e', load, home], { cwd: home, env: environment, stdio: 'ignore' }).status === 0;
}

if (!prebuiltWorks()) require('./build.js');
