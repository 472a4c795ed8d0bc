'use strict';
// HTTP/2: a session with the program itself goes on in the master and in each clone, and a new one goes to its own server.
const http2 = require('node:http2');
const { once } = require('node:events');
const { assert, gridcentric, family, play, ownAddress, listening } = require('../harness.js');

async function ask(session) {
  const stream = session.request({ ':path': '/' });
  let text = '';
  for await (const piece of stream.setEncoding('utf8')) text += piece;
  return text;
}

async function connect(port) {
  const session = http2.connect(`http://${ownAddress()}:${port}`);
  await once(session, 'connect');
  return session;
}

play(async () => {
  const server = http2.createServer();
  server.on('stream', (stream) => {
    stream.respond({ ':status': 200 });
    stream.end(`${gridcentric.vmid()}`);
  });
  server.on('sessionError', () => {});
  const port = await listening(server);
  const inherited = await connect(port);
  assert.equal(await ask(inherited), '0');
  const [master, clones] = await family(async () => {
    const own = await connect(port);
    const said = [await ask(inherited), await ask(own)];
    own.close();
    return said;
  });
  assert.deepEqual([master, ...clones], [0, 1, 2, 3].map((vmid) => [`${vmid}`, `${vmid}`]));
});
