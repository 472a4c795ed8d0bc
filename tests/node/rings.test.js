'use strict';
// libuv's io_urings: one per loop since libuv 1.45, and one with a kernel thread for files if the program asks for it
// (UV_USE_IO_URING=1). A clone has its own rings of both kinds.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { inBothModes } = require('./family.js');

inBothModes('the loops of all threads go on in clones, and in clones of clones', async (run) => {
  const stdout = await run(`
    const { Worker } = require('node:worker_threads');
    const net = require('node:net');
    // Each connection is added to the loop's epoll set, through the ring if there is one.
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

inBothModes('rings for files go on in clones, those of all threads', async (run) => {
  const program = `
    const fs = require('node:fs');
    const { Worker } = require('node:worker_threads');
    const polled = () => fs.readdirSync('/proc/self/fd').filter((fd) => {
      try { return /SqThread:\\s*[1-9]/.test(fs.readFileSync('/proc/self/fdinfo/' + fd, 'utf8')); } catch { return false; }
    }).length;
    const sizes = async (fs, file) => {
      const found = new Set();
      for (let i = 0; i < 100; i++) {
        const handle = await fs.promises.open(file);
        found.add((await handle.stat()).size);
        found.add((await handle.read(Buffer.alloc(1000), 0, 1000, 0)).bytesRead);
        await handle.close();
      }
      return [...found];
    };
    const worker = new Worker(\`const fs = require('node:fs'); const { parentPort } = require('node:worker_threads');
      const sizes = \${sizes}; parentPort.on('message', async (file) => parentPort.postMessage(await sizes(fs, file)));\`, { eval: true });
    const file = process.env.FILE;
    const all = () => Promise.all([sizes(fs, file), new Promise((resolve) => { worker.once('message', resolve); worker.postMessage(file); })]);
    (async () => {
      await all();
      const before = polled();
      const found = await family(2, async () => [polled(), await all()]);
      console.log(JSON.stringify([before, found, await all()]));
      process.exit();
    })();`;
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'rings-')), 'file');
  fs.writeFileSync(file, 'x'.repeat(1000));
  const each = [[1000], [1000]];
  for (const value of ['1', '0', undefined]) {
    const [rings, found, after] = JSON.parse(await run(program, { env: { UV_USE_IO_URING: value, FILE: file } }));
    assert.ok(value === '1' || rings === 0, `${rings} rings`); // one per loop, if libuv and the kernel support them
    assert.deepEqual([found, after], [Array(3).fill([rings, each]), each]);
  }
  fs.rmSync(path.dirname(file), { recursive: true });
});
