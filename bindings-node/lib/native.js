'use strict';
// Finds and loads the compiled addon. It must not know what the addon does.
const path = require('node:path');

const built = path.join(__dirname, '..', 'build', 'Release');

let native;
try {
  native = require(path.join(built, 'gridcentric.node'));
} catch (cause) {
  const advice = 'run: npm rebuild gridcentric (it needs g++ with C++20, make and Python 3)';
  throw new Error(`gridcentric: the addon in ${built} can't be loaded (${cause.message}); ${advice}`, { cause });
}

module.exports = { native, gc: path.join(built, 'gc') };
