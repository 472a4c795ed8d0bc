'use strict';
// What is done in this thread before a clone is asked for: the program may have reasons that forbid it, the handlers of
// on('before') run, and what the program has printed goes out. Nobody has been stopped by then, and the host knows nothing yet.
const { native } = require('./native.js');
const { handlersOf } = require('./handlers.js');
const { refusalOfCluster } = require('./cluster.js');

/** An error of a call, as the addon makes them. */
function failure(code, text) {
  return Object.assign(new Error(text), { code, errno: native.errors[code] });
}

/** Resolves once stdout and stderr have handed everything to the kernel, or can't any more; undefined: they have. */
function output() {
  const full = [process.stdout, process.stderr].filter((stream) => stream.writable && stream.writableLength > 0);
  if (full.length === 0) return undefined;
  return Promise.all(full.map((stream) => new Promise((resolve) => stream.write('', resolve)))).then(() => {});
}

let running = false;

async function runHandlers(handlers) {
  if (running) {
    throw failure('clone_failed', "clone: the handlers of on('before') run for another clone of this thread, maybe one that called this");
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

/** Resolves when a clone may be made; undefined: at once. Rejects with what a handler threw. */
function prepare() {
  const refusal = refusalOfCluster();
  if (refusal) return Promise.reject(failure('not_supported', `clone: ${refusal}`));
  const handlers = handlersOf('before');
  // What is still in a stream's buffer would be written by the clones as well.
  return handlers.length > 0 ? runHandlers(handlers).then(output) : output();
}

module.exports = { prepare, output };
