'use strict';
// What happens in this thread before a clone is requested: check for conditions that forbid it, run the handlers of
// on('before'), flush the program's output. At this point no thread has been stopped and the host has not been contacted.
const { native } = require('./native.js');
const { handlersOf } = require('./handlers.js');
const { refusalOfCluster } = require('./cluster.js');

/** A call's error, as the addon makes it. */
function failure(code, text) {
  return Object.assign(new Error(text), { code, errno: native.errors[code] });
}

/** Resolves once stdout and stderr have written everything to the kernel, or no longer can; undefined: nothing is pending. */
function output() {
  const full = [process.stdout, process.stderr].filter((stream) => stream.writable && stream.writableLength > 0);
  if (full.length === 0) return undefined;
  return Promise.all(full.map((stream) => new Promise((resolve) => stream.write('', resolve)))).then(() => {});
}

let running = false;

async function runHandlers(handlers) {
  if (running) {
    throw failure('clone_failed', "clone: the handlers of on('before') are running for another clone of this thread, possibly the one that made this call");
  }
  running = true;
  try {
    for (const handler of handlers) await handler();
  } catch (error) {
    throw error === undefined ? failure('clone_failed', "clone: a handler of on('before') threw undefined") : error;
  } finally {
    running = false;
  }
}

/** Resolves when a clone may be made; undefined: at once. Rejects with a handler's error. */
function prepare() {
  const refusal = refusalOfCluster();
  if (refusal) return Promise.reject(failure('not_supported', `clone: ${refusal}`));
  const handlers = handlersOf('before');
  // The clones would also write what is still in a stream's buffer.
  return handlers.length > 0 ? runHandlers(handlers).then(output) : output();
}

module.exports = { prepare, output };
