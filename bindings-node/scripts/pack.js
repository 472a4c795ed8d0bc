'use strict';
// Before npm packs the package: copies what it shares with the rest of the checkout into it (`pack.js copy`); after:
// takes it out again (`pack.js remove`), so that a build in the checkout can never use a stale copy.
const fs = require('node:fs');
const path = require('node:path');
const { home } = require('./sources.js');

const shared = ['LICENSE', 'VERSION', 'core', 'dashboard'];
const checkout = path.join(home, '..');

function copy() {
  for (const name of shared) {
    const from = path.join(checkout, name);
    if (fs.existsSync(from)) fs.cpSync(from, path.join(home, name), { recursive: true });
  }
}

function remove() {
  for (const name of shared) fs.rmSync(path.join(home, name), { recursive: true, force: true });
}

if (!fs.existsSync(path.join(checkout, 'bindings-node', 'binding.gyp'))) {
  console.error(`gridcentric: only a checkout can be packed, and ${checkout} is none`);
  process.exit(1);
}
remove();
if (process.argv[2] === 'copy') copy();
