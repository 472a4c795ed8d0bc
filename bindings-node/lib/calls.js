'use strict';
// Calls that wait: each starts in the addon, and its outcome goes to a callback (result first) or a promise.
// It must not know what the calls mean, nor which arguments are valid (arguments.js).
const { AsyncResource } = require('node:async_hooks');
const { native, gc } = require('./native.js');
const { runCloneHandlers } = require('./after_clone.js');

/** Open calls of this thread, by the addon's number: the function that takes (error, value). */
const open = new Map();

function deliver(id, error, value) {
  const settle = open.get(id);
  open.delete(id);
  settle(error, value);
}

native.connect(gc, deliver, runCloneHandlers);
// Open calls are cancelled before the process exits, so that none of our threads runs during the exit.
process.once('exit', native.close);

/**
 * Starts a call; settle(error, value, ofThread) is called once, later. ofThread: the error comes from the call's thread.
 * @param {string} verb
 * @param {any[]} values
 * @param {{ signal?: AbortSignal, ref: boolean }} options
 * @param {(error: any, value?: any, ofThread?: boolean) => void} settle
 */
function begin(verb, values, { signal, ref }, settle) {
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
    settle(error.code === 'cancelled' && signal?.aborted ? signal.reason : error, undefined, true);
  });
}

/**
 * Makes a call. Returns a promise, or undefined if there is a callback `done(result, error)`.
 *   failed   makes the result that a callback gets with an error
 *   before   runs before the call starts; returns a promise, or undefined if there is nothing to wait for; its error is the call's
 *   after    gets the call's value and a function to call once with the final result
 * @param {string} verb
 * @param {{ values: any[], options: { signal?: AbortSignal, ref: boolean }, done?: (...args: any[]) => any }} parsed
 * @param {{ failed?: (error: any) => any, before?: () => Promise<void> | undefined, after?: (value: any, then: (result: any) => void) => void }} way
 */
function call(verb, { values, options, done }, { failed = () => undefined, before, after = (value, then) => then(value) } = {}) {
  const place = { stack: '' };
  Error.captureStackTrace(place, call); // an error from another thread has no stack frames
  /** @type {(settle: (error: any, value?: any) => void) => void} */
  const make = (settle) => {
    const start = () => begin(verb, values, options, (error, value, ofThread) => {
      if (error === undefined) return after(value, (result) => settle(undefined, result));
      if (ofThread && error !== options.signal?.reason) {
        error.stack = `${error.name}: ${error.message}${place.stack.slice(place.stack.indexOf('\n    at '))}`;
      }
      settle(error);
    });
    // The program's callback runs outside the promise, so that an exception in it is uncaught.
    const waiting = options.signal?.aborted ? undefined : before?.();
    if (!waiting) return start();
    waiting.then(start, (error) => queueMicrotask(() => settle(error)));
  };
  if (!done) {
    return new Promise((resolve, reject) => {
      make((error, value) => (error === undefined ? resolve(value) : reject(error)));
    });
  }
  const resource = new AsyncResource('GRIDCENTRIC', { requireManualDestroy: true });
  make((error, value) => {
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
