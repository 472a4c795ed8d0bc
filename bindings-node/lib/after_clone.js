'use strict';
// Repairs a clone of a Node program before the program itself continues: replaces what Node keeps in memory and must not
// be the same in two processes. Then runs the program's own handlers (on('clone')) and ends its children. Runs in each
// thread's environment. OpenSSL's generators are reseeded by the core, before this (core/generators).
// It must not know: calls, tickets.
const crypto = require('node:crypto');
const { native } = require('./native.js');
const { forgetChildren, endChildren } = require('./children.js');
const { handlersOf } = require('./handlers.js');
const { renew } = require('./renew.js');

/** xoshiro128**, for a V8 whose generator can't be reseeded. */
function otherRandom() {
  const state = crypto.getRandomValues(new Uint32Array(4));
  const next = () => {
    const x = Math.imul(state[1], 5);
    const result = Math.imul((x << 7) | (x >>> 25), 9) >>> 0;
    const t = state[1] << 9;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= t;
    state[3] = (state[3] << 11) | (state[3] >>> 21);
    return result;
  };
  return function random() {
    return ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53;
  };
}

function reseedMathRandom() {
  // With otherRandom(), references to Math.random taken before the clone still repeat.
  if (!native.reseedMathRandom()) Math.random = otherRandom();
}

/** Node reads its pid once; in plain mode a clone's is different. */
function renewPid() {
  const pid = native.pid();
  if (pid !== process.pid) Object.defineProperty(process, 'pid', { value: pid, enumerable: true, configurable: true });
}

const builtIn = [forgetChildren, () => renew(require, true), reseedMathRandom, renewPid];

/** If a handler throws, that is an uncaught exception; the others still run. */
function runAll(list, vmid) {
  for (const handler of list) {
    try {
      handler(vmid);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }
}

function runCloneHandlers(vmid) {
  runAll([...builtIn, ...handlersOf('clone')], vmid);
  endChildren();
}

module.exports = { runCloneHandlers, runAll, renewPid };
