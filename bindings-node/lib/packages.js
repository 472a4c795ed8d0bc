'use strict';
// Finds loaded npm packages whose random numbers repeat in clones, by the addon's table (rows PACKAGE of
// core/include/gridcentric/generators.def). For explain(), and for clone() if GRIDCENTRIC_STRICT is set.
// It must not know: what is reseeded (renew.js), how repeating packages are reported.
const fs = require('node:fs');
const Module = require('node:module');
const { fileURLToPath } = require('node:url');
const { native } = require('./native.js');

const MODULES = '/node_modules/';

const strict = () => !['', '0', undefined].includes(process.env.GRIDCENTRIC_STRICT);

/** The files of all scripts of this thread. Those loaded by import are visible only to a debugger. */
function scripts() {
  const files = new Set(Object.keys(/** @type {any} */ (Module)._cache));
  try {
    const { Session } = require('node:inspector');
    const session = new Session();
    session.connect();
    session.on('Debugger.scriptParsed', ({ params: { url } }) => {
      if (url.startsWith('file:')) files.add(fileURLToPath(url));
    });
    session.post('Debugger.enable'); // reports the scripts already loaded before it returns
    session.disconnect();
  } catch {
    // a Node built without the inspector: what was loaded by import is not seen
  }
  return files;
}

function has(file, text) {
  try {
    return fs.readFileSync(file, 'utf8').includes(text);
  } catch {
    return true; // the file is gone, so assume the worst
  }
}

/** Pairs of a row's name and the loaded file. */
function repeating() {
  const found = [];
  const required = /** @type {any} */ (Module)._cache;
  for (const file of scripts()) {
    const at = file.lastIndexOf(MODULES);
    if (at < 0) continue;
    const folder = file.slice(at + MODULES.length);
    for (const { name, evidence } of native.repeatingPackages) {
      const [of, text] = evidence.split('|');
      if (!folder.startsWith(`${of}/`) || (name.endsWith('-esm') && file in required)) continue;
      if (!found.some(([known]) => known === name) && has(file, text)) found.push([name, file]);
    }
  }
  return found;
}

module.exports = { repeating, strict };
