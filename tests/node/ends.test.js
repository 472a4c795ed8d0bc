'use strict';
// In a clone, clone() resolves after the owners of its inherited connections have been told that these have ended: a pool's first
// request opens a new one.
const assert = require('node:assert/strict');
const { inBothModes } = require('./family.js');

/** A server outside the family, with an idle connection of each kind. */
const outside = `
  const http = require('node:http');
  const net = require('node:net');
  const { spawn } = require('node:child_process');
  const { once } = require('node:events');
  const program = \`
    const server = require('node:http').createServer((request, response) => response.end(request.url));
    server.keepAliveTimeout = 0;
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));\`;
  async function outside() {
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    return { child, port: Number(await once(child.stdout, 'data')) };
  }
  const get = (options) => new Promise((resolve, reject) => {
    http.get({ host: '127.0.0.1', ...options }, (response) => {
      let text = '';
      response.on('data', (piece) => { text += piece; }).on('end', () => resolve(text)).on('error', reject);
    }).on('error', reject);
  });
`;

inBothModes('the first requests of idle pools go out on new connections, in both forms of clone()', async (run) => {
  const stdout = await run(`${outside}
    (async () => {
      const { child, port } = await outside();
      const agent = new http.Agent({ keepAlive: true, maxSockets: 20 });
      const asked = () => Promise.all(Array.from({ length: 20 }, (_, i) => get({ port, path: '/' + i, agent })));
      const fetched = async () => (await fetch('http://127.0.0.1:' + port + '/fetched')).text();
      const plain = net.connect(port, '127.0.0.1');
      let closed = 0;
      plain.on('close', () => { ++closed; }).resume();
      await Promise.all([asked(), fetched(), once(plain, 'connect')]);
      await new Promise(setImmediate);
      const ticket = await gridcentric.request_ticket(3, 3, 1, 0);
      gridcentric.clone(ticket, async (vmid) => {
        const idle = Object.values(agent.freeSockets).flat().length;
        const found = [closed, idle, plain.destroyed, await fetched(), (await asked()).length];
        if (vmid) return gridcentric.join(JSON.stringify(found));
        const reports = (await gridcentric.wait(ticket)).map(({ report }) => JSON.parse(report));
        console.log(JSON.stringify([found, ...reports]));
        child.kill();
        agent.destroy();
        plain.destroy();
        process.exit();
      });
    })();`);
  const [master, ...clones] = JSON.parse(stdout);
  assert.deepEqual(master, [0, 20, false, '/fetched', 20]);
  assert.deepEqual(clones, Array(3).fill([1, 0, true, '/fetched', 20]));
});

inBothModes('a connection that nobody reads, or that its owner keeps half open, does not keep the clone', async (run) => {
  const stdout = await run(`${outside}
    (async () => {
      const { child, port } = await outside();
      const paused = net.connect(port, '127.0.0.1').pause();
      const half = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
      let ended = 0;
      half.on('end', () => { ++ended; }).resume();
      half.on('error', () => {});
      await Promise.all([once(paused, 'connect'), once(half, 'connect')]);
      const all = await family(2, () => [paused.destroyed, ended, half.destroyed]);
      console.log(JSON.stringify(all));
      child.kill();
      process.exit();
    })();`);
  assert.deepEqual(JSON.parse(stdout), [[false, 0, false], ...Array(2).fill([false, 1, false])]);
});

inBothModes('a pool with connections to the program itself keeps them, and each domain answers itself', async (run) => {
  const stdout = await run(`${outside}
    (async () => {
      const ports = new Set();
      const server = http.createServer((request, response) => {
        ports.add(request.socket.remotePort);
        response.end(String(gridcentric.vmid()));
      });
      server.keepAliveTimeout = 0;
      await new Promise((resolve) => server.listen(0, resolve));
      const { port } = server.address();
      const agent = new http.Agent({ keepAlive: true, maxSockets: 5 });
      const asked = () => Promise.all(Array.from({ length: 5 }, () => get({ port, path: '/', agent })));
      await asked();
      const connections = () => Object.values(agent.freeSockets).flat().map((socket) => socket.localPort).sort();
      await new Promise(setImmediate);
      const before = connections();
      const all = await family(3, async () => {
        const said = await asked();
        await new Promise(setImmediate);
        return [...new Set(said), ports.size, connections().join() === before.join()];
      });
      console.log(JSON.stringify(all));
      process.exit();
    })();`);
  assert.deepEqual(JSON.parse(stdout), [0, 1, 2, 3].map((vmid) => [String(vmid), 5, true]));
});
