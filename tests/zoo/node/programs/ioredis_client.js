'use strict';
// ioredis: commands of a clone go out on its own connection, and its subscriber subscribes again by itself.
// server: redis
const { Redis } = require('ioredis');
const { assert, family, play, until } = require('../harness.js');

play(async () => {
  const address = `redis://${process.env.GC_ZOO_REDIS}`;
  const client = new Redis(address);
  const subscriber = new Redis(address);
  for (const one of [client, subscriber]) one.on('error', () => {}); // the inherited connections have ended
  const heard = [];
  subscriber.on('message', (channel, message) => heard.push(message));
  await subscriber.subscribe('zoo-node');
  await client.del('zoo-node');
  await client.incr('zoo-node');
  const [master, clones] = await family(async (vmid) => {
    const id = await client.client('ID');
    await client.incr('zoo-node');
    if (!vmid) {
      await until(async () => (await client.publish('zoo-node', 'hello')) === 4, 'four subscribers');
    }
    await until(() => heard.includes('hello'), 'the message');
    return id;
  });
  assert.equal(new Set([master, ...clones]).size, 4, 'each has a connection of its own');
  assert.equal(await client.get('zoo-node'), '5');
});
