'use strict';
// Runs once, before the first clone is made, the code that every clone runs first, so that it is compiled by then. Compiling it
// in each of many clones would take most of their time and memory. This changes nothing that the program could see, and takes a
// few milliseconds.
// It must not know: calls, tickets, the program's own handlers.
const vm = require('node:vm');
const { isLoaded } = require('./builtins.js');
const { native } = require('./native.js');
const { renewPid, runAll } = require('./after_clone.js');
const { renew, source } = require('./renew.js');

/** After this many rounds V8 has compiled and optimized the code of a round. */
const ROUNDS = 4;

/** In the clone of a VM, inherited connections are reset: each raises an error with a stack. */
function readFromReset() {
  const { Socket } = require('node:net');
  const fd = native.resetSocket();
  if (fd >= 0) new Socket({ fd }).on('error', () => {}).resume();
}

let steps = [
  { concerns: () => true, run: () => native.canReseedMathRandom() },
  { concerns: () => true, run: () => native.learnIsolates(() => vm.createContext(), source) },
  { concerns: () => true, run: () => runAll([...Array(ROUNDS).fill(() => renew(require, false)), renewPid], 0) },
  { concerns: () => isLoaded('net'), run: readFromReset },
];

/**
 * Rehearses the steps that are still outstanding and concern the program in its present state. Runs as soon as the program has
 * started, and when it requests a ticket: each clone has to finish what V8 is still optimizing when the master is cloned.
 */
function rehearse() {
  const due = steps.filter((step) => step.concerns());
  steps = steps.filter((step) => !due.includes(step));
  for (const { run } of due) run();
}

setImmediate(rehearse).unref();

module.exports = { rehearse };
