'use strict';
// An invalid argument is a TypeError at once, in every call, and nothing is sent.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { inspect } = require('node:util');
const gridcentric = require('gridcentric');

const uuid = '8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11';
const notNumbers = ['1', null, undefined, true, 1n, [], new Date(), Symbol('x'), () => 1];
const notTickets = [1, null, undefined, true, [], new Date(), Symbol('x')];
const notCounts = [0, -1, 1.5, NaN, Infinity, -Infinity, 2 ** 31, 2 ** 63, -(2 ** 31) - 1];
const notTimeouts = [1.5, NaN, Infinity, 2 ** 31, -(2 ** 31) - 1, 2 ** 63];

const wrong = (message) => ({ name: 'TypeError', code: 'invalid_argument', errno: 22, message });

/** Calls with valid arguments; each test replaces one with an invalid one. */
const calls = {
  request_ticket: { args: [1, 1, 1, 0], kinds: ['count', 'count', 'count', 'timeout'], names: ['maxcpus', 'minvms', 'mincpuspervm', 'timeout'] },
  release_ticket: { args: [uuid], kinds: ['ticket'], names: ['ticket'] },
  ticket_info: { args: [uuid], kinds: ['ticket'], names: ['ticket'] },
  clone: { args: [uuid], kinds: ['ticket'], names: ['ticket'] },
  wait: { args: [uuid, 0], kinds: ['ticket', 'timeout'], names: ['ticket', 'timeout'] },
  sync: { args: [uuid, 0], kinds: ['ticket or none', 'timeout'], names: ['ticket', 'timeout'] },
  kill: { args: [1], kinds: ['count'], names: ['vmid'] },
};

for (const [name, { args, kinds, names }] of Object.entries(calls)) {
  kinds.forEach((kind, index) => {
    const where = `${name}: argument ${index} (${names[index]})`;
    const attempt = (value) => () => gridcentric[name](...args.map((arg, at) => (at === index ? value : arg)));
    test(`${name}: argument ${index} is a ${kind}`, () => {
      if (kind.startsWith('ticket')) {
        const none = (value) => kind === 'ticket or none' && (value === undefined || value === null);
        for (const value of notTickets.filter((v) => !none(v))) assert.throws(attempt(value), wrong(`${where} must be a String, not ${inspect(value)}.`));
        return;
      }
      const optional = name === 'wait' || name === 'sync';
      for (const value of notNumbers.filter((v) => !(optional && v === undefined))) {
        const last = typeof value === 'function' && index === args.length - 1; // taken for the callback
        if (last && optional) continue;
        assert.throws(attempt(value), wrong(`${where} must be a Number, not ${inspect(last ? undefined : value)}.`));
      }
      const [bad, least] = kind === 'count' ? [notCounts, 1] : [notTimeouts, -(2 ** 31)];
      for (const value of bad) {
        const text = `${where} must be a whole Number from ${least} to 2147483647, not ${value}.`;
        assert.throws(attempt(value), wrong(text));
      }
    });
  });
}

test('join: a report of text or bytes', () => {
  for (const value of [1, true, new ArrayBuffer(1), [1], Symbol('x'), new Date()]) {
    assert.throws(() => gridcentric.join(value), wrong(/^join: argument 0 \(report\) must be a String, a Buffer or a TypedArray, not /));
  }
});

test('a callback is not called with a wrong argument', async () => {
  const never = () => assert.fail('called');
  for (const [name, { args }] of Object.entries(calls)) {
    args.forEach((arg, index) => {
      const wrongHere = args.map((one, at) => (at === index ? true : one));
      assert.throws(() => gridcentric[name](...wrongHere, never), { name: 'TypeError', code: 'invalid_argument' });
    });
  }
  assert.throws(() => gridcentric.join(true, never), { name: 'TypeError', code: 'invalid_argument' });
  await new Promise(setImmediate);
});

test('the callback is a function', () => {
  assert.throws(() => gridcentric.list_tickets(1), wrong('list_tickets: argument 0 (callback) must be a Function, not 1.'));
  assert.throws(() => gridcentric.clone(uuid, 'done'), wrong("clone: argument 1 (callback) must be a Function, not 'done'."));
  assert.throws(() => gridcentric.request_ticket(1, 1, 1, 0, 5), wrong('request_ticket: argument 4 (callback) must be a Function, not 5.'));
});

test('options are a signal and ref', () => {
  const signal = 'clone: argument 1 (options) must have an AbortSignal as its signal.';
  assert.throws(() => gridcentric.clone(uuid, { signal: 1 }), wrong(signal));
  assert.throws(() => gridcentric.clone(uuid, { ref: 0 }), wrong('clone: argument 1 (options) must have a Boolean as its ref.'));
  assert.throws(() => gridcentric.clone(uuid, { timeout: 1 }), wrong(/^clone: argument 1 \(options\) has the unknown option 'timeout'/));
});

test('on: the event and the handler', () => {
  assert.throws(() => gridcentric.on('fork', () => {}), wrong("on: argument 0 (event) must be 'clone' or 'before', not 'fork'."));
  assert.throws(() => gridcentric.on(undefined, () => {}), wrong("on: argument 0 (event) must be 'clone' or 'before', not undefined."));
  assert.throws(() => gridcentric.on(Symbol('x'), () => {}), wrong("on: argument 0 (event) must be 'clone' or 'before', not Symbol(x)."));
  assert.throws(() => gridcentric.on('clone'), wrong('on: argument 1 (handler) must be a Function, not undefined.'));
});
