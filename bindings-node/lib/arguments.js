'use strict';
// Checks of the arguments of every call: a wrong one is a TypeError at once, before anything is sent.
// It must not know what the calls do.
const { native } = require('./native.js');

const INT_MAX = 2 ** 31 - 1;
const COUNT = { min: 1, max: INT_MAX };
const TIMEOUT = { min: -(2 ** 31), max: INT_MAX };

/** A TypeError that also has the code and errno of an invalid argument. */
function wrong(text) {
  return Object.assign(new TypeError(text), { code: 'invalid_argument', errno: native.errors.invalid_argument });
}

/** A whole number from range.min to range.max. */
function number(value, index, range) {
  if (typeof value !== 'number') throw wrong(`Argument ${index} must be a Number.`);
  if (!Number.isInteger(value) || value < range.min || value > range.max) {
    throw wrong(`Argument ${index} must be a whole Number from ${range.min} to ${range.max}, not ${value}.`);
  }
  return value;
}

/** A number of things: CPUs, clones, or the vmid of one. */
const count = (value, index) => number(value, index, COUNT);

/** Milliseconds: 0 tries once, a negative one waits for ever. */
const timeout = (value, index) => number(value, index, TIMEOUT);

const timeoutOrForEver = (value, index) => (value === undefined ? -1 : timeout(value, index));

/** The text of a ticket; whether there is such a ticket is the host's to say. */
function ticket(value, index) {
  if (typeof value !== 'string') throw wrong(`Argument ${index} must be a String.`);
  return value;
}

const ticketOrNone = (value, index) => (value === undefined || value === null ? undefined : ticket(value, index));

/** The bytes of a report; undefined: none. */
function report(value, index) {
  if (value === undefined || value === null) return undefined;
  if (typeof value === 'string') return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw wrong(`Argument ${index} must be a String, a Buffer or a TypedArray.`);
}

/** The callback: a function or nothing. */
function callback(value, index) {
  if (value !== undefined && typeof value !== 'function') throw wrong(`Argument ${index} must be a Function.`);
  return value;
}

/** { signal, ref } of a call. */
function options(value, index) {
  const { signal, ref = true, ...unknown } = value;
  const [name] = Object.keys(unknown);
  if (name !== undefined) throw wrong(`Argument ${index} has the option '${name}'; there are signal and ref.`);
  if (signal !== undefined && !(signal instanceof AbortSignal)) {
    throw wrong(`Argument ${index} must have an AbortSignal as its signal.`);
  }
  if (typeof ref !== 'boolean') throw wrong(`Argument ${index} must have a Boolean as its ref.`);
  return { signal, ref };
}

function isOptions(value) {
  if (typeof value !== 'object' || value === null) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype;
}

/**
 * Takes the arguments of a call apart: those that `checks` names, then options, then a callback; the last two may be
 * missing, and so may arguments whose check allows undefined.
 */
function parse(given, checks) {
  const all = [...given];
  const done = typeof all.at(-1) === 'function' ? all.pop() : undefined;
  const asked = isOptions(all.at(-1)) ? options(all.at(-1), all.length - 1) : undefined;
  if (asked) all.pop();
  const values = checks.map((check, index) => check(all[index], index));
  return { values, options: asked ?? { ref: true }, done: done ?? callback(all[checks.length], checks.length) };
}

module.exports = { parse, wrong, count, timeout, timeoutOrForEver, ticket, ticketOrNone, report };
