'use strict';
// The program's handlers in this thread, by event, in order of registration. It must not know when they run (before_clone.js,
// after_clone.js).
const { inspect } = require('node:util');
const { place, shown, wrong } = require('./arguments.js');

/** @type {Map<unknown, Array<(...args: any[]) => any>>} */
const handlers = new Map([['clone', []], ['before', []]]);

/** The current handlers of an event. */
const handlersOf = (/** @type {'clone' | 'before'} */ event) => [...(handlers.get(event) ?? [])];

function on(event, handler) {
  const list = handlers.get(event);
  if (!list) throw wrong(`${place('on', 0, 'event')} must be 'clone' or 'before', not ${inspect(event)}.`);
  if (typeof handler !== 'function') throw wrong(`${place('on', 1, 'handler')} must be a Function, not ${shown(handler)}.`);
  list.push(handler);
}

/** Removes a handler; does nothing if it isn't registered. */
function off(event, handler) {
  const list = handlers.get(event) ?? [];
  const index = list.indexOf(handler);
  if (index >= 0) list.splice(index, 1);
}

module.exports = { on, off, handlersOf };
