'use strict';
// Idle pools of fetch, undici and http.Agent: a clone's first request goes out on its own connection.
const http = require('node:http');
const { spawn } = require('node:child_process');
const { once } = require('node:events');
const { Pool } = require('undici');
const { assert, family, play, get } = require('../harness.js');

// A server outside of the family that tells a connection from another by the client's port.
const outside = `
  const server = require('node:http').createServer((request, response) => response.end(String(request.socket.remotePort)));
  server.keepAliveTimeout = 100000;
  server.listen(0, '127.0.0.1', () => console.log(server.address().port));`;

play(async () => {
  const child = spawn(process.execPath, ['-e', outside]);
  const port = Number((await once(child.stdout, 'data'))[0]);
  const pool = new Pool(`http://127.0.0.1:${port}`, { connections: 1 });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const ask = async () => [
    await (await pool.request({ path: '/', method: 'GET' })).body.text(),
    await (await fetch(`http://127.0.0.1:${port}/`)).text(),
    await get('127.0.0.1', port, '/', agent),
  ];
  const before = await ask();
  assert.deepEqual(await ask(), before, 'the pools keep their connections');
  const [master, clones] = await family(ask);
  assert.deepEqual(master, before);
  for (const used of clones) assert.ok(!used.some((one) => before.includes(one)), 'a clone used the master\'s connection');
  child.kill();
});
