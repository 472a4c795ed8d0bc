'use strict';
// Worker threads that share memory and wait in Atomics.wait: all go on in each clone, on its own memory.
const { Worker } = require('node:worker_threads');
const { once } = require('node:events');
const { assert, family, play, until } = require('../harness.js');

const worker = `
  const { parentPort, workerData } = require('node:worker_threads');
  const numbers = new Int32Array(workerData);
  parentPort.postMessage('ready');
  for (;;) {
    Atomics.wait(numbers, 0, numbers[1]); // until there is more to count
    const wanted = Atomics.load(numbers, 0);
    while (numbers[1] < wanted) numbers[1] += 1;
    Atomics.notify(numbers, 1);
    if (wanted === 1000) break;
  }
  parentPort.on('message', (text) => parentPort.postMessage('heard ' + text));`;

play(async () => {
  const shared = new SharedArrayBuffer(8);
  const numbers = new Int32Array(shared);
  const thread = new Worker(worker, { eval: true, workerData: shared });
  await once(thread, 'message');
  const count = async (wanted) => {
    Atomics.store(numbers, 0, wanted);
    Atomics.notify(numbers, 0);
    await until(() => Atomics.load(numbers, 1) === wanted, `the worker counts to ${wanted}`);
  };
  await count(10);
  const [master, clones] = await family(async (vmid) => {
    await count(100 + vmid);
    await count(1000);
    thread.postMessage(vmid);
    const [said] = await once(thread, 'message');
    const late = new Worker('require("node:worker_threads").parentPort.postMessage("late")', { eval: true });
    return [said, (await once(late, 'message'))[0]];
  });
  assert.deepEqual([master, ...clones], [0, 1, 2, 3].map((vmid) => [`heard ${vmid}`, 'late']));
});
