'use strict';
// Checks the arguments of every call: an invalid one is a TypeError at once, before anything is sent.
// It must not know what the calls do.
const { inspect } = require('node:util');
const { native } = require('./native.js');

const INT_MAX = 2 ** 31 - 1;
const COUNT = { min: 1, max: INT_MAX };
const TIMEOUT = { min: -(2 ** 31), max: INT_MAX };

/** A TypeError with the code and errno of an invalid argument. */
function wrong(text) {
  return Object.assign(new TypeError(text), { code: 'invalid_argument', errno: native.errors.invalid_argument });
}

/** A short form of the given value. */
const shown = (value) => inspect(value, { depth: 0, breakLength: Infinity }).slice(0, 60);

/** "request_ticket: argument 2 (mincpuspervm)" */
const place = (call, index, name) => `${call}: argument ${index} (${name})`;

/** A whole number from range.min to range.max. */
function number(value, where, range) {
  if (typeof value !== 'number') throw wrong(`${where} must be a Number, not ${shown(value)}.`);
  if (!Number.isInteger(value) || value < range.min || value > range.max) {
    throw wrong(`${where} must be a whole Number from ${range.min} to ${range.max}, not ${value}.`);
  }
  return value;
}

/** A number of things: CPUs, clones, or the vmid of one. */
const count = (value, where) => number(value, where, COUNT);

/** A vmid that may be the master's. */
const vmid = (value, where) => number(value, where, { min: 0, max: INT_MAX });

/** Milliseconds: 0 tries once, a negative number waits forever. */
const timeout = (value, where) => number(value, where, TIMEOUT);

const timeoutOrForEver = (value, where) => (value === undefined ? -1 : timeout(value, where));

/** The text of a ticket; the host decides whether it exists. */
function ticket(value, where) {
  if (typeof value !== 'string') throw wrong(`${where} must be a String, not ${shown(value)}.`);
  return value;
}

const ticketOrNone = (value, where) => (value === undefined || value === null ? undefined : ticket(value, where));

/** The bytes of a report; undefined if there is none. */
function report(value, where) {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw wrong(`${where} must be a String, a Buffer or a TypedArray, not ${shown(value)}.`);
}

/** The callback: a function or undefined. */
function callback(value, where) {
  if (value !== undefined && typeof value !== 'function') throw wrong(`${where} must be a Function, not ${shown(value)}.`);
  return value;
}

/** { signal, ref } of a call, and the switches that only this call has. */
function options(value, where, switches) {
  const { signal, ref = true, ...more } = value;
  for (const [name, given] of Object.entries(more)) {
    if (!switches.includes(name)) {
      const known = ['signal', 'ref', ...switches];
      throw wrong(`${where} has the unknown option '${name}'; expected ${known.slice(0, -1).join(', ')} or ${known.at(-1)}.`);
    }
    if (given !== undefined && typeof given !== 'boolean') throw wrong(`${where} must have a Boolean as its ${name}.`);
  }
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrong(`${where} must have an AbortSignal as its signal.`);
  }
  if (typeof ref !== 'boolean') throw wrong(`${where} must have a Boolean as its ref.`);
  return { signal, ref, ...more };
}

function isOptions(value) {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/**
 * Parses the arguments of a call: those named in `checks`, then options, then a callback. The last two are optional, and so
 * are arguments whose check allows undefined. `switches`: names of options that only this call has.
 */
function parse(call, given, checks, switches = []) {
  const all = [...given];
  const names = Object.keys(checks);
  const done = typeof all.at(-1) === 'function' ? all.pop() : undefined;
  const asked = isOptions(all.at(-1)) ? options(all.at(-1), place(call, all.length - 1, 'options'), switches) : undefined;
  if (asked) all.pop();
  const values = names.map((name, index) => checks[name](all[index], place(call, index, name)));
  const last = names.length;
  return { values, options: asked ?? { ref: true }, done: done ?? callback(all[last], place(call, last, 'callback')) };
}

module.exports = { parse, place, shown, wrong, count, vmid, timeout, timeoutOrForEver, ticket, ticketOrNone, report };
