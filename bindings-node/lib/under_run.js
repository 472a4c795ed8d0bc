'use strict';
// Loaded into Node programs by `gc run` of this package (bin/gc), so that their random numbers are their own in clones: the
// gridcentric that the program would find itself, otherwise this one. The program never fails by it.
const { isMainThread } = require('node:worker_threads');

function load(...options) {
  try {
    require(require.resolve('gridcentric', ...options));
    return true;
  } catch {
    return false;
  }
}

if (isMainThread && !load({ paths: [process.cwd()] })) {
  try {
    require('./index.js');
  } catch {
    // Addons are not allowed (--no-addons, --permission): gc check says what repeats then.
  }
}
