'use strict';
// Koa: a request of the program to itself that is under way at the clone is answered in each domain, by its own server.
const http = require('node:http');
const Koa = require('koa');
const { assert, gridcentric, family, play, get, listening } = require('../harness.js');

play(async () => {
  const app = new Koa();
  let release;
  const released = new Promise((resolve) => { release = resolve; });
  app.use(async (context) => {
    if (context.path === '/slow') await released;
    context.body = `${gridcentric.vmid()} ${context.path}`;
  });
  const port = await listening(http.createServer(app.callback()));
  const slow = get('127.0.0.1', port, '/slow');
  await get('127.0.0.1', port, '/before');
  const [master, clones] = await family(async () => {
    release();
    return slow;
  }, async (address, vmid) => assert.equal(await get(address, port, '/'), `${vmid} /`));
  assert.deepEqual([master, ...clones], [0, 1, 2, 3].map((vmid) => `${vmid} /slow`));
});
