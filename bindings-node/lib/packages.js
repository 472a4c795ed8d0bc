'use strict';
// Which npm packages are loaded whose random numbers repeat in clones, by the table that the addon has (rows PACKAGE of
// core/include/gridcentric/generators.def). For explain(), and for clone() where GRIDCENTRIC_STRICT asks for it.
// It must not know: what is reseeded (renew.js), what is said of what repeats.
const fs = require('node:fs');
const Module = require('node:module');
const { fileURLToPath } = require('node:url');
const { native } = require('./native.js');

const MODULES = '/node_modules/';

const strict = () => !['', '0', undefined].includes(process.env.GRIDCENTRIC_STRICT);

/** Files of all scripts of this thread. Only a debugger is told of those that were loaded by import. */
function scripts() {
  const files = new Set(Object.keys(/** @type {any} */ (Module)._cache));
  try {
    const { Session } = require('node:inspector');
    const session = new Session();
    session.connect();
    session.on('Debugger.scriptParsed', ({ params: { url } }) => {
      if (url.startsWith('file:')) files.add(fileURLToPath(url));
    });
    session.post('Debugger.enable'); // tells of those that are there already, before it returns
    session.disconnect();
  } catch {
    // a Node built without it: what was loaded by import is not seen
  }
  return files;
}

function has(file, text) {
  try {
    return fs.readFileSync(file, 'utf8').includes(text);
  } catch {
    return true; // it is not there any more, so that nobody knows
  }
}

/** Pairs of a row's name and the file that is loaded. */
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
