'use strict';
// pino with a transport in a worker thread: flushed by a handler of 'before', each line is written once. Without minLength sonic-boom
// says that it is flushed while it still writes.
const fs = require('node:fs');
const pino = require('pino');
const { assert, gridcentric, family, play } = require('../harness.js');

play(async () => {
  const log = pino({ base: null, timestamp: false }, pino.transport({ target: 'pino/file', options: { destination: 'log', minLength: 1 } }));
  const flush = () => new Promise((resolve, reject) => log.flush((error) => (error ? reject(error) : resolve())));
  gridcentric.on('before', flush);
  for (let n = 0; n < 500; ++n) log.info({ vmid: -1, n });
  await family(async (vmid) => {
    for (let n = 0; n < 100; ++n) log.info({ vmid, n });
    await flush();
  });
  const counts = {};
  for (const line of fs.readFileSync('log', 'utf8').trim().split('\n')) {
    const { vmid } = JSON.parse(line);
    counts[vmid] = (counts[vmid] ?? 0) + 1;
  }
  assert.deepEqual(counts, { '-1': 500, 0: 100, 1: 100, 2: 100, 3: 100 });
});
