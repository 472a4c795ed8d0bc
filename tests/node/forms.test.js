'use strict';
// The forms of a call: callback (result first), promise, aliases, AbortSignal; the shape of errors.
const assert = require('node:assert/strict');
const { AsyncLocalStorage } = require('node:async_hooks');
const { after, before, beforeEach, test } = require('node:test');
const gridcentric = require('gridcentric');
const { Host } = require('./host.js');

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const unknown = '8a1f0f0e-6d0e-4c36-8df0-9b7a0f6a2f11';

let host;
before(async () => {
  host = await Host.start('--cpus', '8');
  process.env.GRIDCENTRIC_HOST = host.address;
});
after(() => host.stop());
beforeEach(async () => {
  for (const { id, status } of await gridcentric.list_tickets()) {
    if (status === 'reserved') await gridcentric.release_ticket(id);
  }
});

/** Makes a call with a callback; resolves with the callback's arguments. */
const called = (name, ...args) => new Promise((resolve) => gridcentric[name](...args, (...got) => resolve(got)));

test('quick calls are synchronous', () => {
  assert.equal(gridcentric.vmid(), 0);
  assert.equal(gridcentric.ismaster(), true);
  assert.equal(gridcentric.my_ip(), '10.77.0.1');
});

test('camelCase names are the same functions', () => {
  const names = Object.keys(gridcentric).filter((name) => name.includes('_'));
  assert.ok(names.length >= 7);
  for (const name of names) {
    const alias = name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase());
    assert.equal(gridcentric[alias], gridcentric[name], alias);
  }
  assert.equal(gridcentric.isMaster, gridcentric.ismaster);
});

test('a callback gets the result first and undefined for the error', async () => {
  const [ticket, ...rest] = await called('request_ticket', 2, 1, 1, 0);
  assert.match(ticket, uuid);
  assert.deepEqual(rest, [undefined]);
  assert.deepEqual(await called('ticket_info', ticket), [
    { id: ticket, status: 'reserved', cpus: 2, vms: 2, mincpuspervm: 1 }, undefined,
  ]);
  assert.deepEqual(await called('release_ticket', ticket), [true, undefined]);
});

test('a callback gets undefined and the error; of clone a negative number', async () => {
  const [none, error] = await called('request_ticket', 9, 9, 1, 0);
  assert.equal(none, undefined);
  assert.equal(error.code, 'invalid_argument');
  const [vmid, failure] = await called('clone', unknown);
  assert.ok(vmid < 0);
  assert.equal(failure.code, 'no_such_ticket');
  assert.equal(vmid, -failure.errno);
});

test('a promise rejects with a coded error that says where the call was made', async () => {
  await assert.rejects(gridcentric.ticket_info(unknown), (error) => {
    assert.ok(error instanceof Error);
    assert.equal(error.code, 'no_such_ticket');
    assert.equal(error.errno, 2);
    assert.match(error.message, new RegExp(unknown));
    assert.match(error.stack, /forms\.test\.js/);
    return true;
  });
});

test('a callback is called in a later turn, in the async context of the call', async () => {
  const storage = new AsyncLocalStorage();
  let sync = true;
  const seen = new Promise((resolve) => {
    storage.run('mine', () => gridcentric.list_tickets(() => resolve([storage.getStore(), sync])));
  });
  sync = false;
  assert.deepEqual(await seen, ['mine', false]);
});

test('reports, results and domains', async () => {
  const ticket = await gridcentric.request_ticket(2, 2, 1, 0);
  assert.equal(await gridcentric.clone(ticket), 0);
  const domains = await gridcentric.list_domains();
  const [, one, two] = domains;
  assert.deepEqual(one, { vmid: one.vmid, parent: 0, ip: one.ip, ticket, state: 'running' });
  assert.equal(domains[0].parent, -1);
  const [[family]] = (await host.ask('domains')).items;
  await host.ask(`end ${family} ${one.vmid} exited 3`);
  assert.equal(await gridcentric.kill(two.vmid), true);
  assert.deepEqual(await gridcentric.wait(ticket), [
    { vmid: one.vmid, how: 'exited', status: 3, report: undefined },
    { vmid: two.vmid, how: 'killed', status: 9, report: undefined },
  ]);
});

test('explain says whether this process can be cloned', async () => {
  const { can_clone, report } = await gridcentric.explain();
  assert.equal(typeof can_clone, 'boolean');
  assert.match(report, /\n$/);
});

test('an AbortSignal cancels a call', async () => {
  const all = await gridcentric.request_ticket(8, 8, 1, 0);
  const controller = new AbortController();
  const waiting = gridcentric.request_ticket(1, 1, 1, -1, { signal: controller.signal });
  await host.ask('await request_ticket 1');
  controller.abort(new Error('enough'));
  await assert.rejects(waiting, { message: 'enough' });
  await gridcentric.release_ticket(all);
  const again = await gridcentric.request_ticket(8, 8, 1, 0); // nothing is in line before it
  await gridcentric.release_ticket(again);
});

test('an AbortSignal that has been aborted sends nothing', async () => {
  const before = (await gridcentric.list_tickets()).length;
  const signal = AbortSignal.abort();
  await assert.rejects(gridcentric.request_ticket(1, 1, 1, 0, { signal }), { name: 'AbortError' });
  const [result, error] = await called('request_ticket', 1, 1, 1, 0, { signal });
  assert.deepEqual([result, error.name], [undefined, 'AbortError']);
  assert.equal((await gridcentric.list_tickets()).length, before);
});

test('a hundred calls at a time each get their own answer', async () => {
  const tickets = await Promise.all(Array.from({ length: 8 }, () => gridcentric.request_ticket(1, 1, 1, 0)));
  assert.equal(new Set(tickets).size, 8);
  const asked = Array.from({ length: 100 }, (_, i) => tickets[i % 8]);
  const infos = await Promise.all(asked.map((ticket) => gridcentric.ticket_info(ticket)));
  assert.deepEqual(infos.map((info) => info.id), asked);
});
