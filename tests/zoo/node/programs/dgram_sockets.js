'use strict';
// UDP: a bound socket is on the clone's own address, with the same port.
const dgram = require('node:dgram');
const { once } = require('node:events');
const { assert, gridcentric, family, play } = require('../harness.js');

play(async () => {
  const server = dgram.createSocket('udp4');
  server.on('message', (message, { address, port }) => server.send(`${gridcentric.vmid()} ${message}`, port, address));
  server.bind(0, '0.0.0.0');
  await once(server, 'listening');
  const { port } = server.address();
  await family(async () => {}, async (address, vmid) => {
    const client = dgram.createSocket('udp4');
    client.send('?', port, address);
    const [answer] = await once(client, 'message');
    assert.equal(`${answer}`, `${vmid} ?`);
    client.close();
  });
});
