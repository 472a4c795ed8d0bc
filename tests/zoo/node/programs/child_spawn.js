'use strict';
// spawn(): the master talks on with its child; in a clone it has ended, not with success, and kill() hits nobody.
const { spawn, execFileSync } = require('node:child_process');
const { once } = require('node:events');
const { assert, family, play } = require('../harness.js');

play(async () => {
  const child = spawn('cat');
  child.stdin.on('error', () => {}); // a clone's end of it is dead
  child.stdout.setEncoding('utf8');
  const echo = async (text) => {
    child.stdin.write(text);
    return (await once(child.stdout, 'data'))[0];
  };
  assert.equal(await echo('before'), 'before');
  const exit = once(child, 'exit');
  const [master, clones] = await family(async (vmid) => {
    if (!vmid) return echo('meanwhile');
    const [code, signal] = await exit;
    assert.equal(child.kill(), false);
    assert.equal(execFileSync('echo', ['own']).toString(), 'own\n');
    return [code, signal];
  });
  assert.equal(master, 'meanwhile');
  for (const [code, signal] of clones) assert.ok(code !== 0 || signal, `it ended with ${code} ${signal}`);
  assert.equal(await echo('after'), 'after');
  child.stdin.end();
  assert.deepEqual(await exit, [0, null]);
});
