'use strict';
// piscina's pool of workers: tasks under way at the clone end in each clone, which gives it more.
const { isMainThread } = require('node:worker_threads');

// A worker's part of this file.
module.exports = (n) => {
  for (const end = Date.now() + 20; Date.now() < end;);
  return n * n;
};

if (isMainThread) {
  const { Piscina } = require('piscina');
  const { assert, family, play } = require('../harness.js');
  play(async () => {
    const pool = new Piscina({ filename: __filename, minThreads: 2, maxThreads: 2 });
    const squares = (numbers) => Promise.all(numbers.map((n) => pool.run(n)));
    assert.deepEqual(await squares([1, 2, 3]), [1, 4, 9]);
    const underWay = squares([4, 5, 6, 7, 8, 9]);
    const [master, clones] = await family(async (vmid) => [await underWay, await squares([vmid, 10])]);
    assert.deepEqual([master, ...clones], [0, 1, 2, 3].map((vmid) => [[16, 25, 36, 49, 64, 81], [vmid * vmid, 100]]));
    await pool.destroy();
  });
}
