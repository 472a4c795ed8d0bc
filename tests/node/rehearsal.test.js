'use strict';
// The program must not notice what the master runs beforehand for its clones.
const assert = require('node:assert/strict');
const { execFile } = require('node:child_process');
const test = require('node:test');
const { promisify } = require('node:util');

const NODE_PATH = `${__dirname}/../../node_modules`;

async function run(program) {
  const options = { env: { ...process.env, NODE_PATH }, timeout: 60000 };
  const { stdout, stderr } = await promisify(execFile)(process.execPath, ['--trace-warnings', '-e', program], options);
  assert.equal(stderr, '');
  return JSON.parse(stdout);
}

test('a reset connection is rehearsed where there can be one, and nothing of it stays', async () => {
  const seen = await run(`
    const fs = require('node:fs');
    const { Socket } = require('node:net');
    const resumed = [];
    const resume = Socket.prototype.resume;
    Socket.prototype.resume = function () {
      resumed.push(this);
      return resume.call(this);
    };
    const descriptors = () => fs.readdirSync('/proc/self/fd').length;
    process.stdout.write(''); // libuv keeps a descriptor from its first stream on
    const before = descriptors();
    require('gridcentric');
    setImmediate(function look() {
      if (resumed.some((socket) => !socket.destroyed)) return setImmediate(look);
      setImmediate(() => {
        const errors = resumed.map((socket) => socket.errored?.code);
        console.log(JSON.stringify({ errors, more: descriptors() - before }));
      });
    });`);
  assert.deepEqual(seen, { errors: ['ECONNRESET'], more: 0 });
});

test('a program that has no connections loads nothing for it', async () => {
  const seen = await run(`
    const before = process.moduleLoadList.includes('NativeModule net');
    require('gridcentric');
    setImmediate(() => setImmediate(() => {
      const fs = require('node:fs');
      const after = process.moduleLoadList.includes('NativeModule net');
      fs.writeSync(1, JSON.stringify({ before, after })); // console.log() would load it
    }));`);
  assert.equal(seen.after, seen.before);
});

test('it does not keep a program that has ended', async () => {
  assert.equal(await run("require('node:net'); require('gridcentric'); process.stdout.write('1')"), 1);
});
