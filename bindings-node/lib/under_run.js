'use strict';
// Loaded into Node programs by `gc run` of this package (bin/gc), so that their random numbers are their own in clones: the
// gridcentric that the program itself would find, otherwise this one. The program never fails by it.
const path = require('node:path');
const { isMainThread } = require('node:worker_threads');

const [, program] = process.argv;
const places = [
  () => require.resolve('gridcentric', { paths: [path.dirname(program)] }),
  () => path.join(__dirname, 'index.js'),
];

for (const place of isMainThread ? places : []) {
  try {
    require(place());
    break;
  } catch {
    // There is none, or addons are not allowed (--no-addons, --permission): then gc check says what repeats.
  }
}
