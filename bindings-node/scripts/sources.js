'use strict';
// Tells binding.gyp which files to compile: `sources.js root|version|GROUP`. GROUP is one of core/sources.txt, whose
// paths are printed relative to this package. It must not know what the files are for.
const fs = require('node:fs');
const path = require('node:path');

const home = path.join(__dirname, '..');

/** The folder that has core/ and VERSION: the checkout around this package, or the package itself when it was packed. */
function root() {
  const checkout = path.join(home, '..');
  for (const folder of [checkout, home]) {
    const isOurs = folder === home || fs.existsSync(path.join(folder, 'bindings-node', 'binding.gyp'));
    if (isOurs && fs.existsSync(path.join(folder, 'core', 'sources.txt'))) return folder;
  }
  throw new Error(`core/sources.txt is neither in ${checkout} nor in ${home}: the package is incomplete, install it anew`);
}

/** The version number of the whole project. */
function version() {
  return fs.readFileSync(path.join(root(), 'VERSION'), 'utf8').trim();
}

/** The sources of one group, relative to this package. */
function sources(group) {
  const folder = path.relative(home, root()) || '.';
  const lines = fs.readFileSync(path.join(root(), 'core', 'sources.txt'), 'utf8').split('\n');
  const entries = lines.map((line) => line.trim().split(/\s+/)).filter((words) => words[0] === group);
  if (entries.length === 0) throw new Error(`core/sources.txt has no source of the group "${group}"`);
  return entries.map(([, file]) => `${folder}/${file}`);
}

if (require.main === module) {
  const what = process.argv[2];
  if (what === 'root') console.log(path.relative(home, root()) || '.');
  else if (what === 'version') console.log(version());
  else console.log(sources(what).join('\n'));
}

module.exports = { root, version, sources, home };
