'use strict';
// The package's install step: does nothing if a prebuilt addon fits this computer, otherwise builds. npm may skip this step
// (since npm 12 it does): lib/native.js then loads what is there. A checkout is always built, prebuilt files or not.
const { spawnSync } = require('node:child_process');
const { home, root } = require('./sources.js');

/** Whether there is a prebuilt addon that loads; tried in a separate process, because one that does not fit may crash it. */
function prebuiltWorks() {
  if (root() !== home || process.env.npm_config_build_from_source === 'true') return false;
  const load = "require('node-gyp-build')(process.argv[1])";
  const environment = { ...process.env, PREBUILDS_ONLY: '1' };
  return spawnSync(process.execPath, ['-e', load, home], { cwd: home, env: environment, stdio: 'ignore' }).status === 0;
}

if (!prebuiltWorks()) require('./build.js');
