'use strict';
// What makes a clone of a Node program right before the program itself goes on in it: what Node keeps in memory and must
// not be the same in two processes. Then the program's own handlers (on('clone')). Runs in each thread's environment.
// OpenSSL's generators are reseeded by the core, before this (core/generators).
// It must not know: calls, tickets.
const crypto = require('node:crypto');
const { inspect } = require('node:util');
const { native } = require('./native.js');
const { place, shown, wrong } = require('./arguments.js');
const { renew } = require('./renew.js');

/** xoshiro128**, for a V8 whose own generator can't be reseeded. */
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
  // With the other one, references to Math.random that were taken before the clone still repeat.
  if (!native.reseedMathRandom()) Math.random = otherRandom();
}

/** Node reads its pid once; in plain mode a clone has another. */
function renewPid() {
  const pid = native.pid();
  if (pid !== process.pid) Object.defineProperty(process, 'pid', { value: pid, enumerable: true, configurable: true });
}

const builtIn = [() => renew(require, true), reseedMathRandom, renewPid];
const handlers = [];

/**
 * Registers a handler for an event; the only one is 'clone': handler(vmid) runs in each clone, before clone()'s result
 * is delivered there, in the order of registration. An exception of it is an uncaught one; the others run all the same.
 */
function on(event, handler) {
  if (event !== 'clone') throw wrong(`${place('on', 0, 'event')} must be 'clone', not ${inspect(event)}.`);
  if (typeof handler !== 'function') throw wrong(`${place('on', 1, 'handler')} must be a Function, not ${shown(handler)}.`);
  handlers.push(handler);
}

/** Takes a handler back; does nothing when it isn't registered. */
function off(event, handler) {
  const index = event === 'clone' ? handlers.indexOf(handler) : -1;
  if (index >= 0) handlers.splice(index, 1);
}

/** An exception of one is an uncaught one; the others run all the same. */
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
  runAll([...builtIn, ...handlers], vmid);
}

module.exports = { on, off, runCloneHandlers, runAll, renewPid };
