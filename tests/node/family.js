'use strict';
// Runs Node programs that really clone themselves: with the process hypervisor and a private host, in its default mode and
// in plain mode.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { node } = require('./host.js');

/** The start of every program: `family(report)` clones; each clone joins with the result of report(vmid), as JSON. */
const prelude = `
  const gridcentric = require('gridcentric');
  async function family(clones, report) {
    const ticket = await gridcentric.request_ticket(clones, clones, 1, 0);
    const vmid = await gridcentric.clone(ticket);
    if (vmid > 0) return gridcentric.join(JSON.stringify(await report(vmid)));
    const own = await report(vmid);
    const ends = await gridcentric.wait(ticket);
    for (const { vmid, how } of ends) if (how !== 'joined') throw new Error(vmid + ' ' + how);
    return [own, ...ends.map(({ report }) => JSON.parse(report))];
  }
`;

/**
 * A test in both modes. body(run, context): run(script, { env, args, started, stderr, start }) runs the prelude, or `start`, and
 * the script to their end and returns their standard output; stderr is a regular expression for what they may write there.
 */
function inBothModes(title, body) {
  for (const mode of [undefined, 'plain']) {
    const run = async (script, { env = {}, stderr = /^$/, start = prelude, ...options } = {}) => {
      const ended = await node(start + script, {
        ...options,
        env: { GRIDCENTRIC_HOST: undefined, GRIDCENTRIC_GC: undefined, GRIDCENTRIC_CLONE_MODE: mode, ...env },
      });
      assert.match(ended.stderr, stderr);
      assert.deepEqual({ code: ended.code, signal: ended.signal }, { code: 0, signal: null });
      return ended.stdout;
    };
    test(`${title} (${mode ?? 'default'} mode)`, (context) => body(run, context));
  }
}

module.exports = { prelude, inBothModes };
