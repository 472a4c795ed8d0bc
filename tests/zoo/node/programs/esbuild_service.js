'use strict';
// esbuild, whose work a child does: the master's goes on; in a clone its calls fail at once and do not hang.
const esbuild = require('esbuild');
const { assert, family, play, rejection } = require('../harness.js');

const compile = async () => (await esbuild.transform('let one: number = 1', { loader: 'ts' })).code;

play(async () => {
  assert.equal(await compile(), 'let one = 1;\n');
  const [master, clones] = await family(async (vmid) => (vmid ? rejection(compile()) : compile()));
  assert.equal(master, 'let one = 1;\n');
  for (const error of clones) assert.ok(error, 'the clone talks to the master\'s service');
  assert.equal(await compile(), 'let one = 1;\n');
  await esbuild.stop();
});
