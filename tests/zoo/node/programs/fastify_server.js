'use strict';
// Fastify with schemas and hooks: master and clones answer from outside, each with its own state.
const fastify = require('fastify');
const { assert, gridcentric, family, play, get } = require('../harness.js');

play(async () => {
  const app = fastify();
  let count = 0;
  app.addHook('onRequest', async () => { ++count; });
  const properties = { vmid: { type: 'integer' }, count: { type: 'integer' } };
  const schema = { response: { 200: { type: 'object', properties } } };
  app.get('/', { schema }, async () => ({ vmid: gridcentric.vmid(), count }));
  await app.listen({ port: 0, host: '0.0.0.0' });
  const { port } = app.server.address();
  await get('127.0.0.1', port);
  await family(async () => {}, async (address, vmid) => {
    assert.deepEqual(JSON.parse(await get(address, port)), { vmid, count: 2 });
  });
  await app.close();
});
