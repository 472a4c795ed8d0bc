'use strict';
// Finds and loads the addon: the one built on this computer, otherwise the prebuilt one that fits it. It must not know what
// the addon does.
const path = require('node:path');
const build = require('node-gyp-build');

const home = path.join(__dirname, '..');

let native;
let file = home;
try {
  file = build.resolve(home);
  native = require(file);
} catch (cause) {
  const advice = 'run: npm rebuild gridcentric (needs g++ with C++20, make and Python 3; npm 12: first npm approve-scripts gridcentric)';
  throw new Error(`gridcentric: the addon in ${file} can't be loaded (${cause.message.trim()}); ${advice}`, { cause });
}

module.exports = { native, gc: path.join(path.dirname(file), 'gc') };
