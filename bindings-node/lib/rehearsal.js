'use strict';
// Runs once, before the first clone is made, what every clone will have to run first of all, so that it is compiled by then: done
// in each of many clones, this would be most of the time and of the memory that they take. It changes nothing that the program
// could see, and takes some milliseconds.
// It must not know: calls, tickets, the program's own handlers.
const vm = require('node:vm');
const { isLoaded } = require('./builtins.js');
const { native } = require('./native.js');
const { renewPid, runAll } = require('./after_clone.js');
const { renew, source } = require('./renew.js');

/** After as many rounds V8 has compiled and optimized what a round runs. */
const ROUNDS = 4;

/** The connections that a machine's clone inherits are reset in it: each is an error, with its stack. */
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
 * What has not been rehearsed yet and concerns the program as it is by now. As soon as the program has started, or when it asks
 * for a ticket: what V8 is still optimizing in the background when the master is cloned, each clone has to finish.
 */
function rehearse() {
  const due = steps.filter((step) => step.concerns());
  steps = steps.filter((step) => !due.includes(step));
  for (const { run } of due) run();
}

setImmediate(rehearse).unref();

module.exports = { rehearse };
