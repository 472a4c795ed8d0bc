'use strict';
// WebSockets with ws: those to the program itself stay open in the master and in each clone, whose server takes new ones.
const { once } = require('node:events');
const { WebSocket, WebSocketServer } = require('ws');
const { assert, gridcentric, family, play, ownAddress } = require('../harness.js');

async function connect(port) {
  const socket = new WebSocket(`ws://${ownAddress()}:${port}`);
  await once(socket, 'open');
  return socket;
}

async function ask(socket) {
  socket.send('?');
  return String((await once(socket, 'message'))[0]);
}

play(async () => {
  const server = new WebSocketServer({ port: 0, host: '0.0.0.0' });
  server.on('connection', (socket) => {
    socket.on('error', () => {});
    socket.on('message', () => socket.send(`${gridcentric.vmid()}`));
  });
  await once(server, 'listening');
  const { port } = server.address();
  const inherited = await connect(port);
  assert.equal(await ask(inherited), '0');
  const [master, clones] = await family(async () => {
    return [await ask(inherited), await ask(await connect(port))];
  });
  assert.deepEqual([master, ...clones], [0, 1, 2, 3].map((vmid) => [`${vmid}`, `${vmid}`]));
});
