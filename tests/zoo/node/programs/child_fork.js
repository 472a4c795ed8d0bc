'use strict';
// fork() with its channel: the master's child answers on; a clone's channel has ended, and send() there fails.
const { fork } = require('node:child_process');
const { once } = require('node:events');
const { assert, family, play, until } = require('../harness.js');

if (process.argv[2] === 'child') {
  process.on('message', (message) => process.send(`echo ${message}`));
} else {
  play(async () => {
    const child = fork(__filename, ['child']);
    child.on('error', () => {}); // of send() in a clone
    const ask = async (message) => {
      child.send(message);
      return (await once(child, 'message'))[0];
    };
    assert.equal(await ask('before'), 'echo before');
    const [master, clones] = await family(async (vmid) => {
      if (!vmid) return ask('meanwhile');
      await until(() => !child.connected, 'the end of the channel');
      return new Promise((resolve) => child.send('x', (error) => resolve(error?.code)));
    });
    assert.equal(master, 'echo meanwhile');
    assert.deepEqual(clones, Array(3).fill('ERR_IPC_CHANNEL_CLOSED'));
    assert.equal(await ask('after'), 'echo after');
    child.disconnect();
    assert.deepEqual(await once(child, 'exit'), [0, null]);
  });
}
