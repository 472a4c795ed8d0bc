'use strict';
// Finds the files that the autoscalers of Node and Python share: inside the packed package, or beside it in a checkout.

const { existsSync, readFileSync } = require('node:fs');
const { join } = require('node:path');

const HOME = join(__dirname, '..', '..');
const FOLDER = [HOME, join(HOME, '..')].map((folder) => join(folder, 'autoscale')).find(existsSync);

/** The text of the file. */
const shared = (name) => readFileSync(join(FOLDER, name), 'utf8');

module.exports = { shared };
