'use strict';
// Express: master and clones answer from outside, each on its own address and with the state it has inherited.
const express = require('express');
const { assert, gridcentric, family, play, get, listening } = require('../harness.js');
const http = require('node:http');

play(async () => {
  const app = express();
  const visitors = [];
  app.get('/:name', (request, response) => {
    visitors.push(request.params.name);
    response.json({ vmid: gridcentric.vmid(), visitors });
  });
  app.use('/file', express.static(__dirname));
  const port = await listening(http.createServer(app));
  await get('127.0.0.1', port, '/before');
  await family(async () => {}, async (address, vmid) => {
    assert.deepEqual(JSON.parse(await get(address, port, `/${vmid}`)), { vmid, visitors: ['before', `${vmid}`] });
    assert.match(await get(address, port, `/file/${require('node:path').basename(__filename)}`), /^'use strict'/);
  });
});
