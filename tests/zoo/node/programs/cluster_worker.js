'use strict';
// A cluster's worker that clones itself: it works, or it is refused by name; either way the cluster serves on.
const cluster = require('node:cluster');
const http = require('node:http');
const { once } = require('node:events');
const { assert, gridcentric, play, get } = require('../harness.js');

async function worker() {
  const server = http.createServer((request, response) => response.end(`${gridcentric.vmid()}`));
  await new Promise((resolve) => server.listen(0, resolve));
  process.once('message', async () => {
    const ticket = await gridcentric.request_ticket(3, 3, 1, 0);
    const vmid = await gridcentric.clone(ticket).catch((error) => error);
    if (vmid > 0) return gridcentric.join(`${vmid}`);
    const ends = vmid === 0 ? (await gridcentric.wait(ticket)).map(({ how }) => how) : vmid.message;
    return process.send(ends);
  });
  process.send(server.address().port);
}

async function primary() {
  const child = cluster.fork();
  const [port] = await once(child, 'message');
  assert.equal(await get('127.0.0.1', port), '0');
  child.send('clone');
  const [ends] = await once(child, 'message');
  if (typeof ends === 'string') assert.match(ends, /cluster/);
  else assert.deepEqual(ends, ['joined', 'joined', 'joined']);
  assert.equal(await get('127.0.0.1', port), '0');
  child.disconnect();
  assert.deepEqual(await once(child, 'exit'), [0, null]);
  console.log(typeof ends === 'string' ? 'refused' : '3 clones reported');
}

if (cluster.isPrimary) play(primary);
else worker();
