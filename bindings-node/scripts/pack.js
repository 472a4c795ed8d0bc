'use strict';
// Before npm packs the package, `pack.js copy` copies the files that it shares with the rest of the checkout into it; afterwards
// `pack.js remove` removes them, so that a build in the checkout can never use a stale copy. `pack.js prepare` is for an npm
// that copies a folder instead of linking it (npm 9.0 to 9.3, and install-links=true), for which it packs the folder without
// prepack: only then is npm_package_resolved the folder's plain path.
const fs = require('node:fs');
const path = require('node:path');
const { home } = require('./sources.js');

const shared = ['LICENSE', 'VERSION', 'autoscale', 'core', 'demos/chat-node', 'demos/chat-page', 'demos/crowd', 'demos/run'];
const checkout = path.join(home, '..');

function copy() {
  for (const name of shared) {
    const from = path.join(checkout, name);
    if (fs.existsSync(from)) fs.cpSync(from, path.join(home, name), { recursive: true });
  }
}

function remove() {
  for (const name of new Set(shared.map((one) => one.split('/')[0]))) {
    fs.rmSync(path.join(home, name), { recursive: true, force: true });
  }
}

if (!fs.existsSync(path.join(checkout, 'bindings-node', 'binding.gyp'))) {
  console.error(`gridcentric: only a checkout can be packed, and ${checkout} is not one`);
  process.exit(1);
}
const [, , task] = process.argv;
const isCopied = path.isAbsolute(process.env.npm_package_resolved ?? '');
if (task !== 'prepare' || isCopied) remove();
if (task === 'copy' || (task === 'prepare' && isCopied)) copy();
