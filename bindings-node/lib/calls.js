'use strict';
// Calls that wait: each is begun in the addon, and its end goes to a callback (result first) or a promise.
// It must not know what the calls mean, nor which arguments are right (arguments.js).
const { AsyncResource } = require('node:async_hooks');
const { native, gc } = require('./native.js');
const { runCloneHandlers } = require('./after_clone.js');

/** Calls under way in this thread, by the addon's number: what to do with (error, value). */
const open = new Map();

function deliver(id, error, value) {
  const settle = open.get(id);
  open.delete(id);
  settle(error, value);
}

native.connect(gc, deliver, runCloneHandlers);
// Open calls are taken back before the program's last moments: no thread of ours lives through them.
process.once('exit', native.close);

/**
 * Begins a call; settle(error, value) is called once, later.
 * @param {string} verb
 * @param {any[]} values
 * @param {{ signal?: AbortSignal, ref: boolean }} options
 * @param {(error: any, value?: any) => void} settle
 */
function begin(verb, values, { signal, ref }, settle) {
  const place = { stack: '' };
  Error.captureStackTrace(place, call); // an error that comes from another thread has no frames of its own
  if (signal?.aborted) return void queueMicrotask(() => settle(signal.reason));
  let id;
  try {
    id = native.start(verb, values, ref);
  } catch (error) {
    return void queueMicrotask(() => settle(error));
  }
  const abort = () => native.cancel(id);
  signal?.addEventListener('abort', abort, { once: true });
  open.set(id, (error, value) => {
    signal?.removeEventListener('abort', abort);
    if (error === undefined) return settle(undefined, value);
    if (error.code === 'cancelled' && signal?.aborted) return settle(signal.reason);
    error.stack = `${error.name}: ${error.message}${place.stack.slice(place.stack.indexOf('\n    at '))}`;
    settle(error);
  });
}

/**
 * Makes a call: a promise, or undefined when there is a callback `done(result, error)`. `failed` makes the result that
 * a callback gets with an error.
 * @param {string} verb
 * @param {{ values: any[], options: { signal?: AbortSignal, ref: boolean }, done?: (...args: any[]) => any }} parsed
 * @param {(error: any) => any} failed
 */
function call(verb, { values, options, done }, failed = () => undefined) {
  if (!done) {
    return new Promise((resolve, reject) => {
      begin(verb, values, options, (error, value) => (error === undefined ? resolve(value) : reject(error)));
    });
  }
  const resource = new AsyncResource('GRIDCENTRIC', { requireManualDestroy: true });
  begin(verb, values, options, (error, value) => {
    try {
      if (error === undefined) resource.runInAsyncScope(done, undefined, value, undefined);
      else resource.runInAsyncScope(done, undefined, failed(error), error);
    } finally {
      resource.emitDestroy();
    }
  });
  return undefined;
}

module.exports = { call };
