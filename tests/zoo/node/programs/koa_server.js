'use strict';
// Koa: requests that are under way at the clone end in the master; each clone answers new ones.
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
  const slow = get('127.0.0.1', port, '/slow').catch((error) => error.code);
  await get('127.0.0.1', port, '/before');
  const [master, clones] = await family(async (vmid) => {
    release();
    return vmid ? slow : null;
  }, async (address, vmid) => assert.equal(await get(address, port, '/'), `${vmid} /`));
  assert.equal(master, null);
  assert.equal(await slow, '0 /slow');
  assert.deepEqual(clones, ['ECONNRESET', 'ECONNRESET', 'ECONNRESET']);
});
