'use strict';
// socket.io, server and client in one program: each clone's client goes on with the clone's own server.
const http = require('node:http');
const { once } = require('node:events');
const { Server } = require('socket.io');
const { io } = require('socket.io-client');
const { assert, gridcentric, family, play, listening, ownAddress } = require('../harness.js');

play(async () => {
  const httpServer = http.createServer();
  const server = new Server(httpServer);
  server.on('connection', (socket) => socket.on('who', (answer) => answer(gridcentric.vmid())));
  const port = await listening(httpServer);
  const client = io(`http://127.0.0.1:${port}`, { transports: ['websocket'], reconnectionDelay: 10 });
  await once(client, 'connect');
  let ended = 0;
  client.on('disconnect', () => ++ended);
  const [master, clones] = await family(async () => {
    const own = io(`http://${ownAddress()}:${port}`, { transports: ['websocket'], forceNew: true });
    const said = [ended, await client.emitWithAck('who'), await own.emitWithAck('who')];
    own.close();
    return said;
  });
  assert.deepEqual(master, [0, 0, 0]);
  assert.deepEqual(clones, [1, 2, 3].map((vmid) => [0, vmid, vmid]));
});
