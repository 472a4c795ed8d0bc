'use strict';
// In a clone: the master's child processes stay the master's, and what this thread has of one, its ChildProcess, says that it
// has ended by SIGKILL: 'exit' and 'close' come as for any child that is killed. From the start of the clone kill() reaches nobody.
// It must not know: calls, tickets.
const { isLoaded } = require('./builtins.js');
const { native } = require('./native.js');

/** What `pid` of an ended one is: no process has it, so that process.kill() reaches nobody either. */
const NO_PID = 2 ** 31 - 1;

/** Before any other JavaScript of the clone. */
function forgetChildren() {
  native.forgetChildren();
}

/** After the handlers of on('clone'): each of them ends. An exception of a listener is an uncaught one, as always. */
function endChildren() {
  if (isLoaded('child_process') === false) return; // it has never had any
  const prototype = /** @type {any} */ (require('node:child_process').ChildProcess.prototype);
  /** An 'exit' event of one gives its pid away first. */
  function emit(event, ...values) {
    if (event === 'exit') this.pid = NO_PID;
    return Object.getPrototypeOf(prototype).emit.call(this, event, ...values);
  }
  const own = Object.getOwnPropertyDescriptor(prototype, 'emit');
  prototype.emit = emit;
  for (let more = true; more; ) {
    try {
      more = native.endChild();
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  }
  delete prototype.emit;
  if (own) Object.defineProperty(prototype, 'emit', own);
}

module.exports = { forgetChildren, endChildren };
