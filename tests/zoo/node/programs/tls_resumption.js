'use strict';
// HTTPS: a session of before the clone is resumed with any of the family, as its ticket keys are the same in all of it.
const { execFileSync } = require('node:child_process');
const { once } = require('node:events');
const fs = require('node:fs');
const tls = require('node:tls');
const { assert, gridcentric, family, play, until, ownAddress, listening } = require('../harness.js');

play(async () => {
  const options = 'req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -subj /CN=zoo -days 1';
  execFileSync('openssl', options.split(' '), { stdio: 'ignore' });
  const [key, cert] = ['key.pem', 'cert.pem'].map((name) => fs.readFileSync(name));
  const server = tls.createServer({ key, cert }, (socket) => {
    socket.on('error', () => {});
    socket.end(`${gridcentric.vmid()}`);
  });
  const port = await listening(server);
  let session;
  async function ask() {
    const socket = tls.connect({ host: ownAddress(), port, ca: cert, session, checkServerIdentity: () => undefined });
    let text = '';
    let ticket;
    socket.setEncoding('utf8').on('data', (piece) => { text += piece; }).on('session', (given) => { ticket = given; });
    await once(socket, 'end');
    const resumed = socket.isSessionReused();
    await until(() => ticket || resumed, 'a ticket');
    session ??= ticket;
    return [text, resumed];
  }
  assert.deepEqual(await ask(), ['0', false]);
  const [master, clones] = await family(ask);
  assert.deepEqual([master, ...clones], [0, 1, 2, 3].map((vmid) => [`${vmid}`, true]));
});
