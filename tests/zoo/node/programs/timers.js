'use strict';
// Timers, intervals, AbortSignal.timeout and AsyncLocalStorage go on in each clone, with what is left of their time.
const { AsyncLocalStorage } = require('node:async_hooks');
const { once } = require('node:events');
const timers = require('node:timers/promises');
const { assert, family, play, until } = require('../harness.js');

const storage = new AsyncLocalStorage();

play(() => storage.run('context', async () => {
  let ticks = 0;
  const interval = setInterval(() => ++ticks, 5);
  const start = performance.now();
  const sleeping = timers.setTimeout(400, 'slept').then((said) => [said, performance.now() - start]);
  const aborted = once(AbortSignal.timeout(300), 'abort');
  await until(() => ticks > 3, 'ticks');
  const [master, clones] = await family(async (vmid) => {
    const before = ticks;
    await until(() => ticks > before + 3, 'ticks of the inherited interval');
    await aborted;
    const [said, after] = await sleeping;
    assert.ok(after >= 399, `it slept ${after} ms of 400`);
    const order = [];
    setImmediate(() => order.push('immediate'));
    process.nextTick(() => order.push('tick'));
    await Promise.resolve().then(() => order.push('microtask'));
    await until(() => order.length === 3, 'what is queued');
    clearInterval(interval);
    const last = ticks;
    await timers.setTimeout(50);
    assert.equal(ticks, last, 'an interval goes on that was cleared');
    return [said, storage.getStore(), order.slice(-1)[0], vmid];
  });
  assert.deepEqual([master, ...clones], [0, 1, 2, 3].map((vmid) => ['slept', 'context', 'immediate', vmid]));
}));
