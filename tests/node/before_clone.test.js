'use strict';
// on('before'): runs in the thread that calls clone(), before any thread is stopped; may be asynchronous, and may refuse.
const assert = require('node:assert/strict');
const { inBothModes } = require('./family.js');

inBothModes("handlers run one after the other in the caller, before the copy, and what they print is printed once", async (run) => {
  const stdout = await run(`
    const seen = [];
    const removed = () => seen.push('removed');
    gridcentric.on('before', async () => {
      seen.push('first');
      await new Promise((resolve) => setTimeout(resolve, 20));
      seen.push('later');
      process.stdout.write('x'.repeat(300000) + '\\n');
    });
    gridcentric.on('before', removed);
    gridcentric.on('before', () => { seen.push(gridcentric.vmid()); });
    gridcentric.on('clone', () => seen.push('cloned'));
    gridcentric.off('before', removed);
    family(2, () => seen).then((all) => console.log(JSON.stringify(all)));`);
  const [written, all] = stdout.split('\n');
  assert.equal(written, 'x'.repeat(300000));
  assert.deepEqual(JSON.parse(all), [['first', 'later', 0], ...Array(2).fill(['first', 'later', 0, 'cloned'])]);
});

inBothModes('the very exception of a handler is the error of clone(), and the ticket can be used again', async (run) => {
  const stdout = await run(`
    (async () => {
      const refusals = [new RangeError('thrown'), new Error('rejected'), undefined];
      const first = refusals[0];
      gridcentric.on('before', () => { if (refusals.length === 3) throw refusals.shift(); });
      gridcentric.on('before', async () => { if (refusals.length) throw refusals.shift(); });
      const ticket = await gridcentric.request_ticket(1, 1, 1, 0);
      const errors = [];
      await gridcentric.clone(ticket).catch((error) => errors.push(error === first));
      await new Promise((resolve) => gridcentric.clone(ticket, (vmid, error) => { errors.push(vmid, error.message); resolve(); }));
      await gridcentric.clone(ticket).catch((error) => errors.push(error.code));
      errors.push((await gridcentric.ticket_info(ticket)).status, (await gridcentric.list_domains()).length);
      if (await gridcentric.clone(ticket)) return gridcentric.join('cloned');
      errors.push(String((await gridcentric.wait(ticket))[0].report));
      console.log(JSON.stringify(errors));
    })();`);
  assert.deepEqual(JSON.parse(stdout), [true, -1, 'rejected', 'clone_failed', 'reserved', 1, 'cloned']);
});

inBothModes('a handler that clones is told that it may not, and an aborted call runs none', async (run) => {
  const stdout = await run(`
    (async () => {
      let runs = 0;
      const ticket = await gridcentric.request_ticket(1, 1, 1, 0);
      gridcentric.on('before', async () => { ++runs; await gridcentric.clone(ticket); });
      const errors = [];
      await gridcentric.clone(ticket).catch((error) => errors.push(error.code, runs));
      await gridcentric.clone(ticket, { signal: AbortSignal.abort() }).catch((error) => errors.push(error.name, runs));
      console.log(JSON.stringify(errors));
    })();`);
  assert.deepEqual(JSON.parse(stdout), ['clone_failed', 1, 'AbortError', 1]);
});

inBothModes('an exception of the callback is an uncaught one', async (run) => {
  const stdout = await run(`
    gridcentric.on('before', async () => { throw new Error('no'); });
    process.on('uncaughtException', (error) => console.log(error.message));
    gridcentric.request_ticket(1, 1, 1, 0, (ticket) => {
      gridcentric.clone(ticket, (vmid, error) => { throw new Error('of the callback: ' + error.message); });
    });`);
  assert.equal(stdout, 'of the callback: no\n');
});
