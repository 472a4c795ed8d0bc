'use strict';
// socket.io, server and client: a clone's client notices that its connection has ended and connects again by itself.
const http = require('node:http');
const { once } = require('node:events');
const { Server } = require('socket.io');
const { io } = require('socket.io-client');
const { assert, gridcentric, family, play, until, listening, ownAddress } = require('../harness.js');

play(async () => {
  const httpServer = http.createServer();
  const server = new Server(httpServer);
  server.on('connection', (socket) => socket.on('who', (answer) => answer(gridcentric.vmid())));
  const port = await listening(httpServer);
  const client = io(`http://127.0.0.1:${port}`, { transports: ['websocket'], reconnectionDelay: 10 });
  await once(client, 'connect');
  let ended = 0;
  client.on('disconnect', () => ++ended);
  // A clone's client that polls says goodbye with the session's id on a new connection: to the master's session.
  const polling = io(`http://127.0.0.1:${port}`, { transports: ['polling'], reconnectionDelay: 10, forceNew: true });
  await once(polling, 'connect');
  let polled = 0;
  polling.on('disconnect', () => ++polled);
  const [master, clones] = await family(async (vmid) => {
    if (vmid) await until(() => ended && client.connected, 'the client connects again');
    const own = io(`http://${ownAddress()}:${port}`, { transports: ['websocket'], forceNew: true });
    const said = [ended, await client.emitWithAck('who'), await own.emitWithAck('who')];
    own.close();
    return said;
  });
  assert.deepEqual(master, [0, 0, 0]);
  // The client's address is 127.0.0.1, the master's.
  assert.deepEqual(clones, [1, 2, 3].map((vmid) => [1, 0, vmid]));
  await until(() => polled && polling.connected, 'the polling client connects again');
});
