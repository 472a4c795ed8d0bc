'use strict';
// Tells binding.gyp which files to compile: `sources.js root|version|built|digest|drivers|flags|GROUP|together GROUP [FOLDER]`. GROUP is a group
// of core/sources.txt, whose paths are printed relative to this package; FOLDER limits it to the files below core/FOLDER. The group
// "driver" is compiled with "core"; `drivers` prints the macros that list them for core/hypervisors/drivers.cpp, `flags` those of
// the group "parked"; `together` writes files that include about ten sources each, as CMake's unity build does, and prints their
// paths: they compile four times as fast. It must not know what the files are for.
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');

const home = path.join(__dirname, '..');

// The folders of the group "core" that have a target in binding.gyp.
const folders = ['generators', 'guest', 'host', 'hypervisors', 'live_clone', 'model', 'private_files', 'wire'];

/** The folder with core/ and VERSION: the checkout around this package, or a packed package itself. */
function root() {
  const checkout = path.join(home, '..');
  for (const folder of [checkout, home]) {
    const isOurs = folder === home || fs.existsSync(path.join(folder, 'bindings-node', 'binding.gyp'));
    if (isOurs && fs.existsSync(path.join(folder, 'core', 'sources.txt'))) return folder;
  }
  throw new Error(`core/sources.txt is neither in ${checkout} nor in ${home}: the package is incomplete, reinstall it`);
}

/** The version of the whole project. */
function version() {
  return fs.readFileSync(path.join(root(), 'VERSION'), 'utf8').trim();
}

/** When a file, or one of those in a folder, was last changed: in ms since 1970. */
function changed(file) {
  const stat = fs.statSync(file);
  const inside = stat.isDirectory() ? fs.readdirSync(file).map((name) => changed(path.join(file, name))) : [];
  return Math.max(stat.mtimeMs, ...inside);
}

/** The folder where `make build` has built the core for Python, "" if there is none, or if a source has changed since. */
function built() {
  const folder = path.join(home, '..', 'build', 'python');
  const library = path.join(folder, 'libgridcentric_static.a');
  if (root() === home || !fs.existsSync(library)) return '';
  return fs.statSync(library).mtimeMs > changed(path.join(root(), 'core')) ? folder : '';
}

/** Of what the addon is made of, if the core is taken from there. */
function digest() {
  const hash = crypto.createHash('sha1').update(fs.readFileSync(path.join(built(), 'libgridcentric_static.a')));
  const own = path.join(home, 'src');
  for (const name of fs.readdirSync(own).sort()) hash.update(fs.readFileSync(path.join(own, name)));
  return hash.digest('hex');
}

/** The paths of one group, as listed in core/sources.txt. */
function group(name) {
  const lines = fs.readFileSync(path.join(root(), 'core', 'sources.txt'), 'utf8').split('\n');
  const entries = lines.map((line) => line.trim().split(/\s+/)).filter((words) => words[0] === name);
  if (entries.length === 0) throw new Error(`core/sources.txt has no source of the group "${name}"`);
  return entries.map(([, file]) => file);
}

/** The macros that list the drivers compiled in. */
function drivers() {
  return group('driver').map((file) => `GC_DRIVER(${path.basename(file, '.cpp')})`).join('');
}

/** The compiler flags of the group "parked" on this computer. */
function flags() {
  return [...group('flag'), ...(process.arch === 'x64' ? group('flagx') : [])];
}

/** The sources of one group, or those of them below a folder of the core, relative to this package. */
function sources(name, folder) {
  const files = name === 'core' ? [...group('core'), ...group('driver')] : group(name);
  const folderOf = (file) => file.split('/')[1];
  const unknown = folder && files.find((file) => !folders.includes(folderOf(file)));
  if (unknown) throw new Error(`${unknown} is in no target of bindings-node/binding.gyp: add one for core/${folderOf(unknown)}`);
  const wanted = files.filter((file) => !folder || folderOf(file) === folder);
  const names = wanted.map((file) => path.basename(file));
  const twice = names.find((one, i) => names.indexOf(one) !== i);
  if (twice) throw new Error(`two sources of one target are called ${twice}, which some versions of gyp reject: rename one`);
  return wanted.map((file) => path.join(path.relative(home, root()) || '.', file));
}

/** Writes the files that include the sources of one group, and returns their paths relative to this package. */
function together(name, folder) {
  const into = path.join('build', 'together');
  fs.mkdirSync(path.join(home, into), { recursive: true });
  const files = sources(name, folder);
  const made = [];
  while (files.length > 0) {
    const some = files.splice(0, 10).map((file) => path.relative(root(), path.join(home, file)));
    const file = path.join(into, `${folder || name}_${made.length + 1}.cpp`);
    const text = some.map((source) => `#include "${source}"\n`).join('');
    const full = path.join(home, file);
    if (!fs.existsSync(full) || fs.readFileSync(full, 'utf8') !== text) fs.writeFileSync(full, text);
    made.push(file);
  }
  return made;
}

if (require.main === module) {
  const what = process.argv[2];
  if (what === 'root') console.log(path.relative(home, root()) || '.');
  else if (what === 'version') console.log(version());
  else if (what === 'built') console.log(built());
  else if (what === 'digest') console.log(digest());
  else if (what === 'drivers') console.log(drivers());
  else if (what === 'flags') console.log(flags().join('\n'));
  else if (what === 'together') console.log(together(process.argv[3], process.argv[4]).join('\n'));
  else console.log(sources(what, process.argv[3]).join('\n'));
}

module.exports = { root, version, built, sources, home };
