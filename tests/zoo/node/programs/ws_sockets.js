'use strict';
// WebSockets with ws: the master's stay open; a clone's have ended on both sides, and its server takes new ones.
const { once } = require('node:events');
const { WebSocket, WebSocketServer } = require('ws');
const { assert, gridcentric, family, play, until, ownAddress } = require('../harness.js');

async function connect(port) {
  const socket = new WebSocket(`ws://${ownAddress()}:${port}`);
  socket.on('error', () => {}); // a clone's inherited one
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
  const [master, clones] = await family(async (vmid) => {
    if (vmid) await until(() => inherited.readyState === WebSocket.CLOSED && !server.clients.size, 'the end of both');
    return [vmid ? null : await ask(inherited), await ask(await connect(port))];
  });
  assert.deepEqual([master, ...clones], [['0', '0'], [null, '1'], [null, '2'], [null, '3']]);
});
