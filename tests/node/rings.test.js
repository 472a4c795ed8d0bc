'use strict';
// libuv's io_urings: one for each loop since libuv 1.45, and one with a kernel thread for files where the program asks for it
// (UV_USE_IO_URING=1). A clone has rings of its own; the other kind is refused, and the advice of the refusal is true.
const assert = require('node:assert/strict');
const { inBothModes } = require('./family.js');

inBothModes('the loops of all threads go on in clones, and in clones of clones', async (run) => {
  const stdout = await run(`
    const { Worker } = require('node:worker_threads');
    const net = require('node:net');
    // Each connection is entered into the loop's epoll set, through the ring where there is one.
    const visits = (net, port, count) => new Promise((resolve, reject) => {
      let left = count;
      for (let i = 0; i < count; i++)
        net.connect(port, '127.0.0.1').on('error', reject).on('data', () => {}).on('close', () => --left || resolve(count)).end('x');
    });
    const serve = (net) => new Promise((resolve) => {
      const server = net.createServer((socket) => socket.on('error', () => {}).on('data', () => {}).on('end', () => socket.end('y')));
      server.unref().listen(0, '127.0.0.1', () => resolve(server.address().port));
    });
    const round = async (net, serve, visits) => visits(net, await serve(net), 40);
    const program = \`const net = require('node:net'); const { parentPort } = require('node:worker_threads');
      const visits = \${visits}; const serve = \${serve}; const round = \${round};
      parentPort.on('message', async () => parentPort.postMessage(await round(net, serve, visits)));\`;
    const workers = [0, 1].map(() => new Worker(program, { eval: true }));
    const ask = (worker) => new Promise((resolve) => { worker.once('message', resolve); worker.postMessage(0); });
    const all = () => Promise.all([round(net, serve, visits), ...workers.map(ask)]);
    (async () => {
      await all();
      const found = await family(2, async (vmid) => {
        const own = await all();
        if (vmid !== 1) return own;
        const ticket = await gridcentric.request_ticket(1, 1, 1, 0);
        if ((await gridcentric.clone(ticket)) > 0) return all();
        const [{ how, report }] = await gridcentric.wait(ticket);
        return [how, ...JSON.parse(report)];
      });
      console.log(JSON.stringify([found, await all()]));
      process.exit();
    })();`, { env: { GRIDCENTRIC_CPUS: '8' } });
  const each = [40, 40, 40];
  assert.deepEqual(JSON.parse(stdout), [[each, ['joined', ...each], each], each]);
});

inBothModes('a ring with a kernel thread is refused by name, and the advice helps', async (run) => {
  const program = `
    const fs = require('node:fs');
    (async () => {
      await fs.promises.stat(process.execPath);
      const before = await gridcentric.explain();
      const answer = await family(1, () => 'cloned').catch((error) => error.message);
      console.log(JSON.stringify([before.can_clone ?? before.canClone, before.report, answer]));
    })();`;
  const outcome = async (value) => JSON.parse(await run(program, { env: { UV_USE_IO_URING: value } }));
  const [can, report, answer] = await outcome('1');
  if (can) {
    assert.deepEqual(answer, ['cloned', 'cloned']); // this Node has no such ring
  } else {
    const advice = /descriptor \d+ is an io_uring with a kernel thread .* start the program with UV_USE_IO_URING=0/;
    assert.match(report, advice);
    assert.match(answer, advice);
  }
  for (const helps of ['0', undefined]) {
    const [can, , answer] = await outcome(helps);
    assert.deepEqual([can, answer], [true, ['cloned', 'cloned']]);
  }
});
