'use strict';
// bcrypt in libuv's threads: hashes under way are finished, passwords compare, and all salts differ.
const bcrypt = require('bcrypt');
const { assert, family, play } = require('../harness.js');

play(async () => {
  const known = await bcrypt.hash('secret', 4);
  const underWay = Promise.all(Array.from({ length: 6 }, () => bcrypt.hash('secret', 8)));
  const [master, clones] = await family(async () => {
    for (const hash of await underWay) assert.ok(await bcrypt.compare('secret', hash));
    assert.equal(await bcrypt.compare('other', known), false);
    return bcrypt.hash('secret', 4);
  });
  assert.equal(new Set([known, master, ...clones]).size, 5, 'equal salts');
});
