'use strict';
// In a clone, the master's child processes stay with the master. This thread's ChildProcess objects report that they were
// ended by SIGKILL: 'exit' and 'close' are emitted as for any killed child. From the clone's first moment kill() reaches nothing.
// It must not know: calls, tickets.
const { isLoaded } = require('./builtins.js');
const { native } = require('./native.js');

/** The `pid` of an ended child: no process has it, so that process.kill() reaches nothing either. */
const NO_PID = 2 ** 31 - 1;

/** Runs before any other JavaScript of the clone. */
function forgetChildren() {
  native.forgetChildren();
}

/** Runs after the handlers of on('clone') and ends every child. An exception in a listener is uncaught, as always. */
function endChildren() {
  if (isLoaded('child_process') === false) return; // there have never been any
  const prototype = /** @type {any} */ (require('node:child_process').ChildProcess.prototype);
  /** Replaces a child's pid before its 'exit' event. */
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
